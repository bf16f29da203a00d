#pragma once
// Shared by the three ways of delivering an event (deliver_real, deliver_protected, deliver_long).

#include "cpu/x86/state/exception.hpp"
#include "cpu/x86/vcpu.hpp"

namespace droste {

// INT n, INT3, INTO: subject to the gate's DPL, and no external event (EXT = 0). INT1 is neither.
inline bool is_software_interrupt(const Event& event) {
    return event.type == EventType::SoftwareInterrupt || event.type == EventType::SoftwareException;
}
// Pushes a return address behind the instruction that raised it.
inline bool returns_behind(const Event& event) {
    return is_software_interrupt(event) || event.type == EventType::PrivilegedSoftwareException;
}

// Error code for a fault about IDT entry `vector`. SDM Vol. 3A, "Error Code".
inline u32 idt_error(u8 vector) {
    return static_cast<u32>(vector) * 8 + 2;
}

// CS:RIP and RFLAGS as an event's frame stores them. SDM Vol. 3B, "Instruction-Breakpoint Exception
// Condition" (RF).
u64 return_rip(const Vcpu& cpu, const Event& event);
u64 pushed_rflags(const Vcpu& cpu, const Event& event);

// How CR4.VME lets INT n in virtual-8086 mode behave. SDM Vol. 3B, Table "Software Interrupt
// Handling Methods While in Virtual-8086 Mode".
enum class V86Redirection : u8 { ProtectedModeHandler, GeneralProtection, Program8086 };
Status v86_redirection(Vcpu& cpu, u8 vector, V86Redirection& out);
// Methods 5 and 6: through the 8086 program's own vector table at linear address 0.
Status deliver_to_8086_program(Vcpu& cpu, const Event& event);

}  // namespace droste
