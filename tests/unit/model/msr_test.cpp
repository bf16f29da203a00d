// MSRs with rules of their own.

#include "core/bits.hpp"
#include "cpu/x86/model/msr.hpp"
#include "cpu/x86/seams/intercept.hpp"
#include "tests/unit/apic/apic_test_support.hpp"

#include <catch2/catch.hpp>

using namespace droste;
using namespace droste::test;

namespace {

bool writes(ApicMachine& machine, u32 index, u64 value) {
    return write_msr(machine.cpu(), index, value) == Status::Next;
}

u64 read(ApicMachine& machine, u32 index) {
    u64 value = 0;
    REQUIRE(read_msr(machine.cpu(), index, value) == Status::Next);
    return value;
}

}  // namespace

TEST_CASE("IA32_PAT: entries are memory types 0, 1, 4, 5, 6, 7", "[msr]") {
    ApicMachine machine;
    CHECK(read(machine, 0x277) == 0x0007'0406'0007'0406);  // PA0 is write-back
    for (u64 type = 0; type < 256; ++type) {
        const bool legal = type == 0 || type == 1 || (type >= 4 && type <= 7);
        CAPTURE(type);
        CHECK(writes(machine, 0x277, type << 56) == legal);
        CHECK(writes(machine, 0x277, type) == legal);
    }
}

TEST_CASE("MTRRs: types and reserved bits are checked", "[msr]") {
    ApicMachine machine(1, "nested,phys-bits=40");
    for (u64 type = 0; type < 256; ++type) {
        const bool legal = type == 0 || type == 1 || (type >= 4 && type <= 6);
        CAPTURE(type);
        CHECK(writes(machine, 0x200, 0x1000 | type) == legal);
        CHECK(writes(machine, 0x26F, type << 8) == legal);
        CHECK(writes(machine, 0x2FF, type) == legal);
    }
    CHECK(writes(machine, 0x201, 0xFF'FFFF'F800));
    CHECK_FALSE(writes(machine, 0x201, 0xFF'FFFF'F801));
    CHECK_FALSE(writes(machine, 0x201, bit(40) | 0x800));
    CHECK_FALSE(writes(machine, 0x200, bit(40)));
    CHECK_FALSE(writes(machine, 0x200, bit(8)));
    CHECK(writes(machine, 0x20F, 0x800));
    CHECK_FALSE(writes(machine, 0x2FF, bit(9)));
    CHECK((read(machine, 0xFE) & 0xFF) == 8);
}

TEST_CASE("MTRRs: firmware's setting leaves RAM write-back and the holes uncacheable", "[msr]") {
    ApicMachine machine;
    msr_firmware_mtrrs(machine.cpu());
    CHECK(read(machine, 0x2FF) == 0xC06);
    CHECK(read(machine, 0x250) == 0x0606'0606'0606'0606);
    CHECK(read(machine, 0x259) == 0);
    CHECK(read(machine, 0x200) == 0xC000'0000);
    CHECK(writes(machine, 0x200, read(machine, 0x200)));  // legal for the guest to write back
    CHECK(writes(machine, 0x201, read(machine, 0x201)));
}

TEST_CASE("Machine check: CTL takes anything, STATUS, ADDR and MISC only 0", "[msr]") {
    ApicMachine machine;
    const u64 banks = read(machine, 0x179) & 0xFF;
    for (u32 bank = 0; bank < banks; ++bank) {
        CHECK(writes(machine, 0x400 + 4 * bank, ~u64{0}));
        for (u32 i = 1; i < 4; ++i) {
            CHECK(writes(machine, 0x400 + 4 * bank + i, 0));
            CHECK_FALSE(writes(machine, 0x400 + 4 * bank + i, 1));
        }
    }
    CHECK_FALSE(writes(machine, static_cast<u32>(0x400 + 4 * banks), 0));
}

TEST_CASE("IA32_EFER: LMA is read-only, LME is fixed while paging is on, bits need their feature",
          "[msr]") {
    ApicMachine machine;
    CpuState& state = machine.cpu().state;
    CHECK(writes(machine, 0xC000'0080, efer::kLme | efer::kSce | efer::kLma));
    CHECK(state.efer == (efer::kLme | efer::kSce));
    state.cr0 |= cr0::kPg;
    CHECK_FALSE(writes(machine, 0xC000'0080, efer::kSce));
    CHECK(writes(machine, 0xC000'0080, efer::kLme | efer::kNxe));
    state.efer |= efer::kLma;
    CHECK(writes(machine, 0xC000'0080, efer::kLme));
    CHECK(state.efer == (efer::kLme | efer::kLma));
    CHECK_FALSE(writes(machine, 0xC000'0080, efer::kLme | bit(12)));  // SVME
    ApicMachine without(1, "nested,-nx");
    CHECK_FALSE(writes(without, 0xC000'0080, efer::kNxe));
}

TEST_CASE("MSRs that hold addresses take canonical ones only", "[msr]") {
    ApicMachine machine(1, "nested");
    for (const u32 index :
         {0x175U, 0x176U, 0xC000'0082U, 0xC000'0083U, 0xC000'0100U, 0xC000'0101U, 0xC000'0102U}) {
        CAPTURE(index);
        CHECK(writes(machine, index, 0xFFFF'8000'0000'1000));
        CHECK(read(machine, index) == 0xFFFF'8000'0000'1000);
        CHECK_FALSE(writes(machine, index, 0x0000'8000'0000'0000));
        CHECK_FALSE(writes(machine, index, 0xFFFF'0000'0000'0000));
        CHECK(read(machine, index) == 0xFFFF'8000'0000'1000);
        CHECK(writes(machine, index, 0x7FFF'FFFF'FFFF));
    }
    CHECK(machine.cpu().state.seg[FS].base == 0x7FFF'FFFF'FFFF);
}

TEST_CASE("Bits 63:32: IA32_FMASK and IA32_SYSENTER_CS drop them, IA32_TSC_AUX refuses them",
          "[msr]") {
    ApicMachine machine;
    for (const u32 index : {0x174U, 0xC000'0084U}) {
        CAPTURE(index);
        CHECK(writes(machine, index, ~u64{0}));
        CHECK(read(machine, index) == 0xFFFF'FFFF);
        CHECK(writes(machine, index, 0x1'0000'4700));
        CHECK(read(machine, index) == 0x4700);
    }
    CHECK_FALSE(writes(machine, 0xC000'0103, ~u64{0}));
    CHECK(writes(machine, 0xC000'0103, 0xFFFF'FFFF));
}

TEST_CASE("TSC and TSC_ADJUST move together", "[msr]") {
    ApicMachine machine;
    machine.pass(1000);
    CHECK(writes(machine, 0x10, 1'000'000));
    CHECK(read(machine, 0x10) == 1'000'000);
    CHECK(read(machine, 0x3B) == 1'000'000 - machine.now_ns());
    CHECK(writes(machine, 0x3B, 0));
    CHECK(read(machine, 0x10) == machine.now_ns());
    CHECK(writes(machine, 0x3B, u64{0} - 500));
    CHECK(read(machine, 0x10) == machine.now_ns() - 500);
    msr_reset(machine.cpu(), true);
    CHECK(read(machine, 0x10) == 0);
    CHECK(read(machine, 0x3B) == 0);
}

TEST_CASE("IA32_TSC_DEADLINE reaches the APIC timer", "[msr]") {
    ApicMachine machine;
    machine.enable();
    CHECK(writes(machine, 0x6E0, 100));
    CHECK(read(machine, 0x6E0) == 0);  // not in TSC-deadline mode
    machine.write(reg::kLvtTimer, reg::kTimerTscDeadline | 0x40);
    CHECK(writes(machine, 0x6E0, 1'000'000));
    CHECK(read(machine, 0x6E0) == 1'000'000);
    CHECK(writes(machine, 0x10, 999'990));  // the deadline comes near
    machine.pass(10);
    CHECK(machine.in_irr(0x40));
}

TEST_CASE("x2APIC MSRs fault until IA32_APIC_BASE turns the mode on", "[msr]") {
    ApicMachine machine(2);
    u64 value = 0;
    CHECK(read_msr(machine.cpu(1), 0x802, value) == Status::Fault);
    CHECK(write_msr(machine.cpu(1), 0x1B, 0xFEE0'0C00) == Status::Next);
    CHECK(read_msr(machine.cpu(1), 0x802, value) == Status::Next);
    CHECK(value == 1);
    CHECK(write_msr(machine.cpu(1), 0x1B, 0xFEE0'0800) == Status::Fault);
}

TEST_CASE("IA32_ARCH_CAPABILITIES: affected by nothing that has a bit", "[msr]") {
    ApicMachine machine;
    const u64 value = read(machine, 0x10A);
    for (const unsigned not_affected :
         {0U, 3U, 4U, 5U, 6U, 8U, 13U, 14U, 15U, 20U, 24U, 26U, 27U, 62U}) {
        CHECK(test_bit(value, not_affected));
    }
    for (const unsigned weakness :
         {2U, 7U, 19U, 25U, 28U}) {  // RSBA, TSX_CTRL, RRSBA, GDS_CTRL, RFDS_CLEAR
        CHECK_FALSE(test_bit(value, weakness));
    }
}

TEST_CASE("IA32_MISC_ENABLE: what boot code writes before it has an IDT does not fault", "[msr]") {
    ApicMachine machine;
    const u64 value = read(machine, 0x1A0);
    CHECK(test_bit(value, 0));
    CHECK(test_bit(value, 18) == machine.cpu().features.has(Feature::MONITOR));
    CHECK(writes(machine, 0x1A0, value & ~bit(34) & ~bit(22)));
    CHECK(writes(machine, 0x1A0, 0x4'00C5'1889));
    CHECK_FALSE(test_bit(read(machine, 0x1A0), 34));
    CHECK_FALSE(test_bit(read(machine, 0x1A0), 7));
}

TEST_CASE("IA32_SPEC_CTRL: SSBD needs its feature", "[msr]") {
    ApicMachine machine(1, "nested");
    CHECK(writes(machine, 0x48, 7));
    ApicMachine baseline(1, "baseline");
    CHECK(writes(baseline, 0x48, 3));
    CHECK_FALSE(writes(baseline, 0x48, 4));
}

TEST_CASE("IA32_BIOS_SIGN_ID: the revision survives the clear-and-read protocol", "[msr]") {
    ApicMachine machine;
    CHECK(writes(machine, 0x8B, 0));
    CHECK(read(machine, 0x8B) >> 32 != 0);
    CHECK(writes(machine, 0x79, 0x1000));
}

TEST_CASE("IA32_FEATURE_CONTROL and the VMX MSRs exist only where VMX is executed", "[msr]") {
    ApicMachine machine(1, "nested,+vmx");
    u64 value = 0;
    CHECK(read_msr(machine.cpu(), 0x3A, value) == Status::Fault);
    CHECK(read_msr(machine.cpu(), 0x480, value) == Status::Fault);
}

TEST_CASE("INIT clears EFER and DEBUGCTL and leaves the other MSRs", "[msr]") {
    ApicMachine machine;
    CHECK(writes(machine, 0xC000'0080, efer::kSce | efer::kLme));
    CHECK(writes(machine, 0x1D9, 2));
    CHECK(writes(machine, 0xC000'0081, 0x1234));
    CHECK(writes(machine, 0x277, 0));
    machine.pass(1000);
    const u64 tsc = read(machine, 0x10);
    msr_reset(machine.cpu(), false);
    CHECK(read(machine, 0xC000'0080) == 0);
    CHECK(read(machine, 0x1D9) == 0);
    CHECK(read(machine, 0xC000'0081) == 0x1234);
    CHECK(read(machine, 0x277) == 0);
    CHECK(read(machine, 0x10) == tsc);
}
