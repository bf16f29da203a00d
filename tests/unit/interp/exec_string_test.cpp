// Repeated string instructions around the edges: quanta, stepping, page and segment ends, address
// sizes. What they compute is checked against the native CPU in native_integer_test.cpp.

#include "tests/unit/interp/insn_runner.hpp"

#include <vector>

using namespace droste;
using namespace droste::test;

namespace {

constexpr u64 kSource = InsnRunner::kData;
constexpr u64 kDest = InsnRunner::kData + 2 * kPageBytes;

// Runs a repetition to its end as the engine would; returns how many times the handler was called.
unsigned run_to_end(InsnRunner& runner, std::initializer_list<u8> bytes, Status& last) {
    const u64 start = runner.state().rip();
    unsigned calls = 0;
    do {
        last = runner.run(bytes);
        ++calls;
    } while (last == Status::Branch && runner.state().rip() == start && calls < 100'000);
    return calls;
}

}  // namespace

TEST_CASE("REP stops at a quantum with RIP unmoved and registers up to date", "[interp][string]") {
    InsnRunner runner;
    runner.long_mode();
    runner.gpr(RCX) = 2 * kPageBytes;
    runner.gpr(RDI) = kDest;
    runner.gpr(RAX) = 0x5A;
    const u64 before = runner.cpu().icount;
    CHECK(runner.run({0xF3, 0xAA}) == Status::Branch);  // rep stosb byte [rdi], al
    CHECK(runner.state().rip() == InsnRunner::kData);
    CHECK(runner.gpr(RCX) == kPageBytes);
    CHECK(runner.gpr(RDI) == kDest + kPageBytes);
    CHECK(runner.cpu().icount > before);              // virtual time goes on
    CHECK(runner.run({0xF3, 0xAA}) == Status::Next);  // rep stosb byte [rdi], al
    CHECK(runner.gpr(RCX) == 0);
    CHECK(runner.machine.peek_value<u8>(kDest + 2 * kPageBytes - 1) == 0x5A);
}

TEST_CASE("a stepped repetition does one element at a time and shows its flags",
          "[interp][string]") {
    InsnRunner runner;
    runner.long_mode();
    runner.gpr(RCX) = 3;
    runner.gpr(RSI) = kSource;
    runner.gpr(RDI) = kSource;
    runner.state().set_rflags(2 | rflags::kCf);
    runner.cpu().request(attention::kStep);
    CHECK(runner.run({0xF3, 0xA6}) == Status::Branch);  // repe cmpsb byte [rsi], byte [rdi]
    CHECK(runner.gpr(RCX) == 2);
    CHECK(runner.gpr(RSI) == kSource + 1);
    CHECK(runner.flag(rflags::kZf));
    CHECK_FALSE(runner.flag(rflags::kCf));
    CHECK(runner.run({0xF3, 0xA6}) == Status::Branch);  // repe cmpsb byte [rsi], byte [rdi]
    CHECK(runner.run({0xF3, 0xA6}) == Status::Next);    // repe cmpsb byte [rsi], byte [rdi]
}

TEST_CASE("a repeat count of zero touches nothing", "[interp][string]") {
    InsnRunner runner;
    runner.long_mode();
    runner.gpr(RCX) = 0x1'0000'0000;
    runner.gpr(RDI) = 0xDEAD'0000'0000'0000;
    CHECK(runner.run({0x67, 0xF3, 0xAA}) == Status::Next);  // ECX = 0
    CHECK(runner.gpr(RCX) == 0x1'0000'0000);
    CHECK(runner.gpr(RDI) == 0xDEAD'0000'0000'0000);
}

TEST_CASE("a fault in the midst of REPE CMPS keeps the flags from before", "[interp][string]") {
    InsnRunner runner;
    runner.long_mode();
    const u64 end = InsnRunner::kData + 4 * kPageBytes;  // the first page that is not mapped
    runner.gpr(RCX) = 100;
    runner.gpr(RSI) = kSource;
    runner.gpr(RDI) = end - 10;
    runner.state().set_rflags(2 | rflags::kCf | rflags::kOf);
    CHECK(runner.run({0xF3, 0xA6}) == Status::Fault);  // repe cmpsb byte [rsi], byte [rdi]
    CHECK(runner.raised(Exception::PF));
    CHECK(runner.cpu().fault.payload == end);
    CHECK(runner.gpr(RCX) == 90);
    CHECK(runner.gpr(RDI) == end);
    CHECK(runner.flag(rflags::kCf));
    CHECK_FALSE(runner.flag(rflags::kZf));
}

TEST_CASE("16-bit addresses wrap within the segment", "[interp][string]") {
    InsnRunner runner;
    runner.real_mode();
    runner.gpr(RCX) = 4;
    runner.gpr(RDI) = 0x7777'FFFE;
    runner.gpr(RAX) = 0xAB;
    CHECK(runner.run({0xF3, 0xAA}) == Status::Next);  // rep stosb byte es:[di], al
    CHECK(runner.machine.peek_value<u16>(0x1FFFE) == 0xABAB);
    CHECK(runner.machine.peek_value<u16>(0x10000) == 0xABAB);
    CHECK(runner.machine.peek_value<u16>(0x20000) == 0);
    CHECK(runner.gpr(RDI) == 0x7777'0002);
}

TEST_CASE("16-bit addresses wrap in a large segment whose base is in the middle of a page",
          "[interp][string]") {
    InsnRunner runner;
    runner.protected_mode();
    runner.state().seg[ES].base = 0x30'0100;
    runner.gpr(RCX) = 6;
    runner.gpr(RDI) = 0xFFFC;
    runner.gpr(RAX) = 0xAB;
    CHECK(runner.run({0x67, 0xF3, 0xAA}) == Status::Next);  // rep stosb byte es:[di], al
    CHECK(runner.machine.peek_value<u32>(0x31'00FC) == 0xABAB'ABAB);
    CHECK(runner.machine.peek_value<u32>(0x31'0100) == 0);
    CHECK(runner.machine.peek_value<u16>(0x30'0100) == 0xABAB);
}

TEST_CASE("a segment limit stops a repetition exactly", "[interp][string]") {
    InsnRunner runner;
    runner.protected_mode();
    runner.state().seg[ES].limit = 0x30'0063;
    runner.gpr(RCX) = 0x1000;
    runner.gpr(RDI) = 0x30'0000;
    runner.gpr(RAX) = 0x1111'1111;
    CHECK(runner.run({0xF3, 0xAB}) == Status::Fault);  // rep stosd dword es:[edi], eax
    CHECK(runner.raised(Exception::GP, 0));
    CHECK(runner.gpr(RDI) == 0x30'0064);
    CHECK(runner.gpr(RCX) == 0x1000 - 25);
    CHECK(runner.machine.peek_value<u32>(0x30'0060) == 0x1111'1111);
    CHECK(runner.machine.peek_value<u32>(0x30'0064) == 0);
}

TEST_CASE("the source segment can be overridden, the destination is always ES",
          "[interp][string]") {
    InsnRunner runner;
    runner.real_mode();
    load_real_mode_segment(runner.cpu(), FS, 0x3000);
    load_real_mode_segment(runner.cpu(), ES, 0x4000);
    runner.machine.poke_value<u8>(0x30010, 0x77);
    runner.gpr(RSI) = 0x10;
    runner.gpr(RDI) = 0x20;
    CHECK(runner.run({0x64, 0xA4}) == Status::Next);  // movsb byte es:[di], byte fs:[si]
    CHECK(runner.machine.peek_value<u8>(0x40020) == 0x77);
}

TEST_CASE("FS and GS bases count in 64-bit mode's bulk copies", "[interp][string]") {
    InsnRunner runner;
    runner.long_mode();
    runner.state().seg[GS].base = kSource + 0x100;
    for (unsigned i = 0; i < 64; ++i) {
        runner.machine.poke_value<u8>(kSource + 0x100 + i, static_cast<u8>(i));
    }
    runner.gpr(RCX) = 64;
    runner.gpr(RSI) = 0;
    runner.gpr(RDI) = kDest;
    CHECK(runner.run({0x65, 0xF3, 0xA4}) == Status::Next);  // rep movsb byte [rdi], byte gs:[rsi]
    CHECK(runner.machine.peek_value<u8>(kDest + 63) == 63);
}

TEST_CASE("a copy whose destination starts inside the source replicates it", "[interp][string]") {
    for (const unsigned distance : {1U, 3U, 8U, 11U}) {
        InsnRunner runner;
        runner.long_mode();
        std::vector<u8> expected(2000 + 16);
        for (unsigned i = 0; i < expected.size(); ++i) {
            expected[i] = static_cast<u8>(i * 7 + 1);
        }
        runner.machine.poke(kSource, expected);
        for (unsigned i = 0; i < 1500; ++i) {
            expected[i + distance] = expected[i];
        }
        runner.gpr(RCX) = 1500;
        runner.gpr(RSI) = kSource;
        runner.gpr(RDI) = kSource + distance;
        Status last = Status::Fault;
        run_to_end(runner, {0xF3, 0xA4}, last);
        CHECK(last == Status::Next);
        std::vector<u8> actual(expected.size());
        REQUIRE(runner.machine.memory().read(kSource, actual));
        CHECK(actual == expected);
    }
}

TEST_CASE("the two linear addresses of one page overlap as the page does", "[interp][string]") {
    InsnRunner runner;
    runner.long_mode();
    runner.machine.map(InsnRunner::kData + 8 * kPageBytes, kSource);  // an alias of the source page
    runner.machine.poke_value<u8>(kSource, 0xEE);
    runner.gpr(RCX) = 100;
    runner.gpr(RSI) = kSource;
    runner.gpr(RDI) = InsnRunner::kData + 8 * kPageBytes + 1;
    CHECK(runner.run({0xF3, 0xA4}) == Status::Next);  // rep movsb byte [rdi], byte [rsi]
    CHECK(runner.machine.peek_value<u8>(kSource + 100) == 0xEE);
}

TEST_CASE("REPNE SCAS finds the element and points behind it", "[interp][string]") {
    InsnRunner runner;
    runner.long_mode();
    runner.machine.poke_value<u32>(kDest + 4 * 700, 0x1234'5678);
    runner.gpr(RAX) = 0x1234'5678;
    runner.gpr(RCX) = 1000;
    runner.gpr(RDI) = kDest;
    CHECK(runner.run({0xF2, 0xAF}) == Status::Next);  // repne scasd eax, dword [rdi]
    CHECK(runner.gpr(RDI) == kDest + 4 * 701);
    CHECK(runner.gpr(RCX) == 299);
    CHECK(runner.flag(rflags::kZf));
}

TEST_CASE("an element that crosses into an unmapped page is not done", "[interp][string]") {
    InsnRunner runner;
    runner.long_mode();
    const u64 end = InsnRunner::kData + 4 * kPageBytes;
    runner.gpr(RCX) = 10;
    runner.gpr(RDI) = end - 12;
    runner.gpr(RAX) = ~u64{0};
    CHECK(runner.run({0xF3, 0x48, 0xAB}) == Status::Fault);  // rep stosq qword [rdi], rax
    CHECK(runner.gpr(RCX) == 9);
    CHECK(runner.gpr(RDI) == end - 4);
    CHECK(runner.machine.peek_value<u32>(end - 4) == 0);
}
