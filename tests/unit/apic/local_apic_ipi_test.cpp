// Interrupt messages between local APICs: destinations, shorthands, INIT and SIPI.
// SDM Vol. 3A, "Issuing Interprocessor Interrupts".

#include "tests/unit/apic/apic_test_support.hpp"

#include <catch2/catch.hpp>

using namespace droste;
using namespace droste::test;

namespace {

constexpr u32 kInit = 5U << 8;
constexpr u32 kSipi = 6U << 8;
constexpr u32 kNmi = 4U << 8;
constexpr u32 kLowest = 1U << 8;

// Bit i set: vCPU i has `vector` in IRR.
u32 receivers(ApicMachine& machine, u8 vector, u32 count) {
    u32 mask = 0;
    for (u32 i = 0; i < count; ++i) {
        mask |= machine.in_irr(vector, i) ? 1U << i : 0;
    }
    return mask;
}

void enable_all(ApicMachine& machine, u32 count) {
    for (u32 i = 0; i < count; ++i) {
        machine.enable(i);
    }
}

}  // namespace

TEST_CASE("IPI: physical destination is the APIC id, FFH everybody", "[apic][ipi]") {
    ApicMachine machine(4);
    enable_all(machine, 4);
    machine.send(0x41, 2);
    CHECK(receivers(machine, 0x41, 4) == 0b0100);
    CHECK(machine.requested(attention::kInterrupt, 2));
    machine.send(0x42, 0xFF);
    CHECK(receivers(machine, 0x42, 4) == 0b1111);
    machine.send(0x43, 9);  // nobody there
    CHECK(receivers(machine, 0x43, 4) == 0);
}

TEST_CASE("IPI: shorthands mean self, all, and all but self", "[apic][ipi]") {
    ApicMachine machine(3);
    enable_all(machine, 3);
    machine.send(reg::kShorthandSelf | 0x51, 2, 1);
    CHECK(receivers(machine, 0x51, 3) == 0b010);
    machine.send(reg::kShorthandAll | 0x52, 0, 1);
    CHECK(receivers(machine, 0x52, 3) == 0b111);
    machine.send(reg::kShorthandOthers | 0x53, 0, 1);
    CHECK(receivers(machine, 0x53, 3) == 0b101);
}

TEST_CASE("IPI: logical destinations, flat model: any common bit", "[apic][ipi]") {
    ApicMachine machine(3);
    enable_all(machine, 3);
    for (u32 i = 0; i < 3; ++i) {
        machine.write(reg::kLdr, 0x0100'0000U << i, i);
    }
    machine.send(reg::kIcrLogical | 0x61, 0b101);
    CHECK(receivers(machine, 0x61, 3) == 0b101);
    machine.send(reg::kIcrLogical | 0x62, 0xFF);
    CHECK(receivers(machine, 0x62, 3) == 0b111);
    machine.send(reg::kIcrLogical | 0x63, 0x08);
    CHECK(receivers(machine, 0x63, 3) == 0);
}

TEST_CASE("IPI: logical destinations, cluster model: same cluster and a common bit",
          "[apic][ipi]") {
    ApicMachine machine(4);
    enable_all(machine, 4);
    const u32 ldr[] = {0x11, 0x12, 0x21, 0x22};
    for (u32 i = 0; i < 4; ++i) {
        machine.write(reg::kDfr, 0x0FFF'FFFF, i);
        machine.write(reg::kLdr, ldr[i] << 24, i);
    }
    machine.send(reg::kIcrLogical | 0x61, 0x13);
    CHECK(receivers(machine, 0x61, 4) == 0b0011);
    machine.send(reg::kIcrLogical | 0x62, 0x22);
    CHECK(receivers(machine, 0x62, 4) == 0b1000);
    machine.send(reg::kIcrLogical | 0x63, 0xFF);
    CHECK(receivers(machine, 0x63, 4) == 0b1111);
}

TEST_CASE("IPI: x2APIC logical ids come from the APIC id, 16 to a cluster", "[apic][ipi]") {
    ApicMachine machine(18);
    for (u32 i = 0; i < 18; ++i) {
        machine.enable(i);
        machine.enable_x2apic(i);
    }
    u64 ldr = 0;
    REQUIRE(machine.apic(17).x2apic_read(0x80D, ldr));
    CHECK(ldr == 0x0001'0002);
    REQUIRE(machine.apic(0).x2apic_write(0x830, u64{0x0001'0003} << 32 | reg::kIcrLogical | 0x61));
    CHECK(receivers(machine, 0x61, 18) == 0x3'0000);
    REQUIRE(machine.apic(0).x2apic_write(0x830, u64{17} << 32 | 0x62));
    CHECK(receivers(machine, 0x62, 18) == 0x2'0000);
    REQUIRE(machine.apic(0).x2apic_write(0x830, u64{0xFFFF'FFFF} << 32 | 0x63));
    CHECK(receivers(machine, 0x63, 18) == 0x3'FFFF);
}

TEST_CASE("IPI: in x2APIC mode FFH is one id; only FFFFFFFFH is everybody", "[apic][ipi][x2apic]") {
    for (const u64 mode : {u64{0}, u64{kLowest}, u64{kNmi}}) {
        for (const u64 logical : {u64{0}, u64{reg::kIcrLogical}}) {
            CAPTURE(mode, logical);
            ApicMachine machine(18);
            for (u32 i = 0; i < 18; ++i) {
                machine.enable(i);
                machine.enable_x2apic(i);
            }
            const auto heard = [&] {
                u32 count = 0;
                for (u32 i = 0; i < 18; ++i) {
                    count += machine.in_irr(0x61, i) || machine.requested(attention::kNmi, i);
                }
                return count;
            };
            const u64 icr = mode | logical | 0x61;
            // As a logical id it is APICs 0 to 7 of cluster 0.
            REQUIRE(machine.apic(1).x2apic_write(0x830, u64{0xFF} << 32 | icr));
            CHECK(heard() == (logical == 0 ? 0 : mode == kLowest ? 1 : 8));
            REQUIRE(machine.apic(1).x2apic_write(0x830, u64{0xFF'FFFF} << 32 | icr));
            CHECK(heard() == (logical == 0 ? 0 : mode == kLowest ? 1 : 8));
            REQUIRE(machine.apic(1).x2apic_write(0x830, u64{0xFFFF'FFFF} << 32 | icr));
            CHECK(heard() == (mode != kLowest ? 18 : logical == 0 ? 1 : 2));
        }
    }
}

TEST_CASE("IPI: shorthands reach the same APICs in x2APIC mode", "[apic][ipi][x2apic]") {
    ApicMachine machine(3);
    for (u32 i = 0; i < 3; ++i) {
        machine.enable(i);
        machine.enable_x2apic(i);
    }
    REQUIRE(machine.apic(1).x2apic_write(0x830, u64{0xFF} << 32 | reg::kShorthandAll | 0x52));
    CHECK(receivers(machine, 0x52, 3) == 0b111);
    REQUIRE(machine.apic(1).x2apic_write(0x830, reg::kShorthandOthers | 0x53));
    CHECK(receivers(machine, 0x53, 3) == 0b101);
    REQUIRE(machine.apic(1).x2apic_write(0x830, u64{2} << 32 | reg::kShorthandSelf | 0x54));
    CHECK(receivers(machine, 0x54, 3) == 0b010);
}

// The I/O APIC and an MSI have 8 bits for the destination whatever mode the receivers are in.
TEST_CASE("An 8-bit destination of FFH reaches x2APICs too", "[apic][x2apic]") {
    for (const bool logical : {false, true}) {
        CAPTURE(logical);
        ApicMachine machine(10);
        for (u32 i = 0; i < 10; ++i) {
            machine.enable(i);
            machine.enable_x2apic(i);
        }
        InterruptMessage message;
        message.destination = destination_from_8_bits(0xFF);
        message.logical = logical;
        message.vector = 0x44;
        machine.apic_bus().send(message);
        CHECK(receivers(machine, 0x44, 10) == 0x3FF);
        message.destination = destination_from_8_bits(3);
        message.vector = 0x45;
        machine.apic_bus().send(message);
        CHECK(receivers(machine, 0x45, 10) == (logical ? 0b11 : 0b1000));
    }
}

TEST_CASE("IPI: lowest priority goes to the least busy enabled APIC, ties in turn", "[apic][ipi]") {
    ApicMachine machine(4);
    enable_all(machine, 3);  // APIC 3 stays software-disabled
    machine.write(reg::kTpr, 0x50, 0);
    machine.write(reg::kTpr, 0x20, 1);
    machine.write(reg::kTpr, 0x30, 2);
    machine.send(kLowest | 0x61, 0xFF);
    CHECK(receivers(machine, 0x61, 4) == 0b0010);
    machine.write(reg::kTpr, 0x90, 1);  // busy now
    machine.send(kLowest | 0x62, 0xFF);
    CHECK(receivers(machine, 0x62, 4) == 0b0100);

    ApicMachine idle(3);
    enable_all(idle, 3);
    u32 taken = 0;
    for (u32 i = 0; i < 3; ++i) {
        const auto vector = static_cast<u8>(0x40 + i);
        idle.send(kLowest | vector, 0xFF);
        const u32 who = receivers(idle, vector, 3);
        taken |= who;
        for (u32 cpu = 0; cpu < 3; ++cpu) {
            if (((who >> cpu) & 1) != 0) {
                CHECK(idle.apic(cpu).acknowledge() == vector);
                idle.write(reg::kEoi, 0, cpu);
            }
        }
    }
    CHECK(taken == 0b111);
}

TEST_CASE("IPI: NMI needs no enabled APIC and no vector", "[apic][ipi]") {
    ApicMachine machine(2);
    machine.send(kNmi, 1);
    CHECK(machine.requested(attention::kNmi, 1));
    CHECK_FALSE(machine.requested(attention::kNmi, 0));
}

TEST_CASE("IPI: INIT then SIPI start a processor; the INIT level de-assert does nothing",
          "[apic][ipi]") {
    ApicMachine machine(2);
    machine.cpu(1).state.activity = Activity::WaitForSipi;
    machine.send(kInit | reg::kIcrLevel | reg::kShorthandAll, 0);  // de-assert
    CHECK_FALSE(machine.requested(attention::kInit, 1));
    machine.send(kInit | reg::kIcrLevel | reg::kIcrAssert, 1);
    CHECK(machine.requested(attention::kInit, 1));
    machine.send(kSipi | 0x9A, 1);
    CHECK(machine.requested(attention::kSipi, 1));
    CHECK(machine.cpu(1).sipi_vector == 0x9A);
}

TEST_CASE("IPI: a SIPI is lost on a running processor, kept behind a pending INIT, dropped by the "
          "next INIT",
          "[apic][ipi]") {
    ApicMachine machine(2);
    machine.cpu(1).state.activity = Activity::Active;
    machine.send(kSipi | 0x10, 1);
    CHECK_FALSE(machine.requested(attention::kSipi, 1));
    machine.send(kInit | reg::kIcrAssert, 1);
    machine.send(kSipi | 0x11, 1);
    CHECK(machine.requested(attention::kSipi, 1));
    machine.send(kInit | reg::kIcrAssert, 1);
    CHECK_FALSE(machine.requested(attention::kSipi, 1));
}

TEST_CASE("IPI: a processor cannot INIT itself by shorthand", "[apic][ipi]") {
    ApicMachine machine(2);
    machine.send(kInit | reg::kIcrAssert | reg::kShorthandSelf);
    CHECK_FALSE(machine.requested(attention::kInit, 0));
    machine.send(kInit | reg::kIcrAssert | reg::kShorthandOthers);
    CHECK_FALSE(machine.requested(attention::kInit, 0));
    CHECK(machine.requested(attention::kInit, 1));
}

TEST_CASE("IPI: a globally disabled APIC hears nothing", "[apic][ipi]") {
    ApicMachine machine(2);
    REQUIRE(machine.apic(1).write_base_msr(0xFEE0'0000));
    machine.send(kNmi, 0xFF);
    CHECK_FALSE(machine.requested(attention::kNmi, 1));
}

TEST_CASE("IPI: ICR reads back what was written, delivery always idle", "[apic][ipi]") {
    ApicMachine machine(2);
    machine.enable(1);
    machine.send(0x0004'0000 | reg::kIcrPending | 0x77, 1);
    CHECK(machine.read(reg::kIcrLow) == (0x0004'0000 | 0x77));
    CHECK(machine.read(reg::kIcrHigh) == 0x0100'0000);
}
