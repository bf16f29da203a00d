// Virtual time in both modes. The free-running tests measure no speed: they assert what holds
// however long the native machine takes.

#include "core/clock.hpp"

#include <catch2/catch.hpp>

#include <chrono>
#include <thread>

using namespace droste;

TEST_CASE("counting: each instruction takes the same time", "[core][clock]") {
    Clock clock(Clock::Mode::Counting, 7);
    u64 retired = 0;
    clock.set_counter(&retired);
    CHECK(clock.now_ns() == 0);
    retired = 1;
    CHECK(clock.now_ns() == 7);
    retired = 1'000'000;
    CHECK(clock.now_ns() == 7'000'000);
    clock.synchronize();  // does nothing in this mode
    CHECK(clock.now_ns() == 7'000'000);
    CHECK(clock.native_sleep_ns(8'000'000) == 0);
}

TEST_CASE("time does not move when another vCPU's counter goes live", "[core][clock]") {
    Clock clock(Clock::Mode::Counting);
    u64 first = 0;
    u64 second = 123'456;
    clock.set_counter(&first);
    first = 10;
    clock.set_counter(&second);
    CHECK(clock.now_ns() == 100);
    second += 5;
    CHECK(clock.now_ns() == 150);
    first += 1000;  // is not live
    CHECK(clock.now_ns() == 150);
    clock.set_counter(&first);
    CHECK(clock.now_ns() == 150);
    clock.set_counter(nullptr);
    first += 1000;
    CHECK(clock.now_ns() == 150);
}

TEST_CASE("how many instructions may retire before a deadline", "[core][clock]") {
    Clock clock(Clock::Mode::Counting, 10);
    u64 retired = 0;
    clock.set_counter(&retired);
    CHECK(clock.instructions_until(100) == 10);
    CHECK(clock.instructions_until(101) == 11);  // the deadline is reached, not missed
    CHECK(clock.instructions_until(1) == 1);
    CHECK(clock.instructions_until(0) == 1);
    retired = 20;
    CHECK(clock.instructions_until(100) == 1);                // it has passed
    CHECK(clock.instructions_until(~u64{0}) == 100'000'000);  // looks again after a second
}

TEST_CASE("time moves forward to a deadline and never back", "[core][clock]") {
    Clock clock(Clock::Mode::Counting);
    clock.advance_to(5000);
    CHECK(clock.now_ns() == 5000);
    clock.advance_to(4000);
    CHECK(clock.now_ns() == 5000);
}

TEST_CASE("free-running: time follows the native clock and never runs backwards", "[core][clock]") {
    Clock clock(Clock::Mode::FreeRunning);
    u64 retired = 0;
    clock.set_counter(&retired);
    u64 last = clock.now_ns();
    for (unsigned quantum = 0; quantum < 20; ++quantum) {
        for (unsigned step = 0; step < 100; ++step) {
            retired += 1000;
            CHECK(clock.now_ns() >= last);
            last = clock.now_ns();
        }
        std::this_thread::sleep_for(std::chrono::microseconds(200));
        clock.synchronize();
        CHECK(clock.now_ns() >= last);
        last = clock.now_ns();
    }
}

// A translator retires several instructions a nanosecond: time must not run ahead of the native
// clock because of it.
TEST_CASE("free-running: the rate has no floor that a fast engine reaches", "[core][clock]") {
    Clock clock(Clock::Mode::FreeRunning);
    u64 retired = 0;
    clock.set_counter(&retired);
    constexpr unsigned kQuanta = 60;
    const auto start = std::chrono::steady_clock::now();
    for (unsigned quantum = 0; quantum < kQuanta; ++quantum) {
        std::this_thread::sleep_for(std::chrono::microseconds(100));
        retired +=
            4'000'000'000;  // more a nanosecond than any engine reaches, on a busy machine too
        clock.synchronize();
    }
    // With a floor of a quarter of a nanosecond these instructions would take 5 ms. The real time
    // counts instead, whatever it was: they are far less than a quantum's.
    const auto real = std::chrono::steady_clock::now() - start;
    const u64 quantum_ns = static_cast<u64>(real.count()) / kQuanta;
    const u64 before = clock.now_ns();
    retired += 20'000'000;
    CHECK(clock.now_ns() - before <= quantum_ns);
}

TEST_CASE("free-running: a sleep ends at the deadline, or before it with the native clock",
          "[core][clock]") {
    Clock clock(Clock::Mode::FreeRunning);
    constexpr u64 kDeadline = 2'000'000;
    CHECK(clock.native_sleep_ns(kDeadline) <= kDeadline);
    std::this_thread::sleep_for(std::chrono::nanoseconds(clock.native_sleep_ns(kDeadline)));
    clock.resume_from_sleep(kDeadline);
    CHECK(clock.now_ns() == kDeadline);
    CHECK(clock.native_sleep_ns(kDeadline) == 0);
    clock.resume_from_sleep(kDeadline + 1);
    CHECK(clock.now_ns() <= kDeadline + 1);
}

TEST_CASE("native: the monotonic clock, without what passed while it stood", "[core][clock]") {
    Clock clock(Clock::Mode::Native);
    u64 retired = 0;
    clock.set_counter(&retired);
    const u64 first = clock.now_ns();
    retired = 1'000'000'000;  // says nothing
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
    CHECK(clock.now_ns() == first);
    clock.move_on();
    const u64 second = clock.now_ns();
    CHECK(second >= first + 2'000'000);
    CHECK(clock.ns_at(0) >= second);
    CHECK(clock.line(&retired) == nullptr);

    const auto begin = std::chrono::steady_clock::now();
    clock.stop();
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    clock.go_on();
    const u64 third = clock.now_ns();
    const auto passed = std::chrono::steady_clock::now() - begin;
    CHECK(third >= second);
    CHECK(third - second <=
          static_cast<u64>(std::chrono::duration_cast<std::chrono::nanoseconds>(passed).count()) -
              15'000'000);

    const u64 far = clock.now_ns() + 50'000'000;
    CHECK(clock.native_sleep_ns(far) <= 50'000'000);
    CHECK(clock.native_sleep_ns(far) != 0);
    CHECK(clock.native_sleep_ns(0) == 0);
}
