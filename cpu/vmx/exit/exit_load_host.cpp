// What loading host state comes to now and then. The rest is inline.

#include "cpu/vmx/exit/exit_load_host.hpp"

#include "cpu/vmx/exit/msr_lists.hpp"
#include "cpu/vmx/vmcs/controls.hpp"
#include "cpu/vmx/vmcs/segment_fields.hpp"
#include "cpu/vmx/vmx_state.hpp"
#include "cpu/x86/system/segment.hpp"

namespace droste {

namespace {

using namespace segment_rights;

constexpr u32 kHostCodeRights = kG | kPresent | kS | 11;
constexpr u32 kHostDataRights = kG | kDb | kPresent | kS | 3;
constexpr u32 kHostTssRights = kPresent | 11;
constexpr u32 kTssLimit = 0x67;

void set_host_segment(
    Segment& segment, u16 selector, u64 base, u32 rights, u32 limit = 0xFFFF'FFFF) {
    segment.selector = selector;
    segment.base = base;
    segment.limit = limit;
    set_segment_rights(segment, rights);
}

void set_host_data_segment(Segment& segment, u16 selector, u64 base = 0) {
    set_host_segment(segment, selector, base,
                     selector == 0 ? kHostDataRights | kUnusable : kHostDataRights);
}

}  // namespace

// Under controls that ask for it.
void load_controlled_host_registers(VmxState& vmx, const Vmcs& v) {
    CpuState& s = vmx.cpu.state;
    if ((v.exit_controls & vm_exit_control::kLoadEfer) != 0) {
        s.efer = v.host_ia32_efer;
    }
    if ((v.exit_controls & vm_exit_control::kLoadPat) != 0) {
        s.pat = v.host_ia32_pat;
    }
    if ((v.exit_controls & vm_exit_control::kLoadPerfGlobalCtrl) != 0) {
        (void)set_msr_quietly(vmx.cpu, kPerfGlobalCtrl, v.host_ia32_perf_global_ctrl);
    }
    if ((v.exit_controls & vm_exit_control::kLoadCetState) != 0) {
        s.s_cet = v.host_ia32_s_cet;
        s.interrupt_ssp_table = v.host_ia32_interrupt_ssp_table_addr;
        s.ssp = v.host_ssp;
    }
}

// "Loading Host Segment and Descriptor-Table Registers": from the fields, and kept.
void load_host_segments(BoundVmcs& bound, CpuState& s, bool host_64) {
    const Vmcs& v = bound.fields;
    set_host_segment(s.seg[CS], v.host_cs_selector, 0, kHostCodeRights | (host_64 ? kL : kDb));
    set_host_data_segment(s.seg[SS], v.host_ss_selector);
    set_host_data_segment(s.seg[DS], v.host_ds_selector);
    set_host_data_segment(s.seg[ES], v.host_es_selector);
    set_host_data_segment(s.seg[FS], v.host_fs_selector, v.host_fs_base);
    set_host_data_segment(s.seg[GS], v.host_gs_selector, v.host_gs_base);
    set_host_segment(s.tr, v.host_tr_selector, v.host_tr_base, kHostTssRights, kTssLimit);
    set_host_segment(s.ldtr, 0, 0, kUnusable, 0);
    s.gdtr = {v.host_gdtr_base, 0xFFFF};
    s.idtr = {v.host_idtr_base, 0xFFFF};
    bound.host_segments.copy_from(s);
    bound.stale_checks &= ~kStaleHostSegments;
}

}  // namespace droste
