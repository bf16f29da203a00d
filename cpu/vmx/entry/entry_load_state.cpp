#include "cpu/vmx/entry/entry_load_state.hpp"

#include "core/bits.hpp"
#include "core/log.hpp"
#include "cpu/vmx/entry/entry_checks.hpp"
#include "cpu/vmx/exit/msr_lists.hpp"
#include "cpu/vmx/guest/boundary.hpp"
#include "cpu/vmx/vmcs/controls.hpp"
#include "cpu/vmx/vmcs/preserved_bits.hpp"
#include "cpu/vmx/vmcs/segment_fields.hpp"
#include "cpu/vmx/vmx_state.hpp"
#include "cpu/x86/mmu/paging.hpp"
#include "cpu/x86/system/debug_traps.hpp"
#include "cpu/x86/system/segment.hpp"

namespace droste {

namespace {

// "Loading Guest Control Registers, Debug Registers, and MSRs".
void load_registers(VmxState& vmx) {
    const Vmcs& v = vmx.vmcs();
    CpuState& s = vmx.cpu.state;
    const ActiveControls& controls = vmx.current->controls;
    s.cr0 = (s.cr0 & kCr0Preserved) | (v.guest_cr0 & ~kCr0Preserved);
    s.cr3 = v.guest_cr3;
    s.cr4 = v.guest_cr4;
    if (controls.has_entry(vm_entry_control::kLoadDebugControls)) {
        // Bits 11, 12, 14 and 15 stay clear, bit 10 set.
        s.dr7 = (v.guest_dr7 & ~u64{0xD800}) | dr7::kReset;
        s.debugctl = v.guest_ia32_debugctl;
    }
    s.sysenter_cs = v.guest_ia32_sysenter_cs;
    s.sysenter_esp = v.guest_ia32_sysenter_esp;
    s.sysenter_eip = v.guest_ia32_sysenter_eip;
    if (controls.has_entry(vm_entry_control::kLoadEfer)) {
        s.efer = v.guest_ia32_efer;
    } else {
        const bool ia32e = controls.has_entry(vm_entry_control::kIa32eModeGuest);
        const u64 lma = ia32e ? efer::kLma : 0;
        s.efer = (s.efer & ~efer::kLma) | lma;
        if ((s.cr0 & cr0::kPg) != 0) {
            s.efer = (s.efer & ~efer::kLme) | (ia32e ? efer::kLme : 0);
        }
    }
    if (controls.has_entry(vm_entry_control::kLoadPat)) {
        s.pat = v.guest_ia32_pat;
    }
    if (controls.has_entry(vm_entry_control::kLoadPerfGlobalCtrl)) {
        (void)set_msr_quietly(vmx.cpu, kPerfGlobalCtrl, v.guest_ia32_perf_global_ctrl);
    }
    if (controls.has_entry(vm_entry_control::kLoadCetState)) {
        s.s_cet = v.guest_ia32_s_cet;
        s.interrupt_ssp_table = v.guest_ia32_interrupt_ssp_table_addr;
    }
}

// "Loading Guest Segment Registers and Descriptor-Table Registers".
void load_segments(VmxState& vmx) {
    BoundVmcs& bound = *vmx.current;
    CpuState& s = vmx.cpu.state;
    if ((bound.stale_checks & kStaleGuestSegments) == 0) [[likely]] {
        bound.guest_segments.copy_to(s);
        return;
    }
    const Vmcs& v = bound.fields;
    u32 rights = 0;
    for_each_segment([&](const SegmentFields& fields) {
        Segment& segment = fields.register_in(s);
        segment.selector = v.*fields.selector;
        segment.base = v.*fields.base;
        segment.limit = v.*fields.limit;
        set_segment_rights(segment, v.*fields.access_rights);
        rights |= segment.rights;
    });
    s.gdtr = {v.guest_gdtr_base, static_cast<u16>(v.guest_gdtr_limit)};
    s.idtr = {v.guest_idtr_base, static_cast<u16>(v.guest_idtr_limit)};
    if ((rights & ~kSavedRights) == 0) {  // else the exit saves something else
        bound.guest_segments.copy_from(s);
        bound.stale_checks &= ~kStaleGuestSegments;
    }
}

// "Delivery of Pending Debug Exceptions after VM Entry": when the field counts at all.
bool pending_debug_counts(const Vmcs& v) {
    if ((v.entry_interruption_info & interruption::kValid) == 0) {
        return v.guest_activity_state == static_cast<u32>(Activity::Active) ||
               v.guest_activity_state == static_cast<u32>(Activity::Hlt);
    }
    switch (interruption::type_of(v.entry_interruption_info)) {
    case static_cast<unsigned>(EventType::SoftwareInterrupt):
    case static_cast<unsigned>(EventType::SoftwareException):
        return (v.guest_interruptibility & blocking::kMovSs) != 0;
    case interruption::kTypeOther: return true;
    default: return false;
    }
}

// "Loading Guest RIP, RSP, RFLAGS, and SSP" and non-register state.
void load_rest(VmxState& vmx) {
    const Vmcs& v = vmx.vmcs();
    const ActiveControls& controls = vmx.current->controls;
    CpuState& s = vmx.cpu.state;
    s.gpr[RSP] = v.guest_rsp;
    s.rip() = v.guest_rip;
    s.set_rflags(v.guest_rflags);
    if (controls.has_entry(vm_entry_control::kLoadCetState)) {
        s.ssp = v.guest_ssp;
    }
    s.activity = static_cast<Activity>(v.guest_activity_state);
    s.interruptibility =
        v.guest_interruptibility & (blocking::kSti | blocking::kMovSs | blocking::kNmi);
    s.pending_debug = 0;
    // Bit 12 (an enabled breakpoint was met) or BS makes the exception pending; bits 3:0 alone do
    // not.
    constexpr u64 kEnabledBreakpoint = 1U << 12;
    if ((v.guest_pending_debug & (kEnabledBreakpoint | dr6::kBs)) != 0 && pending_debug_counts(v)) {
        s.pending_debug = v.guest_pending_debug & (dr6::kBs | 0xF);
    }
    if (guest_uses_pae_paging(v, controls)) {
        s.pdpte = guest_pdptes(vmx);
    }
}

}  // namespace

bool guest_uses_pae_paging(const Vmcs& v, const ActiveControls& controls) {
    return !controls.has_entry(vm_entry_control::kIa32eModeGuest) &&
           (v.guest_cr0 & cr0::kPg) != 0 && (v.guest_cr4 & cr4::kPae) != 0;
}

std::array<u64, 4> guest_pdptes(const VmxState& vmx) {
    const Vmcs& v = vmx.vmcs();
    if (vmx.current->controls.has2(proc2::kEnableEpt)) {
        return {v.guest_pdpte0, v.guest_pdpte1, v.guest_pdpte2, v.guest_pdpte3};
    }
    std::array<u64, 4> pdptes{};
    const PhysAddr table = v.guest_cr3 & 0xFFFF'FFE0;
    for (unsigned i = 0; i < pdptes.size(); ++i) {
        pdptes[i] = read_physical(vmx.cpu, table + i * 8, 8);
    }
    return pdptes;
}

void load_guest_state(VmxState& vmx) {
    load_registers(vmx);
    load_segments(vmx);
    load_rest(vmx);
    Vcpu& cpu = vmx.cpu;
    const Vmcs& v = vmx.vmcs();
    vmx.guest.begin(vmx.current->controls);
    const ActiveControls& controls = vmx.guest.controls;
    cpu.non_root.vpid = controls.has2(proc2::kEnableVpid) ? v.vpid : u16{0};
    cpu.non_root.ept_root = 0;
    if (controls.has2(proc2::kEnableEpt)) {
        vmx.ept.activate(v.ept_pointer, controls.has2(proc2::kModeBasedExecute));
        cpu.non_root.ept_root = vmx.ept.tag();
    }
    if (cpu.non_root.vpid == 0) {
        // "VM entries flush linear and combined mappings of VPID 0000H": those of the host and of
        // guests without VPID.
        ++cpu.counters.tlb_flushes;
        vmx.trace.flushed_on_entry();
        cpu.log.write(LogCategory::Mmu, "vCPU {}: TLB: VM entry without VPID flushes", cpu.index);
        cpu.tlb.flush_vpid(0);
    }
    if ((cpu.state.dr7 & 0xFF) != 0) {
        debug_registers_changed(cpu);  // DR7 may be the guest's, and DR0 to DR3 others than before
    }
}

void enter_guest_context(VmxState& vmx) {
    Vcpu& cpu = vmx.cpu;
    const ActiveControls& controls = vmx.guest.controls;
    vmx.non_root = true;
    vmx.refresh_view();
    cpu.non_root.intercepts = &vmx.intercepts;
    cpu.non_root.second_stage = controls.has2(proc2::kEnableEpt) ? &vmx.ept : nullptr;
    cpu.non_root.apic_access_page =
        controls.has2(proc2::kVirtualizeApicAccesses) ? vmx.vmcs().apic_access_address : kNoTag;
    ++cpu.counters.vm_entries;
    cpu.step.marks = step_mark::kNoSingleStep;  // the host's trap flag does not reach the guest's
                                                // first instruction
    if ((vmx.current->stale_checks & kStaleGuestSide) != 0 ||
        !vmx.current->guest_side.restore(cpu)) {
        cpu.tlb.activate(cpu);  // refreshes derived state, too
    }
    arm_boundary(vmx);
}

}  // namespace droste
