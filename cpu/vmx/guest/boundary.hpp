#pragma once
// What VMX looks at between instructions (boundary.cpp).

#include "core/assert.hpp"
#include "cpu/vmx/vmcs/controls.hpp"
#include "cpu/vmx/vmx_state.hpp"
#include "cpu/x86/system/boundary.hpp"

namespace droste {

// Under controls that ask for more than the exit of external interrupts.
void arm_by_controls(VmxState& vmx);
// In another activity state than active.
void arm_inactive(VmxState& vmx);

// update_attention() where nothing is stepped, which it mostly finds in a guest just entered.
inline void await_guest_events(Vcpu& cpu) {
    const CpuState& s = cpu.state;
    constexpr u64 kStepping = rflags::kTf | rflags::kRf;
    constexpr u32 kShadows = blocking::kSti | blocking::kMovSs;
    constexpr u64 kBreakpoints = 0xFF;
    const u64 stepped = s.pending_debug | (s.rflags_system & kStepping) |
                        (s.interruptibility & kShadows) | (s.dr7 & kBreakpoints);
    if (stepped != 0 || cpu.non_root.step_forced || s.activity != Activity::Active) [[unlikely]] {
        update_attention(cpu);
        return;
    }
    const bool masked = (s.rflags_system & rflags::kIf) == 0;
    const bool nmi_blocked = (s.interruptibility & blocking::kNmi) != 0;
    cpu.attention_mask = ~((masked ? attention::kInterrupt | attention::kInterruptWindow : 0U) |
                           (nmi_blocked ? attention::kNmi : 0U)) |
                         cpu.non_root.attention_forced;
    if ((cpu.attention.load(std::memory_order_relaxed) & attention::kStep) != 0) {
        cpu.withdraw(attention::kStep);
    }
    DROSTE_DEBUG_ASSERT(attention_is_current(cpu));
}

// After a VM entry, or when the conditions of a window changed: tells the vCPU which attention it
// needs.
[[gnu::always_inline]] inline void arm_boundary(VmxState& vmx, Vcpu& cpu) {
    constexpr u32 kPin = pin::kVirtualNmis | pin::kPreemptionTimer;
    constexpr u32 kProc = proc::kMonitorTrapFlag | proc::kInterruptWindowExiting |
                          proc::kNmiWindowExiting | proc::kTprShadow;
    static_assert(pin::kExternalInterruptExiting == attention::kInterrupt);
    const ActiveControls& controls = vmx.guest.controls;
    cpu.non_root.attention_forced = attention::kVmx | (controls.pin & attention::kInterrupt);
    vmx.guest.mtf = MtfState::Off;
    cpu.non_root.step_forced = false;
    if (cpu.state.activity != Activity::Active) [[unlikely]] {
        arm_inactive(vmx);
    }
    if (controls.has_pin(kPin) || controls.has(kProc)) {
        arm_by_controls(vmx);
    }
    await_guest_events(cpu);
}

}  // namespace droste
