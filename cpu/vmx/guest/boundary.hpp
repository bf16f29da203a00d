#pragma once
// What VMX looks at between instructions (boundary.cpp).

#include "core/assert.hpp"
#include "cpu/vmx/vmcs/controls.hpp"
#include "cpu/vmx/vmx_state.hpp"
#include "cpu/x86/system/attention.hpp"
#include "cpu/x86/system/boundary.hpp"

namespace droste {

// Under controls that ask for more than the exit of external interrupts.
void arm_by_controls(VmxState& vmx);
// In another activity state than active.
void arm_inactive(VmxState& vmx);

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
    update_attention(cpu, cpu.state.activity == Activity::Active ? 0 : vmx.held_back(cpu));
    DROSTE_DEBUG_ASSERT(attention_is_current(cpu));
}

}  // namespace droste
