#pragma once
// Loading guest state. SDM Vol. 3C, "Loading Guest State". What every VM entry does is inline; what
// few do is in entry_load_state.cpp.

#include "core/types.hpp"
#include "cpu/vmx/entry/entry_checks.hpp"
#include "cpu/vmx/guest/boundary.hpp"
#include "cpu/vmx/vmcs/controls.hpp"
#include "cpu/vmx/vmcs/preserved_bits.hpp"
#include "cpu/vmx/vmx_state.hpp"
#include "cpu/x86/system/debug_traps.hpp"

#include <array>

namespace droste {

inline bool guest_uses_pae_paging(const Vmcs& vmcs, const ActiveControls& controls) {
    return !controls.has_entry(vm_entry_control::kIa32eModeGuest) &&
           (vmcs.guest_cr0 & cr0::kPg) != 0 && (vmcs.guest_cr4 & cr4::kPae) != 0;
}
// Of the current VMCS, whose digest of controls is up to date: the PDPTE fields with EPT, else what
// lies at CR3.
std::array<u64, 4> guest_pdptes(const VmxState& vmx);

// Under controls that ask for it.
void load_controlled_guest_registers(VmxState& vmx,
                                     const Vmcs& vmcs,
                                     const ActiveControls& controls);
// From the fields; and kept in BoundVmcs::guest_segments.
void load_guest_segments(BoundVmcs& bound, CpuState& state);
u64 loaded_pending_debug(const Vmcs& vmcs);
void load_guest_pdptes(VmxState& vmx);
void flush_on_entry_without_vpid(VmxState& vmx);

// Injection of the event in the VM-entry interruption-information field (entry_inject.cpp).
// Requires: it is valid.
void inject_event(VmxState& vmx);

// IA32_EFER where no control loads it: LMA is as "IA-32e mode guest" says, with paging LME, too.
inline u64 implied_efer(const CpuState& s, u64 entry_controls) {
    constexpr u64 kIa32eMode = vm_entry_control::kIa32eModeGuest;
    static_assert(efer::kLma == kIa32eMode << 1 && efer::kLme == kIa32eMode >> 1);
    const u64 ia32e = entry_controls & kIa32eMode;
    const u64 efer = (s.efer & ~efer::kLma) | ia32e << 1;
    return (s.cr0 & cr0::kPg) != 0 ? (efer & ~efer::kLme) | ia32e >> 1 : efer;
}

// "Loading Guest Control Registers, Debug Registers, and MSRs".
[[gnu::always_inline]] inline void
load_guest_registers(VmxState& vmx, CpuState& s, const Vmcs& v, const ActiveControls& controls) {
    using namespace vm_entry_control;
    constexpr u32 kControlled = kLoadDebugControls | kLoadPat | kLoadPerfGlobalCtrl | kLoadCetState;
    s.cr0 = (s.cr0 & kCr0Preserved) | (v.guest_cr0 & ~kCr0Preserved);
    s.cr3 = v.guest_cr3;
    s.cr4 = v.guest_cr4;
    s.sysenter_cs = v.guest_ia32_sysenter_cs;
    s.sysenter_esp = v.guest_ia32_sysenter_esp;
    s.sysenter_eip = v.guest_ia32_sysenter_eip;
    s.efer = controls.has_entry(kLoadEfer) ? v.guest_ia32_efer : implied_efer(s, controls.entry);
    if (controls.has_entry(kControlled)) {
        load_controlled_guest_registers(vmx, v, controls);
    }
}

// "Loading Guest RIP, RSP, RFLAGS, and SSP" and non-register state.
inline void load_rest(CpuState& s, const Vmcs& v) {
    s.gpr[RSP] = v.guest_rsp;
    s.rip() = v.guest_rip;
    s.set_rflags(v.guest_rflags);
    s.activity = static_cast<Activity>(v.guest_activity_state);
    s.interruptibility =
        v.guest_interruptibility & (blocking::kSti | blocking::kMovSs | blocking::kNmi);
    s.pending_debug = v.guest_pending_debug == 0 ? 0 : loaded_pending_debug(v);
}

// Registers, MSRs with fields, non-register state; and the seams and tags of non-root operation.
// Derived state and the address space are not switched yet: enter_guest_context() does that.
[[gnu::always_inline]] inline void load_guest_state(VmxState& vmx, Vcpu& cpu, BoundVmcs& bound) {
    CpuState& s = cpu.state;
    const Vmcs& v = bound.fields;
    const ActiveControls& controls = bound.controls;
    if ((bound.stale_checks & kStaleGuestSegments) == 0) [[likely]] {
        bound.guest_segments.copy_to(s);
    } else {
        load_guest_segments(bound, s);
    }
    load_guest_registers(vmx, s, v, controls);
    load_rest(s, v);
    if (guest_uses_pae_paging(v, controls)) {
        load_guest_pdptes(vmx);
    }
    vmx.guest.begin(controls);
    cpu.non_root.vpid = controls.has2(proc2::kEnableVpid) ? v.vpid : u16{0};
    cpu.non_root.ept_root = 0;
    if (controls.has2(proc2::kEnableEpt)) {
        vmx.ept.activate(v.ept_pointer, controls.has2(proc2::kModeBasedExecute));
        cpu.non_root.ept_root = vmx.ept.tag();
    }
    if (cpu.non_root.vpid == 0) {
        flush_on_entry_without_vpid(vmx);
    }
    if ((s.dr7 & 0xFF) != 0) {
        debug_registers_changed(cpu);  // DR7 may be the guest's, and DR0 to DR3 others than before
    }
}

[[gnu::always_inline]] inline void enter_guest_context(VmxState& vmx, Vcpu& cpu, BoundVmcs& bound) {
    const ActiveControls& controls = bound.controls;
    vmx.non_root = true;
    vmx.refresh_view();
    cpu.non_root.intercepts = &vmx.intercepts;
    cpu.non_root.second_stage = controls.has2(proc2::kEnableEpt) ? &vmx.ept : nullptr;
    cpu.non_root.apic_access_page =
        controls.has2(proc2::kVirtualizeApicAccesses) ? bound.fields.apic_access_address : kNoTag;
    ++cpu.counters.vm_entries;
    cpu.step.marks = step_mark::kNoSingleStep;  // the host's trap flag does not reach the guest's
                                                // first instruction
    if ((bound.stale_checks & kStaleGuestSide) != 0 || !bound.guest_side.restore(cpu)) {
        cpu.tlb.activate(cpu);  // refreshes derived state, too
    }
    arm_boundary(vmx, cpu);
}

}  // namespace droste
