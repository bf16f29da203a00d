// What happens between two instructions. SDM Vol. 3A, Table "Priority Among Concurrent Events".
//
// The engine looks here only when attention & attention_mask says so; update_attention() computes
// the mask from what can be taken now, so that a masked interrupt costs nothing. The order of this
// file is the order of the table: machine check, INIT (and SIPI), traps of the previous
// instruction, NMI, maskable interrupts. Instruction breakpoints come next and are looked for by
// the engine just before it steps (code_breakpoint_hit).

#include "cpu/x86/system/boundary.hpp"

#include "core/log.hpp"
#include "cpu/x86/apic/local_apic.hpp"
#include "cpu/x86/seams/intercept.hpp"
#include "cpu/x86/system/attention.hpp"
#include "cpu/x86/system/debug_traps.hpp"
#include "cpu/x86/system/deliver.hpp"
#include "cpu/x86/system/segment.hpp"

namespace droste {

namespace {

constexpr u32 kShadows = blocking::kSti | blocking::kMovSs;

// SDM Vol. 3A, "MP Initialization Protocol Algorithm": CS:IP = vector * 100h : 0.
void start_up(Vcpu& cpu) {
    CpuState& s = cpu.state;
    s.seg[CS].selector = static_cast<u16>(cpu.sipi_vector << 8);
    s.seg[CS].base = u64{cpu.sipi_vector} << 12;
    s.rip() = 0;
    s.activity = Activity::Active;
    mode_changed(cpu);
    update_attention(cpu);
}

// INIT, then the SIPI that may have followed it. A SIPI that finds the processor running is lost.
bool take_init_and_sipi(Vcpu& cpu, u32 pending) {
    bool changed = false;
    if ((pending & attention::kInit) != 0) {
        cpu.withdraw(attention::kInit);
        cpu.log.write(LogCategory::CpuReset, "vCPU {}: INIT at {:#x}", cpu.index, cpu.state.rip());
        reset_init(cpu);
        changed = true;
    }
    if ((pending & attention::kSipi) != 0) {
        cpu.withdraw(attention::kSipi);
        if (cpu.state.activity == Activity::WaitForSipi) {
            cpu.log.write(LogCategory::CpuReset, "vCPU {}: SIPI, vector {:#04x}", cpu.index,
                          cpu.sipi_vector);
            start_up(cpu);
            changed = true;
        }
    }
    return changed;
}

// There is no machine-check hardware; the request comes from a debugger or a device that models a
// fatal error.
void take_machine_check(Vcpu& cpu) {
    cpu.withdraw(attention::kMachineCheck);
    if ((cpu.state.cr4 & cr4::kMce) == 0) {
        cpu.log.write(LogCategory::CpuReset, "vCPU {}: machine check with CR4.MCE = 0, shutdown",
                      cpu.index);
        cpu.state.activity = Activity::Shutdown;
        update_attention(cpu);
        return;
    }
    Event event;
    event.vector = static_cast<u8>(Exception::MC);
    deliver(cpu, event);
}

void take_debug_trap(Vcpu& cpu) {
    Event event;
    event.vector = static_cast<u8>(Exception::DB);
    event.payload = cpu.state.pending_debug;
    cpu.state.pending_debug = 0;
    deliver(cpu, event);
}

void take_nmi(Vcpu& cpu) {
    cpu.withdraw(attention::kNmi);
    cpu.state.interruptibility |= blocking::kNmi;
    Event event;
    event.type = EventType::NMI;
    event.vector = static_cast<u8>(Exception::NMI);
    deliver(cpu, event);
}

bool take_interrupt(Vcpu& cpu) {
    if (!cpu.apic->ext_int_pending() && cpu.apic->pending_vector() < 0) {
        return false;
    }
    Event event;
    event.type = EventType::ExternalInterrupt;
    event.vector = cpu.apic->acknowledge();
    deliver(cpu, event);
    return true;
}

}  // namespace

bool service_boundary(Vcpu& cpu) {
    CpuState& s = cpu.state;
    if ((cpu.attention.load(std::memory_order_relaxed) & attention::kUndelivered) != 0) {
        resume_delivery(cpu);  // inside the event, as it were: nothing comes between
        return true;
    }
    if (cpu.non_root.intercepts != nullptr && cpu.non_root.intercepts->boundary(cpu)) {
        return true;
    }
    const u32 pending = cpu.attention.load(std::memory_order_relaxed) & cpu.attention_mask;
    if ((pending & attention::kMachineCheck) != 0) {
        take_machine_check(cpu);
        return true;
    }
    if ((pending & (attention::kInit | attention::kSipi)) != 0 &&
        take_init_and_sipi(cpu, pending)) {
        return true;
    }
    if (s.activity == Activity::WaitForSipi) {
        return false;
    }
    const bool mov_ss_shadow = (s.interruptibility & blocking::kMovSs) != 0;
    if (s.pending_debug != 0 && !mov_ss_shadow && s.activity != Activity::Shutdown) {
        take_debug_trap(cpu);
        return true;
    }
    if ((pending & attention::kNmi) != 0 &&
        (s.interruptibility & (kShadows | blocking::kNmi)) == 0) {
        take_nmi(cpu);
        return true;
    }
    if ((pending & attention::kInterrupt) != 0 &&
        interrupts_accepted(s.activity, s.rflags_system) && (s.interruptibility & kShadows) == 0) {
        return take_interrupt(cpu);
    }
    return false;
}

namespace {

u32 held_back(const Vcpu& cpu) {
    return cpu.vmx == nullptr ? 0 : cpu.vmx->held_back(cpu);
}

}  // namespace

void update_attention(Vcpu& cpu) {
    update_attention(cpu, held_back(cpu));
}

bool attention_is_current(const Vcpu& cpu) {
    const bool steps = (cpu.attention.load(std::memory_order_relaxed) & attention::kStep) != 0;
    return cpu.attention_mask == (attention_accepted(cpu) & ~held_back(cpu)) &&
           (steps || !step_needed(cpu));
}

}  // namespace droste
