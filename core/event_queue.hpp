#pragma once
// Timers of the devices, ordered by virtual deadline.

#include "core/clock.hpp"
#include "core/types.hpp"

#include <functional>
#include <limits>
#include <vector>

namespace droste {

class EventQueue;

inline constexpr u64 kNever = std::numeric_limits<u64>::max();

// One re-armable timer. The callback gets the deadline it was armed for (not "now"), so periodic
// devices do not drift. Unarms itself before the callback runs; the callback may arm it again.
class Timer {
  public:
    Timer(EventQueue& queue, std::function<void(u64 deadline_ns)> callback);
    ~Timer();
    Timer(const Timer&) = delete;
    Timer& operator=(const Timer&) = delete;

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
    // Fires every timer whose deadline is <= now, in order.
    void run_due();
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
