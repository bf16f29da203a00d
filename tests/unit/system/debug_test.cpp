// Debug exceptions. SDM Vol. 3B, "Debug Exceptions".

#include "tests/unit/system/guest.hpp"

using namespace droste;
using namespace droste::test;

namespace {

constexpr u64 kEnable0 = 1U << 1;  // G0
constexpr u64 kOnWrite0 = 1U << 16, kOnIo0 = 2U << 16, kOnAccess0 = 3U << 16;
constexpr u64 kFourBytes0 = 3U << 18, kTwoBytes0 = 1U << 18;

void watch(Guest& g, u64 address, u64 dr7) {
    g.state().dr[0] = address;
    g.state().dr7 = dr7::kReset | kEnable0 | dr7;
    debug_registers_changed(g.cpu());
}

bool at_db_handler(Guest& g) {
    return g.rip() == Guest::handler(Exception::DB);
}

}  // namespace

TEST_CASE("Single-step: #DB with BS after the instruction, TF clear in the handler", "[debug]") {
    Guest g;
    g.protected_mode();
    g.set_all_gates();
    g.state().set_rflags(rflags::kTf);
    g.step({0x90});  // nop
    CHECK(at_db_handler(g));
    CHECK(g.stack<u32>(0) == Guest::kCode + 1);
    CHECK((g.state().dr6 & dr6::kBs) != 0);
    CHECK((g.flags() & rflags::kTf) == 0);
    CHECK((g.stack<u32>(2) & rflags::kTf) != 0);
    CHECK((g.stack<u32>(2) & rflags::kRf) == 0);
}

TEST_CASE("Single-step: POPF that sets TF traps only after the next instruction", "[debug]") {
    Guest g;
    g.protected_mode();
    g.set_all_gates();
    g.push<u32>(rflags::kTf);
    g.step({0x9D});  // popfd
    CHECK_FALSE(at_db_handler(g));
    g.step({0x90});  // nop
    CHECK(at_db_handler(g));
    CHECK(g.stack<u32>(0) == Guest::kCode + 2);
}

TEST_CASE("Single-step: INT n enters its handler without a trap", "[debug]") {
    Guest g;
    g.protected_mode();
    g.set_all_gates();
    g.state().set_rflags(rflags::kTf);
    g.step({0xCD, 0x20});  // int 0x20
    CHECK(g.rip() == Guest::handler(0x20U));
    CHECK(g.state().pending_debug == 0);
}

TEST_CASE("MOV SS swallows its single-step trap; the next instruction traps", "[debug][shadow]") {
    Guest g;
    g.protected_mode();
    g.set_all_gates();
    g.state().set_rflags(rflags::kTf);
    g.reg(RAX) = Guest::kData0;
    g.step({0x8E, 0xD0});  // mov ss, eax
    CHECK_FALSE(at_db_handler(g));
    g.step({0x90});  // nop
    CHECK(at_db_handler(g));
    CHECK(g.stack<u32>(0) == Guest::kCode + 3);
}

TEST_CASE("A data breakpoint met by MOV SS is held until after the next instruction",
          "[debug][shadow]") {
    Guest g;
    g.protected_mode();
    g.set_all_gates();
    g.machine().poke_value<u16>(0x7000, Guest::kData0);
    watch(g, 0x7000, kOnAccess0 | kTwoBytes0);
    g.step({0x8E, 0x15, 0x00, 0x70, 0, 0});  // mov ss, [7000h]
    CHECK_FALSE(at_db_handler(g));
    g.step({0x90});  // nop
    CHECK(at_db_handler(g));
    CHECK(g.stack<u32>(0) == Guest::kCode + 7);
    CHECK((g.state().dr6 & 0xF) == 1);
}

TEST_CASE("INT1 behind MOV SS is the one #DB, and brings the breakpoint that was held",
          "[debug][shadow]") {
    Guest g;
    g.protected_mode();
    g.set_all_gates();
    g.machine().poke_value<u16>(0x7000, Guest::kData0);
    watch(g, 0x7000, kOnAccess0 | kTwoBytes0);
    g.step({0x8E, 0x15, 0x00, 0x70, 0, 0});  // mov ss, [7000h]
    g.step({0xF1});                          // int1
    CHECK(at_db_handler(g));
    CHECK(g.stack<u32>(0) == Guest::kCode + 7);
    CHECK((g.state().dr6 & 0xF) == 1);
    CHECK(g.state().pending_debug == 0);
    const u64 rsp = g.reg(RSP);
    g.step({0x90});  // no second #DB at the handler's first instruction
    CHECK(g.rip() == Guest::handler(Exception::DB) + 1);
    CHECK(g.reg(RSP) == rsp);
}

TEST_CASE("INT n and INT3 behind MOV SS leave the held #DB to the handler's first instruction",
          "[debug][shadow]") {
    struct Case {
        std::initializer_list<u8> insn;
        unsigned vector;
    };
    const Case cases[] = {{{0xCD, 0x01}, 1}, {{0xCD, 0x20}, 0x20}, {{0xCC}, 3}};
    for (const Case& c : cases) {
        CAPTURE(c.vector);
        Guest g;
        g.protected_mode();
        g.set_all_gates();
        g.machine().poke_value<u16>(0x7000, Guest::kData0);
        watch(g, 0x7000, kOnAccess0 | kTwoBytes0);
        g.step({0x8E, 0x15, 0x00, 0x70, 0, 0});  // mov ss, [7000h]
        g.step(c.insn);
        CHECK(at_db_handler(g));
        CHECK(g.stack<u32>(0) == Guest::handler(c.vector));
        CHECK((g.state().dr6 & 0xF) == 1);
    }
}

TEST_CASE("INT1 alone leaves DR6 and a single step behind it alone", "[debug]") {
    Guest g;
    g.protected_mode();
    g.set_all_gates();
    g.state().dr6 |= 5;
    const u64 dr6 = g.state().dr6;
    g.state().set_rflags(rflags::kTf);
    g.step({0xF1});  // int1
    CHECK(at_db_handler(g));
    CHECK(g.state().dr6 == dr6);
    CHECK(g.reg(RSP) == Guest::kStack0 - 12);
}

TEST_CASE("Instruction breakpoint: a fault before the instruction; RF skips it once",
          "[debug][rf]") {
    Guest g;
    g.protected_mode();
    g.set_all_gates();
    watch(g, Guest::kCode, 0);
    g.step({0x90});  // nop
    CHECK(at_db_handler(g));
    CHECK(g.stack<u32>(0) == Guest::kCode);
    CHECK((g.stack<u32>(2) & rflags::kRf) == 0);  // the handler sets RF in the image
    CHECK((g.state().dr6 & 0xF) == 1);
    const u64 slot = g.reg(RSP) + 8;
    g.machine().poke_value<u32>(slot, static_cast<u32>(g.stack<u32>(2) | rflags::kRf));
    g.step({0xCF});  // iretd
    CHECK(g.rip() == Guest::kCode);
    g.step({0x90});  // nop
    CHECK(g.rip() == Guest::kCode + 1);
    CHECK((g.flags() & rflags::kRf) == 0);
}

TEST_CASE("Data breakpoints: writes, reads and their bytes", "[debug]") {
    struct Case {
        u64 dr7;
        std::initializer_list<u8> insn;
        bool hit;
    };
    const Case cases[] = {
        {kOnWrite0 | kFourBytes0, {0xA2, 0x03, 0x70, 0, 0}, true},   // mov [7003h], al
        {kOnWrite0 | kFourBytes0, {0xA2, 0x04, 0x70, 0, 0}, false},  // one byte beyond
        {kOnWrite0 | kFourBytes0, {0xA0, 0x00, 0x70, 0, 0}, false},  // a read
        {kOnAccess0 | kFourBytes0, {0xA0, 0x00, 0x70, 0, 0}, true},
        {kOnAccess0, {0xA1, 0xFD, 0x6F, 0, 0}, true},  // dword at 6FFDh reaches 7000h
        {kOnAccess0, {0xA1, 0xFC, 0x6F, 0, 0}, false},
    };
    for (const Case& c : cases) {
        CAPTURE(c.dr7, c.hit);
        Guest g;
        g.protected_mode();
        g.set_all_gates();
        watch(g, 0x7000, c.dr7);
        g.step(c.insn);
        CHECK(at_db_handler(g) == c.hit);
    }
}

TEST_CASE("A data breakpoint is a trap: the write has happened", "[debug]") {
    Guest g;
    g.protected_mode();
    g.set_all_gates();
    watch(g, 0x7000, kOnWrite0);
    g.reg(RAX) = 0x5A;
    g.step({0xA2, 0x00, 0x70, 0, 0});  // mov byte [0x7000], al
    CHECK(at_db_handler(g));
    CHECK(g.machine().peek_value<u8>(0x7000) == 0x5A);
    CHECK(g.stack<u32>(0) == Guest::kCode + 5);
}

TEST_CASE("Setting a breakpoint takes the page off the fast path at once", "[debug]") {
    Guest g;
    g.protected_mode();
    g.set_all_gates();
    g.step({0xA2, 0x00, 0x70, 0, 0});  // fills the TLB
    watch(g, 0x7000, kOnWrite0);
    g.step({0xA2, 0x00, 0x70, 0, 0});  // mov byte [0x7000], al
    CHECK(at_db_handler(g));
}

TEST_CASE("I/O breakpoints need CR4.DE", "[debug]") {
    Guest g;
    g.protected_mode();
    g.set_all_gates();
    watch(g, 0x80, kOnIo0);
    g.step({0xE6, 0x80});  // out 80h, al
    CHECK_FALSE(at_db_handler(g));
    g.state().cr4 |= cr4::kDe;
    g.step({0xE6, 0x80});  // out 0x80, al
    CHECK(at_db_handler(g));
}

TEST_CASE("DR7.GD: MOV DR faults with BD and RF = 1, and the handler finds GD clear", "[debug]") {
    Guest g;
    g.protected_mode();
    g.set_all_gates();
    g.state().dr7 |= dr7::kGd;
    g.step({0x0F, 0x21, 0xF0});  // mov eax, dr6
    CHECK(at_db_handler(g));
    CHECK((g.state().dr6 & dr6::kBd) != 0);
    CHECK((g.state().dr7 & dr7::kGd) == 0);
    CHECK(g.stack<u32>(0) == Guest::kCode);
    CHECK((g.stack<u32>(2) & rflags::kRf) != 0);
}

TEST_CASE("BTF: single-stepping on branches, cleared by the trap", "[debug]") {
    Guest g;
    g.protected_mode();
    g.set_all_gates();
    g.state().debugctl = 2;
    g.state().set_rflags(rflags::kTf);
    g.step({0x90});  // nop
    CHECK_FALSE(at_db_handler(g));
    g.step({0xEB, 0x10});  // jmp
    CHECK(at_db_handler(g));
    CHECK(g.state().debugctl == 0);
}

TEST_CASE("DR6: B0 to B3 are set anew, BS and BD stay until software clears them", "[debug]") {
    Guest g;
    g.protected_mode();
    g.set_all_gates();
    g.state().dr6 |= 0xE;
    g.state().set_rflags(rflags::kTf);
    g.step({0x90});  // nop
    CHECK((g.state().dr6 & 0xF) == 0);
    watch(g, g.rip(), 0);
    g.step({0x90});  // nop
    CHECK((g.state().dr6 & (0xF | dr6::kBs)) == (1 | dr6::kBs));
}

TEST_CASE("MOV DR: aliases, reserved bits and privilege", "[debug]") {
    Guest g;
    g.protected_mode();
    g.reg(RAX) = 0xFFFF'FFFF;
    CHECK(g.exec({0x0F, 0x23, 0xF8}) == kNoFault);  // mov dr7, eax
    CHECK(g.state().dr7 == 0xFFFF'27FF);
    g.state().dr7 = dr7::kReset;
    CHECK(g.exec({0x0F, 0x23, 0xF0}) == kNoFault);  // mov dr6, eax
    CHECK(g.state().dr6 == 0xFFFF'EFFF);
    CHECK(g.exec({0x0F, 0x21, 0xE3}) == kNoFault);  // mov ebx, dr4
    CHECK(g.reg(RBX) == 0xFFFF'EFFF);
    g.state().cr4 |= cr4::kDe;
    CHECK(g.exec({0x0F, 0x21, 0xE3}) == fault(Exception::UD));  // mov ebx, dr4
    Guest user;
    user.protected_mode(3);
    CHECK(user.exec({0x0F, 0x21, 0xC0}) == fault(Exception::GP, 0));  // mov eax, dr0
    Guest wide;
    wide.long_mode();
    wide.reg(RAX) = 0x1'0000'0000;
    CHECK(wide.exec({0x0F, 0x23, 0xF8}) == fault(Exception::GP, 0));  // mov dr7, rax
    CHECK(wide.exec({0x0F, 0x23, 0xC0}) == kNoFault);                 // mov dr0, rax
    CHECK(wide.state().dr[0] == 0x1'0000'0000);
}

TEST_CASE("A faulting instruction forgets the data breakpoints it met", "[debug]") {
    Guest g;
    g.protected_mode();
    g.set_all_gates();
    watch(g, 0x7000, kOnAccess0);
    g.reg(RSI) = 0x7000;
    g.load(ES, Guest::kData0);
    g.seg(ES) = Segment{};
    g.seg(ES).rights = segment_rights::kUnusable;
    g.step({0xA4});  // movsb: the read hits, the write through a null ES faults
    CHECK(g.rip() == Guest::handler(Exception::GP));
    CHECK(g.state().pending_debug == 0);
}
