// VMLAUNCH and VMRESUME. SDM Vol. 3C, "VM Entries": basic checks, checks on controls and host state
// (the instruction fails), checks on guest state and MSR loading (a VM exit with bit 31 of the
// reason), then the guest runs.

#include "cpu/vmx/entry/entry.hpp"

#include "core/log.hpp"
#include "cpu/vmx/entry/entry_checks.hpp"
#include "cpu/vmx/entry/entry_load_state.hpp"
#include "cpu/vmx/entry/entry_plain.hpp"
#include "cpu/vmx/explain/exit_trace_steps.hpp"
#include "cpu/vmx/explain/instruction_explain.hpp"
#include "cpu/vmx/explain/vmcs_dump.hpp"
#include "cpu/vmx/instructions/exec_vmx.hpp"
#include "cpu/vmx/instructions/vmx_status.hpp"
#include "cpu/vmx/vmcs/controls.hpp"
#include "cpu/vmx/vmx_state.hpp"

#include <fmt/format.h>

namespace droste {

namespace {

enum class Launch : bool { Resume, Launch };

// A failed entry to the log (-d vmx), and the whole VMCS to who asked for it (--vmcs-dump).
// `explain_it` makes the words; most runs want none.
template <typename Explain>
void report_failure(VmxState& vmx, u64 host_rip, Explain explain_it) {
    Log& log = vmx.cpu.log;
    if (!log.enabled(LogCategory::Vmx) && !vmx.dump_failed_entries) {
        return;
    }
    const std::string text =
        fmt::format("vCPU {} L1 {}: VM entry to L{} failed (VMCS {:#x})\n{}", vmx.cpu.index,
                    describe_rip(vmx, host_rip), vmx.trace.level_of_current(vmx),
                    vmx.current_pointer(), explain_it());
    log.write(LogCategory::Vmx, "{}", text);
    if (!vmx.dump_failed_entries) {
        return;
    }
    const Vmcs* last_good = vmx.current->last_good.get();
    const std::string dump =
        dump_failed_vmcs(vmx.vmcs(), vmx.caps, vmx.current_pointer(), last_good);
    if (vmx.failed_entry_sink != nullptr) {
        vmx.failed_entry_sink->failed_entry(text, dump);
    } else {
        log.write(LogCategory::Vmx, "{}", dump);
    }
}

void explain_failure(const EntryContext& context, const FailedCheck& failed) {
    report_failure(context.vmx, context.vmx.cpu.state.rip(),
                   [&] { return explain(context, failed); });
}

[[gnu::noinline]] void remember_good_fields(VmxState& vmx) {
    if (vmx.current->last_good == nullptr) {
        vmx.current->last_good = std::make_unique<Vmcs>();
    }
    *vmx.current->last_good = vmx.vmcs();
}

// The shadow VMCS that VMREAD and VMWRITE in the guest will reach.
[[gnu::noinline]] void bind_shadow_vmcs(VmxState& vmx) {
    const PhysAddr link = vmx.vmcs().vmcs_link_pointer;
    if (link != kNoVmcs) {
        vmx.guest.shadow = &vmx.cache.bind(vmx.cpu, link, vmx.current, nullptr);
    }
}

// Runs the groups of checks that are stale. A Status: the VM entry failed.
[[gnu::noinline]] std::optional<Status> check(VmxState& vmx, const Insn& insn, u32 nmi_blocking) {
    const EntryContext context(vmx);
    u32& stale = vmx.current->stale_checks;
    for (const auto& [kind, error] :
         {std::pair{EntryFailure::Controls, VmError::EntryInvalidControls},
          std::pair{EntryFailure::HostState, VmError::EntryInvalidHostState}}) {
        if (const FailedCheck failed = first_failed_check(context, kind, stale);
            failed.check != nullptr) {
            explain_failure(context, failed);
            return vm_fail_valid(vmx, insn, error, failed.check->name);
        }
    }
    if (const FailedCheck failed = first_failed_check(context, EntryFailure::GuestState, stale);
        failed.check != nullptr) {
        vmx.cpu.close_block();  // from here on RIP changes, and the time is read behind that
        explain_failure(context, failed);
        fail_vm_entry(vmx, ExitReason::INVALID_GUEST_STATE, failed.check->qualification,
                      nmi_blocking);
        return Status::Switched;
    }
    return std::nullopt;
}

// The VM-entry MSR-load area. False: the VM entry failed, and the host runs again.
[[gnu::noinline]] bool load_guest_msrs(VmxState& vmx, u64 host_rip, u32 nmi_blocking) {
    const Vmcs& v = vmx.vmcs();
    const u32 number = load_msr_list(vmx, v.entry_msr_load_address, v.entry_msr_load_count);
    if (number != 0) {
        report_failure(vmx, host_rip, [&] { return explain_msr_loading(vmx, number); });
        fail_vm_entry(vmx, ExitReason::MSR_LOADING, number, nmi_blocking);
    }
    return number == 0;
}

// Behind all checks.
Status enter_checked(VmxState& vmx, u32 nmi_blocking) {
    Vcpu& cpu = vmx.cpu;
    BoundVmcs& bound = *vmx.current;
    const Vmcs& v = bound.fields;
    if (cpu.block != nullptr) {
        cpu.close_block();  // from here on RIP changes, and the time is read behind that
    }
    const u64 host_rip = cpu.state.rip();
    load_guest_state(vmx, cpu, bound);
    if (v.entry_msr_load_count != 0 && !load_guest_msrs(vmx, host_rip, nmi_blocking)) {
        return Status::Switched;
    }
    bound.launch_state = LaunchState::Launched;
    if (vmx.guest.controls.has2(proc2::kVmcsShadowing)) {
        bind_shadow_vmcs(vmx);
    }
    if (vmx.dump_failed_entries) [[unlikely]] {
        remember_good_fields(vmx);
    }
    enter_guest_context(vmx, cpu, bound);
    vmx.trace.entered(vmx);
    if ((v.entry_interruption_info & interruption::kValid) != 0) {
        inject_event(vmx);
    }
    return Status::Switched;
}

Status enter(VmxState& vmx, const Insn& insn) {
    const u32 nmi_blocking = vmx.cpu.state.interruptibility & blocking::kNmi;
    const bool unchecked = groups_to_check(vmx) != 0;
    vmx.trace.entering(vmx);
    if (unchecked) [[unlikely]] {
        if (const auto failed = check(vmx, insn, nmi_blocking)) {
            return *failed;
        }
    }
    return enter_checked(vmx, nmi_blocking);
}

Status launch_or_resume(VmxState& vmx, const Insn& insn, Launch launch) {
    const bool allowed =
        vmx.in_operation && !vmx.non_root && vmx.cpu.mode.long_mode64 && vmx.cpu.mode.cpl == 0;
    if (!allowed) [[unlikely]] {
        if (const auto status = gate_vmx_instruction(vmx, insn, OperandRule::Any)) {
            return *status;
        }
    }
    if (vmx.current == nullptr) {
        return vm_fail_invalid(vmx, insn, "no current VMCS");
    }
    if (vmx.current->shadow) {
        return vm_fail_invalid(vmx, insn, "the current VMCS is a shadow VMCS");
    }
    if ((vmx.cpu.state.interruptibility & blocking::kMovSs) != 0) {
        return vm_fail_valid(vmx, insn, VmError::EntryBlockedByMovSs);
    }
    const bool clear = vmx.current->launch_state == LaunchState::Clear;
    if (launch == Launch::Launch && !clear) {
        return vm_fail_valid(vmx, insn, VmError::VmlaunchNonClear);
    }
    if (launch == Launch::Resume && clear) {
        return vm_fail_valid(vmx, insn, VmError::VmresumeNonLaunched);
    }
    return enter(vmx, insn);
}

}  // namespace

Status exec_vmlaunch(VmxState& vmx, const Insn& insn) {
    return launch_or_resume(vmx, insn, Launch::Launch);
}

Status exec_vmresume(VmxState& vmx, const Insn& insn) {
    return launch_or_resume(vmx, insn, Launch::Resume);
}

Status resume_guest(VmxState& vmx, const Insn& insn) {
    return enter(vmx, insn);
}

}  // namespace droste
