// Control registers, mode derivation and reset. SDM Vol. 3A, "Control Registers", "Processor State
// After Reset".

#include "tests/unit/system/guest.hpp"

using namespace droste;
using namespace droste::test;

namespace {

constexpr std::initializer_list<u8> kMovCr0Eax = {0x0F, 0x22, 0xC0};
constexpr std::initializer_list<u8> kMovCr3Eax = {0x0F, 0x22, 0xD8};
constexpr std::initializer_list<u8> kMovCr4Eax = {0x0F, 0x22, 0xE0};
constexpr std::initializer_list<u8> kMovEaxCr0 = {0x0F, 0x20, 0xC0};

constexpr std::initializer_list<u8> kLoad = {0x8A, 0x1E};  // mov bl, [rsi]
constexpr std::initializer_list<u8> kMovCr8Rax = {0x44, 0x0F, 0x22, 0xC0};
constexpr std::initializer_list<u8> kMovRbxCr8 = {0x44, 0x0F, 0x20, 0xC3};

Raised write(Guest& g, std::initializer_list<u8> insn, u64 value) {
    g.reg(RAX) = value;
    return g.exec(insn);
}

}  // namespace

TEST_CASE("MOV CR: needs ring 0", "[cr]") {
    Guest g;
    g.protected_mode(3);
    CHECK(write(g, kMovCr0Eax, 0) == fault(Exception::GP, 0));
    CHECK(g.exec(kMovEaxCr0) == fault(Exception::GP, 0));
}

TEST_CASE("MOV CR0: PG without PE and NW without CD raise #GP(0); reserved bits are ignored",
          "[cr]") {
    Guest g;
    g.protected_mode();
    const u64 before = g.state().cr0;
    CHECK(write(g, kMovCr0Eax, cr0::kPg) == fault(Exception::GP, 0));
    CHECK(write(g, kMovCr0Eax, cr0::kPe | cr0::kNw) == fault(Exception::GP, 0));
    CHECK(g.state().cr0 == before);
    CHECK(write(g, kMovCr0Eax, cr0::kPe | 0x0000'FF00) == kNoFault);
    CHECK(g.state().cr0 == (cr0::kPe | cr0::kEt));
}

TEST_CASE("MOV CR0: upper half in 64-bit mode raises #GP(0), and paging cannot be turned off there",
          "[cr][long]") {
    Guest g;
    g.long_mode();
    CHECK(write(g, kMovCr0Eax, g.state().cr0 | 0x1'0000'0000) == fault(Exception::GP, 0));
    CHECK(write(g, kMovCr0Eax, g.state().cr0 & ~cr0::kPg) == fault(Exception::GP, 0));
}

TEST_CASE("Activating IA-32e mode: PAE is required, CS.L must be 0, the TSS not 16 bits",
          "[cr][long]") {
    Guest g;
    g.protected_mode();
    CpuState& s = g.state();
    s.efer = efer::kLme;
    s.cr3 = 0x20000;
    g.machine().poke_value<u64>(0x20000, 0x21003);
    g.machine().poke_value<u64>(0x21000, 0x22003);
    g.machine().poke_value<u64>(0x22000, 0x83);
    const u64 with_paging = s.cr0 | cr0::kPg;
    CHECK(write(g, kMovCr0Eax, with_paging) == fault(Exception::GP, 0));
    s.cr4 |= cr4::kPae;
    s.seg[CS].rights |= segment_rights::kL;
    CHECK(write(g, kMovCr0Eax, with_paging) == fault(Exception::GP, 0));
    s.seg[CS].rights &= ~segment_rights::kL;
    s.tr.rights = access::kTss16Busy;
    CHECK(write(g, kMovCr0Eax, with_paging) == fault(Exception::GP, 0));
    s.tr.rights = access::kTss32Busy;
    CHECK(write(g, kMovCr0Eax, with_paging) == kNoFault);
    CHECK((s.efer & efer::kLma) != 0);
    CHECK(g.cpu().mode.code_bits == 32);
    g.load(CS, Guest::kCode64);
    CHECK(g.cpu().mode.long_mode64);
    g.load(CS, Guest::kCode0);
    CHECK(write(g, kMovCr0Eax, with_paging & ~cr0::kPg) == kNoFault);
    CHECK((s.efer & efer::kLma) == 0);
}

TEST_CASE("MOV CR3: reserved bits beyond MAXPHYADDR, and bit 63 only with PCIDE", "[cr][long]") {
    Guest g;
    g.long_mode();
    CpuState& s = g.state();
    const u64 root = s.cr3;
    const u64 beyond = u64{1} << g.cpu().features.physical_address_bits;
    CHECK(write(g, kMovCr3Eax, root | beyond) == fault(Exception::GP, 0));
    CHECK(write(g, kMovCr3Eax, root | (u64{1} << 63)) == fault(Exception::GP, 0));
    s.cr4 |= cr4::kPcide;
    CHECK(write(g, kMovCr3Eax, root | (u64{1} << 63) | 5) == kNoFault);
    CHECK(s.cr3 == (root | 5));
}

TEST_CASE("MOV CR3 drops non-global translations; with bit 63 it keeps them", "[cr][tlb][long]") {
    constexpr u64 kPage = 0x20'0000;
    Guest g;
    g.long_mode();
    g.machine().map(kPage, 0x7000);
    g.machine().poke_value<u8>(0x7000, 0x77);
    g.machine().poke_value<u8>(0x7800, 0);
    g.machine().poke_value<u8>(0xC000, 0xCC);
    g.reg(RSI) = kPage;
    REQUIRE(g.exec(kLoad) == kNoFault);
    g.machine().map(kPage, 0xC000);
    REQUIRE(g.exec(kLoad) == kNoFault);
    CHECK((g.reg(RBX) & 0xFF) == 0x77);  // the old translation is still cached
    REQUIRE(write(g, kMovCr3Eax, g.state().cr3) == kNoFault);
    REQUIRE(g.exec(kLoad) == kNoFault);
    CHECK((g.reg(RBX) & 0xFF) == 0xCC);
    g.state().cr4 |= cr4::kPcide;
    REQUIRE(write(g, kMovCr3Eax, g.state().cr3) == kNoFault);
    REQUIRE(g.exec(kLoad) == kNoFault);
    g.machine().map(kPage, 0x7000);
    REQUIRE(write(g, kMovCr3Eax, g.state().cr3 | (u64{1} << 63)) == kNoFault);
    REQUIRE(g.exec(kLoad) == kNoFault);
    CHECK((g.reg(RBX) & 0xFF) == 0xCC);
    REQUIRE(g.exec({0x0F, 0x01, 0x3E}) == kNoFault);  // invlpg [rsi]
    REQUIRE(g.exec(kLoad) == kNoFault);
    CHECK((g.reg(RBX) & 0xFF) == 0x77);
}

TEST_CASE("MOV CR4: reserved bits and illegal changes raise #GP(0)", "[cr]") {
    Guest g;
    g.long_mode();
    const u64 cr4 = g.state().cr4;
    CHECK(write(g, kMovCr4Eax, cr4 | (u64{1} << 15)) == fault(Exception::GP, 0));
    CHECK(write(g, kMovCr4Eax, cr4 | cr4::kVmxe) == fault(Exception::GP, 0));  // a CPU without VMX
    CHECK(write(g, kMovCr4Eax, cr4 & ~cr4::kPae) == fault(Exception::GP, 0));
    CHECK(write(g, kMovCr4Eax, cr4 ^ cr4::kLa57) == fault(Exception::GP, 0));
    g.state().cr3 |= 8;
    CHECK(write(g, kMovCr4Eax, cr4 | cr4::kPcide) == fault(Exception::GP, 0));
    g.state().cr3 &= ~u64{8};
    CHECK(write(g, kMovCr4Eax, cr4 | cr4::kPcide) == kNoFault);
    CHECK(write(g, kMovCr0Eax, g.state().cr0) == kNoFault);
    Guest legacy;
    legacy.protected_mode();
    CHECK(write(legacy, kMovCr4Eax, cr4::kPcide) == fault(Exception::GP, 0));
}

TEST_CASE("PAE paging: MOV CR3 loads the PDPTEs and refuses reserved bits", "[cr][pae]") {
    Guest g;
    g.protected_mode();
    g.state().cr4 |= cr4::kPae | cr4::kPse;
    g.state().cr3 = 0x20000;
    g.machine().poke_value<u64>(0x20000, 0x21001);
    g.machine().poke_value<u64>(0x21000, 0x83);
    CHECK(write(g, kMovCr0Eax, g.state().cr0 | cr0::kPg) == kNoFault);
    CHECK(g.state().pdpte[0] == 0x21001);
    g.machine().poke_value<u64>(0x22000, 0x21007);  // bits 2:1 are reserved
    CHECK(write(g, kMovCr3Eax, 0x22000) == fault(Exception::GP, 0));
    CHECK(g.state().cr3 == 0x20000);
    CHECK(g.state().pdpte[0] == 0x21001);
}

TEST_CASE("CR8 is bits 7:4 of the TPR", "[cr][long]") {
    Guest g;
    g.long_mode();
    CHECK(write(g, kMovCr8Rax, 0x10) == fault(Exception::GP, 0));
    CHECK(write(g, kMovCr8Rax, 0x9) == kNoFault);
    CHECK(g.exec(kMovRbxCr8) == kNoFault);
    CHECK(g.reg(RBX) == 9);
}

TEST_CASE("XCR0: x87 always, AVX only with SSE", "[cr]") {
    Guest g;
    g.protected_mode();
    CHECK(write_xcr0(g.cpu(), 0, 0) == Status::Fault);
    CHECK(write_xcr0(g.cpu(), 0, 5) == Status::Fault);
    CHECK(write_xcr0(g.cpu(), 1, 1) == Status::Fault);
    CHECK(write_xcr0(g.cpu(), 0, 3) == Status::Next);
}

TEST_CASE("LMSW can set PE but not clear it; SMSW is hidden by UMIP", "[cr]") {
    Guest g;
    g.real_mode();
    g.reg(RAX) = 0xF;
    CHECK(g.exec({0x0F, 0x01, 0xF0}) == kNoFault);  // lmsw ax
    CHECK((g.state().cr0 & 0xF) == 0xF);
    CHECK(g.cpu().mode.protected_mode);
    g.reg(RAX) = 0;
    CHECK(g.exec({0x0F, 0x01, 0xF0}) == kNoFault);  // lmsw ax
    CHECK((g.state().cr0 & 0xF) == 1);
    Guest user;
    user.protected_mode(3);
    CHECK(user.exec({0x0F, 0x01, 0xE0}) == kNoFault);  // smsw eax
    CHECK(user.reg(RAX) == user.state().cr0);
    user.state().cr4 |= cr4::kUmip;
    CHECK(user.exec({0x0F, 0x01, 0xE0}) == fault(Exception::GP, 0));  // smsw eax
}

TEST_CASE("CLTS clears TS and unblocks the FPU", "[cr]") {
    Guest g;
    g.protected_mode();
    g.state().cr0 |= cr0::kTs;
    mode_changed(g.cpu());
    CHECK((g.cpu().mode.fpu_blocked & Vcpu::kFpuTs) != 0);
    CHECK(g.exec({0x0F, 0x06}) == kNoFault);  // clts
    CHECK((g.cpu().mode.fpu_blocked & Vcpu::kFpuTs) == 0);
}

TEST_CASE("Real to protected mode: CPL is 0 and the code size follows the far jump", "[mode]") {
    Guest g;
    g.real_mode();
    CHECK(g.cpu().mode.code_bits == 16);
    g.reg(RAX) = g.state().cr0 | cr0::kPe;
    CHECK(g.exec({0x0F, 0x22, 0xC0}) == kNoFault);  // mov cr0, eax
    CHECK(g.cpu().mode.protected_mode);
    CHECK(g.cpu().mode.code_bits == 16);
    CHECK(g.cpu().mode.cpl == 0);
    CHECK(g.exec({0x66, 0xEA, 0x00, 0x50, 0, 0, Guest::kCode0, 0}) == kNoFault);
    CHECK(g.cpu().mode.code_bits == 32);
}

TEST_CASE("Alignment is checked at CPL 3 with AM and AC only", "[mode]") {
    Guest g;
    g.protected_mode(3);
    g.state().cr0 |= cr0::kAm;
    g.state().set_rflags(rflags::kAc);
    mode_changed(g.cpu());
    CHECK(g.cpu().mode.alignment_checked);
    CHECK(g.exec({0xA1, 0x01, 0x70, 0, 0}) == fault(Exception::AC, 0));  // mov eax, dword [0x7001]
    g.state().cr0 &= ~cr0::kAm;
    mode_changed(g.cpu());
    CHECK(g.exec({0xA1, 0x01, 0x70, 0, 0}) == kNoFault);  // mov eax, dword [0x7001]
}

TEST_CASE("Power-on state", "[reset]") {
    Guest g;
    reset_power_on(g.cpu());
    const CpuState& s = g.state();
    CHECK(s.rip() == 0xFFF0);
    CHECK(s.seg[CS].selector == 0xF000);
    CHECK(s.seg[CS].base == 0xFFFF0000);
    CHECK(s.cr0 == 0x60000010);
    CHECK(s.rflags() == 2);
    CHECK(s.dr6 == 0xFFFF0FF0);
    CHECK(s.dr7 == 0x400);
    CHECK(s.idtr.limit == 0xFFFF);
    CHECK(s.x87.control == 0x40);
    CHECK(s.mxcsr == 0x1F80);
    CHECK(s.xcr0 == 1);
    CHECK((s.gpr[RDX] & 0xF00) == 0x600);  // family 6
    CHECK(g.cpu().mode.code_bits == 16);
    CHECK(s.activity == Activity::Active);
}

TEST_CASE("INIT keeps FPU, SSE, XCR0, cache control and MSRs, and resets the rest", "[reset]") {
    Guest g;
    g.long_mode();
    CpuState& s = g.state();
    s.x87.control = 0x27F;
    s.ymm[3].bytes[5] = 0x42;
    s.lstar = 0x1234;
    s.cr0 &= ~(cr0::kCd | cr0::kNw);
    reset_init(g.cpu());
    CHECK(s.x87.control == 0x27F);
    CHECK(s.ymm[3].bytes[5] == 0x42);
    CHECK(s.lstar == 0x1234);
    CHECK(s.cr0 == 0x10);
    CHECK(s.efer == 0);
    CHECK(s.cr4 == 0);
    CHECK(s.rip() == 0xFFF0);
    CHECK(g.cpu().mode.code_bits == 16);
}
