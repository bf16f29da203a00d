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
    // One TSC tick is one nanosecond (kTscHz).
    const u64 deadline_tsc = (guest.timer_start_ticks + guest.timer_start_value)
                             << vmx.caps.preemption_timer_rate;
    const u64 now_tsc = vmx.cpu.tsc();
    const u64 now_ns = vmx.cpu.clock.now_ns();
    guest.timer_deadline_ns = deadline_tsc <= now_tsc ? now_ns : now_ns + (deadline_tsc - now_tsc);
    if (preemption_timer_expired(vmx)) {
        vmx.cpu.request(attention::kVmx);
    } else if (!vmx.preemption_timer.armed() ||
               vmx.preemption_timer.deadline_ns() > guest.timer_deadline_ns) {
        vmx.preemption_timer.arm(guest.timer_deadline_ns);
    }
}

void preemption_timer_fired(VmxState& vmx) {
    if (!vmx.guest.timer_active) {
        return;
    }
    if (preemption_timer_expired(vmx)) {
        vmx.cpu.request(attention::kVmx);
    } else {
        vmx.preemption_timer.arm(vmx.guest.timer_deadline_ns);
    }
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
