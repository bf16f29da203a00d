// What stands in for firmware without one: the memory map, the MultiProcessor tables, and the state
// of the chips a BIOS programs.

#include "frontends/machine/boot_plan.hpp"
#include "frontends/machine/e820.hpp"
#include "frontends/machine/memory_map.hpp"
#include "frontends/machine/mp_table.hpp"

#include <catch2/catch.hpp>

#include <map>
#include <numeric>
#include <string>

namespace droste {
namespace {

bool sums_up(std::span<const u8> bytes) {
    return (std::accumulate(bytes.begin(), bytes.end(), 0U) & 0xFF) == 0;
}

TEST_CASE("E820: ascending, without overlap, and the chips below 4 GiB are reserved") {
    const auto map = make_e820(u64{3} << 30, u64{2} << 30, true);
    PhysAddr end = 0;
    for (const E820Entry& entry : map) {
        CHECK(entry.first >= end);
        end = entry.first + entry.bytes;
    }
    CHECK(end == (u64{6} << 30));
    const E820Entry chips = {0xFEC0'0000, 0x140'0000, E820Type::Reserved};
    CHECK(std::count(map.begin(), map.end(), chips) == 1);
    CHECK(make_e820(u64{1} << 30, 0, true).back() == chips);
}

TEST_CASE("MP table: both structures sum up to zero and every CPU is there, the first as bootstrap "
          "processor") {
    constexpr PhysAddr kAt = 0xF'0100;
    const std::vector<u8> bytes =
        make_mp_table({.vcpu_count = 255, .signature = 0x806F8, .features = 0x1FCB'FBFF}, kAt);
    const std::span<const u8> all = bytes;
    CHECK(field(all, 0, 4) == 0x5F50'4D5F);  // "_MP_"
    CHECK(sums_up(all.first(16)));
    REQUIRE(field(all, 4, 4) == kAt + 16);
    const auto table = all.subspan(16);
    CHECK(field(table, 0, 4) == 0x504D'4350);  // "PCMP"
    REQUIRE(field(table, 4, 2) == table.size());
    CHECK(sums_up(table));
    CHECK(field(table, 36, 4) == memory_map::kLocalApic);

    std::map<u64, unsigned> count;
    std::map<u64, u64> isa_pins;
    std::map<u64, u64> pci_pins;
    std::size_t at = 44;
    while (at < table.size()) {
        const u64 type = field(table, at, 1);
        if (type == 0) {
            CHECK(field(table, at + 1, 1) == count[0]);
            CHECK(field(table, at + 3, 1) == (count[0] == 0 ? 3 : 1));
            CHECK(field(table, at + 4, 4) == 0x806F8);
            CHECK(field(table, at + 8, 4) == 0x1FCB'FBFF);
        }
        if (type == 3) {
            (field(table, at + 4, 1) == 1 ? isa_pins : pci_pins)[field(table, at + 5, 1)] =
                field(table, at + 7, 1);
        }
        ++count[type];
        at += type == 0 ? 20 : 8;
    }
    CHECK(at == table.size());
    CHECK(count[0] == 255);
    CHECK(count[1] == 2);
    CHECK(count[2] == 1);
    CHECK(count[4] == 2);
    CHECK(field(table, 34, 2) == count[0] + count[1] + count[2] + count[3] + count[4]);
    CHECK(isa_pins.size() == 15);
    CHECK(isa_pins[0] == 2);
    CHECK(isa_pins.count(2) == 0);
    CHECK(isa_pins[9] == 9);
    // Slot 1 pin A is PIRQA (IRQ 10), slot 0 pin A is PIRQD (IRQ 11): as the DSDT's _PRT.
    CHECK(pci_pins[1 << 2] == 10);
    CHECK(pci_pins[1 << 2 | 2] == 11);
    CHECK(pci_pins[0] == 11);
    CHECK(pci_pins[0 | 1] == 10);
}

TEST_CASE("MP table: with 255 CPUs it ends below what else lies in the BIOS area") {
    const std::vector<u8> bytes = make_mp_table({.vcpu_count = 255}, memory_map::kMpTable);
    CHECK(memory_map::kMpTable % 16 == 0);
    CHECK(memory_map::kMpTable >= memory_map::kAcpiRsdp + 36);
    CHECK(memory_map::kMpTable + bytes.size() < 0xF'D000);
}

}  // namespace
}  // namespace droste
