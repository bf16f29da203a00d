// CLI, STI, PUSHF, POPF and their kin in every mode. SDM Vol. 2, "CLI—Clear Interrupt Flag"
// (decision table), "STI—Set Interrupt Flag", "POPF/POPFD/POPFQ—Pop Stack Into EFLAGS Register",
// "PUSHF/PUSHFD/PUSHFQ".

#include "tests/unit/interp/insn_runner.hpp"

using namespace droste;
using namespace droste::test;

namespace {

constexpr u8 kCli = 0xFA, kSti = 0xFB, kPushf = 0x9C, kPopf = 0x9D, kOperandSize = 0x66;

void push32(InsnRunner& runner, u32 value) {
    runner.gpr(RSP) -= 4;
    runner.machine.poke_value<u32>(runner.gpr(RSP), value);
}
// In real or virtual-8086 mode with SS = 1000h.
void push16(InsnRunner& runner, u16 value) {
    runner.gpr(RSP) -= 2;
    runner.machine.poke_value<u16>(0x10000 + runner.gpr(RSP), value);
}

}  // namespace

TEST_CASE("CLI and STI in real mode act on IF", "[interp][flags]") {
    InsnRunner runner;
    runner.real_mode();
    CHECK(runner.run({kSti}) == Status::Sync);
    CHECK(runner.flag(rflags::kIf));
    CHECK(runner.run({kCli}) == Status::Next);
    CHECK_FALSE(runner.flag(rflags::kIf));
}

TEST_CASE("CLI and STI with CPL <= IOPL act on IF", "[interp][flags]") {
    for (const unsigned cpl : {0U, 3U}) {
        InsnRunner runner;
        runner.protected_mode(cpl, cpl);
        CHECK(runner.run({kSti}) == Status::Sync);
        CHECK(runner.flag(rflags::kIf));
        CHECK(runner.run({kCli}) == Status::Next);
        CHECK_FALSE(runner.flag(rflags::kIf));
    }
}

TEST_CASE("CLI and STI with CPL > IOPL are #GP(0)", "[interp][flags]") {
    for (const u8 opcode : {kCli, kSti}) {
        InsnRunner runner;
        runner.protected_mode(3, 2);
        CHECK(runner.run({opcode}) == Status::Fault);
        CHECK(runner.raised(Exception::GP, 0));
        runner.state().cr4 |= cr4::kVme;  // VME alone does nothing outside virtual-8086 mode
        CHECK(runner.run({opcode}) == Status::Fault);
    }
}

TEST_CASE("with CR4.PVI, CLI and STI at CPL 3 act on VIF", "[interp][flags]") {
    InsnRunner runner;
    runner.protected_mode(3, 0);
    runner.state().cr4 |= cr4::kPvi;
    CHECK(runner.run({kSti}) == Status::Next);
    CHECK(runner.flag(rflags::kVif));
    CHECK_FALSE(runner.flag(rflags::kIf));
    CHECK(runner.run({kCli}) == Status::Next);
    CHECK_FALSE(runner.flag(rflags::kVif));
}

TEST_CASE("with CR4.PVI and VIP set, STI is #GP(0)", "[interp][flags]") {
    InsnRunner runner;
    runner.protected_mode(3, 0);
    runner.state().cr4 |= cr4::kPvi;
    runner.set_flags(rflags::kVip);
    CHECK(runner.run({kSti}) == Status::Fault);
    CHECK(runner.raised(Exception::GP, 0));
    CHECK_FALSE(runner.flag(rflags::kVif));
}

TEST_CASE("CR4.PVI does not extend to CPL 1 and 2", "[interp][flags]") {
    InsnRunner runner;
    runner.protected_mode(1, 0);
    runner.state().cr4 |= cr4::kPvi;
    CHECK(runner.run({kCli}) == Status::Fault);
}

TEST_CASE("virtual-8086 mode: CLI needs IOPL 3, or CR4.VME to act on VIF", "[interp][flags]") {
    InsnRunner runner;
    runner.virtual8086_mode(3);
    runner.set_flags(rflags::kIf);
    CHECK(runner.run({kCli}) == Status::Next);
    CHECK_FALSE(runner.flag(rflags::kIf));

    runner.virtual8086_mode(0);
    runner.set_flags(rflags::kIf | rflags::kVif);
    CHECK(runner.run({kCli}) == Status::Fault);
    CHECK(runner.raised(Exception::GP, 0));
    runner.state().cr4 |= cr4::kVme;
    CHECK(runner.run({kCli}) == Status::Next);
    CHECK(runner.flag(rflags::kIf));
    CHECK_FALSE(runner.flag(rflags::kVif));
}

TEST_CASE("STI blocks interrupts for one instruction only if IF was 0", "[interp][flags]") {
    InsnRunner runner;
    runner.protected_mode();
    CHECK(runner.run({kSti}) == Status::Sync);
    CHECK((runner.state().interruptibility & blocking::kSti) != 0);

    runner.state().interruptibility = 0;
    CHECK(runner.run({kSti}) == Status::Next);
    CHECK(runner.state().interruptibility == 0);
}

TEST_CASE("POPFD at CPL 0 takes IF and IOPL, never VM, VIF or VIP, and clears RF",
          "[interp][flags]") {
    InsnRunner runner;
    runner.protected_mode();
    runner.set_flags(rflags::kRf);
    push32(runner, 0xFFFF'FFFF & ~static_cast<u32>(rflags::kTf));
    CHECK(runner.run({kPopf}) == Status::Sync);
    CHECK(runner.flag(rflags::kIf));
    CHECK((runner.state().rflags() & rflags::kIopl) == rflags::kIopl);
    CHECK(runner.flag(rflags::kAc));
    CHECK(runner.flag(rflags::kId));
    CHECK(runner.flag(rflags::kNt));
    CHECK_FALSE(runner.flag(rflags::kVm | rflags::kVif | rflags::kVip | rflags::kRf));
    CHECK(runner.gpr(RSP) == InsnRunner::kData);
}

TEST_CASE("POPFD at CPL 3 leaves IOPL, and IF unless CPL <= IOPL", "[interp][flags]") {
    InsnRunner runner;
    runner.protected_mode(3, 1);
    push32(runner, 0x3202);
    CHECK(runner.run({kPopf}) == Status::Next);
    CHECK_FALSE(runner.flag(rflags::kIf));
    CHECK((runner.state().rflags() & rflags::kIopl) == 0x1000);

    runner.protected_mode(3, 3);
    push32(runner, 0x0202);
    CHECK(runner.run({kPopf}) == Status::Sync);
    CHECK(runner.flag(rflags::kIf));
    CHECK((runner.state().rflags() & rflags::kIopl) == 0x3000);
}

TEST_CASE("16-bit POPF leaves bits 31:16 of EFLAGS", "[interp][flags]") {
    InsnRunner runner;
    runner.protected_mode();
    runner.set_flags(rflags::kAc | rflags::kId);
    push32(runner, 0);
    runner.run({kOperandSize, kPopf});
    CHECK(runner.flag(rflags::kAc));
    CHECK(runner.flag(rflags::kId));
    CHECK(runner.gpr(RSP) == InsnRunner::kData - 2);
}

TEST_CASE("POPF that changes AC refreshes alignment checking", "[interp][flags]") {
    InsnRunner runner;
    runner.protected_mode(3, 0);
    runner.state().cr0 |= cr0::kAm;
    mode_changed(runner.cpu());
    push32(runner, static_cast<u32>(rflags::kAc | 2));
    CHECK(runner.run({kPopf}) == Status::Sync);
    CHECK(runner.cpu().mode.alignment_checked);
}

TEST_CASE(
    "virtual-8086 mode with IOPL < 3: PUSHF and POPF are #GP(0) without VME, and with 32-bit size",
    "[interp][flags]") {
    InsnRunner runner;
    runner.virtual8086_mode(0);
    CHECK(runner.run({kPushf}) == Status::Fault);
    CHECK(runner.run({kPopf}) == Status::Fault);
    runner.state().cr4 |= cr4::kVme;
    CHECK(runner.run({kOperandSize, kPushf}) == Status::Fault);
    CHECK(runner.run({kOperandSize, kPopf}) == Status::Fault);
    CHECK(runner.raised(Exception::GP, 0));
    CHECK(runner.gpr(RSP) == 0x8000);
}

TEST_CASE("virtual-8086 mode with VME: PUSHF shows VIF as IF and IOPL as 3", "[interp][flags]") {
    InsnRunner runner;
    runner.virtual8086_mode(0);
    runner.state().cr4 |= cr4::kVme;
    runner.set_flags(rflags::kVif);
    CHECK(runner.run({kPushf}) == Status::Next);
    CHECK(runner.machine.peek_value<u16>(0x17FFE) == 0x3202);
}

TEST_CASE("virtual-8086 mode with VME: POPF moves IF to VIF and keeps IF and IOPL",
          "[interp][flags]") {
    InsnRunner runner;
    runner.virtual8086_mode(1);
    runner.state().cr4 |= cr4::kVme;
    push16(runner, static_cast<u16>(rflags::kIf | rflags::kCf | rflags::kIopl));
    CHECK(runner.run({kPopf}) == Status::Sync);
    CHECK(runner.flag(rflags::kVif));
    CHECK(runner.flag(rflags::kCf));
    CHECK_FALSE(runner.flag(rflags::kIf));
    CHECK((runner.state().rflags() & rflags::kIopl) == 0x1000);
}

TEST_CASE("virtual-8086 mode with VME: POPF is #GP(0) for TF, and for IF while VIP is set",
          "[interp][flags]") {
    InsnRunner runner;
    runner.virtual8086_mode(0);
    runner.state().cr4 |= cr4::kVme;
    push16(runner, static_cast<u16>(rflags::kTf));
    CHECK(runner.run({kPopf}) == Status::Fault);
    runner.set_flags(rflags::kVip);
    push16(runner, static_cast<u16>(rflags::kIf));
    CHECK(runner.run({kPopf}) == Status::Fault);
    CHECK(runner.raised(Exception::GP, 0));
    CHECK(runner.gpr(RSP) == 0x7FFC);
}

TEST_CASE("PUSHFD clears VM and RF in the image", "[interp][flags]") {
    InsnRunner runner;
    runner.protected_mode();
    runner.set_flags(rflags::kRf | rflags::kZf | rflags::kAc);
    runner.run({kPushf});
    CHECK(runner.machine.peek_value<u32>(InsnRunner::kData - 4) == (rflags::kAc | rflags::kZf | 2));
}

TEST_CASE("STAC and CLAC change AC at CPL 0 and are #UD elsewhere", "[interp][flags]") {
    InsnRunner runner;
    runner.long_mode(0);
    CHECK(runner.run({0x0F, 0x01, 0xCB}) == Status::Sync);  // stac
    CHECK(runner.flag(rflags::kAc));
    CHECK(runner.run({0x0F, 0x01, 0xCA}) == Status::Sync);  // clac
    CHECK_FALSE(runner.flag(rflags::kAc));

    runner.long_mode(3);
    CHECK(runner.run({0x0F, 0x01, 0xCB}) == Status::Fault);  // stac
    CHECK(runner.raised(Exception::UD));
}
