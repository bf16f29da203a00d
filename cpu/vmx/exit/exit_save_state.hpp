#pragma once
// Saving guest state, as part of vm_exit(). SDM Vol. 3C, "Saving Guest State".
//
// What every VM exit does is inline, so that it is one piece of code with the rest; what few do is in
// exit_save_state.cpp.

#include "cpu/vmx/entry/entry_checks.hpp"
#include "cpu/vmx/exit/exit.hpp"
#include "cpu/vmx/vmcs/controls.hpp"
#include "cpu/vmx/vmx_state.hpp"

namespace droste {

// RFLAGS.RF as saved. SDM Vol. 3C, "Saving RIP, RSP, RFLAGS, and SSP".
enum class SavedRf : u8 {
    Kept,         // the exit came between two instructions
    Cleared,      // an instruction was intercepted
    AsPushed,     // what delivery of the event that exits would have pushed
    AccessFault,  // 1, or as pushed if the access belonged to the delivery of an event
};

constexpr SavedRf saved_rf(ExitReason reason) {
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

// What the VMCS holds otherwise than the processor: saved_change bits.
u32 find_changes(const Vmcs& vmcs, const CpuState& state, u32 ia32e_mode);
// Under controls that ask for it.
void save_controlled_registers(VmxState& vmx);
void save_segments(VmxState& vmx);
u64 saved_rflags_with_rf(const VmxState& vmx, const ExitInfo& info);
u64 saved_pending_debug(const CpuState& state, const ExitInfo& info);

// Returns saved_change bits.
[[gnu::always_inline]] inline u32 save_registers(VmxState& vmx, Vmcs& v, const CpuState& s) {
    using namespace vm_exit_control;
    constexpr u32 kControlled = kSaveDebugControls | kSavePat | kSaveEfer | kSavePreemptionTimer;
    constexpr u32 kIa32eModeGuest = vm_entry_control::kIa32eModeGuest;
    static_assert(efer::kLma >> 1 == kIa32eModeGuest);
    const ActiveControls& controls = vmx.guest.controls;
    const u64 ia32e = s.efer & efer::kLma;
    const u32 ia32e_mode = (controls.entry ^ static_cast<u32>(ia32e >> 1)) & kIa32eModeGuest;
    u32 changes = 0;
    if (((v.guest_cr0 ^ s.cr0) | (v.guest_cr4 ^ s.cr4) | ia32e_mode) != 0) [[unlikely]] {
        changes = find_changes(v, s, ia32e_mode);
        v.guest_cr0 = s.cr0;
        v.guest_cr4 = s.cr4;
        if (vmx.caps.has(VmxFeature::StoreLma)) {
            v.entry_controls ^= ia32e_mode;
        }
    }
    v.guest_cr3 = s.cr3;
    v.guest_ia32_sysenter_cs = static_cast<u32>(s.sysenter_cs);
    v.guest_ia32_sysenter_esp = s.sysenter_esp;
    v.guest_ia32_sysenter_eip = s.sysenter_eip;
    if (controls.has_exit(kControlled)) {
        save_controlled_registers(vmx);
    }
    // No control is asked: a processor that can load these saves them.
    if (vmx.caps.has(VmxFeature::EntryLoadCetState)) {
        v.guest_ia32_s_cet = s.s_cet;
        v.guest_ia32_interrupt_ssp_table_addr = s.interrupt_ssp_table;
        v.guest_ssp = s.ssp;
    }
    if (ia32e == 0 && controls.has2(proc2::kEnableEpt) && (s.cr0 & cr0::kPg) != 0 &&
        (s.cr4 & cr4::kPae) != 0) {
        v.guest_pdpte0 = s.pdpte[0];
        v.guest_pdpte1 = s.pdpte[1];
        v.guest_pdpte2 = s.pdpte[2];
        v.guest_pdpte3 = s.pdpte[3];
    }
    return changes;
}

// Whether the fields hold the registers.
inline bool segments_are_as_loaded(const Vcpu& cpu, const BoundVmcs& bound) {
    const CpuState& s = cpu.state;
    return (bound.stale_checks & kStaleGuestSegments) == 0 && bound.guest_segments.equals(s) &&
           s.seg[SS].dpl() == cpu.mode.cpl;
}

inline u64 saved_rflags(const VmxState& vmx, const ExitInfo& info) {
    // By reason, whether saved_rf() is Cleared.
    constexpr u64 kCleared = [] {
        u64 reasons = 0;
        for (unsigned reason = 0; reason < 64; ++reason) {
            const bool cleared = saved_rf(static_cast<ExitReason>(reason)) == SavedRf::Cleared;
            reasons |= u64{cleared} << reason;
        }
        return reasons;
    }();
    const auto reason = static_cast<unsigned>(info.reason);
    return reason < 64 && (kCleared >> reason & 1) != 0 ? vmx.cpu.state.rflags() & ~rflags::kRf
                                                        : saved_rflags_with_rf(vmx, info);
}

// If nothing blocks events and no debug exception is pending, two of the three are 0.
inline void save_non_register_state(const CpuState& s, Vmcs& v, const ExitInfo& info) {
    v.guest_activity_state = static_cast<u32>(s.activity);
    v.guest_interruptibility = s.interruptibility;
    v.guest_pending_debug =
        (s.pending_debug | s.interruptibility) == 0 ? 0 : saved_pending_debug(s, info);
}

// Returns what differs from the VM entry: saved_change bits.
[[gnu::always_inline]] inline u32
save_guest_state(VmxState& vmx, Vcpu& cpu, BoundVmcs& bound, const ExitInfo& info) {
    Vmcs& v = bound.fields;
    const CpuState& s = cpu.state;
    if (!segments_are_as_loaded(cpu, bound)) {
        save_segments(vmx);
    }
    v.guest_rip = s.rip();
    v.guest_rsp = s.gpr[RSP];
    v.guest_rflags = saved_rflags(vmx, info);
    cpu.step.repeating_at = kNoTag;
    save_non_register_state(s, v, info);
    return save_registers(vmx, v, s);
}

}  // namespace droste
