// The APIC timer: one-shot, periodic, TSC deadline. SDM Vol. 3A, "APIC Timer".

#include "tests/unit/apic/apic_test_support.hpp"

#include <catch2/catch.hpp>

using namespace droste;
using namespace droste::test;

namespace {

constexpr u8 kVector = 0xEC;
constexpr u32 kDivideBy1 = 0xB;
constexpr u64 kTickNs = 40;  // 25 MHz

// Takes the timer's interrupt if it is there.
bool take(ApicMachine& machine) {
    if (machine.apic().pending_vector() != kVector) {
        return false;
    }
    (void)machine.apic().acknowledge();
    machine.write(reg::kEoi, 0);
    return true;
}

void start(ApicMachine& machine, u32 lvt, u32 count, u32 divide = kDivideBy1) {
    machine.enable();
    machine.write(reg::kDivideConfiguration, divide);
    machine.write(reg::kLvtTimer, lvt | kVector);
    machine.write(reg::kInitialCount, count);
}

}  // namespace

TEST_CASE("APIC timer: one-shot counts down at 25 MHz and fires once", "[apic][timer]") {
    ApicMachine machine;
    start(machine, reg::kTimerOneShot, 100);
    machine.pass(50 * kTickNs);
    CHECK(machine.read(reg::kCurrentCount) == 50);
    CHECK_FALSE(take(machine));
    machine.pass(50 * kTickNs);
    CHECK(machine.read(reg::kCurrentCount) == 0);
    CHECK(take(machine));
    machine.pass(1000 * kTickNs);
    CHECK_FALSE(take(machine));
    CHECK(machine.read(reg::kInitialCount) == 100);
}

TEST_CASE("APIC timer: every divide configuration", "[apic][timer]") {
    const u32 divisors[] = {2, 4, 8, 16, 32, 64, 128, 1};
    for (u32 code = 0; code < 8; ++code) {
        ApicMachine machine;
        const u32 configuration = (code & 3) | (code & 4) << 1;
        start(machine, reg::kTimerOneShot, 10, configuration);
        machine.pass(3 * kTickNs * divisors[code]);
        CAPTURE(code);
        CHECK(machine.read(reg::kCurrentCount) == 7);
        CHECK(machine.read(reg::kDivideConfiguration) == configuration);
    }
}

TEST_CASE("APIC timer: periodic reloads and does not drift", "[apic][timer]") {
    ApicMachine machine;
    start(machine, reg::kTimerPeriodic, 25);  // 1 us
    unsigned fired = 0;
    for (unsigned i = 0; i < 100; ++i) {
        machine.pass(1000);
        fired += take(machine) ? 1U : 0U;
    }
    CHECK(fired == 100);
    machine.pass(400);
    CHECK(machine.read(reg::kCurrentCount) == 15);
}

TEST_CASE("APIC timer: periods missed while nothing ran merge into one interrupt",
          "[apic][timer]") {
    ApicMachine machine;
    start(machine, reg::kTimerPeriodic, 25);
    machine.jump(1'000'000'400);
    CHECK(take(machine));
    CHECK_FALSE(take(machine));
    CHECK(machine.read(reg::kCurrentCount) == 15);
    machine.pass(600);
    CHECK(take(machine));
}

TEST_CASE("APIC timer: masked, it counts without interrupting; an initial count of 0 stops it",
          "[apic][timer]") {
    ApicMachine machine;
    start(machine, reg::kTimerPeriodic | reg::kLvtMasked, 25);
    machine.pass(2400);
    CHECK(machine.read(reg::kCurrentCount) == 15);
    CHECK_FALSE(take(machine));
    machine.write(reg::kLvtTimer, reg::kTimerPeriodic | kVector);
    machine.pass(1000);
    CHECK(take(machine));
    machine.write(reg::kInitialCount, 0);
    machine.pass(10'000);
    CHECK(machine.read(reg::kCurrentCount) == 0);
    CHECK_FALSE(take(machine));
}

TEST_CASE("APIC timer: a new divisor keeps the count", "[apic][timer]") {
    ApicMachine machine;
    start(machine, reg::kTimerOneShot, 100);
    machine.pass(40 * kTickNs);
    machine.write(reg::kDivideConfiguration, 0);  // by 2
    CHECK(machine.read(reg::kCurrentCount) == 60);
    machine.pass(119 * kTickNs);
    CHECK_FALSE(take(machine));
    machine.pass(kTickNs);
    CHECK(take(machine));
}

TEST_CASE("APIC timer: the largest count and divisor do not overflow", "[apic][timer]") {
    ApicMachine machine;
    start(machine, reg::kTimerOneShot, 0xFFFF'FFFF, 0xA);
    CHECK(machine.read(reg::kCurrentCount) == 0xFFFF'FFFF);
    machine.jump(u64{128} * kTickNs * 0xFFFF'FFFE);
    CHECK(machine.read(reg::kCurrentCount) == 1);
    CHECK_FALSE(take(machine));
    machine.jump(128 * kTickNs);
    CHECK(take(machine));
}

TEST_CASE("TSC deadline: fires when the TSC gets there, then reads 0", "[apic][timer]") {
    ApicMachine machine;
    machine.enable();
    machine.write(reg::kLvtTimer, reg::kTimerTscDeadline | kVector);
    const u64 deadline = machine.cpu().tsc() + 5000;
    machine.apic().set_deadline(deadline);
    CHECK(machine.apic().deadline() == deadline);
    machine.pass(4990);
    CHECK_FALSE(take(machine));
    machine.pass(10);
    CHECK(take(machine));
    CHECK(machine.apic().deadline() == 0);
    machine.apic().set_deadline(1);  // in the past: at once
    machine.pass(10);
    CHECK(take(machine));
}

TEST_CASE("TSC deadline: 0 disarms, and the farthest deadline is harmless", "[apic][timer]") {
    ApicMachine machine;
    machine.enable();
    machine.write(reg::kLvtTimer, reg::kTimerTscDeadline | kVector);
    machine.apic().set_deadline(machine.cpu().tsc() + 100);
    machine.apic().set_deadline(0);
    machine.pass(1000);
    CHECK_FALSE(take(machine));
    machine.apic().set_deadline(~u64{0});
    machine.pass(1000);
    CHECK_FALSE(take(machine));
    CHECK(machine.apic().deadline() == ~u64{0});
}

TEST_CASE("TSC deadline: moving the TSC moves the interrupt", "[apic][timer]") {
    ApicMachine machine;
    machine.enable();
    machine.write(reg::kLvtTimer, reg::kTimerTscDeadline | kVector);
    machine.apic().set_deadline(machine.cpu().tsc() + 100'000);
    machine.cpu().state.tsc_offset += 99'000;
    machine.apic().tsc_changed();
    machine.pass(990);
    CHECK_FALSE(take(machine));
    machine.pass(10);
    CHECK(take(machine));
}

TEST_CASE(
    "TSC deadline: other modes ignore it, it ignores the initial count, and changing mode disarms",
    "[apic][timer]") {
    ApicMachine machine;
    start(machine, reg::kTimerOneShot, 100);
    machine.apic().set_deadline(machine.cpu().tsc() + 10);
    CHECK(machine.apic().deadline() == 0);

    machine.write(reg::kLvtTimer, reg::kTimerTscDeadline | kVector);
    CHECK(machine.read(reg::kCurrentCount) == 0);
    machine.pass(200 * kTickNs);
    CHECK_FALSE(take(machine));  // the one-shot was disarmed
    machine.write(reg::kInitialCount, 50);
    CHECK(machine.read(reg::kCurrentCount) == 0);

    machine.apic().set_deadline(machine.cpu().tsc() + 1000);
    machine.write(reg::kLvtTimer, reg::kTimerOneShot | kVector);
    machine.pass(2000);
    CHECK_FALSE(take(machine));
}

TEST_CASE("TSC deadline: without the feature the mode bit does not exist", "[apic][timer]") {
    ApicMachine machine(1, "nested,-tsc-deadline");
    machine.enable();
    machine.write(reg::kLvtTimer, reg::kTimerTscDeadline | kVector);
    CHECK(machine.read(reg::kLvtTimer) == kVector);
}
