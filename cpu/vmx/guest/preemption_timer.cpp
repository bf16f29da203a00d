#include "cpu/vmx/guest/preemption_timer.hpp"

#include "core/clock.hpp"
#include "cpu/vmx/vmx_state.hpp"

namespace droste {

namespace {

u64 ticks_now(const VmxState& vmx) {
    return vmx.cpu.tsc() >> vmx.caps.preemption_timer_rate;
}

}  // namespace

void start_preemption_timer(VmxState& vmx) {
    NonRoot& guest = vmx.guest;
    guest.timer_active = true;
    guest.timer_start_ticks = ticks_now(vmx);
    guest.timer_start_value = vmx.vmcs().preemption_timer_value;
    preemption_timer_fired(vmx);
}

// One TSC tick is one nanosecond (kTscHz); the counter moves when bit `rate` of the TSC changes.
void preemption_timer_fired(VmxState& vmx) {
    if (!vmx.guest.timer_active) {
        return;
    }
    if (preemption_timer_expired(vmx)) {
        vmx.cpu.request(attention::kVmx);
        return;
    }
    const unsigned rate = vmx.caps.preemption_timer_rate;
    const u64 into_tick = vmx.cpu.tsc() & ((u64{1} << rate) - 1);
    const u64 wait = (u64{remaining_preemption_timer(vmx)} << rate) - into_tick;
    vmx.preemption_timer.arm(deadline_after(vmx.cpu.clock.now_ns(), wait));
}

u32 remaining_preemption_timer(const VmxState& vmx) {
    const u64 elapsed = ticks_now(vmx) - vmx.guest.timer_start_ticks;
    const u32 start = vmx.guest.timer_start_value;
    return elapsed >= start ? 0 : start - static_cast<u32>(elapsed);
}

bool preemption_timer_expired(const VmxState& vmx) {
    return vmx.guest.timer_active && remaining_preemption_timer(vmx) == 0;
}

}  // namespace droste
