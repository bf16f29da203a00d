// Descriptor-table registers, INVPCID, MSR access, SWAPGS, SYSCALL and relatives, protection keys,
// waiting.

#include "cpu/x86/model/msr.hpp"
#include "tests/unit/system/guest.hpp"

using namespace droste;
using namespace droste::test;

TEST_CASE("LGDT: 24-bit base with a 16-bit operand size, 32 bits otherwise, 64 in 64-bit mode",
          "[tables]") {
    Guest g;
    g.protected_mode();
    g.machine().poke_value<u16>(0x7000, 0x1234);
    g.machine().poke_value<u64>(0x7002, 0x1122334455667788);
    CHECK(g.exec({0x66, 0x0F, 0x01, 0x15, 0x00, 0x70, 0, 0}) == kNoFault);  // lgdt [0x7000]
    CHECK(g.state().gdtr.limit == 0x1234);
    CHECK(g.state().gdtr.base == 0x667788);
    CHECK(g.exec({0x0F, 0x01, 0x1D, 0x00, 0x70, 0, 0}) == kNoFault);  // lidt
    CHECK(g.state().idtr.base == 0x55667788);
    Guest wide;
    wide.long_mode();
    wide.machine().poke_value<u16>(0x7000, 0xFF);
    wide.machine().poke_value<u64>(0x7002, 0x8000'0000'0000);
    // lgdt [0x7000]
    CHECK(wide.exec({0x0F, 0x01, 0x14, 0x25, 0x00, 0x70, 0, 0}) == fault(Exception::GP, 0));
    wide.machine().poke_value<u64>(0x7002, 0xFFFF'8000'0000'1000);
    CHECK(wide.exec({0x0F, 0x01, 0x14, 0x25, 0x00, 0x70, 0, 0}) == kNoFault);  // lgdt [0x7000]
    CHECK(wide.state().gdtr.base == 0xFFFF'8000'0000'1000);
}

TEST_CASE("SGDT stores limit and base; UMIP and LGDT's privilege", "[tables]") {
    Guest g;
    g.protected_mode(3);
    CHECK(g.exec({0x0F, 0x01, 0x05, 0x00, 0x70, 0, 0}) == kNoFault);  // sgdt [0x7000]
    CHECK(g.machine().peek_value<u16>(0x7000) == 0xFF);
    CHECK(g.machine().peek_value<u32>(0x7002) == Guest::kGdt);
    // lgdt [0x7000]
    CHECK(g.exec({0x0F, 0x01, 0x15, 0x00, 0x70, 0, 0}) == fault(Exception::GP, 0));
    g.state().cr4 |= cr4::kUmip;
    // sgdt [0x7000]
    CHECK(g.exec({0x0F, 0x01, 0x05, 0x00, 0x70, 0, 0}) == fault(Exception::GP, 0));
}

TEST_CASE("INVPCID: descriptor and type checks", "[invpcid][long]") {
    Guest g;
    g.long_mode();
    const auto invpcid = [&](u64 type, u64 low, u64 high) {
        g.machine().poke_value<u64>(0x7000, low);
        g.machine().poke_value<u64>(0x7008, high);
        g.reg(RAX) = type;
        return g.exec(
            {0x66, 0x0F, 0x38, 0x82, 0x04, 0x25, 0x00, 0x70, 0, 0});  // invpcid rax, [7000h]
    };
    CHECK(invpcid(4, 0, 0) == fault(Exception::GP, 0));
    CHECK(invpcid(2, 0x1000, 0) == fault(Exception::GP, 0));
    CHECK(invpcid(0, 0, 0x8000'0000'0000) == fault(Exception::GP, 0));
    CHECK(invpcid(1, 5, 0) == fault(Exception::GP, 0));  // PCIDE = 0
    CHECK(invpcid(2, 5, 0) == kNoFault);
    g.state().cr4 |= cr4::kPcide;
    CHECK(invpcid(1, 5, 0) == kNoFault);
    CHECK(invpcid(0, 0, 0x7000) == kNoFault);
}

TEST_CASE("RDMSR and WRMSR: ring 0 only, unknown MSRs raise #GP(0)", "[msr]") {
    Guest g;
    g.protected_mode();
    g.reg(RCX) = 0xC0000082;
    g.reg(RAX) = 0xFFFFFFFF'12345678;
    g.reg(RDX) = 0xFFFFFFFF'00000ABC;
    CHECK(g.exec({0x0F, 0x30}) == kNoFault);  // wrmsr
    CHECK(g.state().lstar == 0x00000ABC'12345678);
    g.reg(RAX) = 0;
    CHECK(g.exec({0x0F, 0x32}) == kNoFault);  // rdmsr
    CHECK(g.reg(RAX) == 0x12345678);
    CHECK(g.reg(RDX) == 0xABC);
    g.reg(RCX) = 0xDEAD;
    CHECK(g.exec({0x0F, 0x32}) == fault(Exception::GP, 0));  // rdmsr
    Guest user;
    user.protected_mode(3);
    CHECK(user.exec({0x0F, 0x32}) == fault(Exception::GP, 0));  // rdmsr
    CHECK(user.exec({0x0F, 0x30}) == fault(Exception::GP, 0));  // wrmsr
}

TEST_CASE("SYSCALL and SYSRET: flat segments from STAR, flags through R11 and FMASK",
          "[syscall][long]") {
    Guest g;
    g.long_mode(3);
    CpuState& s = g.state();
    s.star = (u64{0x23} << 48) | (u64{0x08} << 32);
    s.lstar = 0x6000;
    s.sfmask = rflags::kIf | rflags::kTf;
    s.set_rflags(rflags::kIf | rflags::kCf);
    CHECK(g.exec({0x0F, 0x05}) == kNoFault);  // syscall
    CHECK(g.rip() == 0x6000);
    CHECK(g.cpu().mode.cpl == 0);
    CHECK(g.reg(RCX) == Guest::kCode + 2);
    CHECK(g.reg(R11) == (rflags::kIf | rflags::kCf | rflags::kFixed1));
    CHECK(g.flags() == (rflags::kCf | rflags::kFixed1));
    CHECK(g.seg(CS).selector == 0x08);
    CHECK(g.seg(SS).selector == 0x10);
    CHECK(g.exec({0x48, 0x0F, 0x07}) == kNoFault);  // sysretq
    CHECK(g.rip() == Guest::kCode + 2);
    CHECK(g.cpu().mode.cpl == 3);
    CHECK(g.cpu().mode.code_bits == 64);
    CHECK(g.seg(CS).selector == 0x33);
    CHECK(g.seg(SS).selector == 0x2B);
    CHECK((g.flags() & rflags::kIf) != 0);
}

TEST_CASE("SYSRET: a non-canonical RCX faults at ring 0; with a 32-bit operand size it enters "
          "compatibility mode",
          "[syscall][long]") {
    Guest g;
    g.long_mode();
    g.state().star = u64{0x23} << 48;
    g.reg(RCX) = 0x8000'0000'0000;
    CHECK(g.exec({0x48, 0x0F, 0x07}) == fault(Exception::GP, 0));  // sysret
    CHECK(g.cpu().mode.cpl == 0);
    CHECK(g.exec({0x0F, 0x07}) == kNoFault);  // sysret
    CHECK(g.cpu().mode.code_bits == 32);
    CHECK(g.rip() == 0);
    CHECK(g.seg(CS).selector == 0x23);
}

TEST_CASE("SYSCALL: undefined without EFER.SCE and outside 64-bit mode", "[syscall]") {
    Guest g;
    g.long_mode();
    g.state().efer &= ~efer::kSce;
    CHECK(g.exec({0x0F, 0x05}) == fault(Exception::UD));        // syscall
    CHECK(g.exec({0x48, 0x0F, 0x07}) == fault(Exception::UD));  // sysret
    Guest legacy;
    legacy.protected_mode();
    legacy.state().efer |= efer::kSce;
    CHECK(legacy.exec({0x0F, 0x05}) == fault(Exception::UD));  // syscall
}

TEST_CASE("SYSRET at ring 3 raises #GP(0)", "[syscall][long]") {
    Guest g;
    g.long_mode(3);
    CHECK(g.exec({0x48, 0x0F, 0x07}) == fault(Exception::GP, 0));  // sysret
}

TEST_CASE("SYSCALL with TF masked does not single-step; SYSRET that sets TF traps at once",
          "[syscall][debug][long]") {
    Guest g;
    g.long_mode(3);
    g.set_all_gates();
    CpuState& s = g.state();
    s.star = (u64{0x23} << 48) | (u64{0x08} << 32);
    s.lstar = 0x6F00;
    s.sfmask = rflags::kTf;
    s.set_rflags(rflags::kTf);
    g.step({0x0F, 0x05});  // syscall
    CHECK(g.rip() == 0x6F00);
    g.step({0x48, 0x0F, 0x07});  // R11 has TF
    CHECK(g.rip() == Guest::handler(Exception::DB));
    CHECK(g.stack<u64>(0) == Guest::kCode + 2);
}

TEST_CASE("SYSENTER and SYSEXIT in protected mode", "[sysenter]") {
    Guest g;
    g.protected_mode(3);
    CpuState& s = g.state();
    CHECK(g.exec({0x0F, 0x34}) == fault(Exception::GP, 0));  // sysenter
    s.sysenter_cs = 0x100;
    s.sysenter_esp = 0x7000;
    s.sysenter_eip = 0x6000;
    s.set_rflags(rflags::kIf);
    CHECK(g.exec({0x0F, 0x34}) == kNoFault);  // sysenter
    CHECK(g.cpu().mode.cpl == 0);
    CHECK(g.rip() == 0x6000);
    CHECK(g.reg(RSP) == 0x7000);
    CHECK(g.seg(CS).selector == 0x100);
    CHECK(g.seg(SS).selector == 0x108);
    CHECK((g.flags() & rflags::kIf) == 0);
    g.reg(RCX) = Guest::kStack3;
    g.reg(RDX) = 0x5555;
    CHECK(g.exec({0x0F, 0x35}) == kNoFault);  // sysexit
    CHECK(g.cpu().mode.cpl == 3);
    CHECK(g.seg(CS).selector == 0x113);
    CHECK(g.seg(SS).selector == 0x11B);
    CHECK(g.rip() == 0x5555);
    CHECK(g.reg(RSP) == Guest::kStack3);
    CHECK(g.exec({0x0F, 0x35}) == fault(Exception::GP, 0));  // not at ring 3
}

TEST_CASE("SYSEXIT with REX.W checks RCX and RDX", "[sysenter][long]") {
    Guest g;
    g.long_mode();
    g.state().sysenter_cs = 0x100;
    g.reg(RCX) = 0x7000;
    g.reg(RDX) = 0x8000'0000'0000;
    CHECK(g.exec({0x48, 0x0F, 0x35}) == fault(Exception::GP, 0));  // sysexit
    g.reg(RDX) = 0x5555;
    CHECK(g.exec({0x48, 0x0F, 0x35}) == kNoFault);  // sysexit
    CHECK(g.seg(CS).selector == 0x123);
    CHECK(g.seg(SS).selector == 0x12B);
    CHECK(g.cpu().mode.code_bits == 64);
}

TEST_CASE("SWAPGS exchanges the GS base with IA32_KERNEL_GS_BASE at ring 0", "[swapgs][long]") {
    Guest g;
    g.long_mode();
    g.seg(GS).base = 1;
    g.state().kernel_gs_base = 2;
    CHECK(g.exec({0x0F, 0x01, 0xF8}) == kNoFault);  // swapgs
    CHECK(g.seg(GS).base == 2);
    CHECK(g.state().kernel_gs_base == 1);
    Guest user;
    user.long_mode(3);
    CHECK(user.exec({0x0F, 0x01, 0xF8}) == fault(Exception::GP, 0));  // swapgs
}

TEST_CASE("RDPKRU and WRPKRU", "[pku][long]") {
    Guest g;
    g.long_mode(3);
    CHECK(g.exec({0x0F, 0x01, 0xEE}) == fault(Exception::UD));  // CR4.PKE = 0
    g.state().cr4 |= cr4::kPke;
    g.reg(RAX) = 0x1234;
    g.reg(RCX) = 0;
    g.reg(RDX) = 1;
    CHECK(g.exec({0x0F, 0x01, 0xEF}) == fault(Exception::GP, 0));  // wrpkru
    g.reg(RDX) = 0;
    CHECK(g.exec({0x0F, 0x01, 0xEF}) == kNoFault);  // wrpkru
    g.reg(RAX) = 0;
    CHECK(g.exec({0x0F, 0x01, 0xEE}) == kNoFault);  // rdpkru
    CHECK(g.reg(RAX) == 0x1234);
    g.reg(RCX) = 1;
    CHECK(g.exec({0x0F, 0x01, 0xEE}) == fault(Exception::GP, 0));  // rdpkru
}

TEST_CASE("MONITOR and MWAIT: ring 0, hints, and no sleep", "[mwait]") {
    Guest g;
    g.protected_mode();
    g.reg(RAX) = 0x7000;
    CHECK(g.exec({0x0F, 0x01, 0xC8}) == kNoFault);  // monitor
    CHECK(g.exec({0x0F, 0x01, 0xC9}) == kNoFault);  // mwait
    CHECK(g.state().activity == Activity::Active);
    CHECK(g.cpu().yield_requested);
    g.reg(RCX) = 2;
    CHECK(g.exec({0x0F, 0x01, 0xC8}) == fault(Exception::GP, 0));  // monitor
    CHECK(g.exec({0x0F, 0x01, 0xC9}) == fault(Exception::GP, 0));  // mwait
    Guest user;
    user.protected_mode(3);
    CHECK(user.exec({0x0F, 0x01, 0xC8}) == fault(Exception::UD));  // monitor
}

TEST_CASE("MONITOR and MWAIT do not exist with IA32_MISC_ENABLE[18] = 0", "[mwait]") {
    Guest g;
    g.protected_mode();
    g.reg(RAX) = 0x7000;
    g.cpu().msrs->set_value(kMiscEnable,
                            g.cpu().msrs->value(kMiscEnable) & ~bit(kMiscEnableMonitor));
    CHECK(g.exec({0x0F, 0x01, 0xC8}) == fault(Exception::UD));  // monitor
    CHECK(g.exec({0x0F, 0x01, 0xC9}) == fault(Exception::UD));  // mwait
}

TEST_CASE("TPAUSE and UMWAIT clear the status flags and refuse reserved hints", "[waitpkg]") {
    Guest g;
    g.protected_mode(3);
    g.state().set_rflags(rflags::kStatus);
    g.reg(RCX) = 1;
    CHECK(g.exec({0x66, 0x0F, 0xAE, 0xF1}) == kNoFault);  // tpause ecx
    CHECK(g.state().flags.status() == 0);
    g.reg(RCX) = 2;
    CHECK(g.exec({0x66, 0x0F, 0xAE, 0xF1}) == fault(Exception::GP, 0));  // tpause ecx
    g.state().cr4 |= cr4::kTsd;
    g.reg(RCX) = 0;
    CHECK(g.exec({0xF2, 0x0F, 0xAE, 0xF1}) == fault(Exception::GP, 0));  // umwait ecx
}

TEST_CASE("RSM is undefined outside system-management mode; INVD and WBINVD need ring 0",
          "[system]") {
    Guest g;
    g.protected_mode();
    CHECK(g.exec({0x0F, 0xAA}) == fault(Exception::UD));  // rsm
    CHECK(g.exec({0x0F, 0x08}) == kNoFault);              // invd
    CHECK(g.exec({0x0F, 0x09}) == kNoFault);              // wbinvd
    Guest user;
    user.protected_mode(3);
    CHECK(user.exec({0x0F, 0x08}) == fault(Exception::GP, 0));        // invd
    CHECK(user.exec({0x0F, 0x09}) == fault(Exception::GP, 0));        // wbinvd
    CHECK(user.exec({0x0F, 0x06}) == fault(Exception::GP, 0));        // clts
    CHECK(user.exec({0x0F, 0x01, 0x38}) == fault(Exception::GP, 0));  // invlpg
}
