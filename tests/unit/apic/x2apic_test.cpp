// x2APIC mode: the MSRs, their reserved bits and the changes of mode.
// SDM Vol. 3A, "Extended xAPIC (x2APIC)".

#include "tests/unit/apic/apic_test_support.hpp"

#include <catch2/catch.hpp>

#include <set>

using namespace droste;
using namespace droste::test;

namespace {

// SDM Vol. 3A, Table "Local APIC Register Address Map Supported by x2APIC", without LVT CMCI
// (MCG_CAP[10] = 0).
std::set<u32> readable_msrs() {
    std::set<u32> msrs = {0x802, 0x803, 0x808, 0x80A, 0x80D, 0x80F, 0x828, 0x830, 0x832,
                          0x833, 0x834, 0x835, 0x836, 0x837, 0x838, 0x839, 0x83E};
    for (u32 i = 0; i < 8; ++i) {
        msrs.insert({0x810 + i, 0x818 + i, 0x820 + i});
    }
    return msrs;
}
const std::set<u32> kWritableMsrs = {0x808, 0x80B, 0x80F, 0x828, 0x830, 0x832, 0x833,
                                     0x834, 0x835, 0x836, 0x837, 0x838, 0x83E, 0x83F};

}  // namespace

TEST_CASE("x2APIC: exactly the manual's MSRs can be read and written", "[apic][x2apic]") {
    ApicMachine machine;
    machine.enable_x2apic();
    const std::set<u32> readable = readable_msrs();
    for (u32 msr = 0x800; msr < 0x900; ++msr) {
        CAPTURE(msr);
        u64 value = 0;
        CHECK(machine.apic().x2apic_read(msr, value) == (readable.count(msr) != 0));
        CHECK(machine.apic().x2apic_write(msr, 0) == (kWritableMsrs.count(msr) != 0));
    }
}

TEST_CASE("x2APIC: reserved bits fault and change nothing", "[apic][x2apic]") {
    ApicMachine machine;
    machine.enable();
    machine.enable_x2apic();
    struct Reserved {
        u32 msr;
        u64 value;
    };
    const Reserved cases[] = {
        {0x808, 0x100},   {0x80B, 1},       {0x80F, 0x400},  {0x80F, bit(32)}, {0x828, 1},
        {0x830, bit(13)}, {0x830, bit(20)}, {0x832, bit(8)}, {0x832, bit(19)}, {0x835, bit(17)},
        {0x837, bit(8)},  {0x838, bit(32)}, {0x83E, 4},      {0x83F, 0x100},   {0x833, bit(13)},
    };
    for (const Reserved& c : cases) {
        u64 before = 0;
        u64 after = 0;
        CAPTURE(c.msr, c.value);
        const bool readable = machine.apic().x2apic_read(c.msr, before);
        CHECK_FALSE(machine.apic().x2apic_write(c.msr, c.value));
        CHECK(machine.apic().x2apic_read(c.msr, after) == readable);
        CHECK(before == after);
    }
}

TEST_CASE("x2APIC: the MSRs fault in xAPIC mode, the page is gone in x2APIC mode",
          "[apic][x2apic]") {
    ApicMachine machine;
    u64 value = 0;
    CHECK_FALSE(machine.apic().x2apic_read(0x802, value));
    CHECK_FALSE(machine.apic().x2apic_write(0x808, 0));
    CHECK(machine.apic().claims(0xFEE0'0020));
    machine.enable_x2apic();
    CHECK_FALSE(machine.apic().claims(0xFEE0'0020));
}

TEST_CASE("x2APIC: entering it keeps the state and widens the id", "[apic][x2apic]") {
    ApicMachine machine(3);
    machine.enable(2);
    machine.write(reg::kTpr, 0x20, 2);
    machine.write(reg::kIcrHigh, 0x0500'0000, 2);
    machine.interrupt(0x71, false, 2);
    machine.enable_x2apic(2);
    u64 id = 0;
    u64 tpr = 0;
    u64 icr = 0;
    REQUIRE(machine.apic(2).x2apic_read(0x802, id));
    REQUIRE(machine.apic(2).x2apic_read(0x808, tpr));
    REQUIRE(machine.apic(2).x2apic_read(0x830, icr));
    CHECK(id == 2);
    CHECK(tpr == 0x20);
    CHECK(icr >> 32 == 0);
    CHECK(machine.apic(2).acknowledge() == 0x71);
}

TEST_CASE("x2APIC: INIT keeps the mode and the logical id", "[apic][x2apic]") {
    ApicMachine machine(2);
    machine.enable_x2apic(1);
    machine.apic(1).init();
    CHECK(machine.apic(1).x2apic_enabled());
    u64 ldr = 0;
    REQUIRE(machine.apic(1).x2apic_read(0x80D, ldr));
    CHECK(ldr == 2);
}

TEST_CASE("x2APIC: self-IPI and EOI work through their MSRs", "[apic][x2apic]") {
    ApicMachine machine;
    machine.enable();
    machine.enable_x2apic();
    REQUIRE(machine.apic().x2apic_write(0x83F, 0x99));
    CHECK(machine.apic().acknowledge() == 0x99);
    REQUIRE(machine.apic().x2apic_write(0x80B, 0));
    CHECK_FALSE(machine.in_isr(0x99));
}

TEST_CASE("x2APIC: ICR is one 64-bit register that reads back", "[apic][x2apic]") {
    ApicMachine machine(2);
    machine.enable(1);
    machine.enable_x2apic();
    REQUIRE(machine.apic().x2apic_write(0x830, u64{1} << 32 | 0x55));
    u64 icr = 0;
    REQUIRE(machine.apic().x2apic_read(0x830, icr));
    CHECK(icr == (u64{1} << 32 | 0x55));
    CHECK(machine.in_irr(0x55, 1));
}
