// Exceptions, their delivery, and exits found in the middle of a memory access. SDM Vol. 3C, "Other
// Causes of VM Exits", "Information for VM Exits Due to Vectored Events", "Information About NMI
// Unblocking Due to IRET".

#include "core/assert.hpp"
#include "core/bits.hpp"
#include "cpu/vmx/exit/exit_qualification.hpp"
#include "cpu/vmx/guest/intercepts.hpp"
#include "cpu/vmx/vmcs/controls.hpp"
#include "cpu/vmx/vmx_state.hpp"
#include "cpu/x86/system/deliver.hpp"

namespace droste {

namespace {

bool is_exception(const Event& event) {
    return event.type == EventType::HardwareException ||
           event.type == EventType::SoftwareException ||
           event.type == EventType::PrivilegedSoftwareException;
}

bool is_hardware(const Event& event, Exception vector) {
    return event.type == EventType::HardwareException && event.vector == static_cast<u8>(vector);
}

// "Exception Bitmap": for page faults the error code picks between the bit and its opposite.
bool exception_exits(const Vmcs& v, const Event& event) {
    const bool bit_set = test_bit(v.exception_bitmap, event.vector);
    if (!is_hardware(event, Exception::PF)) {
        return bit_set;
    }
    const bool matches =
        (event.error_code & v.page_fault_error_code_mask) == v.page_fault_error_code_match;
    return matches == bit_set;
}

// The IRET at this RIP removed NMI blocking and then something went wrong.
bool iret_unblocked_nmi_here(const VmxState& vmx) {
    return vmx.guest.iret_unblocked_nmi && vmx.guest.iret_rip == vmx.cpu.state.rip() &&
           !vmx.guest.delivering;
}

}  // namespace

bool GuestIntercepts::event(Vcpu& cpu, const Event& event) {
    if (!is_exception(event) || event.injected || !exception_exits(vmx_.vmcs(), event)) {
        return false;
    }
    const bool double_fault = is_hardware(event, Exception::DF);
    ExitInfo info;
    info.reason = ExitReason::EXCEPTION_OR_NMI;
    const bool error_code = event.has_error_code && cpu.mode.protected_mode;
    info.interruption_info = interruption_info_of(event, error_code);
    info.interruption_error_code = error_code ? event.error_code : 0;
    info.instruction_length = event.type == EventType::HardwareException ? 0 : event.insn_length;
    // INT1 is a debug exception that brings what MOV SS held back, or nothing.
    const bool int1 = event.type == EventType::PrivilegedSoftwareException;
    if (int1 || is_hardware(event, Exception::PF) || is_hardware(event, Exception::DB)) {
        info.qualification = event.payload;
    }
    if (!double_fault && iret_unblocked_nmi_here(vmx_)) {
        info.interruption_info |= interruption::kNmiUnblocking;
    }
    if (double_fault) {
        vmx_.guest.delivering = false;  // "The original event results in a double fault that causes
                                        // the VM exit directly."
    }
    vm_exit(vmx_, info);
    return true;
}

// "Architectural State Before a VM Exit": when an event causes a VM exit only indirectly, "there is
// no blocking by STI or by MOV SS when the VM exit commences", and an inactive processor is active.
void GuestIntercepts::delivering(Vcpu& cpu, const Event& event) {
    cpu.state.interruptibility &= ~(blocking::kSti | blocking::kMovSs);
    cpu.state.activity = Activity::Active;
    vmx_.guest.delivering = true;
    vmx_.guest.delivered_event = event;
}

void GuestIntercepts::delivered(Vcpu& cpu) {
    NonRoot& guest = vmx_.guest;
    guest.delivering = false;
    guest.iret_unblocked_nmi = false;
    if (guest.mtf != MtfState::Off) {
        // The exit is pending on the boundary before the handler's first instruction.
        guest.mtf = MtfState::Pending;
        cpu.request(attention::kVmx);
    }
}

bool GuestIntercepts::task_switch(Vcpu& /*cpu*/, const Insn* insn, u16 selector, unsigned source) {
    ExitInfo info;
    info.reason = ExitReason::TASK_SWITCH;
    info.qualification = selector | (u64{source} << 30);
    info.instruction_length = insn != nullptr ? insn->length : 0U;
    vm_exit(vmx_, info);
    return true;
}

bool GuestIntercepts::triple_fault(Vcpu& /*cpu*/) {
    vmx_.guest.delivering = false;
    ExitInfo info;
    info.reason = ExitReason::TRIPLE_FAULT;
    vm_exit(vmx_, info);
    return true;
}

void GuestIntercepts::take_pending_exit(Vcpu& cpu) {
    PendingExit pending = vmx_.guest.pending;
    vmx_.guest.pending = PendingExit{};
    CpuState& s = cpu.state;
    if ((s.interruptibility & blocking::kMovSs) == 0) {
        s.pending_debug = 0;  // the access did not happen
    }
    if (pending.kind == PendingExit::Kind::VirtualizationException) {
        Event event;
        event.vector = static_cast<u8>(Exception::VE);
        deliver(cpu, event);
        return;
    }
    DROSTE_ASSERT(pending.kind == PendingExit::Kind::Exit);
    pending.info.instruction_length = vmx_.guest.delivering ? 0U : cpu.step.fault_insn_length;
    const ExitReason reason = pending.info.reason;
    if ((reason == ExitReason::EPT_VIOLATION || reason == ExitReason::PML_FULL) &&
        iret_unblocked_nmi_here(vmx_)) {
        pending.info.qualification |= ept_violation::kNmiUnblocking;
    }
    vm_exit(vmx_, pending.info);
}

// "IRET": with NMI exiting it leaves real blocking alone; with virtual NMIs it ends virtual-NMI
// blocking.
void GuestIntercepts::iret_unblocks_nmi(Vcpu& cpu) {
    const ActiveControls& controls = vmx_.guest.controls;
    NonRoot& guest = vmx_.guest;
    CpuState& s = cpu.state;
    guest.iret_unblocked_nmi = false;
    const bool virtual_nmis = controls.has_pin(pin::kVirtualNmis);
    if ((s.interruptibility & blocking::kNmi) == 0 ||
        (controls.has_pin(pin::kNmiExiting) && !virtual_nmis)) {
        return;
    }
    s.interruptibility &= ~blocking::kNmi;
    guest.iret_unblocked_nmi = true;
    guest.iret_rip = s.rip();
    if (controls.has(proc::kNmiWindowExiting)) {
        cpu.request(attention::kVmx);
    }
    update_attention(cpu);
}

}  // namespace droste
