// Loading host state. SDM Vol. 3C, "Loading Host State".

#include "core/assert.hpp"
#include "cpu/vmx/entry/entry_checks.hpp"
#include "cpu/vmx/exit/exit.hpp"
#include "cpu/vmx/exit/msr_lists.hpp"
#include "cpu/vmx/vmcs/controls.hpp"
#include "cpu/vmx/vmcs/preserved_bits.hpp"
#include "cpu/vmx/vmcs/segment_fields.hpp"
#include "cpu/vmx/vmx_state.hpp"
#include "cpu/x86/mmu/paging.hpp"
#include "cpu/x86/system/boundary.hpp"
#include "cpu/x86/system/debug_traps.hpp"
#include "cpu/x86/system/segment.hpp"

namespace droste {

namespace {

using namespace segment_rights;

constexpr u32 kHostCodeRights = kG | kPresent | kS | 11;
constexpr u32 kHostDataRights = kG | kDb | kPresent | kS | 3;
constexpr u32 kHostTssRights = kPresent | 11;
constexpr u32 kTssLimit = 0x67;

void load_registers(VmxState& vmx) {
    const Vmcs& v = vmx.vmcs();
    CpuState& s = vmx.cpu.state;
    const bool host_64 = (v.exit_controls & vm_exit_control::kHostAddressSpaceSize) != 0;
    s.cr0 = (s.cr0 & kCr0Preserved) | (v.host_cr0 & ~kCr0Preserved);
    s.cr3 = v.host_cr3;
    s.cr4 = v.host_cr4;
    s.dr7 = dr7::kReset;
    s.debugctl = 0;
    s.sysenter_cs = v.host_ia32_sysenter_cs;
    s.sysenter_esp = v.host_ia32_sysenter_esp;
    s.sysenter_eip = v.host_ia32_sysenter_eip;
    if ((v.exit_controls & vm_exit_control::kLoadEfer) != 0) {
        s.efer = v.host_ia32_efer;
    } else {
        constexpr u64 kLong = efer::kLma | efer::kLme;
        s.efer = (s.efer & ~kLong) | (host_64 ? kLong : 0);
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
    }
}

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

// "Loading Host Segment and Descriptor-Table Registers".
void load_segments(VmxState& vmx) {
    BoundVmcs& bound = *vmx.current;
    CpuState& s = vmx.cpu.state;
    if ((bound.stale_checks & kStaleHostSegments) == 0) [[likely]] {
        bound.host_segments.copy_to(s);
        return;
    }
    const Vmcs& v = bound.fields;
    const bool host_64 = (v.exit_controls & vm_exit_control::kHostAddressSpaceSize) != 0;
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

bool host_uses_pae_paging(const CpuState& s) {
    return (s.cr0 & cr0::kPg) != 0 && (s.cr4 & cr4::kPae) != 0 && (s.efer & efer::kLma) == 0;
}

// What update_attention() comes to in the state just loaded: RFLAGS.IF, TF and RF are clear, nothing
// waits for a boundary or is stepped over, and root operation holds INIT back.
void await_events(Vcpu& cpu) {
    const bool nmi_blocked = (cpu.state.interruptibility & blocking::kNmi) != 0;
    cpu.attention_mask = ~(attention::kInterrupt | attention::kInterruptWindow | attention::kInit |
                           (nmi_blocked ? attention::kNmi : 0U));
    if ((cpu.attention.load(std::memory_order_relaxed) & attention::kStep) != 0) {
        cpu.withdraw(attention::kStep);
    }
    DROSTE_DEBUG_ASSERT(attention_is_current(cpu));
}

}  // namespace

void load_host_state(VmxState& vmx) {
    Vcpu& cpu = vmx.cpu;
    CpuState& s = cpu.state;
    const Vmcs& v = vmx.vmcs();
    load_registers(vmx);
    load_segments(vmx);
    s.rip() = v.host_rip;
    s.gpr[RSP] = v.host_rsp;
    if ((v.exit_controls & vm_exit_control::kLoadCetState) != 0) {
        s.ssp = v.host_ssp;
    }
    s.set_rflags(rflags::kFixed1);
    s.activity = Activity::Active;
    s.pending_debug = 0;
    cpu.step.marks = step_mark::kNoSingleStep;  // a trap flag belongs to the guest's instruction
    if (host_uses_pae_paging(s) && load_pdptes(cpu, s.cr3) != Status::Next) {
        vmx_abort(vmx, VmxAbort::HostPdptes);
    }
    BoundVmcs& vmcs = *vmx.current;
    if ((vmcs.stale_checks & kStaleHostSide) != 0 || !vmcs.host_side.restore(cpu)) {
        cpu.tlb.activate(cpu);  // refreshes derived state, too
        vmcs.host_side.remember(cpu);
        vmcs.stale_checks &= ~kStaleHostSide;
    }
    if (vmx.aborted) {
        update_attention(cpu);
    } else {
        await_events(cpu);
    }
}

}  // namespace droste
