// Events at an instruction boundary in VMX non-root operation, in the order of SDM Vol. 3A, Table
// "Priority Among Concurrent Events" and SDM Vol. 3C, "Other Causes of VM Exits": traps of APIC
// virtualization, INIT, monitor trap flag, (debug traps,) preemption timer, NMI window, NMI,
// interrupt window and virtual interrupts, external interrupts.
//
// The vCPU looks here when attention & attention_mask says so. kVmx is one-shot: it is withdrawn
// here, and requested again by whatever makes a condition come true. kInterruptWindow stays while
// someone waits for an open window, and obeys RFLAGS.IF.

#include "cpu/vmx/guest/boundary.hpp"

#include "core/assert.hpp"
#include "cpu/vmx/guest/apic_virt.hpp"
#include "cpu/vmx/guest/preemption_timer.hpp"
#include "cpu/vmx/vmcs/controls.hpp"
#include "cpu/vmx/vmx_state.hpp"
#include "cpu/x86/apic/local_apic.hpp"
#include "cpu/x86/system/boundary.hpp"

namespace droste {

namespace {

constexpr u32 kShadows = blocking::kSti | blocking::kMovSs;

bool awake(const CpuState& s) {
    return s.activity == Activity::Active || s.activity == Activity::Hlt;
}

bool interrupt_window_open(const CpuState& s) {
    return awake(s) && (s.rflags_system & rflags::kIf) != 0 && (s.interruptibility & kShadows) == 0;
}

// Open for virtual NMIs, whether or not one waits. Both shadows close it: NMIs "may be inhibited"
// behind STI, and processors do so.
bool nmi_window_open(const CpuState& s) {
    return s.activity != Activity::WaitForSipi &&
           (s.interruptibility & (blocking::kNmi | kShadows)) == 0;
}

bool exit_now(VmxState& vmx, ExitReason reason, u64 qualification = 0) {
    ExitInfo info;
    info.reason = reason;
    info.qualification = qualification;
    vm_exit(vmx, info);
    return true;
}

bool take_trap(VmxState& vmx) {
    if (!vmx.guest.trap_pending) {
        return false;
    }
    vmx.guest.trap_pending = false;
    vm_exit(vmx, vmx.guest.trap);
    return true;
}

// A guest that waits for a SIPI has no pending INIT but one that came behind the SIPI: it stays for
// the host (VmxState::loses_init).
bool take_init_or_sipi(VmxState& vmx, u32 attention_bits) {
    Vcpu& cpu = vmx.cpu;
    const bool waits_for_sipi = cpu.state.activity == Activity::WaitForSipi;
    if ((attention_bits & attention::kInit) != 0 && !waits_for_sipi) {
        cpu.withdraw(attention::kInit);
        return exit_now(vmx, ExitReason::INIT_SIGNAL);
    }
    if ((attention_bits & attention::kSipi) != 0) {
        cpu.withdraw(attention::kSipi);
        if (waits_for_sipi) {
            return exit_now(vmx, ExitReason::SIPI, cpu.sipi_vector);
        }
    }
    return false;
}

// "No MTF VM exit occurs if the processor is in either the shutdown activity state or wait-for-SIPI
// activity state." In HLT it does.
bool take_monitor_trap(VmxState& vmx) {
    NonRoot& guest = vmx.guest;
    if (vmx.cpu.state.activity == Activity::Shutdown) {
        return false;
    }
    switch (guest.mtf) {
    case MtfState::Off: return false;
    case MtfState::Armed:
        guest.mtf = MtfState::Watching;
        guest.mtf_icount = vmx.cpu.icount;
        return false;
    case MtfState::Watching:
        if (vmx.cpu.icount == guest.mtf_icount) {
            return false;
        }
        break;
    case MtfState::Pending: break;
    }
    return exit_now(vmx, ExitReason::MONITOR_TRAP_FLAG);
}

bool debug_trap_deliverable(const CpuState& s) {
    return s.pending_debug != 0 && (s.interruptibility & blocking::kMovSs) == 0 && awake(s);
}

bool take_nmi(VmxState& vmx, u32 attention_bits) {
    Vcpu& cpu = vmx.cpu;
    const CpuState& s = cpu.state;
    const ActiveControls& controls = vmx.guest.controls;
    if (controls.has(proc::kNmiWindowExiting)) {
        if (nmi_window_open(s)) {
            return exit_now(vmx, ExitReason::NMI_WINDOW);
        }
        if ((s.interruptibility & blocking::kNmi) == 0) {
            cpu.request(attention::kVmx);  // a shadow ends by itself; an IRET asks again
        }
    }
    if ((attention_bits & attention::kNmi) == 0 || !controls.has_pin(pin::kNmiExiting)) {
        return false;
    }
    // With virtual NMIs, blocking by NMI is the guest's and does not hold back a real one.
    const bool blocked =
        !controls.has_pin(pin::kVirtualNmis) && (s.interruptibility & blocking::kNmi) != 0;
    if (blocked || (s.interruptibility & kShadows) != 0 || s.activity == Activity::WaitForSipi) {
        return false;
    }
    cpu.withdraw(attention::kNmi);
    Event nmi;
    nmi.type = EventType::NMI;
    nmi.vector = static_cast<u8>(Exception::NMI);
    ExitInfo info;
    info.reason = ExitReason::EXCEPTION_OR_NMI;
    info.interruption_info = interruption_info_of(nmi, false);
    vm_exit(vmx, info);
    return true;
}

// "Acknowledge interrupt on exit", and posted-interrupt processing instead of an exit.
bool take_external_interrupt(VmxState& vmx) {
    Vcpu& cpu = vmx.cpu;
    const ActiveControls& controls = vmx.guest.controls;
    if (!controls.has_pin(pin::kExternalInterruptExiting) || !awake(cpu.state)) {
        return false;
    }
    if (cpu.apic->pending_vector() < 0 && !cpu.apic->ext_int_pending()) {
        return false;
    }
    ExitInfo info;
    info.reason = ExitReason::EXTERNAL_INTERRUPT;
    if (controls.has_exit(vm_exit_control::kAcknowledgeInterrupt)) {
        Event interrupt;
        interrupt.type = EventType::ExternalInterrupt;
        interrupt.vector = cpu.apic->acknowledge();
        if (controls.has_pin(pin::kPostedInterrupts) &&
            interrupt.vector == vmx.vmcs().posted_interrupt_vector) {
            constexpr u32 kEoi = 0xB0;
            cpu.apic->mmio_write(kEoi, 4, 0);
            process_posted_interrupts(vmx);
            return true;
        }
        info.interruption_info = interruption_info_of(interrupt, false);
    }
    vm_exit(vmx, info);
    return true;
}

}  // namespace

void arm_by_controls(VmxState& vmx) {
    Vcpu& cpu = vmx.cpu;
    NonRoot& guest = vmx.guest;
    const ActiveControls& controls = guest.controls;
    const CpuState& s = cpu.state;
    if (controls.has_pin(pin::kVirtualNmis) && s.activity != Activity::WaitForSipi) {
        cpu.non_root.attention_forced |= attention::kNmi;
    }
    guest.mtf = controls.has(proc::kMonitorTrapFlag) ? MtfState::Armed : MtfState::Off;
    cpu.non_root.step_forced = guest.mtf != MtfState::Off;
    if (controls.has_pin(pin::kPreemptionTimer)) {
        start_preemption_timer(vmx);
    }
    if (controls.has(proc::kInterruptWindowExiting)) {
        cpu.request(attention::kInterruptWindow);
    }
    const bool wants_nmi_window =
        controls.has(proc::kNmiWindowExiting) && (s.interruptibility & blocking::kNmi) == 0;
    if (guest.mtf != MtfState::Off || wants_nmi_window) {
        cpu.request(attention::kVmx);
    }
    evaluate_apic_after_entry(vmx);
}

void arm_inactive(VmxState& vmx) {
    Vcpu& cpu = vmx.cpu;
    if (!awake(cpu.state)) {
        cpu.non_root.attention_forced &= ~attention::kInterrupt;
    }
    if (cpu.state.activity == Activity::WaitForSipi) {
        cpu.withdraw(attention::kInit);  // of root operation; see VmxState::loses_init
    }
}

bool GuestIntercepts::boundary(Vcpu& cpu) {
    NonRoot& guest = vmx_.guest;
    const CpuState& s = cpu.state;
    const u32 attention_bits = cpu.attention.load(std::memory_order_relaxed);
    if ((attention_bits & attention::kVmx) != 0) {
        cpu.withdraw(attention::kVmx);
    }
    guest.delivering = false;
    if (take_trap(vmx_) || take_init_or_sipi(vmx_, attention_bits)) {
        return true;
    }
    if (s.activity == Activity::WaitForSipi) {
        return false;
    }
    if (take_monitor_trap(vmx_)) {
        return true;
    }
    if (debug_trap_deliverable(s)) {
        if (preemption_timer_expired(vmx_)) {
            cpu.request(attention::kVmx);  // looked at again behind the #DB
        }
        return false;
    }
    if (preemption_timer_expired(vmx_)) {
        return exit_now(vmx_, ExitReason::PREEMPTION_TIMER);
    }
    if (take_nmi(vmx_, attention_bits)) {
        return true;
    }
    if (interrupt_window_open(s)) {
        if (guest.controls.has(proc::kInterruptWindowExiting)) {
            return exit_now(vmx_, ExitReason::INTERRUPT_WINDOW);
        }
        if (deliver_virtual_interrupt(vmx_)) {
            return true;
        }
    }
    return take_external_interrupt(vmx_);
}

}  // namespace droste
