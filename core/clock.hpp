#pragma once
// Virtual time. One Clock drives TSC, PIT, HPET, APIC timer, PM timer and RTC of a machine.
//
// The problem: a guest compares its timers with each other and with the work it does between two
// looks at them, a person compares them with the wall clock, and a test wants two runs to be the
// same.
//
// The choice: virtual time always advances with retired instructions, so a guest that measures a
// short stretch never sees a jump. What differs between the two modes is the rate and what idling
// does:
//  - free-running: at each synchronize() the rate is slewed so that virtual time tracks the native
//    machine's monotonic clock; idling sleeps.
//  - counting (--icount): a fixed number of ns for each instruction (--icount-ns,
//    kCountingNsPerInsn unless told); idling skips to the next deadline. Two runs are identical.
//  - native: the native machine's monotonic clock, for vCPUs on threads of their own: no count of
//    instructions is everybody's. What passes between stop() and go_on() did not happen.
// Time is in nanoseconds from power-on. The guest's TSC ticks at kTscHz, i.e. once a nanosecond.
//
// Rejected for one thread: the native clock as it is (calibration loops see the emulator's pauses, a system call or
// a vendor's TSC stands behind each RDTSC, and the sources of time drift apart in a stretch of
// emulation); a fixed rate without a tie to the native clock (a guest's second would be as long as
// the guest is hard to emulate); making a stopped process's time up afterwards (a storm of ticks:
// what is missed by more than a little is given up). docs/decisions/0007-time-slewing.md tells more.

#include "core/types.hpp"

namespace droste {

inline constexpr u64 kTscHz = 1'000'000'000;

class Clock {
  public:
    enum class Mode : u8 { FreeRunning, Counting, Native };

    static constexpr u64 kCountingNsPerInsn = 10;
    static constexpr u64 kMaxCountingNsPerInsn = 1000;

    // `counting_ns`: ns an instruction in counting mode, 1 to kMaxCountingNsPerInsn.
    explicit Clock(Mode mode, u64 counting_ns = kCountingNsPerInsn);

    Mode mode() const { return mode_; }
    // Current virtual time in ns: monotonic, cheap (no system call).
    u64 now_ns() const { return mode_ == Mode::Native ? latched_ns() : ns_at(count()); }
    // When the live counter, with what it is ahead, stood at `count`; since the last change of rate.
    // Now, by the native clock.
    u64 ns_at(u64 count) const {
        if (mode_ == Mode::Native) [[unlikely]] {
            return now_ns();
        }
        return line_.base_ns + (((count - line_.base_count) * line_.rate) >> kRateShift);
    }
    // What ns_at() computes with, for code that does it itself.
    static constexpr unsigned kRateShift = 20;
    struct Line {
        u64 base_ns = 0;
        u64 base_count = 0;
        u64 rate = 0;  // ns an instruction, shifted left by kRateShift
    };
    // Null: time does not go by this counter.
    const Line* line(const u64* counter) const {
        return counter == counter_ && mode_ != Mode::Native ? &line_ : nullptr;
    }
    // How many instructions may retire before `deadline_ns`; at least 1.
    u64 instructions_until(u64 deadline_ns) const;

    // Which retired-instruction counter is live (the running vCPU's). Time does not move at the
    // switch.
    // `ahead`: how many more have retired than the counter says, for an engine that counts block
    // by block.
    using Ahead = u64 (*)(const void* context);
    void set_counter(const u64* counter, Ahead ahead = nullptr, const void* context = nullptr);
    // Free-running: reads the native clock and slews the rate. Counting: does nothing. Call every
    // quantum.
    void synchronize();
    // All vCPUs idle until `deadline_ns`, or until the native machine slept this long: moves time
    // forward.
    void advance_to(u64 deadline_ns);
    // Free-running: native ns to sleep so that virtual time would reach `deadline_ns` (0 in
    // counting mode).
    u64 native_sleep_ns(u64 deadline_ns) const;
    // Free-running, after an idle sleep: virtual time becomes the native machine's, but at most
    // `limit_ns`.
    void resume_from_sleep(u64 limit_ns);
    // Native: time stands still from stop() to go_on(). Only while nobody asks for it.
    void stop() { stopped_at_ns_ = native_ns(); }
    void go_on() {
        native_origin_ns_ += native_ns() - stopped_at_ns_;
        move_on();
    }
    // Native: the next look sees another time. Until then all see the same, so that what is computed
    // out of several looks in one instruction or one timer's callback agrees.
    void move_on() { latched_ns_ = 0; }

  private:
    static u64 native_ns();
    u64 latched_ns() const {
        if (latched_ns_ == 0) {
            latched_ns_ = native_ns() - native_origin_ns_;
        }
        return latched_ns_;
    }
    void rebase();
    u64 count() const { return *counter_ + (ahead_ != nullptr ? ahead_(context_) : 0); }
    u64 total_retired() const;  // over all counters that were ever live

    Mode mode_;
    const u64* counter_;
    Ahead ahead_ = nullptr;
    const void* context_ = nullptr;
    u64 zero_counter_ = 0;
    Line line_;
    u64 native_origin_ns_ = 0;  // native time at which virtual time was 0
    u64 stopped_at_ns_ = 0;
    mutable u64 latched_ns_ = 0;
    u64 last_sync_native_ns_ = 0;
    u64 last_sync_count_ = 0;
    u64 counter_start_ = 0;   // *counter_ when it went live
    u64 retired_before_ = 0;  // retired by the counters before it
};

}  // namespace droste
