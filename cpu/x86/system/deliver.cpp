// Delivering an event: who is asked first, what registers it touches, and what a fault on the way
// makes of it. SDM Vol. 3A, "Interrupt and Exception Handling"; the frames are in
// deliver_{real,protected,long}.cpp.
//
// Order for each event, as hardware has it:
//   1. VMX may turn it into a VM exit (CR2 and DR6 are then unchanged);
//   2. CR2, DR6, DR7.GD and IA32_DEBUGCTL take what the exception brings;
//   3. the frame is built. A fault here is a new event that starts at 1, and then either replaces
//      the one being delivered or combines with it to #DF, or to shutdown.

#include "cpu/x86/system/deliver.hpp"

#include "core/log.hpp"
#include "cpu/x86/mmu/mem_access.hpp"
#include "cpu/x86/seams/intercept.hpp"
#include "cpu/x86/system/debug_traps.hpp"
#include "cpu/x86/system/delivery.hpp"
#include "cpu/x86/system/protection.hpp"

namespace droste {

namespace {

enum class EventClass : u8 { Benign, Contributory, PageFault, DoubleFault };
enum class Combination : u8 { Serial, DoubleFault, Shutdown };

// SDM Vol. 3A, Table "Interrupt and Exception Classes".
EventClass class_of(const Event& event) {
    if (event.type != EventType::HardwareException) {
        return EventClass::Benign;
    }
    switch (static_cast<Exception>(event.vector)) {
    case Exception::DE:
    case Exception::TS:
    case Exception::NP:
    case Exception::SS:
    case Exception::GP:
    case Exception::CP: return EventClass::Contributory;
    case Exception::PF:
    case Exception::VE: return EventClass::PageFault;
    case Exception::DF: return EventClass::DoubleFault;
    default: return EventClass::Benign;
    }
}

// SDM Vol. 3A, Table "Conditions for Generating a Double Fault". Rows: first event; columns:
// second.
Combination combine(const Event& first, const Event& second) {
    using enum Combination;
    static constexpr Combination kTable[4][3] = {
        // benign   contributory  page fault
        {Serial, Serial, Serial},            // benign
        {Serial, DoubleFault, Serial},       // contributory
        {Serial, DoubleFault, DoubleFault},  // page fault
        {Serial, Shutdown, Shutdown},        // double fault
    };
    const auto column = static_cast<std::size_t>(class_of(second));
    return kTable[static_cast<std::size_t>(class_of(first))][column];
}

bool is_exception(const Event& event, Exception vector) {
    return event.type == EventType::HardwareException && event.vector == static_cast<u8>(vector);
}

// Registers an exception changes as soon as it is recognized.
void record_exception(Vcpu& cpu, const Event& event) {
    CpuState& s = cpu.state;
    if (event.injected) {
        return;
    }
    if (is_exception(event, Exception::PF)) {
        s.cr2 = event.payload;
    } else if (event.type == EventType::PrivilegedSoftwareException && event.payload != 0) {
        // INT1 alone leaves DR6 as it is.
        s.dr6 = (s.dr6 & ~u64{0xF}) | event.payload;
    } else if (is_exception(event, Exception::DB)) {
        s.dr6 = (s.dr6 & ~u64{0xF}) | (event.payload & kDebugConditions);
        s.dr7 &= ~dr7::kGd;
        s.debugctl &= ~(debugctl::kLbr | debugctl::kBtf);
    }
}

void count_event(Vcpu& cpu, const Event& event) {
    switch (event.type) {
    case EventType::ExternalInterrupt: ++cpu.counters.interrupts; break;
    case EventType::NMI: ++cpu.counters.nmis; break;
    case EventType::HardwareException: ++cpu.counters.exceptions; break;
    default: break;
    }
    if (!cpu.log.enabled(LogCategory::Interrupts)) {
        return;
    }
    const CpuState& s = cpu.state;
    cpu.log.write(
        LogCategory::Interrupts,
        "vCPU {}: v={:02x} e={:04x} type={} cpl={} IP={:04x}:{:016x} SP={:04x}:{:016x} CR2={:016x}",
        cpu.index, event.vector, event.error_code, static_cast<unsigned>(event.type), cpu.mode.cpl,
        s.seg[CS].selector, s.rip(), s.seg[SS].selector, s.gpr[RSP], s.cr2);
}

Status attempt(Vcpu& cpu, const Event& event) {
    if (!cpu.mode.protected_mode) {
        return deliver_real(cpu, event);
    }
    return ia32e_mode(cpu) ? deliver_long(cpu, event) : deliver_protected(cpu, event);
}

void shut_down(Vcpu& cpu) {
    if (cpu.non_root.intercepts != nullptr && cpu.non_root.intercepts->triple_fault(cpu)) {
        return;
    }
    const CpuState& s = cpu.state;
    cpu.log.write(LogCategory::CpuReset,
                  "vCPU {}: triple fault, shutdown at {:04x}:{:016x} SP={:04x}:{:016x} CR0={:08x} "
                  "CR2={:016x} CR3={:016x} "
                  "CR4={:08x} IDT={:016x}+{:04x}",
                  cpu.index, s.seg[CS].selector, s.rip(), s.seg[SS].selector, s.gpr[RSP], s.cr0,
                  s.cr2, s.cr3, s.cr4, s.idtr.base, s.idtr.limit);
    cpu.state.activity = Activity::Shutdown;
    update_attention(cpu);
}

Event double_fault() {
    Event event;
    event.vector = static_cast<u8>(Exception::DF);
    event.has_error_code = true;
    return event;
}

// The fault that a delivery attempt left in cpu.fault.
Event fault_while_delivering(Vcpu& cpu, const Event& outer) {
    Event event = cpu.fault;
    const bool selector_code =
        is_exception(event, Exception::TS) || is_exception(event, Exception::NP) ||
        is_exception(event, Exception::SS) || is_exception(event, Exception::GP);
    if (selector_code && !is_software_interrupt(outer)) {
        event.error_code |= 1;  // EXT
    }
    cpu.step.fault_insn_length = 0;
    return event;
}

bool turned_into_exit(Vcpu& cpu, const Event& event) {
    return !event.injected && cpu.non_root.intercepts != nullptr &&
           cpu.non_root.intercepts->event(cpu, event);
}

// INT n in virtual-8086 mode with IOPL < 3 is an instruction that faults, not an event whose
// delivery does. Returns Fault with cpu.fault set if so.
Status check_v86_privilege(Vcpu& cpu, const Event& event) {
    if (!cpu.mode.virtual8086 || event.type != EventType::SoftwareInterrupt) {
        return Status::Next;
    }
    V86Redirection redirection{};
    if (const Status status = v86_redirection(cpu, event.vector, redirection);
        status != Status::Next) {
        return status;
    }
    return redirection == V86Redirection::GeneralProtection ? raise(cpu, Exception::GP, 0)
                                                            : Status::Next;
}

// After the handler's first instruction is in place.
void enter_handler(Vcpu& cpu) {
    CpuState& s = cpu.state;
    s.interruptibility &= ~(blocking::kSti | blocking::kMovSs);
    s.activity = Activity::Active;
    cpu.step.marks |= step_mark::kNoSingleStep;
    cpu.step.repeating_at = kNoTag;
    update_attention(cpu);
    if (cpu.non_root.intercepts != nullptr) {
        cpu.non_root.intercepts->delivered(cpu);
    }
}

}  // namespace

u64 return_rip(const Vcpu& cpu, const Event& event) {
    const u64 rip = cpu.state.rip();
    return returns_behind(event) ? (rip + event.insn_length) & cpu.mode.rip_mask : rip;
}

// SDM Vol. 3B, "Instruction-Breakpoint Exception Condition": RF is 1 for faults and for whatever
// arrives between two iterations of a repeated string instruction.
u64 pushed_rflags(const Vcpu& cpu, const Event& event) {
    const u64 flags = cpu.state.rflags();
    if (returns_behind(event)) {
        return flags & ~rflags::kRf;
    }
    if (cpu.step.repeating_at == cpu.state.rip() && !event.injected) {
        return flags | rflags::kRf;
    }
    if (event.type != EventType::HardwareException || event.injected) {
        return flags;
    }
    switch (static_cast<Exception>(event.vector)) {
    case Exception::DF:
    case Exception::MC: return flags;  // aborts
    case Exception::DB:  // a fault only for DR7.GD; instruction breakpoints leave RF to the handler
        return (event.payload & dr6::kBd) != 0 ? flags | rflags::kRf : flags;
    default: return flags | rflags::kRf;
    }
}

namespace {

// A guest can make events without end: an exception handler whose frame meets the same exception
// again is handled "serially" for ever. So each further event is an instruction that the budget
// must allow, beside the one under way; when it does not, the engine goes on with the event at the
// next boundary, or in the next run().
bool put_off(Vcpu& cpu, const Event& event) {
    if (cpu.retired() + 1 < cpu.icount_limit && !cpu.stop_requested()) {
        ++cpu.icount;
        return false;
    }
    cpu.undelivered = event;
    cpu.step.marks |= step_mark::kNoSingleStep;  // as if the handler had been entered
    cpu.request(attention::kUndelivered);
    update_attention(cpu);  // an NMI has blocked the next one, and its handler is not entered yet
    return true;
}

// From the attempt on: VMX was asked about `event`.
void deliver_admitted(Vcpu& cpu, Event event) {
    while (true) {
        record_exception(cpu, event);
        count_event(cpu, event);
        if (cpu.non_root.intercepts != nullptr) {
            cpu.non_root.intercepts->delivering(cpu, event);
        }
        const Status status = attempt(cpu, event);
        if (status == Status::Switched) {
            return;  // a VM exit instead of a task switch
        }
        if (status != Status::Fault) {
            enter_handler(cpu);
            return;
        }
        if (cpu.fault_is_vm_exit) {
            deliver_fault(cpu);
            return;
        }
        const Event second = fault_while_delivering(cpu, event);
        if (turned_into_exit(cpu, second)) {
            return;
        }
        const Combination combination = combine(event, second);
        if (combination == Combination::Serial) {
            event = second;
            if (put_off(cpu, event)) {
                return;
            }
            continue;
        }
        record_exception(cpu,
                         second);  // "Processors update CR2 whenever a page fault is detected."
        if (combination == Combination::Shutdown) {
            shut_down(cpu);
            return;
        }
        event = double_fault();
        if (turned_into_exit(cpu, event) || put_off(cpu, event)) {
            return;
        }
    }
}

}  // namespace

void deliver(Vcpu& cpu, const Event& event) {
    if (check_v86_privilege(cpu, event) != Status::Next) {
        deliver_fault(cpu);
        return;
    }
    if (!turned_into_exit(cpu, event)) {
        deliver_admitted(cpu, event);
    }
}

void resume_delivery(Vcpu& cpu) {
    cpu.withdraw(attention::kUndelivered);
    deliver_admitted(cpu, cpu.undelivered);
}

void deliver_fault(Vcpu& cpu) {
    if (cpu.fault_is_vm_exit) {
        cpu.fault_is_vm_exit = false;
        cpu.non_root.intercepts->take_pending_exit(cpu);
        return;
    }
    // The instruction did not complete, so breakpoints its first accesses met do not count. What
    // MOV SS postponed does.
    if ((cpu.state.interruptibility & blocking::kMovSs) == 0) {
        cpu.state.pending_debug = 0;
    }
    const Event event = cpu.fault;
    deliver(cpu, event);
}

}  // namespace droste
