#pragma once
// Loading host state, as part of vm_exit() and of failed VM entries. SDM Vol. 3C, "Loading Host
// State". What every VM exit does is inline; what few do is in exit_load_host.cpp.

#include "core/assert.hpp"
#include "cpu/vmx/entry/entry_checks.hpp"
#include "cpu/vmx/exit/exit.hpp"
#include "cpu/vmx/vmcs/controls.hpp"
#include "cpu/vmx/vmcs/preserved_bits.hpp"
#include "cpu/vmx/vmx_state.hpp"
#include "cpu/x86/mmu/paging.hpp"
#include "cpu/x86/system/attention.hpp"
#include "cpu/x86/system/boundary.hpp"
#include "cpu/x86/system/debug_traps.hpp"

namespace droste {

// Under controls that ask for it.
void load_controlled_host_registers(VmxState& vmx, const Vmcs& vmcs);
// From the fields; and kept in BoundVmcs::host_segments.
void load_host_segments(BoundVmcs& bound, CpuState& state, bool host_64);

[[gnu::always_inline]] inline void
load_host_registers(VmxState& vmx, CpuState& s, const Vmcs& v, bool host_64) {
    using namespace vm_exit_control;
    constexpr u32 kControlled = kLoadEfer | kLoadPat | kLoadPerfGlobalCtrl | kLoadCetState;
    constexpr u64 kLong = efer::kLma | efer::kLme;
    s.cr0 = (s.cr0 & kCr0Preserved) | (v.host_cr0 & ~kCr0Preserved);
    s.cr3 = v.host_cr3;
    s.cr4 = v.host_cr4;
    s.dr7 = dr7::kReset;
    s.debugctl = 0;
    s.sysenter_cs = v.host_ia32_sysenter_cs;
    s.sysenter_esp = v.host_ia32_sysenter_esp;
    s.sysenter_eip = v.host_ia32_sysenter_eip;
    s.efer = (s.efer & ~kLong) | (host_64 ? kLong : 0);
    if ((v.exit_controls & kControlled) != 0) {
        load_controlled_host_registers(vmx, v);
    }
}

inline bool host_uses_pae_paging(const CpuState& s, bool host_64) {
    return !host_64 && (s.cr0 & cr0::kPg) != 0 && (s.cr4 & cr4::kPae) != 0;
}

// update_attention() in the state just loaded: nothing is forced, root operation holds INIT back,
// nothing is stepped.
inline void await_host_events(Vcpu& cpu) {
    cpu.attention_mask =
        attention_accepted(Activity::Active, rflags::kFixed1, cpu.state.interruptibility) &
        ~attention::kInit;
    request_step(cpu, false);
    DROSTE_DEBUG_ASSERT(attention_is_current(cpu));
}

[[gnu::always_inline]] inline void load_host_state(VmxState& vmx, Vcpu& cpu, BoundVmcs& bound) {
    CpuState& s = cpu.state;
    const Vmcs& v = bound.fields;
    const bool host_64 = (v.exit_controls & vm_exit_control::kHostAddressSpaceSize) != 0;
    if ((bound.stale_checks & kStaleHostSegments) == 0) [[likely]] {
        bound.host_segments.copy_to(s);
    } else {
        load_host_segments(bound, s, host_64);
    }
    load_host_registers(vmx, s, v, host_64);
    s.rip() = v.host_rip;
    s.gpr[RSP] = v.host_rsp;
    s.set_rflags(rflags::kFixed1);
    s.activity = Activity::Active;
    s.pending_debug = 0;
    cpu.step.marks = step_mark::kNoSingleStep;  // a trap flag belongs to the guest's instruction
    if (host_uses_pae_paging(s, host_64) && load_pdptes(cpu, s.cr3) != Status::Next) {
        vmx_abort(vmx, VmxAbort::HostPdptes);
    }
    if ((bound.stale_checks & kStaleHostSide) != 0 || !bound.host_side.restore(cpu)) {
        cpu.tlb.activate(cpu);  // refreshes derived state, too
        bound.host_side.remember(cpu);
        bound.stale_checks &= ~kStaleHostSide;
    }
    if (vmx.aborted) {
        update_attention(cpu);
    } else {
        await_host_events(cpu);
    }
}

}  // namespace droste
