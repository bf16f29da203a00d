// What saving guest state comes to now and then. The rest is inline.

#include "cpu/vmx/exit/exit_save_state.hpp"

#include "cpu/vmx/guest/preemption_timer.hpp"
#include "cpu/vmx/vmcs/controls.hpp"
#include "cpu/vmx/vmcs/segment_fields.hpp"
#include "cpu/vmx/vmx_state.hpp"
#include "cpu/x86/system/debug_traps.hpp"
#include "cpu/x86/system/delivery.hpp"

namespace droste {

namespace {

// The event that exits, as far as what it pushes is concerned.
Event exiting_event(const ExitInfo& info) {
    Event event;
    event.type = static_cast<EventType>(interruption::type_of(info.interruption_info));
    event.vector = static_cast<u8>(info.interruption_info & interruption::kVectorMask);
    event.payload = info.qualification;
    return event;
}

bool is_debug_exception(const ExitInfo& info) {
    return info.reason == ExitReason::EXCEPTION_OR_NMI &&
           (info.interruption_info & interruption::kVectorMask) == static_cast<u8>(Exception::DB);
}

}  // namespace

// What the VMCS holds otherwise than the processor: saved_change bits.
u32 find_changes(const Vmcs& v, const CpuState& s, u32 ia32e_mode) {
    return (v.guest_cr0 != s.cr0 ? saved_change::kCr0 : 0) |
           (v.guest_cr4 != s.cr4 ? saved_change::kCr4 : 0) |
           (ia32e_mode != 0 ? saved_change::kIa32eMode : 0);
}

// Under controls that ask for it.
void save_controlled_registers(VmxState& vmx) {
    Vmcs& v = vmx.vmcs();
    const CpuState& s = vmx.cpu.state;
    const ActiveControls& controls = vmx.guest.controls;
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
    if (controls.has_exit(vm_exit_control::kSavePreemptionTimer)) {
        v.preemption_timer_value = remaining_preemption_timer(vmx);
    }
}

void save_segments(VmxState& vmx) {
    BoundVmcs& bound = *vmx.current;
    CpuState& s = vmx.cpu.state;
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

u64 saved_rflags_with_rf(const VmxState& vmx, const ExitInfo& info) {
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

u64 saved_pending_debug(const CpuState& s, const ExitInfo& info) {
    if (is_debug_exception(info)) {
        return 0;  // what is pending is in the exit qualification
    }
    constexpr u64 kEnabledBreakpoint = 1U << 12;
    u64 pending = s.pending_debug & (dr6::kBs | 0xF);
    // The single-step trap that MOV SS holds back is seen only here: the CPU takes that of the next
    // instruction in its place.
    if ((s.interruptibility & blocking::kMovSs) != 0 && (s.rflags_system & rflags::kTf) != 0 &&
        (s.debugctl & debugctl::kBtf) == 0) {
        pending |= dr6::kBs;
    }
    return pending | ((pending & 0xF) != 0 ? kEnabledBreakpoint : 0);
}

}  // namespace droste
