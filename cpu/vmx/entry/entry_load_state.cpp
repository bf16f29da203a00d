// What loading guest state comes to now and then. The rest is inline.

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

}  // namespace

// Under controls that ask for it.
void load_controlled_guest_registers(VmxState& vmx, const Vmcs& v, const ActiveControls& controls) {
    CpuState& s = vmx.cpu.state;
    if (controls.has_entry(vm_entry_control::kLoadDebugControls)) {
        // Bits 11, 12, 14 and 15 stay clear, bit 10 set.
        s.dr7 = (v.guest_dr7 & ~u64{0xD800}) | dr7::kReset;
        s.debugctl = v.guest_ia32_debugctl;
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
        s.ssp = v.guest_ssp;
    }
}

// "Loading Guest Segment Registers and Descriptor-Table Registers": from the fields, and kept.
void load_guest_segments(BoundVmcs& bound, CpuState& s) {
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

// Bit 12 (an enabled breakpoint was met) or BS makes the exception pending; bits 3:0 alone do not.
u64 loaded_pending_debug(const Vmcs& v) {
    constexpr u64 kEnabledBreakpoint = 1U << 12;
    const bool counts =
        (v.guest_pending_debug & (kEnabledBreakpoint | dr6::kBs)) != 0 && pending_debug_counts(v);
    return counts ? v.guest_pending_debug & (dr6::kBs | 0xF) : 0;
}

void load_guest_pdptes(VmxState& vmx) {
    vmx.cpu.state.pdpte = guest_pdptes(vmx);
}

// "VM entries flush linear and combined mappings of VPID 0000H": those of the host and of guests
// without VPID.
void flush_on_entry_without_vpid(VmxState& vmx) {
    Vcpu& cpu = vmx.cpu;
    ++cpu.counters.tlb_flushes;
    vmx.trace.flushed_on_entry();
    cpu.log.write(LogCategory::Mmu, "vCPU {}: TLB: VM entry without VPID flushes", cpu.index);
    cpu.tlb.flush_vpid(0);
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

}  // namespace droste
