// GuestMemory: what answers an address, bulk accesses, compare-exchange, the guards around it.

#include "core/guest_memory.hpp"

#include <catch2/catch.hpp>

#include <array>
#include <csignal>
#include <utility>

#include <sys/wait.h>
#include <unistd.h>

using namespace droste;

namespace {

constexpr u64 kMiB = u64{1} << 20;

std::unique_ptr<GuestMemory> make(u64 bytes) {
    auto memory = GuestMemory::create(bytes);
    REQUIRE(memory.has_value());
    return std::move(memory).value();
}

// Whether a child that writes there dies of SIGSEGV. It lets nobody else explain the signal: neither
// the test framework nor a sanitizer, whose handlers end the process in ways of their own.
bool faults(volatile u8* address) {
    const pid_t child = fork();
    if (child == 0) {
        std::signal(SIGSEGV, SIG_DFL);
        *address = 1;
        _exit(0);
    }
    int status = 0;
    waitpid(child, &status, 0);
    return WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV;
}

}  // namespace

TEST_CASE("RAM sizes outside 1 MiB to 64 GiB and parts of a page are refused", "[memory]") {
    for (const u64 bytes : {u64{0}, kMiB - kPageBytes, kMiB + 1, 64 * 1024 * kMiB + kPageBytes}) {
        const auto memory = GuestMemory::create(bytes);
        REQUIRE_FALSE(memory.has_value());
        CHECK(memory.error().message.find("expected 1 MiB to 64 GiB") != std::string::npos);
    }
}

TEST_CASE("RAM beyond 3 GiB lies above 4 GiB, and nothing between", "[memory]") {
    const auto memory = make(4096 * kMiB);
    CHECK(memory->low_bytes() == 0xC000'0000);
    CHECK(memory->lookup(0xBFFF'F000).kind == PageKind::Ram);
    CHECK(memory->lookup(0xC000'0000).kind == PageKind::Mmio);
    CHECK(memory->lookup(0xFFFF'F000).kind == PageKind::Mmio);
    CHECK(memory->lookup(0x1'0000'0000).kind == PageKind::Ram);
    CHECK(memory->lookup(0x1'3FFF'F000).kind == PageKind::Ram);
    CHECK(memory->lookup(0x1'4000'0000).kind == PageKind::Mmio);
    CHECK(memory->lookup(0x1'0000'0000).native == memory->lookup(0xBFFF'F000).native + kPageBytes);
}

TEST_CASE("A write that is not RAM throughout changes nothing", "[memory]") {
    const auto memory = make(kMiB);
    const std::array<u8, 16> ones = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};
    CHECK_FALSE(memory->write(kMiB - 8, ones));
    std::array<u8, 8> back{};
    CHECK(memory->read(kMiB - 8, back));
    CHECK(back == std::array<u8, 8>{});
    CHECK(memory->write(0x1FF8, ones));  // over a page end
    CHECK(memory->read(0x2000, back));
    CHECK(back[7] == 1);
}

TEST_CASE("Compare-exchange replaces what is expected and reports what is there", "[memory]") {
    const auto memory = make(kMiB);
    const std::array<u8, 8> bytes = {0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88};
    REQUIRE(memory->write(0x1000, bytes));
    u64 expected = 5;
    CHECK(memory->compare_exchange(0x1000, expected, u64{7}) == Exchange::Changed);
    CHECK(expected == 0x8877'6655'4433'2211);
    CHECK(memory->compare_exchange(0x1000, expected, u64{7}) == Exchange::Done);
    u32 half = 0;
    CHECK(memory->compare_exchange(0x1004, half, u32{9}) == Exchange::Done);
    std::array<u8, 8> back{};
    CHECK(memory->read(0x1000, back));
    CHECK(back == std::array<u8, 8>{7, 0, 0, 0, 9, 0, 0, 0});
}

TEST_CASE("Compare-exchange does nothing to ROM and to what is not memory", "[memory]") {
    const auto memory = make(kMiB);
    std::array<u8, kPageBytes> rom{};
    memory->overlay(0xF'0000, kPageBytes, PageKind::Rom, rom.data());
    u64 zero = 0;
    CHECK(memory->compare_exchange(0xF'0000, zero, u64{1}) == Exchange::NotRam);
    CHECK(rom[0] == 0);
    CHECK(memory->compare_exchange(kMiB, zero, u64{1}) == Exchange::NotRam);
}

TEST_CASE("The bytes before and behind RAM and behind the flags cannot be touched", "[memory]") {
    const auto memory = make(kMiB);
    const NativePage first = memory->lookup(0);
    const NativePage last = memory->lookup(kMiB - kPageBytes);
    CHECK_FALSE(faults(first.native));
    CHECK_FALSE(faults(last.native + kPageBytes - 1));
    CHECK(faults(first.native - 1));
    CHECK(faults(last.native + kPageBytes));
    CHECK(faults(first.flags - 1));
    CHECK(faults(first.flags + kPageBytes));
}
