#include "core/clock.hpp"

#include <algorithm>
#include <chrono>

namespace droste {

// Slewing: at each synchronize() the rate becomes what would have made virtual time meet the native
// machine's at the next one, from the speed just measured; bounded, so a paused process does not
// make the guest's clock leap.
namespace {
constexpr u64 kMaxNsPerInsn = 2000;        // a machine this slow is being starved, not running
constexpr u64 kMaxCatchUpNs = 20'000'000;  // what a single synchronize() tries to make up for
constexpr u64 kMinMeasuredNs = 50'000;     // shorter stretches measure noise
constexpr u64 kMaxInsnsPerNs = 256;        // faster than any engine will be
}  // namespace

Clock::Clock(Mode mode, u64 counting_ns)
    : mode_(mode)
    , counter_(&zero_counter_)
    , line_{.rate = counting_ns << kRateShift} {
    native_origin_ns_ = native_ns();
    last_sync_native_ns_ = native_origin_ns_;
}

u64 Clock::native_ns() {
    return static_cast<u64>(std::chrono::duration_cast<std::chrono::nanoseconds>(
                                std::chrono::steady_clock::now().time_since_epoch())
                                .count());
}

void Clock::rebase() {
    line_.base_ns = now_ns();
    line_.base_count = count();
}

u64 Clock::instructions_until(u64 deadline_ns) const {
    if (mode_ == Mode::Native) {
        return ~u64{0};  // whoever waits for the deadline is not the vCPU
    }
    const u64 now = now_ns();
    if (deadline_ns <= now) {
        return 1;
    }
    const u64 distance = std::min<u64>(deadline_ns - now, 1'000'000'000);
    return std::max<u64>(1, ((distance << kRateShift) + line_.rate - 1) / line_.rate);
}

void Clock::set_counter(const u64* counter, Ahead ahead, const void* context) {
    if (mode_ == Mode::Native) {
        return;
    }
    rebase();
    retired_before_ += count() - counter_start_;
    counter_ = counter != nullptr ? counter : &zero_counter_;
    ahead_ = ahead;
    context_ = context;
    line_.base_count = count();
    counter_start_ = line_.base_count;
}

u64 Clock::total_retired() const {
    return retired_before_ + (count() - counter_start_);
}

void Clock::synchronize() {
    if (mode_ != Mode::FreeRunning) {
        return;
    }
    const u64 native = native_ns();
    const u64 elapsed = native - last_sync_native_ns_;
    const u64 retired = total_retired() - last_sync_count_;
    if (elapsed < kMinMeasuredNs || retired == 0) {
        return;
    }
    rebase();
    const u64 target = native - native_origin_ns_;
    // Native time falls far ahead (the process was stopped): give the time up instead of rushing
    // the guest.
    if (target > line_.base_ns + kMaxCatchUpNs * 10) {
        native_origin_ns_ += target - line_.base_ns - kMaxCatchUpNs;
    }
    const i64 behind =
        static_cast<i64>(native - native_origin_ns_) - static_cast<i64>(line_.base_ns);
    const i64 correction =
        std::clamp<i64>(behind, -static_cast<i64>(elapsed) / 2, static_cast<i64>(elapsed));
    const u64 wanted_ns = elapsed + static_cast<u64>(correction);
    const u64 measured = (wanted_ns << kRateShift) / retired;
    // Half old, half new: short bursts of slow instructions do not swing the rate.
    line_.rate =
        std::clamp<u64>((line_.rate + measured) / 2, (u64{1} << kRateShift) / kMaxInsnsPerNs,
                        kMaxNsPerInsn << kRateShift);
    last_sync_native_ns_ = native;
    last_sync_count_ = total_retired();
}

void Clock::advance_to(u64 deadline_ns) {
    rebase();
    line_.base_ns = std::max(line_.base_ns, deadline_ns);
}

u64 Clock::native_sleep_ns(u64 deadline_ns) const {
    if (mode_ == Mode::Counting) {
        return 0;
    }
    const u64 virtual_now_by_native = native_ns() - native_origin_ns_;
    const u64 now = std::max(now_ns(), virtual_now_by_native);
    return deadline_ns > now ? deadline_ns - now : 0;
}

void Clock::resume_from_sleep(u64 limit_ns) {
    if (mode_ != Mode::FreeRunning) {
        return;
    }
    rebase();
    const u64 native = native_ns();
    line_.base_ns = std::max(line_.base_ns, std::min(limit_ns, native - native_origin_ns_));
    last_sync_native_ns_ = native;
    last_sync_count_ = total_retired();
}

}  // namespace droste
