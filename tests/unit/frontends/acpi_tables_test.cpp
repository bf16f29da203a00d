// The ACPI tables: checksums, pointers, what the command line changes in them.

#include "frontends/machine/acpi_tables.hpp"
#include "frontends/machine/aml.hpp"
#include "frontends/machine/boot_plan.hpp"

#include <catch2/catch.hpp>

#include <map>
#include <numeric>
#include <string>

namespace droste {
namespace {

constexpr PhysAddr kRsdpAt = 0xF'0000, kTablesAt = 0x7FE'0000, kFacsAt = 0x7FF'F000;

u8 sum(std::span<const u8> bytes) {
    return std::accumulate(bytes.begin(), bytes.end(), u8{0},
                           [](u8 a, u8 b) { return static_cast<u8>(a + b); });
}

std::string text(std::span<const u8> bytes, std::size_t at, std::size_t count) {
    return {reinterpret_cast<const char*>(bytes.data() + at), count};
}

// Follows RSDP -> XSDT -> tables, checking every checksum; the table contents by signature.
std::map<std::string, std::vector<u8>> walk(const std::vector<std::vector<u8>>& blocks) {
    const std::vector<u8>& rsdp = blocks[AcpiTables::kRsdp];
    const std::span<const u8> tables = blocks[AcpiTables::kTables];
    CHECK(text(rsdp, 0, 8) == "RSD PTR ");
    CHECK(sum(std::span<const u8>(rsdp).first(20)) == 0);
    CHECK(sum(rsdp) == 0);
    const auto table_at = [&](u64 address) {
        REQUIRE(address >= kTablesAt);
        const std::size_t offset = address - kTablesAt;
        const std::size_t length = field(tables, offset + 4, 4);
        REQUIRE(offset + length <= tables.size());
        const auto table = tables.subspan(offset, length);
        CAPTURE(text(table, 0, 4));
        CHECK(sum(table) == 0);
        return std::vector<u8>(table.begin(), table.end());
    };
    std::map<std::string, std::vector<u8>> found;
    const auto rsdt = table_at(field(rsdp, 16, 4));
    const auto xsdt = table_at(field(rsdp, 24, 8));
    CHECK((rsdt.size() - 36) / 4 == (xsdt.size() - 36) / 8);
    for (std::size_t i = 0; i < (xsdt.size() - 36) / 8; ++i) {
        const u64 address = field(xsdt, 36 + i * 8, 8);
        CHECK(address == field(rsdt, 36 + i * 4, 4));
        auto table = table_at(address);
        found[text(table, 0, 4)] = std::move(table);
    }
    found["DSDT"] = table_at(field(found["FACP"], 140, 8));
    return found;
}

TEST_CASE("ACPI: placed tables are reachable from the RSDP and sum up to zero") {
    const AcpiTables tables = make_acpi_tables({.vcpu_count = 2, .serial_ports = 1});
    auto found = walk(tables.placed(kRsdpAt, kTablesAt, kFacsAt));
    CHECK(found.size() == 7);
    CHECK(field(found["FACP"], 36, 4) == kFacsAt);
    CHECK(field(found["FACP"], 40, 4) == field(found["FACP"], 140, 8));
    CHECK(field(found["FACP"], 64, 4) == 0x604);
    CHECK(field(found["FACP"], 76, 4) == 0x608);
    CHECK(text(found["DSDT"], 0, 4) == "DSDT");
}

TEST_CASE("ACPI: SPCR and DBG2 name COM1 where there is one") {
    auto with = walk(make_acpi_tables({.serial_ports = 1}).placed(kRsdpAt, kTablesAt, kFacsAt));
    const std::vector<u8>& spcr = with["SPCR"];
    CHECK(spcr.size() == 80);
    CHECK(field(spcr, 36, 1) == 0);  // a full 16550
    CHECK(field(spcr, 40, 1) == 1);  // in I/O space
    CHECK(field(spcr, 44, 8) == 0x3F8);
    CHECK(field(spcr, 53, 1) == 4);            // IRQ
    CHECK(field(spcr, 54, 4) == 4);            // global interrupt
    CHECK(field(spcr, 64, 4) == 0xFFFF'FFFF);  // no PCI device
    const std::vector<u8>& dbg2 = with["DBG2"];
    const std::size_t device = field(dbg2, 36, 4);
    CHECK(field(dbg2, 40, 4) == 1);
    CHECK(device + field(dbg2, device + 1, 2) == dbg2.size());
    CHECK(field(dbg2, device + 12, 2) == 0x8000);
    CHECK(field(dbg2, device + field(dbg2, device + 18, 2) + 4, 8) == 0x3F8);
    CHECK(field(dbg2, device + field(dbg2, device + 20, 2), 4) == 8);
    const std::size_t name = device + field(dbg2, device + 6, 2);
    CHECK(text(dbg2, name, field(dbg2, device + 4, 2)) ==
          std::string("\\_SB.PCI0.ISA.COM1") + '\0');
    auto without = walk(make_acpi_tables({.serial_ports = 2}).placed(kRsdpAt, kTablesAt, kFacsAt));
    CHECK(without.count("SPCR") == 0);
    CHECK(without.count("DBG2") == 0);
}

TEST_CASE("ACPI: the MADT has a local APIC for each CPU, x2APIC entries from id 255 on, and IRQ 0 "
          "on pin 2") {
    const AcpiTables tables = make_acpi_tables({.vcpu_count = 257});
    auto found = walk(tables.placed(kRsdpAt, kTablesAt, kFacsAt));
    const std::vector<u8>& madt = found["APIC"];
    std::map<u64, unsigned> count;
    bool timer_override = false;
    for (std::size_t at = 44; at < madt.size(); at += field(madt, at + 1, 1)) {
        REQUIRE(field(madt, at + 1, 1) != 0);
        const u64 type = field(madt, at, 1);
        ++count[type];
        timer_override = timer_override ||
                         (type == 2 && field(madt, at + 3, 1) == 0 && field(madt, at + 4, 4) == 2);
    }
    CHECK(count[0] == 255);
    CHECK(count[9] == 2);
    CHECK(count[1] == 1);
    CHECK(timer_override);
}

TEST_CASE("ACPI: the loader script allocates, links and sums up the same tables") {
    const AcpiTables tables = make_acpi_tables({.vcpu_count = 4, .serial_ports = 3});
    const std::vector<u8> script = tables.loader_script();
    REQUIRE(script.size() % 128 == 0);
    // Carry it out as firmware does.
    std::map<std::string, std::vector<u8>> files;
    for (const AcpiTables::Block& block : tables.blocks) {
        files[std::string(block.name)] = block.bytes;
    }
    std::map<std::string, PhysAddr> placed;
    PhysAddr next_high = 0x7FE'0000;
    const auto name_at = [&](std::size_t at) {
        const std::string name = text(script, at, 56);
        return name.substr(0, name.find('\0'));
    };
    for (std::size_t at = 0; at < script.size(); at += 128) {
        const u64 command = field(script, at, 4);
        const std::string file = name_at(at + 4);
        REQUIRE(files.count(file) == 1);
        if (command == 1) {
            const bool low = field(script, at + 64, 1) == 2;
            placed[file] = low ? kRsdpAt : next_high;
            next_high += low ? 0 : 0x1'F000;
        } else if (command == 2) {
            const std::size_t offset = field(script, at + 116, 4);
            const auto width = static_cast<unsigned>(field(script, at + 120, 1));
            u64 value = field(files[file], offset, width) + placed.at(name_at(at + 60));
            for (unsigned i = 0; i < width; ++i, value >>= 8) {
                files[file][offset + i] = static_cast<u8>(value);
            }
        } else {
            REQUIRE(command == 3);
            const std::size_t offset = field(script, at + 60, 4);
            const auto range = std::span<const u8>(files[file])
                                   .subspan(field(script, at + 64, 4), field(script, at + 68, 4));
            files[file][offset] = static_cast<u8>(files[file][offset] - sum(range));
        }
    }
    const auto direct = tables.placed(kRsdpAt, kTablesAt, kFacsAt);
    CHECK(files["etc/acpi/rsdp"] == direct[AcpiTables::kRsdp]);
    CHECK(files["etc/acpi/tables"] == direct[AcpiTables::kTables]);
}

TEST_CASE("AML: package lengths count themselves in one and two bytes") {
    AmlBuilder small;
    small.begin_device("ABCD");
    small.name("_UID", 1);
    small.end();
    const std::vector<u8> expected = {0x5B, 0x82, 12,  'A', 'B', 'C',  'D',
                                      0x08, '_',  'U', 'I', 'D', 0x0A, 1};
    CHECK(std::vector<u8>(small.bytes().begin(), small.bytes().end()) == expected);

    AmlBuilder large;
    large.begin_scope("\\_SB_");
    for (int i = 0; i < 20; ++i) {
        large.name("ABCD", 1);
    }
    large.end();
    // 1 opcode, 2 length bytes, 5 path, 20 * 7.
    CHECK(large.bytes().size() == 148);
    CHECK(large.bytes()[1] == (0x40 | (147 & 0xF)));
    CHECK(large.bytes()[2] == (147 >> 4));
}

}  // namespace
}  // namespace droste
