// The HPET: main counter, comparators, legacy replacement. IA-PC HPET 1.0a.

#include "devices/time/hpet.hpp"
#include "tests/unit/devices/device_test_support.hpp"

#include <catch2/catch.hpp>

using namespace droste;
using namespace droste::test;

namespace {

constexpr PhysAddr kBase = Hpet::kDefaultBase;
constexpr u64 kMicrosecond = 1'000;
constexpr u64 kLevel = 2;
constexpr u64 kInterrupt = 4;
constexpr u64 kPeriodic = 8;
constexpr u64 kValueSet = 0x40;
constexpr u64 k32Bit = 0x100;
constexpr u64 kRoute20 = 20U << 9;

struct Board {
    FakeTime time;
    RecordingLine irq0;
    RecordingLine irq8;
    RecordingLine gsi20;
    Hpet hpet{time.events(), irq0, irq8, gsis()};

    Hpet::Gsis gsis() {
        Hpet::Gsis lines{};
        lines[20] = &gsi20;
        return lines;
    }
    void config(unsigned n, u64 value) {
        store<u32>(hpet, kBase + 0x100 + 0x20 * n, static_cast<u32>(value));
    }
    void comparator(unsigned n, u64 value) { store<u64>(hpet, kBase + 0x108 + 0x20 * n, value); }
    u64 comparator(unsigned n) { return load<u64>(hpet, kBase + 0x108 + 0x20 * n); }
    void enable(bool legacy = false) { store<u64>(hpet, kBase + 0x10, legacy ? 3 : 1); }
    u64 counter() { return load<u64>(hpet, kBase + 0xF0); }
};

}  // namespace

TEST_CASE("HPET: three 64-bit periodic comparators at 10 ns, legacy capable", "[devices][hpet]") {
    Board board;
    CHECK(load<u64>(board.hpet, kBase) == 0x0098'9680'8086'A201);
    CHECK(load<u64>(board.hpet, kBase + 0x100) == (u64{1} << 52 | 0x30));
    CHECK(load<u64>(board.hpet, kBase + 0x160) == 0);
}

TEST_CASE("HPET: the counter runs while enabled and can be written while halted",
          "[devices][hpet]") {
    Board board;
    board.time.advance(50 * kMicrosecond);
    CHECK(board.counter() == 0);
    board.enable();
    board.time.advance(50 * kMicrosecond);
    CHECK(board.counter() == 5000);
    store<u64>(board.hpet, kBase + 0xF0, 7);
    CHECK(board.counter() == 5000);
    store<u64>(board.hpet, kBase + 0x10, 0);
    store<u32>(board.hpet, kBase + 0xF4, 1);
    CHECK(board.counter() == (u64{1} << 32 | 5000));
}

TEST_CASE("HPET: a one-shot edge interrupt comes once, at its tick", "[devices][hpet]") {
    Board board;
    board.config(2, kInterrupt | kRoute20);
    board.comparator(2, 1000);
    board.enable();
    board.time.advance(10 * kMicrosecond - 1);
    CHECK(board.gsi20.rises == 0);
    board.time.advance(1);
    CHECK(board.gsi20.rises == 1);
    board.time.advance(1'000 * kMicrosecond);
    CHECK(board.gsi20.rises == 1);
    CHECK(board.time.events().next_deadline_ns() == kNever);
}

TEST_CASE("HPET: a comparator written too late does not match", "[devices][hpet]") {
    Board board;
    board.enable();
    board.config(2, kInterrupt | kRoute20);
    board.time.advance(100 * kMicrosecond);
    board.comparator(2, 10);
    board.time.advance(1'000'000 * kMicrosecond);
    CHECK(board.gsi20.rises == 0);
}

TEST_CASE("HPET: a 32-bit comparator matches again after the counter wraps", "[devices][hpet]") {
    Board board;
    board.config(2, kInterrupt | kRoute20 | k32Bit);
    board.comparator(2, 0x1'0000'0010);
    CHECK(board.comparator(2) == 0x10);
    board.enable();
    board.time.advance(1 * kMicrosecond);
    CHECK(board.gsi20.rises == 1);
    board.time.advance(10 * (u64{1} << 32));
    CHECK(board.gsi20.rises == 2);
}

TEST_CASE("HPET: a 32-bit comparator compares the lower half of the counter", "[devices][hpet]") {
    Board board;
    store<u32>(board.hpet, kBase + 0xF4, 1);  // the counter is at 2^32
    board.config(2, kInterrupt | kRoute20 | k32Bit);
    board.comparator(2, 0x10);
    board.enable();
    board.time.advance(0x10 * Hpet::kTickNs - 1);
    CHECK(board.gsi20.rises == 0);
    board.time.advance(1);
    CHECK(board.gsi20.rises == 1);
}

TEST_CASE("HPET: a level interrupt holds its wire until its status bit is written 1",
          "[devices][hpet]") {
    Board board;
    board.config(1, kInterrupt | kLevel | kRoute20);
    board.comparator(1, 100);
    board.enable();
    board.time.advance(2 * kMicrosecond);
    CHECK(board.gsi20.level);
    CHECK(load<u32>(board.hpet, kBase + 0x20) == 2);
    store<u32>(board.hpet, kBase + 0x20, 2);
    CHECK_FALSE(board.gsi20.level);
    CHECK(load<u32>(board.hpet, kBase + 0x20) == 0);
}

TEST_CASE("HPET: periodic mode takes the first match and then the period", "[devices][hpet]") {
    Board board;
    board.enable();
    board.config(0, kInterrupt | kPeriodic | kValueSet | kRoute20);
    board.comparator(0, 500);
    CHECK((load<u32>(board.hpet, kBase + 0x100) & kValueSet) == 0);
    board.comparator(0, 1000);
    board.time.advance(5 * kMicrosecond);
    CHECK(board.gsi20.rises == 1);
    CHECK(board.comparator(0) == 1500);
    board.time.advance(100 * kMicrosecond);
    CHECK(board.gsi20.rises == 11);
    CHECK(board.comparator(0) == 11'500);
}

TEST_CASE("HPET: periods that a leap passes over are one interrupt, and the grid holds",
          "[devices][hpet]") {
    Board board;
    board.enable();
    board.config(0, kInterrupt | kPeriodic | kValueSet | kRoute20);
    board.comparator(0, 1000);
    board.time.leap(55 * kMicrosecond);
    CHECK(board.gsi20.rises == 1);
    CHECK(board.comparator(0) == 6000);
}

TEST_CASE("HPET: legacy replacement takes IRQ 0 and IRQ 8 from the 8254 and the RTC",
          "[devices][hpet]") {
    Board board;
    board.hpet.pit_input().pulse();
    CHECK(board.irq0.rises == 1);
    board.config(0, kInterrupt);
    board.config(1, kInterrupt);
    board.comparator(0, 100);
    board.comparator(1, 200);
    board.enable(true);
    board.hpet.pit_input().pulse();
    board.hpet.rtc_input().pulse();
    CHECK(board.irq0.rises == 1);
    CHECK(board.irq8.rises == 0);
    board.time.advance(3 * kMicrosecond);
    CHECK(board.irq0.rises == 2);
    CHECK(board.irq8.rises == 1);
    board.hpet.pit_input().set_level(true);
    board.enable(false);
    CHECK(board.irq0.level);
}

TEST_CASE("HPET: only wired inputs can be chosen as route", "[devices][hpet]") {
    Board board;
    board.config(0, kRoute20);
    board.config(0, 21U << 9);
    CHECK((load<u32>(board.hpet, kBase + 0x100) & 0x3E00) == kRoute20);
}

TEST_CASE("HPET: survives any access sequence and still works after reset",
          "[devices][hpet][storm]") {
    Board board;
    mmio_storm(board.hpet, board.time,
               [&](u32 random) { board.hpet.set_input(random % 2, (random & 4) != 0); });
    board.hpet.reset();
    CHECK(board.time.events().next_deadline_ns() == kNever);
    CHECK_FALSE(board.gsi20.level);
    board.enable();
    board.time.advance(kMicrosecond);
    CHECK(board.counter() == 100);
}
