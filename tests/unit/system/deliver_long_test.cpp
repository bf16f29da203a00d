// Events in IA-32e mode. SDM Vol. 3A, "Exception and Interrupt Handling in 64-bit Mode".

#include "tests/unit/system/guest.hpp"

using namespace droste;
using namespace droste::test;

namespace {

constexpr u8 kVector = 0x20;

}  // namespace

TEST_CASE("64-bit frame: SS:RSP are always pushed and RSP is aligned to 16", "[deliver][long]") {
    Guest g;
    g.long_mode();
    g.set_all_gates();
    g.reg(RSP) = Guest::kStack0 - 3;
    g.state().set_rflags(rflags::kIf | rflags::kZf);
    g.interrupt(kVector);
    CHECK(g.rip() == Guest::handler(kVector));
    CHECK(g.reg(RSP) == Guest::kStack0 - 16 - 40);
    CHECK(g.stack<u64>(0) == Guest::kCode);
    CHECK(g.stack<u64>(1) == Guest::kCode0);
    CHECK(g.stack<u64>(2) == (rflags::kIf | rflags::kZf | rflags::kFixed1));
    CHECK(g.stack<u64>(3) == Guest::kStack0 - 3);
    CHECK(g.stack<u64>(4) == Guest::kData0);
    CHECK(g.seg(SS).selector == Guest::kData0);  // the same level: SS is untouched
    CHECK((g.flags() & rflags::kIf) == 0);
}

TEST_CASE("From ring 3: RSP0, a null SS, and the error code lowest", "[deliver][long]") {
    Guest g;
    g.long_mode(3);
    g.set_all_gates();
    g.raise_and_deliver(Exception::GP, 0x55);
    CHECK(g.cpu().mode.cpl == 0);
    CHECK(g.seg(SS).selector == 0);
    CHECK(g.seg(SS).unusable());
    CHECK(g.reg(RSP) == Guest::kStack0 - 48);
    CHECK(g.stack<u64>(0) == 0x55);
    CHECK(g.stack<u64>(1) == Guest::kCode);
    CHECK(g.stack<u64>(2) == Guest::kCode3);
    CHECK((g.stack<u64>(3) & rflags::kRf) != 0);
    CHECK(g.stack<u64>(4) == Guest::kStack3);
    CHECK(g.stack<u64>(5) == Guest::kData3);
}

TEST_CASE("IST: the stack comes from the table at any level", "[deliver][long][ist]") {
    Guest g;
    g.long_mode();
    g.set_gate64(kVector, Guest::kCode0, 0x6000, access::kInterruptGate, 3);
    g.machine().poke_value<u64>(Guest::kTss + 0x24 + 2 * 8, Guest::kStack1 + 8);
    g.interrupt(kVector);
    CHECK(g.reg(RSP) == Guest::kStack1 - 40);
    CHECK(g.stack<u64>(3) == Guest::kStack0);
    CHECK(g.seg(SS).selector == Guest::kData0);  // the level did not change
}

TEST_CASE("Gates must be 64-bit interrupt or trap gates to 64-bit code", "[deliver][long]") {
    Guest g;
    g.long_mode();
    g.set_all_gates();
    g.set_gate64(kVector, Guest::kCode0, 0x6000, access::kTaskGate);
    g.interrupt(kVector);
    CHECK(g.rip() == Guest::handler(Exception::GP));
    CHECK(g.stack<u64>(0) == kVector * 8 + 3);
    g.set_descriptor(Guest::kFree, flat(access::kCode, kFlags32));  // compatibility-mode code
    g.set_gate64(kVector, Guest::kFree, 0x6000, access::kInterruptGate);
    g.interrupt(kVector);
    CHECK(g.rip() == Guest::handler(Exception::GP));
    CHECK(g.stack<u64>(0) == Guest::kFree + 1);
}

TEST_CASE("A non-canonical entry point is #GP(EXT), a non-canonical stack #SS(EXT)",
          "[deliver][long]") {
    Guest g;
    g.long_mode();
    g.set_all_gates();
    g.set_gate64(kVector, Guest::kCode0, 0x8000'0000'0000, access::kInterruptGate);
    g.interrupt(kVector);
    CHECK(g.rip() == Guest::handler(Exception::GP));
    CHECK(g.stack<u64>(0) == 1);
    g.set_gate64(kVector, Guest::kCode0, 0x6000, access::kInterruptGate, 1);
    g.machine().poke_value<u64>(Guest::kTss + 0x24, 0x8000'0000'1000);
    g.interrupt(kVector);
    CHECK(g.rip() == Guest::handler(Exception::SS));
    CHECK(g.stack<u64>(0) == 1);
}

TEST_CASE("A TSS too short for RSP0 raises #TS with its selector", "[deliver][long][tss]") {
    Guest g;
    g.long_mode(3);
    g.set_all_gates();
    g.set_gate64(static_cast<u8>(Exception::TS), Guest::kCode3, 0x60A0, access::kInterruptGate);
    g.state().tr.limit = 4;
    g.interrupt(kVector);
    CHECK(g.rip() == 0x60A0);
    CHECK(g.stack<u64>(0) == Guest::kTr + 1);
}

TEST_CASE("A page fault while pushing the frame: CR2 is the stack's address and #DF follows a #PF",
          "[deliver][long][df]") {
    Guest g;
    g.long_mode();
    g.set_all_gates();
    g.set_gate64(static_cast<u8>(Exception::DF), Guest::kCode0, 0x6080, access::kInterruptGate, 1);
    g.machine().poke_value<u64>(Guest::kTss + 0x24, Guest::kStack1);
    g.reg(RSP) = 0x4000'0000;                          // not mapped
    CHECK(g.exec({0x50}) == fault(Exception::PF, 2));  // push rax
    deliver_fault(g.cpu());
    CHECK(g.rip() == 0x6080);
    CHECK(g.state().cr2 == 0x4000'0000 - 8);  // the first word pushed
    CHECK(g.stack<u64>(0) == 0);
    CHECK(g.stack<u64>(4) == 0x4000'0000);
}

TEST_CASE("From compatibility mode the handler starts in 64-bit mode", "[deliver][long]") {
    Guest g;
    g.long_mode(3);
    g.set_all_gates();
    g.set_descriptor(Guest::kFree, flat(access::kCode | access::kDpl3, kFlags32));
    g.load(CS, Guest::kFree | 3);
    REQUIRE(g.cpu().mode.code_bits == 32);
    g.interrupt(kVector);
    CHECK(g.cpu().mode.code_bits == 64);
    CHECK(g.stack<u64>(1) == (Guest::kFree | 3));
}
