#include "cpu/vmx/exit/exit.hpp"

#include "core/assert.hpp"
#include "core/log.hpp"
#include "cpu/vmx/entry/entry_checks.hpp"
#include "cpu/vmx/exit/exit_load_host.hpp"
#include "cpu/vmx/exit/exit_save_state.hpp"
#include "cpu/vmx/explain/exit_trace_steps.hpp"
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
[[gnu::noinline]] void record_idt_vectoring(const NonRoot& guest, Vmcs& v) {
    const Event& event = guest.delivered_event;
    v.idt_vectoring_info = interruption_info_of(event, event.has_error_code);
    if (event.has_error_code) {
        v.idt_vectoring_error_code = event.error_code;
    }
    if (is_software_event(event)) {
        v.exit_instruction_length = event.insn_length;
    }
}

void record_exit(const NonRoot& guest, Vmcs& v, const ExitInfo& info) {
    v.exit_reason = static_cast<u32>(info.reason);
    v.exit_qualification = info.qualification;
    v.guest_linear_address = info.guest_linear;
    v.guest_physical_address = info.guest_physical;
    v.exit_instruction_length = info.instruction_length;
    v.exit_instruction_info = info.instruction_info;
    v.exit_interruption_info = info.interruption_info;
    v.exit_interruption_error_code = info.interruption_error_code;
    v.idt_vectoring_info = 0;
    if (guest.delivering) [[unlikely]] {
        record_idt_vectoring(guest, v);
    }
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

[[gnu::noinline]] void load_host_msrs(VmxState& vmx) {
    const Vmcs& v = vmx.vmcs();
    if (load_msr_list(vmx, v.exit_msr_load_address, v.exit_msr_load_count) != 0) {
        vmx_abort(vmx, VmxAbort::LoadingHostMsrs);
    }
}

// Host state, then the host's MSR list, then root operation.
[[gnu::always_inline]] inline void return_to_host(VmxState& vmx, Vcpu& cpu, BoundVmcs& bound) {
    load_host_state(vmx, cpu, bound);
    if (bound.fields.exit_msr_load_count != 0) {
        load_host_msrs(vmx);
    }
}

[[gnu::noinline]] bool guest_msrs_stored(VmxState& vmx) {
    const Vmcs& v = vmx.vmcs();
    return store_msr_list(vmx, v.exit_msr_store_address, v.exit_msr_store_count);
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
    Vcpu& cpu = vmx.cpu;
    BoundVmcs& bound = *vmx.current;
    Vmcs& fields = bound.fields;
    if (cpu.block != nullptr) {
        cpu.close_block();  // the time of the exit is read behind a change of RIP
    }
    ++cpu.counters.vm_exits;
    record_exit(vmx.guest, fields, info);
    u32 changes = save_guest_state(vmx, cpu, bound, info);
    if ((fields.entry_interruption_info & interruption::kValid) != 0) {
        // "Clearing of the valid bit": what was injected is not injected again.
        fields.entry_interruption_info &= ~interruption::kValid;
        changes |= saved_change::kInjection;
    }
    vmx.trace.exited(vmx, info, false);
    bound.stale_checks = (bound.stale_checks | stale_after_exit(changes)) & ~kStaleGuestSide;
    bound.guest_side.remember(cpu);
    cpu.state.interruptibility = host_interruptibility(vmx, info);
    vmx.leave_non_root();
    if (fields.exit_msr_store_count != 0 && !guest_msrs_stored(vmx)) {
        vmx_abort(vmx, VmxAbort::SavingGuestMsrs);
        return;
    }
    return_to_host(vmx, cpu, bound);
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
    return_to_host(vmx, vmx.cpu, *vmx.current);
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
