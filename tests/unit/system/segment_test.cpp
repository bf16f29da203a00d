// Segment register loads and the instructions that look at descriptors. SDM Vol. 3A, "Protection".

#include "cpu/x86/mmu/mem_access.hpp"
#include "tests/unit/system/guest.hpp"

using namespace droste;
using namespace droste::test;

namespace {

constexpr std::initializer_list<u8> kMovDsAx = {0x8E, 0xD8};
constexpr std::initializer_list<u8> kMovSsAx = {0x8E, 0xD0};
constexpr std::initializer_list<u8> kLldtAx = {0x0F, 0x00, 0xD0};
constexpr std::initializer_list<u8> kLtrAx = {0x0F, 0x00, 0xD8};
constexpr std::initializer_list<u8> kMovFsAx = {0x8E, 0xE0};

Raised load(Guest& g, std::initializer_list<u8> insn, u16 selector) {
    g.reg(RAX) = selector;
    return g.exec(insn);
}

}  // namespace

TEST_CASE("MOV DS: a data segment is loaded and marked accessed", "[segment]") {
    Guest g;
    g.protected_mode();
    g.set_descriptor(Guest::kFree,
                     descriptor(0x12345678, 0xABCDE, access::kData & ~1U, kFlags32Bytes));
    CHECK(load(g, kMovDsAx, Guest::kFree) == kNoFault);
    CHECK(g.seg(DS).selector == Guest::kFree);
    CHECK(g.seg(DS).base == 0x12345678);
    CHECK(g.seg(DS).limit == 0xABCDE);
    CHECK(g.access_byte(Guest::kFree) == access::kData);
}

TEST_CASE("MOV DS: a page-granular limit counts in 4-KByte units", "[segment]") {
    Guest g;
    g.protected_mode();
    g.set_descriptor(Guest::kFree, descriptor(0, 0x12, access::kData, kFlags32));
    CHECK(load(g, kMovDsAx, Guest::kFree) == kNoFault);
    CHECK(g.seg(DS).limit == 0x12FFF);
}

TEST_CASE("MOV DS: a null selector loads and makes the segment unusable", "[segment]") {
    Guest g;
    g.protected_mode();
    CHECK(load(g, kMovDsAx, 3) == kNoFault);
    CHECK(g.seg(DS).selector == 3);
    CHECK(g.seg(DS).unusable());
    CHECK(g.exec({0xA0, 0, 0, 0, 0}) == fault(Exception::GP, 0));  // mov al, [0]
}

TEST_CASE("MOV DS: selectors beyond the table, wrong types and levels raise #GP(selector)",
          "[segment]") {
    Guest g;
    g.protected_mode(3);
    CHECK(load(g, kMovDsAx, 0x103) == fault(Exception::GP, 0x100));  // limit
    CHECK(load(g, kMovDsAx, 0x0F) == fault(Exception::GP, 0x0C));    // LDT is null
    CHECK(load(g, kMovDsAx, Guest::kData0 | 3) ==
          fault(Exception::GP, Guest::kData0));                                // CPL > DPL
    CHECK(load(g, kMovDsAx, Guest::kTr) == fault(Exception::GP, Guest::kTr));  // system descriptor
    g.set_descriptor(Guest::kFree, flat(access::kExecuteOnly | access::kDpl3));
    CHECK(load(g, kMovDsAx, Guest::kFree | 3) == fault(Exception::GP, Guest::kFree));
    CHECK(g.seg(DS).selector == Guest::kData3);
}

TEST_CASE("MOV DS: RPL counts as well as CPL", "[segment]") {
    Guest g;
    g.protected_mode();
    CHECK(load(g, kMovDsAx, Guest::kData0 | 3) == fault(Exception::GP, Guest::kData0));
}

TEST_CASE("MOV DS: readable conforming code is visible from every level", "[segment]") {
    Guest g;
    g.protected_mode(3);
    CHECK(load(g, kMovDsAx, Guest::kConforming0 | 3) == kNoFault);
}

TEST_CASE("MOV DS: a segment that is not present raises #NP, MOV SS raises #SS", "[segment]") {
    Guest g;
    g.protected_mode();
    g.set_descriptor(Guest::kFree, flat(access::kData & ~access::kPresent));
    CHECK(load(g, kMovDsAx, Guest::kFree) == fault(Exception::NP, Guest::kFree));
    CHECK(load(g, kMovSsAx, Guest::kFree) == fault(Exception::SS, Guest::kFree));
}

TEST_CASE("MOV SS: null, wrong RPL, wrong DPL and read-only raise #GP", "[segment]") {
    Guest g;
    g.protected_mode();
    g.set_descriptor(Guest::kFree, flat(access::kReadOnly));
    CHECK(load(g, kMovSsAx, 0) == fault(Exception::GP, 0));
    CHECK(load(g, kMovSsAx, Guest::kData0 | 1) == fault(Exception::GP, Guest::kData0));
    CHECK(load(g, kMovSsAx, Guest::kData3) == fault(Exception::GP, Guest::kData3 & ~3U));
    CHECK(load(g, kMovSsAx, Guest::kFree) == fault(Exception::GP, Guest::kFree));
    const u16 rpl0_dpl3 = Guest::kData3 & ~3U;
    CHECK(load(g, kMovSsAx, rpl0_dpl3) == fault(Exception::GP, rpl0_dpl3));
}

TEST_CASE("MOV SS: a 16-bit stack segment switches to SP", "[segment]") {
    Guest g;
    g.protected_mode();
    g.set_descriptor(Guest::kFree, descriptor(0, 0xFFFF, access::kData, kFlags16));
    CHECK(load(g, kMovSsAx, Guest::kFree) == kNoFault);
    CHECK(g.cpu().mode.stack_mask == 0xFFFF);
    CHECK((g.state().interruptibility & blocking::kMovSs) != 0);
}

TEST_CASE("MOV SS: 64-bit mode accepts a null selector whose RPL is CPL below level 3",
          "[segment][long]") {
    Guest g;
    g.long_mode();
    CHECK(load(g, kMovSsAx, 0) == kNoFault);
    CHECK(load(g, kMovSsAx, 1) == fault(Exception::GP, 0));
    CHECK(g.cpu().mode.cpl == 0);
    Guest user;
    user.long_mode(3);
    CHECK(load(user, kMovSsAx, 3) == fault(Exception::GP, 0));
}

TEST_CASE("MOV FS in 64-bit mode: a null selector clears the base", "[segment][long]") {
    Guest g;
    g.long_mode();
    g.seg(FS).base = 0x1234;
    CHECK(load(g, kMovFsAx, 0) == kNoFault);
    CHECK(g.seg(FS).base == 0);
}

TEST_CASE("A load from the LDT reads the table LDTR names", "[segment][ldt]") {
    Guest g;
    g.protected_mode();
    g.reg(RAX) = Guest::kLdtr;
    REQUIRE(g.exec({0x0F, 0x00, 0xD0}) == kNoFault);  // lldt ax
    g.machine().poke_value(Guest::kLdt + 8, descriptor(0x777000, 0xFFF, access::kData, kFlags32));
    CHECK(load(g, kMovDsAx, 0x0C) == kNoFault);
    CHECK(g.seg(DS).base == 0x777000);
    CHECK(load(g, kMovDsAx, 0x44) == fault(Exception::GP, 0x44));  // beyond the LDT's limit
}

TEST_CASE("Real mode: a load changes base only and keeps a 4-GByte limit", "[segment][real]") {
    Guest g;
    g.real_mode();
    g.seg(DS).limit = 0xFFFFFFFF;
    CHECK(load(g, kMovDsAx, 0x1234) == kNoFault);
    CHECK(g.seg(DS).base == 0x12340);
    CHECK(g.seg(DS).limit == 0xFFFFFFFF);
}

TEST_CASE("An expand-down segment admits offsets above its limit only", "[segment]") {
    Guest g;
    g.protected_mode();
    g.set_descriptor(Guest::kFree, descriptor(0, 0x5FFF, access::kExpandDown, kFlags32Bytes));
    REQUIRE(load(g, kMovDsAx, Guest::kFree) == kNoFault);
    CHECK(g.exec({0xA0, 0xFF, 0x5F, 0, 0}) == fault(Exception::GP, 0));  // mov al, byte [0x5fff]
    CHECK(g.exec({0xA0, 0x00, 0x60, 0, 0}) == kNoFault);                 // mov al, byte [0x6000]
}

TEST_CASE("LES: the register changes only if the selector loads", "[segment]") {
    Guest g;
    g.protected_mode();
    g.machine().poke_value<u32>(0x7000, 0xCAFEBABE);
    g.machine().poke_value<u16>(0x7004, 0x103);
    g.reg(RBX) = 1;
    CHECK(g.exec({0xC4, 0x1D, 0x00, 0x70, 0, 0}) ==  // les ebx, [0x7000]
          fault(Exception::GP, 0x100));              // les ebx, [7000h]
    CHECK(g.reg(RBX) == 1);
    g.machine().poke_value<u16>(0x7004, Guest::kData0);
    CHECK(g.exec({0xC4, 0x1D, 0x00, 0x70, 0, 0}) == kNoFault);  // les ebx, [0x7000]
    CHECK(g.reg(RBX) == 0xCAFEBABE);
}

TEST_CASE("LAR: shows the rights of visible descriptors and clears ZF for others",
          "[segment][lar]") {
    Guest g;
    g.protected_mode(3);
    g.reg(RCX) = Guest::kData3;
    REQUIRE(g.exec({0x0F, 0x02, 0xC1}) == kNoFault);  // lar eax, ecx
    CHECK(g.state().flags.zf());
    CHECK((g.reg(RAX) & 0xF0FF00) == 0xC0F300);
    g.reg(RAX) = 5;
    g.reg(RCX) = Guest::kData0;
    REQUIRE(g.exec({0x0F, 0x02, 0xC1}) == kNoFault);  // lar eax, ecx
    CHECK_FALSE(g.state().flags.zf());
    CHECK(g.reg(RAX) == 5);
    g.set_descriptor(Guest::kFree, gate(Guest::kCode0, 0, access::kInterruptGate | access::kDpl3));
    g.reg(RCX) = Guest::kFree;
    REQUIRE(g.exec({0x0F, 0x02, 0xC1}) == kNoFault);  // lar eax, ecx
    CHECK_FALSE(g.state().flags.zf());                // interrupt gates are not for LAR
}

TEST_CASE("LSL: yields the limit in bytes", "[segment][lsl]") {
    Guest g;
    g.protected_mode();
    g.set_descriptor(Guest::kFree, descriptor(0, 0x00123, access::kData, kFlags32));
    g.reg(RCX) = Guest::kFree;
    REQUIRE(g.exec({0x0F, 0x03, 0xC1}) == kNoFault);  // lsl eax, ecx
    CHECK(g.state().flags.zf());
    CHECK(g.reg(RAX) == 0x123FFF);
    g.set_descriptor(Guest::kFree, gate(Guest::kCode0, 0, access::kCallGate32));
    REQUIRE(g.exec({0x0F, 0x03, 0xC1}) == kNoFault);  // lsl eax, ecx
    CHECK_FALSE(g.state().flags.zf());                // LSL refuses call gates, LAR accepts them
    REQUIRE(g.exec({0x0F, 0x02, 0xC1}) == kNoFault);  // lar eax, ecx
    CHECK(g.state().flags.zf());
}

TEST_CASE("VERR and VERW: test readability and writability at the present level",
          "[segment][verr]") {
    Guest g;
    g.protected_mode();
    g.reg(RCX) = Guest::kCode0;
    REQUIRE(g.exec({0x0F, 0x00, 0xE1}) == kNoFault);  // verr cx
    CHECK(g.state().flags.zf());
    REQUIRE(g.exec({0x0F, 0x00, 0xE9}) == kNoFault);  // verw cx
    CHECK_FALSE(g.state().flags.zf());
    g.reg(RCX) = 0;
    REQUIRE(g.exec({0x0F, 0x00, 0xE1}) == kNoFault);  // verr cx
    CHECK_FALSE(g.state().flags.zf());
}

TEST_CASE("ARPL: raises the RPL and says so in ZF", "[segment][arpl]") {
    Guest g;
    g.protected_mode();
    g.reg(RAX) = 0x20;
    g.reg(RCX) = 3;
    REQUIRE(g.exec({0x63, 0xC8}) == kNoFault);  // arpl ax, cx
    CHECK(g.reg(RAX) == 0x23);
    CHECK(g.state().flags.zf());
    REQUIRE(g.exec({0x63, 0xC8}) == kNoFault);  // arpl ax, cx
    CHECK_FALSE(g.state().flags.zf());
}

TEST_CASE("LLDT and LTR: selector, type and presence checks", "[segment][ldt]") {
    Guest g;
    g.protected_mode();
    CHECK(load(g, kLldtAx, Guest::kData0) == fault(Exception::GP, Guest::kData0));
    CHECK(load(g, kLldtAx, Guest::kLdtr | 4) == fault(Exception::GP, Guest::kLdtr | 4));
    g.set_descriptor(Guest::kFree, descriptor(kPageBytes, 7, 0x02, 0));
    CHECK(load(g, kLldtAx, Guest::kFree) == fault(Exception::NP, Guest::kFree));
    CHECK(load(g, kLldtAx, 0) == kNoFault);
    CHECK(g.state().ldtr.unusable());

    CHECK(load(g, kLtrAx, 0) == fault(Exception::GP, 0));
    CHECK(load(g, kLtrAx, Guest::kTr) == fault(Exception::GP, Guest::kTr));  // busy
    CHECK(load(g, kLtrAx, Guest::kTr2) == kNoFault);
    CHECK(g.access_byte(Guest::kTr2) == access::kTss32Busy);
    CHECK(g.state().tr.base == Guest::kTss2);

    Guest user;
    user.protected_mode(3);
    CHECK(load(user, kLldtAx, Guest::kLdtr) == fault(Exception::GP, 0));
}

TEST_CASE("LTR in IA-32e mode reads a 16-byte descriptor", "[segment][long]") {
    Guest g;
    g.long_mode();
    g.set_descriptor(Guest::kFree, descriptor(0x89ABCDEF, 0x67, access::kTss32, 0));
    g.set_descriptor(Guest::kFree2, 0xFFFF8000);
    g.reg(RAX) = Guest::kFree;
    REQUIRE(g.exec({0x0F, 0x00, 0xD8}) == kNoFault);  // ltr ax
    CHECK(g.state().tr.base == 0xFFFF800089ABCDEF);
    g.set_descriptor(Guest::kFree, descriptor(0x89ABCDEF, 0x67, access::kTss32, 0));
    g.set_descriptor(Guest::kFree2, 0x0000'0100'0000'0000);                   // upper type field
    CHECK(g.exec({0x0F, 0x00, 0xD8}) == fault(Exception::GP, Guest::kFree));  // ltr ax
}

TEST_CASE("SLDT and STR: 16 bits to memory, zero-extended to a register; UMIP hides them",
          "[segment][umip]") {
    Guest g;
    g.protected_mode();
    g.reg(RAX) = 0xFFFFFFFF;
    REQUIRE(g.exec({0x0F, 0x00, 0xC8}) == kNoFault);  // str eax
    CHECK(g.reg(RAX) == Guest::kTr);
    Guest user;
    user.protected_mode(3);
    user.state().cr4 |= cr4::kUmip;
    CHECK(user.exec({0x0F, 0x00, 0xC8}) == fault(Exception::GP, 0));  // str eax
    CHECK(user.exec({0x0F, 0x00, 0xC0}) == fault(Exception::GP, 0));  // sldt eax
}

// The bases of the tables have 64 bits in compatibility mode too, so what is read of them can lie
// at a non-canonical address: that is #GP(0), and not a walk of the tables with the upper bits
// lost.
TEST_CASE("A descriptor at a non-canonical address raises #GP(0) in compatibility mode",
          "[segment][compatibility]") {
    for (const u16 code : {Guest::kCode0, Guest::kFree}) {
        CAPTURE(code);
        Guest g;
        g.long_mode();
        g.set_descriptor(Guest::kFree, flat(access::kCode));
        g.load(CS, code);
        REQUIRE(g.cpu().mode.long_mode64 == (code == Guest::kCode0));
        g.machine().map(0x7FFF'FFFF'F000, Guest::kGdt);
        g.state().gdtr = {0x7FFF'FFFF'FFE0, 0xFF};
        g.reg(RAX) = 0x20;
        CHECK(g.exec({0x8E, 0xD8}) == fault(Exception::GP, 0));  // mov ds, ax
    }
}
