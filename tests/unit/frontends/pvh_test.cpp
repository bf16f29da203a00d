// The PVH loader: the entry note, hvm_start_info, and images that lie.

#include "frontends/machine/memory_map.hpp"
#include "frontends/machine/pvh.hpp"
#include "tests/unit/frontends/boot_test_support.hpp"

#include <catch2/catch.hpp>

namespace droste {
namespace {

using namespace test;

// An ELF64 executable with one page at 16 MiB and the PVH note.
std::vector<u8> make_pvh_kernel(bool with_note = true) {
    Record image(0x1000 + 16);
    const std::array<u8, 7> ident = {0x7F, 'E', 'L', 'F', 2, 1, 1};
    image.put(0, std::span<const u8>(ident));
    image.put(18, 2, 62);
    image.put(24, 8, 0xFFFF'FFFF'8100'0000);
    image.put(32, 8, 64);
    image.put(54, 2, 56);
    image.put(56, 2, 2);
    image.put(64, 4, 1);  // PT_LOAD
    image.put(64 + 8, 8, 0x1000);
    image.put(64 + 24, 8, 0x100'0000);
    image.put(64 + 32, 8, 16);
    image.put(64 + 40, 8, 4096);
    image.put(120, 4, with_note ? 4 : 0);  // PT_NOTE
    image.put(120 + 8, 8, 0x200);
    image.put(120 + 32, 8, 20);
    image.put(0x200, 4, 4);
    image.put(0x204, 4, 4);
    image.put(0x208, 4, 18);
    image.put(0x20C, 4, 0x006E'6558);  // "Xen"
    image.put(0x210, 4, 0x100'0040);
    return std::move(image.bytes());
}

TEST_CASE("PVH: the note's entry is taken, EBX points to the start info") {
    BootRequest request;
    request.kernel = "vmlinux";
    request.append = "console=hvc0";
    const auto made = plan_pvh_boot(make_pvh_kernel(), std::vector<u8>(100, 9), request,
                                    environment_with(64 * kMiB));
    REQUIRE(made);
    const BootPlan& plan = made.value();
    CHECK(plan.entry.mode == EntryMode::Protected32);
    CHECK(plan.entry.rip == 0x100'0040);
    const PhysAddr info = plan.entry.rbx;
    CHECK(value_at(plan, info, 4) == 0x336E'C578);
    CHECK(value_at(plan, info + 12, 4) == 1);
    const PhysAddr module = value_at(plan, info + 16, 8);
    CHECK(byte_at(plan, value_at(plan, module, 8)) == u8{9});
    CHECK(value_at(plan, module + 8, 8) == 100);
    CHECK(string_at(plan, value_at(plan, info + 24, 8)) == "console=hvc0");
    CHECK(value_at(plan, info + 32, 8) == 0xF'0000);
    const PhysAddr map = value_at(plan, info + 40, 8);
    CHECK(value_at(plan, info + 48, 4) == environment_with(64 * kMiB).e820().size());
    CHECK(value_at(plan, map + 8, 8) == memory_map::kConventionalEnd);
    CHECK(value_at(plan, map + 16, 4) == 1);
}

TEST_CASE("PVH: an ELF file without the note is refused with both ways named") {
    BootRequest request;
    request.kernel = "vmlinux";
    const auto plan =
        plan_pvh_boot(make_pvh_kernel(false), {}, request, environment_with(64 * kMiB));
    REQUIRE_FALSE(plan);
    CHECK_THAT(plan.error().message, Catch::Contains("PVH entry note"));
}

TEST_CASE("PVH: a kernel beyond the machine's memory is refused, and -m is named") {
    BootRequest request;
    request.kernel = "vmlinux";
    const auto plan = plan_pvh_boot(make_pvh_kernel(), {}, request, environment_with(16 * kMiB));
    REQUIRE_FALSE(plan);
    CHECK_THAT(plan.error().message, Catch::Contains("(-m)"));
}

}  // namespace
}  // namespace droste
