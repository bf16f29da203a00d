// Virtual-8086 mode and its extensions. SDM Vol. 3B, "8086 Emulation".

#include "tests/unit/system/guest.hpp"

using namespace droste;
using namespace droste::test;

namespace {

constexpr u8 kVector = 0x21;

// The redirection bitmap lies below the I/O map at TSS + 88h; bit set = protected-mode handler.
void redirect(Guest& g, u8 vector, bool to_protected_mode) {
    g.machine().poke_value<u16>(Guest::kTss + 0x66, 0x88);
    const u64 byte = Guest::kTss + 0x88 - 32 + vector / 8U;
    g.machine().poke_value<u8>(byte, static_cast<u8>(to_protected_mode ? 1U << (vector % 8U) : 0));
    g.machine().poke_value<u32>(vector * 4U, 0x0600'0040);
}

}  // namespace

TEST_CASE("An interrupt leaves virtual-8086 mode: all segments are pushed and nulled", "[v86]") {
    Guest g;
    g.v86_mode(0);
    g.set_all_gates();
    load_real_mode_segment(g.cpu(), ES, 0x111);
    load_real_mode_segment(g.cpu(), GS, 0x444);
    g.interrupt(0x20);
    CHECK_FALSE(g.cpu().mode.virtual8086);
    CHECK(g.cpu().mode.cpl == 0);
    CHECK(g.seg(CS).selector == Guest::kCode0);
    CHECK(g.reg(RSP) == Guest::kStack0 - 36);
    CHECK(g.stack<u32>(0) == Guest::kCode);
    CHECK((g.stack<u32>(2) & rflags::kVm) != 0);
    CHECK(g.stack<u32>(3) == Guest::kStack3);
    CHECK(g.stack<u32>(5) == 0x111);
    CHECK(g.stack<u32>(8) == 0x444);
    CHECK(g.seg(DS).unusable());
}

TEST_CASE("IRETD at ring 0 with VM in the image re-enters virtual-8086 mode", "[v86][iret]") {
    Guest g;
    g.protected_mode();
    for (const u32 value : {0x444U, 0x333U, 0x222U, 0x111U, 0x700U, 0x1234U,
                            u32{rflags::kVm | rflags::kFixed1}, 0x600U, 0x10U}) {
        g.push<u32>(value);
    }
    CHECK(g.exec({0xCF}) == kNoFault);  // iretd
    CHECK(g.cpu().mode.virtual8086);
    CHECK(g.cpu().mode.cpl == 3);
    CHECK(g.rip() == 0x10);
    CHECK(g.seg(CS).base == 0x6000);
    CHECK(g.seg(SS).base == 0x7000);
    CHECK(g.reg(RSP) == 0x1234);
    CHECK(g.seg(ES).selector == 0x111);
    CHECK(g.seg(GS).selector == 0x444);
    CHECK(g.seg(DS).limit == 0xFFFF);
}

TEST_CASE("A handler that is not at ring 0 raises #GP(selector) from virtual-8086 mode", "[v86]") {
    Guest g;
    g.v86_mode(0);
    g.set_all_gates();
    g.set_gate(0x20, gate(Guest::kCode1, 0x6000, access::kInterruptGate));
    g.interrupt(0x20);
    CHECK(g.rip() == Guest::handler(Exception::GP));
    CHECK(g.stack<u32>(0) == (Guest::kCode1 & ~3U) + 1);
}

TEST_CASE("INT n in virtual-8086 mode, methods 1 to 6", "[v86][vme]") {
    struct Case {
        bool vme;
        unsigned iopl;
        bool bitmap_set;
        const char* outcome;
    };
    constexpr Case kCases[] = {
        {false, 3, false, "gate"}, {false, 0, false, "gp"},     {true, 0, true, "gp"},
        {true, 3, true, "gate"},   {true, 3, false, "program"}, {true, 0, false, "program"},
    };
    for (const Case& c : kCases) {
        CAPTURE(c.vme, c.iopl, c.bitmap_set);
        Guest g;
        g.v86_mode(c.iopl);
        g.set_all_gates();
        g.set_gate(kVector, gate(Guest::kCode0, 0x6FF0, access::kInterruptGate | access::kDpl3));
        g.state().cr4 |= c.vme ? cr4::kVme : 0;
        redirect(g, kVector, c.bitmap_set);
        g.step({0xCD, kVector});
        const std::string outcome =
            g.cpu().mode.virtual8086 && g.seg(CS).base == 0x6000 && g.rip() == 0x40 ? "program"
            : g.rip() == 0x6FF0                                                     ? "gate"
            : g.rip() == Guest::handler(Exception::GP)                              ? "gp"
                                                                                    : "?";
        CHECK(outcome == c.outcome);
    }
}

TEST_CASE("Method 6: the pushed image shows VIF as IF and IOPL 3, and VIF is cleared",
          "[v86][vme]") {
    Guest g;
    g.v86_mode(0);
    g.state().cr4 |= cr4::kVme;
    redirect(g, kVector, false);
    g.state().set_rflags(g.flags() | rflags::kVif);
    g.step({0xCD, kVector});
    CHECK(g.stack<u16>(0) == Guest::kCode + 2);
    CHECK((g.stack<u16>(2) & (rflags::kIf | rflags::kIopl)) == (rflags::kIf | rflags::kIopl));
    CHECK((g.flags() & rflags::kVif) == 0);
    CHECK((g.flags() & rflags::kIf) != 0);  // the real IF is not the program's
}

TEST_CASE("IRET in virtual-8086 mode: #GP below IOPL 3 without VME; with it IF goes to VIF",
          "[v86][vme][iret]") {
    Guest g;
    g.v86_mode(0);
    CHECK(g.exec({0xCF}) == fault(Exception::GP, 0));  // iret
    g.state().cr4 |= cr4::kVme;
    g.push<u16>(rflags::kIf | rflags::kCf);
    g.push<u16>(0x600);
    g.push<u16>(0x10);
    CHECK(g.exec({0xCF}) == kNoFault);  // iret
    CHECK(g.rip() == 0x10);
    CHECK((g.flags() & rflags::kVif) != 0);
    CHECK((g.flags() & rflags::kIopl) == 0);
    g.state().set_rflags(g.flags() | rflags::kVip);
    g.push<u16>(rflags::kIf);
    g.push<u16>(0x600);
    g.push<u16>(0x10);
    CHECK(g.exec({0xCF}) == fault(Exception::GP, 0));  // a virtual interrupt is pending
}

TEST_CASE("IRET in virtual-8086 mode with IOPL 3 keeps VM and IOPL", "[v86][iret]") {
    Guest g;
    g.v86_mode(3);
    g.push<u16>(rflags::kZf);
    g.push<u16>(0x600);
    g.push<u16>(0x10);
    CHECK(g.exec({0xCF}) == kNoFault);  // iret
    CHECK(g.flags() == (rflags::kVm | rflags::kIopl | rflags::kZf | rflags::kFixed1));
}

TEST_CASE("Segment loads in virtual-8086 mode multiply by 16; LAR and LLDT are undefined",
          "[v86]") {
    Guest g;
    g.v86_mode(0);
    g.reg(RAX) = 0x1234;
    CHECK(g.exec({0x8E, 0xD8}) == kNoFault);  // mov ds, ax
    CHECK(g.seg(DS).base == 0x12340);
    CHECK(g.exec({0x0F, 0x02, 0xC0}) == fault(Exception::UD));  // lar ax, ax
    CHECK(g.exec({0x0F, 0x00, 0xD0}) == fault(Exception::UD));  // lldt ax
}
