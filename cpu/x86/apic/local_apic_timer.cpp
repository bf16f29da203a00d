// The APIC timer: one-shot, periodic and TSC-deadline. SDM Vol. 3A, "APIC Timer".
//
// It counts the 25 MHz crystal of CPUID leaf 15H (40 ns of virtual time a tick) through its
// divider. Nothing ticks: a count-down is its start and its first value, the current count is
// computed when read, and one Timer of the machine's EventQueue fires when it reaches 0. The
// deadline mode compares the TSC, which moves with virtual time too.

#include "cpu/x86/apic/apic_registers.hpp"
#include "cpu/x86/apic/local_apic.hpp"
#include "cpu/x86/vcpu.hpp"

#include <algorithm>

namespace droste {

namespace reg = apic_reg;

namespace {

constexpr u64 kCrystalTickNs = 1'000'000'000 / LocalApic::kCrystalHz;

// SDM Vol. 3A, Figure "Divide Configuration Register": bits 3, 1, 0; 111B divides by 1.
constexpr u64 divisor(u32 configuration) {
    const u32 code = ((configuration >> 1) & 4) | (configuration & 3);
    return code == 7 ? 1 : u64{2} << code;
}
static_assert(divisor(0x0) == 2 && divisor(0x3) == 16 && divisor(0x8) == 32 &&
              divisor(0xA) == 128 && divisor(0xB) == 1);

}  // namespace

u64 LocalApic::tick_ns() const {
    return kCrystalTickNs * divisor(cell(reg::kDivideConfiguration));
}

u32 LocalApic::current_count() const {
    const u64 elapsed = (cpu_.events.now_ns() - count_start_ns_) / tick_ns();
    return elapsed < count_from_ ? static_cast<u32>(count_from_ - elapsed) : 0;
}

void LocalApic::start_timer(u32 count) {
    count_start_ns_ = cpu_.events.now_ns();
    count_from_ = count;
    if (count == 0) {
        timer_.disarm();
    } else {
        timer_.arm(deadline_after(count_start_ns_, u128{count} * tick_ns()));
    }
}

// The manual leaves a change of the divider under way open: the count goes on from where it is at
// the new rate.
void LocalApic::rescale_timer(u32 divide_configuration) {
    const u32 count = current_count();
    cell(reg::kDivideConfiguration) = divide_configuration;
    if (count_from_ != 0) {
        start_timer(count);
    }
}

// "Transitioning between TSC-deadline mode and other timer modes also disarms the timer." Between
// one-shot and periodic the count under way goes on and ends in the new way.
void LocalApic::change_timer_mode(u32 old_lvt, u32 new_lvt) {
    const bool was_deadline = (old_lvt & reg::kLvtTimerMode) == reg::kTimerTscDeadline;
    const bool is_deadline = (new_lvt & reg::kLvtTimerMode) == reg::kTimerTscDeadline;
    if (was_deadline != is_deadline) {
        timer_.disarm();
        count_from_ = 0;
        tsc_deadline_ = 0;
        cell(reg::kInitialCount) = 0;
    }
}

// --- TSC-deadline mode. ---

u64 LocalApic::deadline() const {
    return tsc_deadline_;
}

void LocalApic::set_deadline(u64 tsc_deadline) {
    if ((cell(reg::kLvtTimer) & reg::kLvtTimerMode) != reg::kTimerTscDeadline) {
        return;  // "In other timer modes ... the local APIC timer ignores writes to
                 // IA32_TSC_DEADLINE."
    }
    tsc_deadline_ = tsc_deadline;
    arm_deadline();
}

void LocalApic::tsc_changed() {
    if (tsc_deadline_ != 0) {
        arm_deadline();
    }
}

void LocalApic::arm_deadline() {
    if (tsc_deadline_ == 0) {
        timer_.disarm();
        return;
    }
    const u64 now = cpu_.events.now_ns();
    const u64 tsc = now + cpu_.state.tsc_offset;
    const u64 wait = tsc_deadline_ > tsc ? tsc_deadline_ - tsc : 0;
    static_assert(kTscHz == 1'000'000'000, "a TSC tick is a nanosecond");
    timer_.arm(deadline_after(now, wait));
}

void LocalApic::timer_expired(u64 deadline_ns) {
    if (tsc_deadline_ != 0) {
        tsc_deadline_ = 0;
        deliver_local(reg::kLvtTimer);
        return;
    }
    if ((cell(reg::kLvtTimer) & reg::kLvtTimerMode) == reg::kTimerPeriodic &&
        cell(reg::kInitialCount) != 0) {
        // From the deadline, not from now, so the period does not drift. Periods that passed while
        // the vCPU could not run are skipped in one step: their interrupts would have merged in
        // IRR.
        const u64 period = cell(reg::kInitialCount) * tick_ns();
        const u64 late = cpu_.events.now_ns() - deadline_ns;
        count_start_ns_ = deadline_ns + late / period * period;
        count_from_ = cell(reg::kInitialCount);
        timer_.arm(deadline_after(count_start_ns_, period));
    } else {
        count_from_ = 0;
    }
    deliver_local(reg::kLvtTimer);
}

}  // namespace droste
