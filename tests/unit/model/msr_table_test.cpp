// Properties every MSR row must have, checked over all rows.

#include "core/bits.hpp"
#include "cpu/x86/model/msr.hpp"
#include "cpu/x86/seams/intercept.hpp"
#include "tests/unit/apic/apic_test_support.hpp"

#include <catch2/catch.hpp>

using namespace droste;
using namespace droste::test;

namespace {

bool faults(Vcpu& cpu, Status status) {
    return status == Status::Fault && cpu.fault.vector == static_cast<u8>(Exception::GP) &&
           cpu.fault.has_error_code && cpu.fault.error_code == 0;
}

bool stored(const MsrRow& row) {
    return row.read == nullptr && row.write == nullptr;
}

template <typename Visit>
void for_each_msr(ApicMachine& machine, Visit&& visit) {
    for (const MsrStore::Entry& entry : machine.cpu().msrs->entries()) {
        for (u32 i = 0; i < entry.row->count; ++i) {
            CAPTURE(entry.row->name, i);
            visit(*entry.row, entry.row->index + i);
        }
    }
}

}  // namespace

TEST_CASE("MSR rows: ascending, disjoint, and no bit both writable and ignored", "[msr]") {
    ApicMachine machine;
    u64 next = 0;
    for (const MsrStore::Entry& entry : machine.cpu().msrs->entries()) {
        const MsrRow& row = *entry.row;
        CAPTURE(row.name, row.index);
        CHECK(row.index >= next);
        next = u64{row.index} + row.count;
        CHECK((row.writable & row.ignored) == 0);
        CHECK((row.access != MsrAccess::ReadOnly || (row.writable | row.ignored) == 0));
        CHECK((row.field == nullptr || row.count == 1));
        CHECK(machine.cpu().msrs->find(row.index) == &entry);
    }
    for (const auto table :
         {msr_rows_platform(), msr_rows_memory(), msr_rows_cpu(), msr_rows_cet()}) {
        for (std::size_t i = 1; i < table.size(); ++i) {
            CHECK(table[i - 1].index < table[i].index);
        }
    }
}

TEST_CASE("MSR rows: power-on values are the rows'", "[msr]") {
    ApicMachine machine;
    msr_reset(machine.cpu(), true);
    for_each_msr(machine, [&](const MsrRow& row, u32 index) {
        // IA32_MISC_ENABLE's reset value depends on MONITOR.
        if (row.access != MsrAccess::WriteOnly && row.read == nullptr && index != kMiscEnable) {
            u64 value = 0;
            REQUIRE(read_msr(machine.cpu(), index, value) == Status::Next);
            CHECK(value == row.reset);
        }
    });
}

TEST_CASE("MSR rows: a reserved bit raises #GP(0) and changes nothing", "[msr]") {
    ApicMachine machine;
    for_each_msr(machine, [&](const MsrRow& row, u32 index) {
        for (unsigned i = 0; i < 64; ++i) {
            if (((row.writable | row.ignored) & bit(i)) != 0) {
                continue;
            }
            u64 before = 0;
            u64 after = 0;
            (void)read_msr(machine.cpu(), index, before);
            CHECK(faults(machine.cpu(), write_msr(machine.cpu(), index, bit(i))));
            (void)read_msr(machine.cpu(), index, after);
            CHECK(before == after);
        }
    });
}

TEST_CASE("MSR rows: read-only MSRs cannot be written, write-only MSRs cannot be read", "[msr]") {
    ApicMachine machine;
    for_each_msr(machine, [&](const MsrRow& row, u32 index) {
        u64 value = 0;
        if (row.access == MsrAccess::ReadOnly) {
            CHECK(faults(machine.cpu(), write_msr(machine.cpu(), index, 0)));
        } else if (row.access == MsrAccess::WriteOnly) {
            CHECK(faults(machine.cpu(), read_msr(machine.cpu(), index, value)));
            CHECK(write_msr(machine.cpu(), index, 0) == Status::Next);
        }
    });
}

TEST_CASE("MSR rows: writable bits read back, ignored bits keep their value", "[msr]") {
    ApicMachine machine;
    for_each_msr(machine, [&](const MsrRow& row, u32 index) {
        if (row.access != MsrAccess::ReadWrite || !stored(row) || row.check != nullptr) {
            return;
        }
        u64 before = 0;
        u64 after = 0;
        REQUIRE(read_msr(machine.cpu(), index, before) == Status::Next);
        REQUIRE(write_msr(machine.cpu(), index, row.writable | row.ignored) == Status::Next);
        REQUIRE(read_msr(machine.cpu(), index, after) == Status::Next);
        CHECK(after == ((before & ~row.writable) | row.writable));
    });
}

TEST_CASE("MSR rows: an MSR is absent when its feature is", "[msr]") {
    ApicMachine machine(1, "max");
    ApicMachine plain(1,
                      "baseline,-apic,-mtrr,-mca,-pat,-sep,-tsc,-lm,-spec-ctrl,-arch-capabilities");
    for_each_msr(machine, [&](const MsrRow& row, u32 index) {
        if (!plain.cpu().features.has(row.feature)) {
            u64 value = 0;
            CHECK(faults(plain.cpu(), read_msr(plain.cpu(), index, value)));
            CHECK(faults(plain.cpu(), write_msr(plain.cpu(), index, 0)));
        }
    });
}

TEST_CASE("MSR: an index without a row is #GP(0) and counted as unimplemented", "[msr]") {
    ApicMachine machine;
    u64 value = 0;
    for (const u32 index :
         {0x2U, 0x38FU, 0x122U, 0xCFU, 0x4000'0000U, 0xC000'0104U, 0xC001'0015U, 0xFFFF'FFFFU}) {
        CAPTURE(index);
        CHECK(faults(machine.cpu(), read_msr(machine.cpu(), index, value)));
        CHECK(faults(machine.cpu(), write_msr(machine.cpu(), index, 0)));
    }
    CHECK(machine.log().count(LogCategory::Unimplemented) == 16);
}

TEST_CASE("MSRs that hold addresses are checked against the CPU's width, not CR4.LA57's", "[msr]") {
    constexpr u64 kNeeds57Bits = u64{1} << 50;
    constexpr u64 kNeedsMore = u64{1} << 57;
    for (const std::string_view model : {"max", "max,-la57"}) {
        ApicMachine machine(1, model);
        Vcpu& cpu = machine.cpu();
        const bool wide = cpu.features.has(Feature::LA57);
        REQUIRE((cpu.state.cr4 & cr4::kLa57) == 0);
        // SYSENTER_EIP, U_CET, PL3_SSP, the interrupt SSP table, LSTAR, FS and kernel GS base
        for (const u32 index :
             {0x176U, 0x6A0U, 0x6A7U, 0x6A8U, 0xC000'0082U, 0xC000'0100U, 0xC000'0102U}) {
            CAPTURE(model, index);
            CHECK((write_msr(cpu, index, kNeeds57Bits) == Status::Next) == wide);
            CHECK(faults(cpu, write_msr(cpu, index, kNeedsMore)));
        }
    }
}
