// The Linux loader: what it places where, boot_params, and images that lie.

#include "frontends/machine/linux_boot.hpp"
#include "frontends/machine/memory_map.hpp"
#include "tests/unit/frontends/boot_test_support.hpp"

#include <catch2/catch.hpp>

#include <algorithm>

namespace droste {
namespace {

using namespace test;

// A bzImage of protocol 2.15 with one setup sector and `kernel_bytes` of kernel.
std::vector<u8> make_bzimage(u64 kernel_bytes, u16 version = 0x20F) {
    Record image(2 * 512 + kernel_bytes);
    image.put(0x1F1, 1, 1);
    image.put(0x1F4, 4, kernel_bytes / 16);
    image.put(0x1FE, 2, 0xAA55);
    image.put(0x200, 2, 0x6AEB);  // jmp: the header ends at 26Ch
    image.put(0x202, 4, 0x5372'6448);
    image.put(0x206, 2, version);
    image.put(0x211, 1, 1);
    image.put(0x22C, 4, 0x7FFF'FFFF);
    image.put(0x230, 4, 0x20'0000);
    image.put(0x234, 1, 1);
    image.put(0x236, 2, 0x7F);
    image.put(0x238, 4, 2047);
    image.put(0x258, 8, 0x100'0000);
    image.put(0x260, 4, 32 * kMiB);
    image.put(1024, 4, 0xFEED'F00D);
    return std::move(image.bytes());
}

BootRequest request_for(std::string append = "console=ttyS0") {
    BootRequest request;
    request.kernel = "bzImage";
    request.initrd = "initrd";
    request.append = std::move(append);
    return request;
}

TEST_CASE("Linux boot: a 64-bit kernel goes to its preferred address and is entered 512 bytes "
          "behind it") {
    const auto plan =
        plan_linux_boot(make_bzimage(4096), {}, request_for(), environment_with(128 * kMiB));
    REQUIRE(plan);
    CHECK(plan.value().entry.mode == EntryMode::Long64);
    CHECK(plan.value().entry.rip == 0x100'0200);
    CHECK(plan.value().entry.rsi == memory_map::kBootParams);
    CHECK(plan.value().entry.code_selector == 0x10);
    CHECK(plan.value().entry.data_selector == 0x18);
    CHECK(value_at(plan.value(), 0x100'0000, 4) == 0xFEED'F00D);
}

TEST_CASE("Linux boot: boot_params carries header, command line, memory map and RSDP") {
    const auto plan =
        plan_linux_boot(make_bzimage(4096), {}, request_for("quiet"), environment_with(128 * kMiB));
    REQUIRE(plan);
    const PhysAddr page = memory_map::kBootParams;
    CHECK(value_at(plan.value(), page + 0x202, 4) == 0x5372'6448);
    CHECK(value_at(plan.value(), page + 0x210, 1) == 0xFF);
    CHECK(string_at(plan.value(), value_at(plan.value(), page + 0x228, 4)) == "quiet");
    CHECK(value_at(plan.value(), page + 0x70, 8) == 0xF'0000);
    CHECK(value_at(plan.value(), page + 0x1E8, 1) == 7);
    CHECK(value_at(plan.value(), page + 0x2D0, 8) == 0);
    CHECK(value_at(plan.value(), page + 0x2D0 + 8, 8) == memory_map::kConventionalEnd);
    CHECK(value_at(plan.value(), page + 0x2D0 + 16, 4) == 1);
    // Setup data: one node, type 9, the seed.
    const PhysAddr node = value_at(plan.value(), page + 0x250, 8);
    CHECK(value_at(plan.value(), node, 8) == 0);
    CHECK(value_at(plan.value(), node + 8, 4) == 9);
    CHECK(value_at(plan.value(), node + 12, 4) == 32);
    CHECK(value_at(plan.value(), node + 16, 1) == 0x5A);
}

TEST_CASE("Linux boot: the initrd lies page-aligned at the top of RAM, below the ACPI tables") {
    const auto plan = plan_linux_boot(make_bzimage(4096), std::vector<u8>(5000, 7), request_for(),
                                      environment_with(128 * kMiB));
    REQUIRE(plan);
    const PhysAddr initrd = value_at(plan.value(), memory_map::kBootParams + 0x218, 4);
    CHECK(initrd == 128 * kMiB - memory_map::kAcpiReservedBytes - 8192);
    CHECK(value_at(plan.value(), memory_map::kBootParams + 0x21C, 4) == 5000);
    CHECK(byte_at(plan.value(), initrd + 4999) == 7);
}

TEST_CASE("Linux boot: the initrd stays below initrd_addr_max") {
    std::vector<u8> image = make_bzimage(4096);
    image[0x22F] = 0x05;  // initrd_addr_max = 5FFFFFFh
    image[0x22E] = 0xFF;
    const auto plan = plan_linux_boot(std::move(image), std::vector<u8>(4096), request_for(),
                                      environment_with(512 * kMiB));
    REQUIRE(plan);
    CHECK(value_at(plan.value(), memory_map::kBootParams + 0x218, 4) == 0x600'0000 - 4096);
}

TEST_CASE("Linux boot: without long mode or on demand the 32-bit entry is used") {
    BootEnvironment old_cpu = environment_with(128 * kMiB);
    old_cpu.long_mode = false;
    const auto plan = plan_linux_boot(make_bzimage(4096), {}, request_for(), old_cpu);
    REQUIRE(plan);
    CHECK(plan.value().entry.mode == EntryMode::Protected32);
    CHECK(plan.value().entry.rip == 0x100'0000);

    BootRequest forced = request_for();
    forced.entry_64 = false;
    const auto plan32 =
        plan_linux_boot(make_bzimage(4096), {}, forced, environment_with(128 * kMiB));
    REQUIRE(plan32);
    CHECK(plan32.value().entry.mode == EntryMode::Protected32);

    forced.entry_64 = true;
    CHECK_FALSE(plan_linux_boot(make_bzimage(4096), {}, forced, old_cpu));
}

TEST_CASE("Linux boot: what cannot be loaded is one sentence naming file and reason") {
    const auto failure = [](std::vector<u8> image, u64 ram, std::vector<u8> initrd = {},
                            std::string append = "") -> std::string {
        const auto plan = plan_linux_boot(std::move(image), std::move(initrd),
                                          request_for(std::move(append)), environment_with(ram));
        return plan ? "" : plan.error().message;
    };
    using Catch::Contains;
    CHECK_THAT(failure(make_bzimage(4096, 0x205), 128 * kMiB), Contains("boot protocol 2.05"));
    CHECK_THAT(failure(make_bzimage(4096), 16 * kMiB), Contains("needs RAM up to 48 MiB"));
    CHECK_THAT(failure(make_bzimage(4096), 128 * kMiB, std::vector<u8>(100 * kMiB)),
               Contains("initrd 'initrd'"));
    CHECK_THAT(failure(make_bzimage(4096), 128 * kMiB, {}, std::string(3000, 'x')),
               Contains("at most 2047"));
    std::vector<u8> truncated = make_bzimage(4096);
    truncated.resize(3000);
    CHECK_THAT(failure(truncated, 128 * kMiB), Contains("truncated"));
    truncated.resize(700);
    CHECK_THAT(failure(truncated, 128 * kMiB), Contains("truncated"));
    std::vector<u8> wrapping = make_bzimage(4096);
    for (std::size_t i = 0; i < 8; ++i) {
        wrapping[0x258 + i] = i == 0 ? 0 : 0xFF;  // prefers FFFFFFFF_FFFFFF00h: its end wraps
    }
    CHECK_THAT(failure(wrapping, 128 * kMiB, std::vector<u8>(4096)), Contains("needs RAM up to"));
    std::vector<u8> zimage = make_bzimage(4096);
    zimage[0x211] = 0;
    CHECK_THAT(failure(zimage, 128 * kMiB), Contains("zImage"));
}

TEST_CASE("Memory map: ascending, without overlap, with the hole below 4 GiB") {
    const auto map = make_e820(GuestMemory::kLowLimit, kMiB * 1024, true);
    for (std::size_t i = 1; i < map.size(); ++i) {
        CHECK(map[i - 1].first + map[i - 1].bytes <= map[i].first);
    }
    CHECK(map.back() == E820Entry{memory_map::kFourGiB, 1024 * kMiB, E820Type::Ram});
    u64 ram = 0;
    for (const E820Entry& entry : map) {
        ram += entry.type == E820Type::Ram ? entry.bytes : 0;
        CHECK((entry.type != E820Type::Ram || entry.first >= memory_map::kFourGiB ||
               entry.first + entry.bytes <= memory_map::kPciHole));
    }
    CHECK(ram > 4090 * kMiB);
}

TEST_CASE("Boot page tables map the first 4 GiB onto themselves") {
    const std::vector<u8> tables = make_identity_page_tables();
    const PhysAddr base = memory_map::kBootPageTables;
    const auto entry = [&](PhysAddr table, u64 index) {
        return field(tables, table - base + index * 8, 8);
    };
    for (const u64 address : {u64{0}, u64{0x123'4567}, u64{0xFEE0'0000}, u64{0xFFFF'FFFF}}) {
        const u64 pdpt = entry(base, 0) & kPageMask;
        const u64 directory = entry(pdpt, address >> 30) & kPageMask;
        const u64 page = entry(directory, (address >> 21) & 511);
        CHECK((page & 0x83) == 0x83);  // present, writable, large
        CHECK((page & ~u64{0x1F'FFFF}) == (address & ~u64{0x1F'FFFF}));
    }
}

}  // namespace
}  // namespace droste
