#pragma once
// Timers of the devices, ordered by virtual deadline.
//
// Device registers can ask for times that no run reaches and no u64 of nanoseconds holds: a TSC
// deadline of all ones, a comparator 2^64 ticks away. Arithmetic on such deadlines would wrap and
// make them due at once, again and again. So there is an end of time, 146 years after power-on:
// a deadline behind it never comes, and deadlines are computed by the helpers here, which
// saturate, and by nothing else. Virtual time itself stays before it, because it only ever moves to
// deadlines.

#include "core/clock.hpp"
#include "core/types.hpp"

#include <functional>
#include <limits>
#include <vector>

namespace droste {

class EventQueue;

inline constexpr u64 kNever = std::numeric_limits<u64>::max();
inline constexpr u64 kEndOfTime = u64{1} << 62;

// `ns` after `from_ns`.
constexpr u64 deadline_after(u64 from_ns, u128 ns) {
    return from_ns < kEndOfTime && ns < kEndOfTime - from_ns ? from_ns + static_cast<u64>(ns)
                                                             : kNever;
}
// When `ticks` ticks of a clock of `hz` have passed since power-on: the first nanosecond at which
// now_ns * hz / 10^9 has reached them.
constexpr u64 deadline_of_tick(u128 ticks, u64 hz) {
    constexpr u64 kNsPerSecond = 1'000'000'000;
    return ticks < u128{kEndOfTime} ? deadline_after(0, (ticks * kNsPerSecond + hz - 1) / hz)
                                    : kNever;
}

// One re-armable timer. The callback gets the deadline it was armed for (not "now"), so periodic
// devices do not drift. Unarms itself before the callback runs; the callback may arm it again.
class Timer {
  public:
    Timer(EventQueue& queue, std::function<void(u64 deadline_ns)> callback);
    ~Timer();
    Timer(const Timer&) = delete;
    Timer& operator=(const Timer&) = delete;

    // From kEndOfTime on it disarms.
    void arm(u64 deadline_ns);
    void disarm();
    bool armed() const { return deadline_ns_ != kNever; }
    u64 deadline_ns() const { return deadline_ns_; }

  private:
    friend class EventQueue;
    EventQueue& queue_;
    std::function<void(u64)> callback_;
    u64 deadline_ns_ = kNever;
    u64 sequence_ = 0;  // ties fire in arming order: runs are repeatable
};

class EventQueue {
  public:
    explicit EventQueue(Clock& clock) : clock_(clock) {}
    EventQueue(const EventQueue&) = delete;
    EventQueue& operator=(const EventQueue&) = delete;

    Clock& clock() { return clock_; }
    u64 now_ns() const { return clock_.now_ns(); }
    u64 next_deadline_ns() const { return next_deadline_ns_; }
    // Fires every timer whose deadline is <= now, in order; the rest of very many at the next call,
    // so that a guest with a timer of a few nanoseconds does not hold up the machine.
    void run_due();
    static constexpr unsigned kMostAtOnce = 10'000;
    // Called when the earliest deadline moves closer: the machine kicks the running vCPU.
    void set_earlier_callback(std::function<void()> callback) { on_earlier_ = std::move(callback); }

  private:
    friend class Timer;
    void add(Timer& timer);
    void remove(Timer& timer);
    void refresh();

    Clock& clock_;
    std::vector<Timer*> timers_;  // a machine has a few dozen: a scan beats a heap
    u64 next_deadline_ns_ = kNever;
    u64 next_sequence_ = 0;
    std::function<void()> on_earlier_;
};

}  // namespace droste
