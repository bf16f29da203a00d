// IRET in all modes. SDM Vol. 2A, "IRET/IRETD/IRETQ—Interrupt Return".

#include "tests/unit/system/guest.hpp"

using namespace droste;
using namespace droste::test;

namespace {

constexpr std::initializer_list<u8> kIret = {0xCF};
constexpr std::initializer_list<u8> kIretq = {0x48, 0xCF};

void push_frame32(Guest& g, u32 flags, u16 cs, u32 eip) {
    g.push<u32>(flags);
    g.push<u32>(cs);
    g.push<u32>(eip);
}

void push_frame64(Guest& g, u16 ss, u64 rsp, u64 flags, u16 cs, u64 rip) {
    for (const u64 value : {u64{ss}, rsp, flags, u64{cs}, rip}) {
        g.push<u64>(value);
    }
}

}  // namespace

TEST_CASE("IRET to the same level restores EIP, CS and EFLAGS", "[iret]") {
    Guest g;
    g.protected_mode();
    push_frame32(g, rflags::kIf | rflags::kCf | rflags::kAc | rflags::kId | rflags::kIopl,
                 Guest::kCode0, 0x5555);
    CHECK(g.exec(kIret) == kNoFault);
    CHECK(g.rip() == 0x5555);
    CHECK(g.reg(RSP) == Guest::kStack0);
    CHECK(g.flags() == (rflags::kIf | rflags::kCf | rflags::kAc | rflags::kId | rflags::kIopl |
                        rflags::kFixed1));
}

TEST_CASE("IRET to an outer level pops SS:ESP and drops inner data segments", "[iret]") {
    Guest g;
    g.protected_mode();
    g.push<u32>(Guest::kData3);
    g.push<u32>(Guest::kStack3);
    push_frame32(g, rflags::kIf, Guest::kCode3, 0x5555);
    CHECK(g.exec(kIret) == kNoFault);
    CHECK(g.cpu().mode.cpl == 3);
    CHECK(g.reg(RSP) == Guest::kStack3);
    CHECK(g.seg(DS).unusable());
    CHECK((g.flags() & rflags::kIf) != 0);
}

TEST_CASE("IRET at ring 3 changes neither IOPL nor, above IOPL, IF", "[iret]") {
    Guest g;
    g.protected_mode(3);
    push_frame32(g, rflags::kIf | rflags::kIopl | rflags::kVif | rflags::kZf, Guest::kCode3,
                 0x5555);
    CHECK(g.exec(kIret) == kNoFault);
    CHECK(g.flags() == (rflags::kZf | rflags::kFixed1));
}

TEST_CASE("IRET with a 16-bit operand size leaves the upper flags alone", "[iret]") {
    Guest g;
    g.protected_mode();
    g.state().set_rflags(rflags::kId);
    g.push<u16>(rflags::kCf);
    g.push<u16>(Guest::kCode0);
    g.push<u16>(0x5555);
    CHECK(g.exec({0x66, 0xCF}) == kNoFault);  // iret
    CHECK(g.flags() == (rflags::kCf | rflags::kId | rflags::kFixed1));
    CHECK(g.rip() == 0x5555);
}

TEST_CASE("IRET: selector and stack faults leave everything in place", "[iret]") {
    Guest g;
    g.protected_mode(3);
    push_frame32(g, 0, Guest::kCode0, 0x5555);
    const u64 rsp = g.reg(RSP);
    CHECK(g.exec(kIret) == fault(Exception::GP, Guest::kCode0));  // RPL < CPL
    CHECK(g.reg(RSP) == rsp);
    g.protected_mode();
    g.push<u32>(Guest::kData0);
    g.push<u32>(Guest::kStack3);
    push_frame32(g, 0, Guest::kCode3, 0x5555);
    CHECK(g.exec(kIret) == fault(Exception::GP, Guest::kData0));
    CHECK(g.cpu().mode.cpl == 0);
}

TEST_CASE("IRETQ pops SS:RSP even to the same level", "[iret][long]") {
    Guest g;
    g.long_mode();
    push_frame64(g, Guest::kData0, 0x7008, rflags::kIf, Guest::kCode0, 0x5555);
    CHECK(g.exec(kIretq) == kNoFault);
    CHECK(g.rip() == 0x5555);
    CHECK(g.reg(RSP) == 0x7008);
    CHECK(g.seg(SS).selector == Guest::kData0);
}

TEST_CASE("IRETQ: a null SS is legal for 64-bit code below ring 3 only", "[iret][long]") {
    Guest g;
    g.long_mode();
    push_frame64(g, 0, 0x7008, 0, Guest::kCode0, 0x5555);
    CHECK(g.exec(kIretq) == kNoFault);
    CHECK(g.seg(SS).unusable());
    CHECK(g.cpu().mode.cpl == 0);
    push_frame64(g, 3, 0x7008, 0, Guest::kCode3, 0x5555);
    CHECK(g.exec(kIretq) == fault(Exception::GP, 0));
}

// A VM exit can leave FS usable with a null selector and DPL 0; user code's base must survive the
// way back to it.
TEST_CASE("IRETQ to ring 3 keeps the FS base of a usable null selector", "[iret][long]") {
    Guest g;
    g.long_mode();
    Segment fs = g.seg(DS);
    fs.selector = 0;
    fs.base = 0x1234'5678;
    set_segment(g.cpu(), FS, fs);
    push_frame64(g, Guest::kData3, Guest::kStack3, 0, Guest::kCode3, 0x5555);
    CHECK(g.exec(kIretq) == kNoFault);
    CHECK(g.cpu().mode.cpl == 3);
    CHECK(g.seg(FS).unusable());
    CHECK(g.seg(FS).base == 0x1234'5678);
}

TEST_CASE("A return to ring 3 nulls the selectors of inner segments and keeps FS and GS bases",
          "[iret][long]") {
    for (const bool far_return : {false, true}) {
        CAPTURE(far_return);
        Guest g;
        g.long_mode();
        g.set_descriptor(Guest::kFree, flat(access::kData | access::kDpl3));
        g.load(FS, Guest::kData0);
        g.load(GS, Guest::kData0);
        g.load(ES, Guest::kFree | 3);
        g.seg(FS).base = 0xFFFF'8000'0000'1000;
        g.seg(GS).base = 0xB000;
        if (far_return) {
            for (const u64 value :
                 {u64{Guest::kData3}, u64{Guest::kStack3}, u64{Guest::kCode3}, u64{0x5555}}) {
                g.push<u64>(value);
            }
            REQUIRE(g.exec({0x48, 0xCB}) == kNoFault);  // retfq
        } else {
            push_frame64(g, Guest::kData3, Guest::kStack3, 0, Guest::kCode3, 0x5555);
            REQUIRE(g.exec(kIretq) == kNoFault);
        }
        REQUIRE(g.cpu().mode.cpl == 3);
        for (const SegReg reg : {DS, FS, GS}) {
            CAPTURE(static_cast<unsigned>(reg));
            CHECK(g.seg(reg).selector == 0);
            CHECK(g.seg(reg).unusable());
        }
        CHECK(g.seg(ES).selector == (Guest::kFree | 3));
        CHECK_FALSE(g.seg(ES).unusable());
        CHECK(g.seg(FS).base == 0xFFFF'8000'0000'1000);
        CHECK(g.seg(GS).base == 0xB000);
        g.machine().poke_value<u64>(0xB010, 0x1122'3344'5566'7788);
        CHECK(g.exec({0x65, 0x48, 0x8B, 0x04, 0x25, 0x10, 0, 0, 0}) ==  // mov rax, qword gs:[0x10]
              kNoFault);                                                // mov rax, gs:[10h]
        CHECK(g.reg(RAX) == 0x1122'3344'5566'7788);
    }
}

TEST_CASE("A return to ring 3 makes a null selector 0 whatever its RPL was", "[iret][long]") {
    Guest g;
    g.long_mode();
    for (const SegReg reg : {DS, ES, FS, GS}) {
        g.reg(RAX) = 3;
        REQUIRE(g.exec({0x8E, static_cast<u8>(0xC0 | static_cast<u8>(reg) << 3)}) == kNoFault);
        REQUIRE(g.seg(reg).selector == 3);
    }
    g.seg(GS).base = 0xB000;
    push_frame64(g, Guest::kData3, Guest::kStack3, 0, Guest::kCode3, 0x5555);
    REQUIRE(g.exec(kIretq) == kNoFault);
    for (const SegReg reg : {DS, ES, FS, GS}) {
        CHECK(g.seg(reg).selector == 0);
        CHECK(g.seg(reg).unusable());
    }
    CHECK(g.seg(GS).base == 0xB000);
}

TEST_CASE("A 32-bit program cannot use a segment that a return to it has nulled", "[iret]") {
    Guest g;
    g.protected_mode();
    g.push<u32>(Guest::kData3);
    g.push<u32>(Guest::kStack3);
    push_frame32(g, 0, Guest::kCode3, 0x5555);
    REQUIRE(g.exec(kIret) == kNoFault);
    CHECK(g.exec({0xA0, 0x00, 0x70, 0, 0}) == fault(Exception::GP, 0));        // mov al, [7000h]
    CHECK(g.exec({0x65, 0xA0, 0x00, 0x70, 0, 0}) == fault(Exception::GP, 0));  // mov al, gs:[7000h]
    CHECK(g.exec({0x36, 0xA0, 0x00, 0x70, 0, 0}) == kNoFault);                 // mov al, ss:[7000h]
}

TEST_CASE("IRETQ: a non-canonical RIP raises #GP(0) at the old level", "[iret][long]") {
    Guest g;
    g.long_mode();
    push_frame64(g, Guest::kData3, Guest::kStack3, 0, Guest::kCode3, 0x8000'0000'0000);
    CHECK(g.exec(kIretq) == fault(Exception::GP, 0));
    CHECK(g.cpu().mode.cpl == 0);
}

TEST_CASE("IRETQ to compatibility mode", "[iret][long]") {
    Guest g;
    g.long_mode();
    g.set_descriptor(Guest::kFree, flat(access::kCode | access::kDpl3, kFlags32));
    push_frame64(g, Guest::kData3, 0xFFFF'FFF0, rflags::kIf, Guest::kFree | 3, 0x5555);
    CHECK(g.exec(kIretq) == kNoFault);
    CHECK(g.cpu().mode.code_bits == 32);
    CHECK(g.cpu().mode.cpl == 3);
    CHECK(g.reg(RSP) == 0xFFFF'FFF0);
}

TEST_CASE("IRET with NT set raises #GP(0) in IA-32e mode", "[iret][long]") {
    Guest g;
    g.long_mode();
    g.state().set_rflags(rflags::kNt);
    push_frame64(g, Guest::kData0, 0x7008, 0, Guest::kCode0, 0x5555);
    CHECK(g.exec(kIretq) == fault(Exception::GP, 0));
}

TEST_CASE("IRET unblocks NMIs, even when it faults", "[iret][nmi]") {
    Guest g;
    g.protected_mode();
    g.state().interruptibility = blocking::kNmi;
    push_frame32(g, 0, 0, 0x5555);
    CHECK(g.exec(kIret) == fault(Exception::GP, 0));
    CHECK((g.state().interruptibility & blocking::kNmi) == 0);
}

TEST_CASE("IRET in real mode: 16 and 32 bits", "[iret][real]") {
    Guest g;
    g.real_mode();
    g.push<u16>(rflags::kIf | rflags::kIopl | rflags::kNt);
    g.push<u16>(0x0600);
    g.push<u16>(0x0010);
    CHECK(g.exec(kIret) == kNoFault);
    CHECK(g.rip() == 0x10);
    CHECK(g.seg(CS).base == 0x6000);
    CHECK(g.flags() == (rflags::kIf | rflags::kIopl | rflags::kNt | rflags::kFixed1));
    g.push<u32>(rflags::kAc | rflags::kVm | rflags::kVif);
    g.push<u32>(0x0600);
    g.push<u32>(0x1'0000);
    CHECK(g.exec({0x66, 0xCF}) == fault(Exception::GP, 0));  // EIP beyond the limit
    g.reg(RSP) += 4;
    g.push<u32>(0x20);
    CHECK(g.exec({0x66, 0xCF}) == kNoFault);              // iretd
    CHECK(g.flags() == (rflags::kAc | rflags::kFixed1));  // VM and VIF cannot be loaded
}

TEST_CASE("IRET loads RF: a fault's frame returns with RF in force for one instruction",
          "[iret][rf]") {
    Guest g;
    g.protected_mode();
    push_frame32(g, rflags::kRf, Guest::kCode0, Guest::kCode);
    g.step(kIret);
    CHECK((g.flags() & rflags::kRf) != 0);
    g.step({0x90});  // nop
    CHECK((g.flags() & rflags::kRf) == 0);
}
