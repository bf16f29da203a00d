// Timers: order, ties, re-arming, and times that no run reaches.

#include "core/event_queue.hpp"

#include <catch2/catch.hpp>

#include <memory>
#include <vector>

using namespace droste;

namespace {

struct Queue {
    Clock clock{Clock::Mode::Counting};
    EventQueue events{clock};
    std::vector<unsigned> fired;

    std::unique_ptr<Timer> timer(unsigned name) {
        return std::make_unique<Timer>(events, [this, name](u64) { fired.push_back(name); });
    }
};

}  // namespace

TEST_CASE("timers fire in the order of their deadlines", "[core][events]") {
    Queue q;
    const auto late = q.timer(3), early = q.timer(1), middle = q.timer(2);
    late->arm(300);
    early->arm(100);
    middle->arm(200);
    CHECK(q.events.next_deadline_ns() == 100);
    q.clock.advance_to(250);
    q.events.run_due();
    CHECK(q.fired == std::vector<unsigned>{1, 2});
    CHECK(q.events.next_deadline_ns() == 300);
    CHECK_FALSE(early->armed());
    CHECK(late->armed());
}

TEST_CASE("timers with equal deadlines fire in the order they were armed in", "[core][events]") {
    Queue q;
    const auto a = q.timer(1), b = q.timer(2), c = q.timer(3);
    b->arm(100);
    c->arm(100);
    a->arm(100);
    b->arm(100);  // armed again: it goes behind the others
    q.clock.advance_to(100);
    q.events.run_due();
    CHECK(q.fired == std::vector<unsigned>{3, 1, 2});
}

TEST_CASE("a callback gets its deadline, not the present time, and may arm its timer again",
          "[core][events]") {
    Clock clock(Clock::Mode::Counting);
    EventQueue events(clock);
    std::vector<u64> deadlines;
    Timer* self = nullptr;
    Timer timer(events, [&](u64 deadline_ns) {
        CHECK_FALSE(self->armed());
        deadlines.push_back(deadline_ns);
        if (deadlines.size() < 3) {
            self->arm(deadline_ns + 10);
        }
    });
    self = &timer;
    timer.arm(5);
    clock.advance_to(100);
    events.run_due();
    CHECK(deadlines == std::vector<u64>{5, 15, 25});
}

TEST_CASE("a timer due exactly now fires, one a nanosecond later does not", "[core][events]") {
    Queue q;
    const auto now = q.timer(1), later = q.timer(2);
    now->arm(1000);
    later->arm(1001);
    q.clock.advance_to(1000);
    q.events.run_due();
    CHECK(q.fired == std::vector<unsigned>{1});
}

TEST_CASE("the machine is told when the earliest deadline moves closer, and only then",
          "[core][events]") {
    Queue q;
    unsigned told = 0;
    q.events.set_earlier_callback([&] { ++told; });
    const auto a = q.timer(1), b = q.timer(2);
    a->arm(500);
    CHECK(told == 1);
    b->arm(600);
    CHECK(told == 1);
    b->arm(400);
    CHECK(told == 2);
    b->disarm();
    a->arm(900);
    CHECK(told == 2);
    CHECK(q.events.next_deadline_ns() == 900);
}

TEST_CASE("a timer that is destroyed never fires", "[core][events]") {
    Queue q;
    {
        const auto gone = q.timer(1);
        gone->arm(10);
    }
    q.clock.advance_to(20);
    q.events.run_due();
    CHECK(q.fired.empty());
    CHECK(q.events.next_deadline_ns() == kNever);
}

TEST_CASE("deadlines saturate instead of wrapping", "[core][events]") {
    constexpr u64 kHz = 1'193'182;
    CHECK(deadline_after(100, 50) == 150);
    CHECK(deadline_after(100, ~u64{0} - 50) == kNever);
    CHECK(deadline_after(kEndOfTime - 1, 1) == kNever);
    CHECK(deadline_after(kEndOfTime - 2, 1) == kEndOfTime - 1);
    CHECK(deadline_after(kNever, 0) == kNever);
    CHECK(deadline_after(0, ~u128{0}) == kNever);
    // The first nanosecond at which the tick has been reached.
    for (const u64 tick : {u64{1}, u64{2}, u64{65'536}, u64{1} << 40}) {
        const u64 ns = deadline_of_tick(tick, kHz);
        CHECK(u128{ns} * kHz / 1'000'000'000 == tick);
        CHECK(u128{ns - 1} * kHz / 1'000'000'000 == tick - 1);
    }
    CHECK(deadline_of_tick(~u64{0}, kHz) == kNever);
    CHECK(deadline_of_tick(~u128{0}, kHz) == kNever);
}

TEST_CASE("a deadline behind the end of time never comes", "[core][events]") {
    Queue q;
    const auto timer = q.timer(1);
    timer->arm(100);
    timer->arm(kEndOfTime);
    CHECK_FALSE(timer->armed());
    CHECK(q.events.next_deadline_ns() == kNever);
    timer->arm(kEndOfTime - 1);
    CHECK(timer->armed());
}

TEST_CASE("a timer of one nanosecond does not hold up the machine", "[core][events]") {
    Clock clock(Clock::Mode::Counting);
    EventQueue events(clock);
    u64 fired = 0;
    Timer* self = nullptr;
    Timer timer(events, [&](u64 deadline_ns) {
        ++fired;
        self->arm(deadline_ns + 1);
    });
    self = &timer;
    timer.arm(1);
    clock.advance_to(1'000'000'000);
    events.run_due();
    CHECK(fired == EventQueue::kMostAtOnce);
    events.run_due();  // none is lost
    CHECK(fired == 2 * EventQueue::kMostAtOnce);
    CHECK(timer.deadline_ns() == fired + 1);
}
