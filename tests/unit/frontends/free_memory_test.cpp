// The memory a loader has left: reserving splits ranges, and nothing is given out twice.

#include "frontends/machine/free_memory.hpp"

#include <catch2/catch.hpp>

#include <array>

namespace droste {
namespace {

FreeMemory two_ranges() {
    const std::array ranges = {MemoryRange{0x600, 0x9'FC00}, MemoryRange{0x10'0000, 0x80'0000}};
    return FreeMemory(ranges);
}

TEST_CASE("Free memory: what is reserved is free no more, its neighbors still are") {
    FreeMemory memory = two_ranges();
    REQUIRE(memory.reserve(0x20'0000, 0x1000));
    CHECK_FALSE(memory.is_free(0x20'0000, 1));
    CHECK_FALSE(memory.is_free(0x20'0FFF, 1));
    CHECK_FALSE(memory.is_free(0x1F'FFFF, 2));
    CHECK(memory.is_free(0x1F'FFFF, 1));
    CHECK(memory.is_free(0x20'1000, 1));
    CHECK_FALSE(memory.reserve(0x1F'F000, 0x1001));
    CHECK(memory.describe() == "0x600..0x9fc00, 0x100000..0x200000, 0x201000..0x800000");
}

TEST_CASE("Free memory: a range that is taken whole disappears, and one that touches its ends "
          "shrinks") {
    FreeMemory memory = two_ranges();
    REQUIRE(memory.reserve(0x600, 0x9'FC00 - 0x600));
    CHECK(memory.describe() == "0x100000..0x800000");
    REQUIRE(memory.reserve(0x10'0000, 0x1000));
    REQUIRE(memory.reserve(0x7F'F000, 0x1000));
    CHECK(memory.describe() == "0x101000..0x7ff000");
    REQUIRE(memory.reserve(0x10'1000, 0x6F'E000));
    CHECK(memory.describe() == "nothing");
}

TEST_CASE("Free memory: ranges that leave memory, cross a hole or wrap are not free") {
    FreeMemory memory = two_ranges();
    CHECK_FALSE(memory.is_free(0x5FF, 2));
    CHECK_FALSE(memory.is_free(0x9'FBFF, 2));
    CHECK_FALSE(memory.is_free(0x9'F000, 0x10'0000));
    CHECK_FALSE(memory.is_free(0x7F'FFFF, 2));
    CHECK_FALSE(memory.is_free(0x7F'FFFF, ~u64{0}));
    CHECK_FALSE(memory.reserve(~u64{0}, 2));
    CHECK(memory.reserve(0xFFFF'0000, 0));  // no bytes need no place
}

TEST_CASE("Free memory: a place is found lowest or highest, aligned and within its limits") {
    const FreeMemory memory = two_ranges();
    const MemoryRange all = {0, ~u64{0}};
    CHECK(memory.find(0x1000, 0x1000, all) == 0x1000);
    CHECK(memory.find(0x1000, 0x1000, all, FreeMemory::Prefer::Highest) == 0x7F'F000);
    CHECK(memory.find(0x10'0000, 1, all) == 0x10'0000);  // too large for the first range
    CHECK(memory.find(0x1800, 0x1000, all, FreeMemory::Prefer::Highest) == 0x7F'E000);
    CHECK(memory.find(0x1000, 0x1000, {0x20'0800, 0x20'2000}) == 0x20'1000);
    CHECK_FALSE(memory.find(0x1000, 0x1000, {0x20'0800, 0x20'1FFF}));
    CHECK_FALSE(memory.find(0x70'0001, 1, all));
    CHECK(memory.find(0x70'0000, 1, all) == 0x10'0000);
}

}  // namespace
}  // namespace droste
