// Near branches outside the easy case: operand-size truncation, code-segment limits, canonical
// targets, address-size count registers, and the events of INT and BOUND.

#include "tests/unit/interp/insn_runner.hpp"

using namespace droste;
using namespace droste::test;

TEST_CASE("a 16-bit relative jump wraps at 64 KiB", "[interp][branch]") {
    InsnRunner runner;
    runner.real_mode();
    runner.state().rip() = 0xFFF0;
    CHECK(runner.run({0xEB, 0x20}) == Status::Branch);  // jmp $ + 34
    CHECK(runner.state().rip() == 0x0012);
}

TEST_CASE("a jump beyond the code segment's limit is #GP(0)", "[interp][branch]") {
    InsnRunner runner;
    runner.real_mode();
    CHECK(runner.run({0x66, 0xE9, 0x00, 0x00, 0x01, 0x00}) == Status::Fault);  // jmp $ + 65542
    CHECK(runner.raised(Exception::GP, 0));
    CHECK(runner.state().rip() == 0x100);
}

TEST_CASE("a CALL whose target is out of bounds pushes nothing", "[interp][branch]") {
    InsnRunner runner;
    runner.protected_mode();
    runner.state().seg[CS].limit = 0x2F'FFFF;
    CHECK(runner.run({0xE8, 0x00, 0x00, 0x10, 0x00}) == Status::Fault);  // call $ + 1048581
    CHECK(runner.raised(Exception::GP, 0));
    CHECK(runner.gpr(RSP) == InsnRunner::kData);
}

TEST_CASE("a near branch to a non-canonical address is #GP(0) at the branch", "[interp][branch]") {
    InsnRunner runner;
    runner.long_mode();
    runner.gpr(RAX) = 0x8000'0000'0000;
    const u64 rsp = runner.gpr(RSP);
    CHECK(runner.run({0xFF, 0xE0}) == Status::Fault);  // jmp rax
    CHECK(runner.raised(Exception::GP, 0));
    CHECK(runner.run({0xFF, 0xD0}) == Status::Fault);  // call rax
    CHECK(runner.gpr(RSP) == rsp);
    runner.machine.poke_value<u64>(InsnRunner::kData + kPageBytes, 0x8000'0000'0000);
    runner.gpr(RSP) = InsnRunner::kData + kPageBytes;
    CHECK(runner.run({0xC3}) == Status::Fault);  // ret
    CHECK(runner.gpr(RSP) == InsnRunner::kData + kPageBytes);
    CHECK(runner.state().rip() == InsnRunner::kData);
}

TEST_CASE("CALL and RET imm16 in 64-bit mode", "[interp][branch]") {
    InsnRunner runner;
    runner.long_mode();
    const u64 rsp = runner.gpr(RSP);
    CHECK(runner.run({0xE8, 0xFB, 0x0F, 0x00, 0x00}) == Status::Branch);  // call $ + 4096
    CHECK(runner.state().rip() == InsnRunner::kData + 0x1000);
    CHECK(runner.gpr(RSP) == rsp - 8);
    CHECK(runner.machine.peek_value<u64>(rsp - 8) == InsnRunner::kData + 5);
    CHECK(runner.run({0xC2, 0x10, 0x00}) == Status::Branch);  // ret 0x10
    CHECK(runner.state().rip() == InsnRunner::kData + 5);
    CHECK(runner.gpr(RSP) == rsp + 16);
}

TEST_CASE("CALL in a 16-bit stack wraps SP and leaves the rest of ESP", "[interp][branch]") {
    InsnRunner runner;
    runner.real_mode();
    runner.gpr(RSP) = 0x1234'0000;
    CHECK(runner.run({0xE8, 0x10, 0x00}) == Status::Branch);  // call $ + 19
    CHECK(runner.gpr(RSP) == 0x1234'FFFE);
    CHECK(runner.machine.peek_value<u16>(0x1FFFE) == 0x103);
    CHECK(runner.run({0xC3}) == Status::Branch);  // ret
    CHECK(runner.state().rip() == 0x103);
    CHECK(runner.gpr(RSP) == 0x1234'0000);
}

TEST_CASE("Jcc takes the branch exactly when its condition holds", "[interp][branch]") {
    InsnRunner runner;
    runner.long_mode();
    for (unsigned code = 0; code < 16; ++code) {
        for (unsigned flags = 0; flags < 64; ++flags) {
            const u64 image =
                ((flags & 1) != 0 ? rflags::kCf : 0) | ((flags & 2) != 0 ? rflags::kPf : 0) |
                ((flags & 4) != 0 ? rflags::kZf : 0) | ((flags & 8) != 0 ? rflags::kSf : 0) |
                ((flags & 16) != 0 ? rflags::kOf : 0) | ((flags & 32) != 0 ? rflags::kAf : 0);
            runner.state().set_rflags(image | 2);
            runner.state().rip() = InsnRunner::kData;
            const bool sf_ne_of = ((flags & 8) != 0) != ((flags & 16) != 0);
            const bool met[8] = {(flags & 16) != 0, (flags & 1) != 0,
                                 (flags & 4) != 0,  (flags & 5) != 0,
                                 (flags & 8) != 0,  (flags & 2) != 0,
                                 sf_ne_of,          sf_ne_of || (flags & 4) != 0};
            const bool expected = met[code >> 1] != ((code & 1) != 0);
            INFO("condition " << code << " flags " << image);
            CHECK(runner.run({static_cast<u8>(0x70 | code), 0x7E}) ==
                  (expected ? Status::Branch : Status::Next));
            CHECK(runner.state().rip() == InsnRunner::kData + (expected ? 0x80U : 2U));
        }
    }
}

TEST_CASE("LOOP counts in the register of the address size", "[interp][branch]") {
    InsnRunner runner;
    runner.long_mode();
    runner.gpr(RCX) = 0x1'0000'0001;
    CHECK(runner.run({0xE2, 0x10}) == Status::Branch);  // loop $ + 18
    CHECK(runner.gpr(RCX) == 0x1'0000'0000);
    runner.gpr(RCX) = 0x1'0000'0001;
    CHECK(runner.run({0x67, 0xE2, 0x10}) == Status::Next);  // loop $ + 19
    CHECK(runner.gpr(RCX) == 0);

    runner.real_mode();
    runner.gpr(RCX) = 0x5'0000;
    CHECK(runner.run({0xE2, 0x10}) == Status::Branch);  // CX wraps to FFFFh
    CHECK(runner.gpr(RCX) == 0x5'FFFF);
}

TEST_CASE("LOOPE and LOOPNE also look at ZF", "[interp][branch]") {
    InsnRunner runner;
    runner.long_mode();
    for (const bool zf : {false, true}) {
        runner.state().set_rflags(2 | (zf ? rflags::kZf : 0));
        runner.gpr(RCX) = 5;
        CHECK(runner.run({0xE1, 0x10}) == (zf ? Status::Branch : Status::Next));  // loope $ + 18
        CHECK(runner.run({0xE0, 0x10}) == (zf ? Status::Next : Status::Branch));  // loopne $ + 18
        CHECK(runner.gpr(RCX) == 3);
    }
}

TEST_CASE("JCXZ, JECXZ and JRCXZ test the register of the address size", "[interp][branch]") {
    InsnRunner runner;
    runner.long_mode();
    runner.gpr(RCX) = 0x1'0000'0000;
    CHECK(runner.run({0xE3, 0x10}) == Status::Next);          // jrcxz $ + 18
    CHECK(runner.run({0x67, 0xE3, 0x10}) == Status::Branch);  // jecxz $ + 19
}

TEST_CASE("a LOOP that faults leaves its count", "[interp][branch]") {
    InsnRunner runner;
    runner.protected_mode();
    runner.state().seg[CS].limit = InsnRunner::kData + 1;
    runner.gpr(RCX) = 7;
    CHECK(runner.run({0xE2, 0x10}) == Status::Fault);  // loop $ + 18
    CHECK(runner.gpr(RCX) == 7);
}

TEST_CASE("INT n in real mode goes through the interrupt vector table", "[interp][branch]") {
    InsnRunner runner;
    runner.real_mode();
    runner.state().idtr = {0, 0x3FF};
    runner.machine.poke_value<u32>(0x21 * 4, 0x2000'0050);
    runner.set_flags(rflags::kIf);
    CHECK(runner.run({0xCD, 0x21}) == Status::Switched);  // int 0x21
    CHECK(runner.state().seg[CS].selector == 0x2000);
    CHECK(runner.state().rip() == 0x50);
    CHECK(runner.machine.peek_value<u16>(0x17FFA) == 0x102);
    CHECK_FALSE(runner.flag(rflags::kIf));
}

TEST_CASE("INTO traps only with OF", "[interp][branch]") {
    InsnRunner runner;
    runner.real_mode();
    runner.state().idtr = {0, 0x3FF};
    runner.machine.poke_value<u32>(4 * 4, 0x2000'0050);
    CHECK(runner.run({0xCE}) == Status::Next);  // into
    runner.set_flags(rflags::kOf);
    CHECK(runner.run({0xCE}) == Status::Switched);  // into
    CHECK(runner.state().rip() == 0x50);
}

TEST_CASE("BOUND compares signed with both bounds, inclusive", "[interp][branch]") {
    InsnRunner runner;
    runner.protected_mode();
    runner.machine.poke_value<u32>(0x30'0000, static_cast<u32>(-5));
    runner.machine.poke_value<u32>(0x30'0004, 10);
    runner.gpr(RBX) = 0x30'0000;
    for (const i32 inside : {-5, 0, 10}) {
        runner.gpr(RAX) = static_cast<u32>(inside);
        CHECK(runner.run({0x62, 0x03}) == Status::Next);  // bound eax, qword [ebx]
    }
    for (const i32 outside : {-6, 11}) {
        runner.gpr(RAX) = static_cast<u32>(outside);
        CHECK(runner.run({0x62, 0x03}) == Status::Fault);  // bound eax, qword [ebx]
        CHECK(runner.raised(Exception::BR));
    }
}
