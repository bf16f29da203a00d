#include "cpu/vmx/exit/exit.hpp"

#include "core/assert.hpp"
#include "core/log.hpp"
#include "cpu/vmx/entry/entry_checks.hpp"
#include "cpu/vmx/guest/boundary.hpp"
#include "cpu/vmx/vmcs/controls.hpp"
#include "cpu/vmx/vmx_state.hpp"
#include "cpu/x86/mmu/paging.hpp"

namespace droste {

namespace {

bool is_software_event(const Event& event) {
    return event.type == EventType::SoftwareInterrupt ||
           event.type == EventType::SoftwareException ||
           event.type == EventType::PrivilegedSoftwareException;
}

// "Information for VM Exits That Occur During Event Delivery".
void record_idt_vectoring(VmxState& vmx) {
    Vmcs& v = vmx.vmcs();
    v.idt_vectoring_info = 0;
    if (!vmx.guest.delivering) {
        return;
    }
    const Event& event = vmx.guest.delivered_event;
    v.idt_vectoring_info = interruption_info_of(event, event.has_error_code);
    if (event.has_error_code) {
        v.idt_vectoring_error_code = event.error_code;
    }
    if (is_software_event(event)) {
        v.exit_instruction_length = event.insn_length;
    }
}

void record_exit(VmxState& vmx, const ExitInfo& info) {
    Vmcs& v = vmx.vmcs();
    v.exit_reason = static_cast<u32>(info.reason);
    v.exit_qualification = info.qualification;
    v.guest_linear_address = info.guest_linear;
    v.guest_physical_address = info.guest_physical;
    v.exit_instruction_length = info.instruction_length;
    v.exit_instruction_info = info.instruction_info;
    v.exit_interruption_info = info.interruption_info;
    v.exit_interruption_error_code = info.interruption_error_code;
    record_idt_vectoring(vmx);
}

// What the host finds blocked: NMIs if one caused the exit, or if blocking was real and is still in
// force.
u32 host_interruptibility(const VmxState& vmx, const ExitInfo& info) {
    const bool by_nmi =
        info.reason == ExitReason::EXCEPTION_OR_NMI &&
        interruption::type_of(info.interruption_info) == static_cast<unsigned>(EventType::NMI);
    const bool real = !vmx.guest.controls.has_pin(pin::kVirtualNmis);
    return by_nmi ? blocking::kNmi : real ? vmx.cpu.state.interruptibility & blocking::kNmi : 0;
}

// Host state, then the host's MSR list, then root operation.
void return_to_host(VmxState& vmx) {
    load_host_state(vmx);
    const Vmcs& v = vmx.vmcs();
    if (v.exit_msr_load_count != 0 &&
        load_msr_list(vmx, v.exit_msr_load_address, v.exit_msr_load_count) != 0) {
        vmx_abort(vmx, VmxAbort::LoadingHostMsrs);
    }
}

}  // namespace

std::string_view name_of(ExitReason reason) {
    switch (reason) {
#define DROSTE_EXIT_REASON(number, name, text) \
    case ExitReason::name:                     \
        return #name;
#include "cpu/vmx/exit/exit_reasons.inc"
#undef DROSTE_EXIT_REASON
    }
    return "UNKNOWN";
}

std::string_view describe(ExitReason reason) {
    switch (reason) {
#define DROSTE_EXIT_REASON(number, name, text) \
    case ExitReason::name:                     \
        return text;
#include "cpu/vmx/exit/exit_reasons.inc"
#undef DROSTE_EXIT_REASON
    }
    return "unknown exit reason";
}

u32 interruption_info_of(const Event& event, bool with_error_code) {
    return interruption::kValid | event.vector |
           (static_cast<u32>(event.type) << interruption::kTypeShift) |
           (with_error_code ? interruption::kErrorCodeValid : 0);
}

void vm_exit(VmxState& vmx, const ExitInfo& info) {
    DROSTE_DEBUG_ASSERT(vmx.non_root);
    if (vmx.cpu.block != nullptr) {
        vmx.cpu.close_block();  // the time of the exit is read behind a change of RIP
    }
    ++vmx.cpu.counters.vm_exits;
    record_exit(vmx, info);
    SavedChanges changes = save_guest_state(vmx, info);
    Vmcs& fields = vmx.vmcs();
    changes.injection = (fields.entry_interruption_info & interruption::kValid) != 0;
    // "Clearing of the valid bit": what was injected is not injected again.
    fields.entry_interruption_info &= ~interruption::kValid;
    vmx.trace.exited(vmx, info, false);
    vmx.current->stale_checks =
        (vmx.current->stale_checks | stale_after_exit(changes)) & ~kStaleGuestSide;
    vmx.current->guest_side.remember(vmx.cpu);
    vmx.cpu.state.interruptibility = host_interruptibility(vmx, info);
    vmx.leave_non_root();
    const Vmcs& v = vmx.vmcs();
    if (v.exit_msr_store_count != 0 &&
        !store_msr_list(vmx, v.exit_msr_store_address, v.exit_msr_store_count)) {
        vmx_abort(vmx, VmxAbort::SavingGuestMsrs);
        return;
    }
    return_to_host(vmx);
}

void fail_vm_entry(VmxState& vmx, ExitReason reason, u64 qualification, u32 nmi_blocking) {
    Vmcs& v = vmx.vmcs();
    v.exit_reason = static_cast<u32>(reason) | kExitReasonEntryFailure;
    v.exit_qualification = qualification;
    ExitInfo info;
    info.reason = reason;
    info.qualification = qualification;
    vmx.trace.exited(vmx, info, true);
    // "The state of blocking by NMI is what it was before VM entry"; no other blocking is left.
    vmx.cpu.state.interruptibility = nmi_blocking;
    vmx.leave_non_root();
    return_to_host(vmx);
}

void vmx_abort(VmxState& vmx, VmxAbort reason) {
    Vcpu& cpu = vmx.cpu;
    cpu.log.write(LogCategory::Vmx, "vCPU {}: VMX abort {}: shutdown", cpu.index,
                  static_cast<u32>(reason));
    write_physical(cpu, vmx.current->address + 4, 4, static_cast<u32>(reason));
    cpu.state.activity = Activity::Shutdown;
    vmx.aborted = true;
    cpu.tlb.activate(cpu);  // for whatever has been loaded so far: EPT and VPID are off
    update_attention(cpu);
}

}  // namespace droste
