// Saving guest state. SDM Vol. 3C, "Saving Guest State".

#include "cpu/vmx/entry/entry_checks.hpp"
#include "cpu/vmx/exit/exit.hpp"
#include "cpu/vmx/guest/preemption_timer.hpp"
#include "cpu/vmx/vmcs/controls.hpp"
#include "cpu/vmx/vmcs/segment_fields.hpp"
#include "cpu/vmx/vmx_state.hpp"
#include "cpu/x86/system/debug_traps.hpp"
#include "cpu/x86/system/delivery.hpp"

namespace droste {

namespace {

SavedChanges save_registers(VmxState& vmx) {
    Vmcs& v = vmx.vmcs();
    const CpuState& s = vmx.cpu.state;
    const ActiveControls& controls = vmx.guest.controls;
    const bool ia32e = (s.efer & efer::kLma) != 0;
    SavedChanges changes;
    changes.cr0 = v.guest_cr0 != s.cr0;
    changes.cr4 = v.guest_cr4 != s.cr4;
    changes.ia32e_mode = controls.has_entry(vm_entry_control::kIa32eModeGuest) != ia32e;
    v.guest_cr0 = s.cr0;
    v.guest_cr3 = s.cr3;
    v.guest_cr4 = s.cr4;
    v.guest_ia32_sysenter_cs = static_cast<u32>(s.sysenter_cs);
    v.guest_ia32_sysenter_esp = s.sysenter_esp;
    v.guest_ia32_sysenter_eip = s.sysenter_eip;
    if (controls.has_exit(vm_exit_control::kSaveDebugControls)) {
        v.guest_dr7 = s.dr7;
        v.guest_ia32_debugctl = s.debugctl;
    }
    if (controls.has_exit(vm_exit_control::kSavePat)) {
        v.guest_ia32_pat = s.pat;
    }
    if (controls.has_exit(vm_exit_control::kSaveEfer)) {
        v.guest_ia32_efer = s.efer;
    }
    // No control is asked: a processor that can load these saves them.
    if (vmx.caps.has(VmxFeature::EntryLoadCetState)) {
        v.guest_ia32_s_cet = s.s_cet;
        v.guest_ia32_interrupt_ssp_table_addr = s.interrupt_ssp_table;
    }
    if (vmx.caps.has(VmxFeature::StoreLma)) {
        v.entry_controls = (v.entry_controls & ~vm_entry_control::kIa32eModeGuest) |
                           (ia32e ? vm_entry_control::kIa32eModeGuest : 0);
    }
    if (controls.has2(proc2::kEnableEpt) && (s.cr0 & cr0::kPg) != 0 && (s.cr4 & cr4::kPae) != 0 &&
        !ia32e) {
        v.guest_pdpte0 = s.pdpte[0];
        v.guest_pdpte1 = s.pdpte[1];
        v.guest_pdpte2 = s.pdpte[2];
        v.guest_pdpte3 = s.pdpte[3];
    }
    return changes;
}

void save_segments(VmxState& vmx) {
    BoundVmcs& bound = *vmx.current;
    CpuState& s = vmx.cpu.state;
    if ((bound.stale_checks & kStaleGuestSegments) == 0 && bound.guest_segments.equals(s) &&
        s.seg[SS].dpl() == vmx.cpu.mode.cpl) [[likely]] {
        return;  // as they were loaded
    }
    Vmcs& v = bound.fields;
    u32 rights = 0;
    for_each_segment([&](const SegmentFields& fields) {
        const Segment& segment = fields.register_in(s);
        v.*fields.selector = segment.selector;
        v.*fields.base = segment.base;
        v.*fields.limit = segment.limit;
        v.*fields.access_rights = segment.rights & kSavedRights;
        rights |= segment.rights;
    });
    // "The value saved for SS.DPL is always the CPL", also while SS is unusable.
    constexpr unsigned kDplShift = 5;
    v.guest_ss_access_rights =
        (v.guest_ss_access_rights & ~segment_rights::kDpl) | (u32{vmx.cpu.mode.cpl} << kDplShift);
    v.guest_gdtr_base = s.gdtr.base;
    v.guest_gdtr_limit = s.gdtr.limit;
    v.guest_idtr_base = s.idtr.base;
    v.guest_idtr_limit = s.idtr.limit;
    if ((rights & ~kSavedRights) == 0 && s.seg[SS].dpl() == vmx.cpu.mode.cpl) {
        bound.guest_segments.copy_from(s);
        bound.stale_checks &= ~kStaleGuestSegments;
    } else {
        bound.stale_checks |= kStaleGuestSegments;
    }
}

// RFLAGS.RF as saved. SDM Vol. 3C, "Saving RIP, RSP, RFLAGS, and SSP".
enum class SavedRf : u8 {
    Kept,         // the exit came between two instructions
    Cleared,      // an instruction was intercepted
    AsPushed,     // what delivery of the event that exits would have pushed
    AccessFault,  // 1, or as pushed if the access belonged to the delivery of an event
};

SavedRf saved_rf(ExitReason reason) {
    switch (reason) {
    case ExitReason::EXCEPTION_OR_NMI: return SavedRf::AsPushed;
    case ExitReason::EPT_VIOLATION:
    case ExitReason::EPT_MISCONFIGURATION:
    case ExitReason::APIC_ACCESS:
    case ExitReason::PML_FULL: return SavedRf::AccessFault;
    case ExitReason::EXTERNAL_INTERRUPT:
    case ExitReason::TRIPLE_FAULT:
    case ExitReason::INIT_SIGNAL:
    case ExitReason::SIPI:
    case ExitReason::INTERRUPT_WINDOW:
    case ExitReason::NMI_WINDOW:
    case ExitReason::TASK_SWITCH:
    case ExitReason::MONITOR_TRAP_FLAG:
    case ExitReason::TPR_BELOW_THRESHOLD:
    case ExitReason::VIRTUALIZED_EOI:
    case ExitReason::APIC_WRITE:
    case ExitReason::PREEMPTION_TIMER: return SavedRf::Kept;
    default: return SavedRf::Cleared;
    }
}

// The event that exits, as far as what it pushes is concerned.
Event exiting_event(const ExitInfo& info) {
    Event event;
    event.type = static_cast<EventType>(interruption::type_of(info.interruption_info));
    event.vector = static_cast<u8>(info.interruption_info & interruption::kVectorMask);
    event.payload = info.qualification;
    return event;
}

u64 saved_rflags(const VmxState& vmx, const ExitInfo& info) {
    const Vcpu& cpu = vmx.cpu;
    const u64 rflags = cpu.state.rflags();
    switch (saved_rf(info.reason)) {
    case SavedRf::Cleared: return rflags & ~rflags::kRf;
    case SavedRf::AsPushed: return pushed_rflags(cpu, exiting_event(info));
    case SavedRf::AccessFault:
        return vmx.guest.delivering ? pushed_rflags(cpu, vmx.guest.delivered_event)
                                    : rflags | rflags::kRf;
    default: break;
    }
    return cpu.step.repeating_at == cpu.state.rip() ? rflags | rflags::kRf : rflags;
}

bool is_debug_exception(const ExitInfo& info) {
    return info.reason == ExitReason::EXCEPTION_OR_NMI &&
           (info.interruption_info & interruption::kVectorMask) == static_cast<u8>(Exception::DB);
}

void save_non_register_state(VmxState& vmx, const ExitInfo& info) {
    Vmcs& v = vmx.vmcs();
    const CpuState& s = vmx.cpu.state;
    v.guest_activity_state = static_cast<u32>(s.activity);
    v.guest_interruptibility = s.interruptibility;
    if (is_debug_exception(info)) {
        v.guest_pending_debug = 0;  // what is pending is in the exit qualification
        return;
    }
    constexpr u64 kEnabledBreakpoint = 1U << 12;
    u64 pending = s.pending_debug & (dr6::kBs | 0xF);
    // The single-step trap that MOV SS holds back is seen only here: the CPU takes that of the next
    // instruction in its place.
    if ((s.interruptibility & blocking::kMovSs) != 0 && (s.rflags_system & rflags::kTf) != 0 &&
        (s.debugctl & debugctl::kBtf) == 0) {
        pending |= dr6::kBs;
    }
    v.guest_pending_debug = pending | ((pending & 0xF) != 0 ? kEnabledBreakpoint : 0);
}

}  // namespace

SavedChanges save_guest_state(VmxState& vmx, const ExitInfo& info) {
    Vmcs& v = vmx.vmcs();
    const CpuState& s = vmx.cpu.state;
    const SavedChanges changes = save_registers(vmx);
    save_segments(vmx);
    v.guest_rip = s.rip();
    v.guest_rsp = s.gpr[RSP];
    v.guest_rflags = saved_rflags(vmx, info);
    if (vmx.caps.has(VmxFeature::EntryLoadCetState)) {
        v.guest_ssp = s.ssp;
    }
    vmx.cpu.step.repeating_at = kNoTag;
    save_non_register_state(vmx, info);
    if (vmx.guest.controls.has_exit(vm_exit_control::kSavePreemptionTimer)) {
        v.preemption_timer_value = remaining_preemption_timer(vmx);
    }
    return changes;
}

}  // namespace droste
