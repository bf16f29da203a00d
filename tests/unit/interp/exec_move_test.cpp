// Stack and data movement where the mode matters: stack sizes, segment registers, frames, faults in
// the midst.

#include "tests/unit/interp/insn_runner.hpp"

using namespace droste;
using namespace droste::test;

TEST_CASE("PUSHA stores eight registers with the old SP, POPA skips it", "[interp][move]") {
    InsnRunner runner;
    runner.real_mode();
    for (unsigned i = 0; i < 8; ++i) {
        if (i != RSP) {
            runner.state().gpr[i] = 0xAAAA'1100 + i;
        }
    }
    CHECK(runner.run({0x60}) == Status::Next);  // pushaw
    CHECK(runner.gpr(RSP) == 0x7FF0);
    CHECK(runner.machine.peek_value<u16>(0x17FFE) == 0x1100);  // AX
    CHECK(runner.machine.peek_value<u16>(0x17FF6) == 0x8000);  // SP before
    CHECK(runner.machine.peek_value<u16>(0x17FF0) == 0x1107);  // DI
    for (unsigned i = 0; i < 8; ++i) {
        if (i != RSP) {
            runner.state().gpr[i] = 0xBBBB'0000;
        }
    }
    runner.machine.poke_value<u16>(0x17FF6, 0x4444);
    CHECK(runner.run({0x61}) == Status::Next);  // popaw
    CHECK(runner.gpr(RSP) == 0x8000);
    CHECK(runner.gpr(RDX) == 0xBBBB'1102);
}

TEST_CASE("POPA that faults changes no register", "[interp][move]") {
    InsnRunner runner;
    runner.protected_mode();
    runner.gpr(RAX) = 1;
    runner.gpr(RDI) = 2;
    runner.state().seg[SS].limit = InsnRunner::kData + 19;
    CHECK(runner.run({0x61}) == Status::Fault);  // popal
    CHECK(runner.raised(Exception::SS, 0));
    CHECK(runner.gpr(RDI) == 2);
    CHECK(runner.gpr(RSP) == InsnRunner::kData);
}

TEST_CASE("POP SS blocks interrupts and debug traps for one instruction", "[interp][move]") {
    InsnRunner runner;
    runner.real_mode();
    runner.machine.poke_value<u16>(0x18000, 0x2345);
    CHECK(runner.run({0x17}) == Status::Sync);  // pop ss
    CHECK(runner.state().seg[SS].selector == 0x2345);
    CHECK(runner.state().seg[SS].base == 0x23450);
    CHECK(runner.gpr(RSP) == 0x8002);
    CHECK((runner.state().interruptibility & blocking::kMovSs) != 0);
}

TEST_CASE("POP to another segment register blocks nothing", "[interp][move]") {
    InsnRunner runner;
    runner.real_mode();
    runner.machine.poke_value<u16>(0x18000, 0x2345);
    CHECK(runner.run({0x1F}) == Status::Sync);  // pop ds
    CHECK(runner.state().seg[DS].base == 0x23450);
    CHECK(runner.state().interruptibility == 0);
}

TEST_CASE("PUSH of a segment register is zero-extended to the operand size", "[interp][move]") {
    InsnRunner runner;
    runner.protected_mode();
    runner.machine.poke_value<u32>(InsnRunner::kData - 4, 0xFFFF'FFFF);
    CHECK(runner.run({0x0E}) == Status::Next);  // push cs
    CHECK(runner.machine.peek_value<u32>(InsnRunner::kData - 4) == runner.state().seg[CS].selector);
}

TEST_CASE(
    "POP to memory addresses it with the incremented stack pointer, and faults without moving it",
    "[interp][move]") {
    InsnRunner runner;
    runner.protected_mode();
    runner.machine.poke_value<u32>(InsnRunner::kData, 0x1234);
    CHECK(runner.run({0x8F, 0x04, 0x24}) == Status::Next);  // pop [esp]
    CHECK(runner.machine.peek_value<u32>(InsnRunner::kData + 4) == 0x1234);
    CHECK(runner.gpr(RSP) == InsnRunner::kData + 4);
    runner.state().seg[DS].limit = 0x1000;
    CHECK(runner.run({0x8F, 0x05, 0, 0x20, 0, 0}) == Status::Fault);  // pop dword [0x2000]
    CHECK(runner.gpr(RSP) == InsnRunner::kData + 4);
}

TEST_CASE("ENTER on a 16-bit stack leaves the upper half of ESP and EBP", "[interp][move]") {
    InsnRunner runner;
    runner.real_mode();
    runner.gpr(RSP) = 0x7777'8000;
    runner.gpr(RBP) = 0x6666'4000;
    runner.machine.poke_value<u16>(0x13FFE, 0x1357);
    CHECK(runner.run({0xC8, 0x20, 0x00, 0x02}) == Status::Next);  // enter 0x20, 2
    CHECK(runner.gpr(RBP) == 0x6666'7FFE);
    CHECK(runner.gpr(RSP) == 0x7777'7FDA);
    CHECK(runner.machine.peek_value<u16>(0x17FFE) == 0x4000);
    CHECK(runner.machine.peek_value<u16>(0x17FFC) == 0x1357);
    CHECK(runner.machine.peek_value<u16>(0x17FFA) == 0x7FFE);
    CHECK(runner.run({0xC9}) == Status::Next);  // leave
    CHECK(runner.gpr(RSP) == 0x7777'8000);
    CHECK(runner.gpr(RBP) == 0x6666'4000);
}

TEST_CASE("CMPXCHG writes its destination even when the comparison fails", "[interp][move]") {
    InsnRunner runner;
    runner.long_mode();
    runner.machine.map(InsnRunner::kData + 8 * kPageBytes, InsnRunner::kData, false);  // read-only
    runner.gpr(RDI) = InsnRunner::kData + 8 * kPageBytes;
    runner.gpr(RAX) = 1;                                     // memory holds 0
    CHECK(runner.run({0x0F, 0xB1, 0x0F}) == Status::Fault);  // cmpxchg dword [rdi], ecx
    CHECK(runner.raised(Exception::PF, 3));
    CHECK(runner.gpr(RAX) == 1);
}

TEST_CASE("a read-modify-write that crosses into an unmapped page changes nothing",
          "[interp][move]") {
    InsnRunner runner;
    runner.long_mode();
    const u64 end = InsnRunner::kData + 4 * kPageBytes;
    runner.machine.poke_value<u16>(end - 2, 0x1111);
    runner.gpr(RDI) = end - 2;
    runner.state().set_rflags(2 | rflags::kOf);
    CHECK(runner.run({0x01, 0x07}) == Status::Fault);        // add dword [rdi], eax
    CHECK(runner.run({0xF0, 0x01, 0x07}) == Status::Fault);  // lock add dword [rdi], eax
    CHECK(runner.run({0x87, 0x07}) == Status::Fault);        // xchg dword [rdi], eax
    CHECK(runner.run({0x0F, 0xC1, 0x07}) == Status::Fault);  // xadd dword [rdi], eax
    CHECK(runner.machine.peek_value<u16>(end - 2) == 0x1111);
    CHECK(runner.flag(rflags::kOf));
}

TEST_CASE("XLAT truncates its address to the address size", "[interp][move]") {
    InsnRunner runner;
    runner.real_mode();
    runner.gpr(RBX) = 0xFFFF;
    runner.gpr(RAX) = 0x33;
    runner.machine.poke_value<u8>(0x10032, 0x99);
    CHECK(runner.run({0xD7}) == Status::Next);  // xlatb
    CHECK(runner.gpr(RAX) == 0x99);
}

TEST_CASE("LEA truncates to the address size, then to the operand size", "[interp][move]") {
    InsnRunner runner;
    runner.long_mode();
    runner.gpr(RBX) = 0xFFFF'FFFF'FFFF'FFF0;
    CHECK(runner.run({0x67, 0x48, 0x8D, 0x43, 0x20}) == Status::Next);  // lea rax, [ebx + 20h]
    CHECK(runner.gpr(RAX) == 0x10);
    CHECK(runner.run({0x8D, 0x43, 0x01}) == Status::Next);  // lea eax, [rbx + 1]
    CHECK(runner.gpr(RAX) == 0xFFFF'FFF1);
}

TEST_CASE("bit strings reach below and beyond the operand in units of the operand size",
          "[interp][move]") {
    InsnRunner runner;
    runner.long_mode();
    runner.gpr(RDI) = InsnRunner::kData + 0x100;
    runner.gpr(RAX) = static_cast<u64>(-1);
    CHECK(runner.run({0x48, 0x0F, 0xAB, 0x07}) ==  // bts qword [rdi], rax
          Status::Next);                           // bts [rdi], rax: bit 63 of the quadword below
    CHECK(runner.machine.peek_value<u64>(InsnRunner::kData + 0xF8) == u64{1} << 63);
    CHECK_FALSE(runner.flag(rflags::kCf));
    runner.gpr(RAX) = 1000;
    CHECK(runner.run({0xF0, 0x66, 0x0F, 0xAB, 0x07}) == Status::Next);  // lock bts word [rdi], ax
    CHECK(runner.machine.peek_value<u16>(InsnRunner::kData + 0x100 + 124) == 1U << 8);
}
