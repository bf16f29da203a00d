// When x87, MMX, SSE and AVX instructions are undefined or unavailable.
// SDM Vol. 2A, "Instruction Exception Specification"; Vol. 3A, "System Programming for Instruction
// Set Extensions".

#include "cpu/x86/fpu/x87.hpp"
#include "tests/unit/fpu/fpu_test_support.hpp"

#include <catch2/catch.hpp>

#include <vector>

namespace droste::test {
namespace {

// What an instruction raises under each of the five conditions.
struct Row {
    const char* name;
    std::initializer_list<u8> bytes;
    int em, ts, no_osfxsr, no_osxsave, no_avx_state;
};

const Row kRows[] = {
    {"fadd", {0xD8, 0xC1}, kNm, kNm, kNone, kNone, kNone},
    {"fninit", {0xDB, 0xE3}, kNm, kNm, kNone, kNone, kNone},
    {"paddb mm", {0x0F, 0xFC, 0xC1}, kUd, kNm, kNone, kNone, kNone},
    {"emms", {0x0F, 0x77}, kUd, kNm, kNone, kNone, kNone},
    {"addps", {0x0F, 0x58, 0xC1}, kUd, kNm, kUd, kNone, kNone},
    {"movaps", {0x0F, 0x28, 0xC1}, kUd, kNm, kUd, kNone, kNone},
    {"movq2dq", {0xF3, 0x0F, 0xD6, 0xC1}, kUd, kNm, kUd, kNone, kNone},
    {"ldmxcsr", {0x0F, 0xAE, 0x17}, kUd, kNm, kUd, kNone, kNone},
    {"fxsave", {0x0F, 0xAE, 0x07}, kUd, kNm, kNone, kNone, kNone},
    {"xsave", {0x0F, 0xAE, 0x27}, kNone, kNm, kNone, kUd, kNone},
    {"vaddps", {0xC5, 0xF0, 0x58, 0xC2}, kNone, kNm, kNone, kUd, kUd},
    {"vmovaps", {0xC5, 0xF8, 0x28, 0xC1}, kNone, kNm, kNone, kUd, kUd},
    {"vzeroupper", {0xC5, 0xF8, 0x77}, kNone, kNm, kNone, kUd, kUd},
};

int fault_with(const Row& row, void (*change)(CpuState&)) {
    FpuGuest guest(0);
    guest.poke<u32>(FpuGuest::kData, 0x1F80);
    change(guest.state());
    guest.refresh();
    return guest.fault(row.bytes);
}

TEST_CASE("CR0.EM, CR0.TS, CR4.OSFXSR, CR4.OSXSAVE and XCR0 block what they should", "[fpu]") {
    if (!all_features().has(Feature::AVX)) {
        return;
    }
    for (const Row& row : kRows) {
        CAPTURE(row.name);
        CHECK(fault_with(row, [](CpuState&) {}) == kNone);
        CHECK(fault_with(row, [](CpuState& s) { s.cr0 |= cr0::kEm; }) == row.em);
        CHECK(fault_with(row, [](CpuState& s) { s.cr0 |= cr0::kTs; }) == row.ts);
        CHECK(fault_with(row, [](CpuState& s) { s.cr4 &= ~cr4::kOsfxsr; }) == row.no_osfxsr);
        CHECK(fault_with(row, [](CpuState& s) { s.cr4 &= ~cr4::kOsxsave; }) == row.no_osxsave);
        CHECK(fault_with(row, [](CpuState& s) { s.xcr0 = 3; }) == row.no_avx_state);
    }
}

TEST_CASE("#UD comes before #NM", "[fpu]") {
    FpuGuest guest;
    guest.state().cr0 |= cr0::kEm | cr0::kTs;
    guest.refresh();
    CHECK(guest.fault({0x0F, 0x58, 0xC1}) == kUd);
    CHECK(guest.fault({0x0F, 0xFC, 0xC1}) == kUd);
    CHECK(guest.fault({0xD8, 0xC1}) == kNm);
}

TEST_CASE("a pending x87 exception meets MMX instructions, and not SSE ones", "[fpu][mmx]") {
    FpuGuest guest;
    guest.state().x87.control = 0x340;
    guest.state().x87.status = x87::kZe | x87::kEs | x87::kBusy;
    CHECK(guest.fault({0x0F, 0xFC, 0xC1}) == kMf);
    CHECK(guest.fault({0x0F, 0x77}) == kMf);
    CHECK(guest.fault({0x0F, 0x2A, 0xC1}) == kMf);  // cvtpi2ps xmm0, mm1
    CHECK(guest.fault({0x0F, 0x58, 0xC1}) == kNone);
}

TEST_CASE("the x87 exception comes before the page fault of an MMX load", "[fpu][mmx]") {
    FpuGuest guest;
    guest.state().x87.control = 0x340;
    guest.state().x87.status = x87::kZe | x87::kEs | x87::kBusy;
    guest.state().gpr[RDI] = FpuGuest::kUnmapped;
    CHECK(guest.fault({0x0F, 0xFC, 0x07}) == kMf);
}

TEST_CASE("an MMX write makes the x87 registers valid, TOP 0 and the exponent ones", "[fpu][mmx]") {
    FpuGuest guest;
    X87State& fpu = guest.state().x87;
    fpu.status = 5U << 11;
    fpu.tag_valid = 0;
    fpu.st[3].significand = 0x0101010101010101;
    fpu.st[4].significand = 0x0202020202020202;
    CHECK(guest.fault({0x0F, 0xFC, 0xDC}) == kNone);  // paddb mm3, mm4
    CHECK(fpu.st[3].significand == 0x0303030303030303);
    CHECK(fpu.st[3].sign_exponent == 0xFFFF);
    CHECK(fpu.st[4].sign_exponent == 0);
    CHECK(fpu.tag_valid == 0xFF);
    CHECK((fpu.status & x87::kTopMask) == 0);
}

TEST_CASE("EMMS empties the registers and clears TOP", "[fpu][mmx]") {
    FpuGuest guest;
    guest.state().x87.tag_valid = 0xFF;
    guest.state().x87.status = 5U << 11 | x87::kC1;
    CHECK(guest.fault({0x0F, 0x77}) == kNone);
    CHECK(guest.state().x87.tag_valid == 0);
    CHECK(guest.state().x87.status == x87::kC1);
}

TEST_CASE("an MMX store that faults has cleared TOP and left the tags", "[fpu][mmx]") {
    FpuGuest guest;
    X87State& fpu = guest.state().x87;
    const auto kStores = std::vector<std::vector<u8>>{
        {0x0F, 0x7E, 0x0F}, {0x0F, 0x7F, 0x0F}, {0x0F, 0xE7, 0x0F}};  // movd, movq, movntq
    for (const auto& store : kStores) {
        fpu.status = 3U << 11;
        fpu.tag_valid = 0xF8;
        guest.state().gpr[RDI] = FpuGuest::kReadOnly;
        CHECK(guest.fault(store) == kPf);
        CHECK(fpu.status == 0);
        CHECK(fpu.tag_valid == 0xF8);
        guest.state().gpr[RDI] = u64{1} << 62;
        fpu.status = 3U << 11;
        CHECK(guest.fault(store) == kGp);
        CHECK(fpu.status == 0);
    }
    fpu.status = 3U << 11;
    CHECK(guest.fault({0x0F, 0x6F, 0x0F}) == kGp);  // movq mm1, [rdi]
    CHECK(fpu.status == 3U << 11);
    guest.state().gpr[RDI] = FpuGuest::kReadOnly;
    CHECK(guest.fault({0x0F, 0xF7, 0xC8}) == kPf);  // maskmovq mm1, mm0
    CHECK(fpu.status == 0);
    CHECK(fpu.tag_valid == 0xFF);
}

TEST_CASE("a conversion that reads MMX state from memory leaves the x87 alone", "[fpu][mmx]") {
    FpuGuest guest;
    X87State& fpu = guest.state().x87;
    fpu.control = 0x340;
    fpu.status = 3U << 11 | x87::kZe | x87::kEs | x87::kBusy;
    fpu.tag_valid = 0xF8;
    const X87State before = fpu;
    guest.poke<u64>(FpuGuest::kData, 0x0000'0007'0000'0005);
    CHECK(guest.fault({0x0F, 0x2A, 0x07}) == kNone);  // cvtpi2ps xmm0, [rdi]
    CHECK(guest.xmm<float>(0, 1) == 7.0F);
    CHECK(guest.fault({0x66, 0x0F, 0x2A, 0x07}) == kNone);  // cvtpi2pd xmm0, [rdi]
    CHECK(guest.xmm<double>(0, 1) == 7.0);
    CHECK(fpu.status == before.status);
    CHECK(fpu.tag_valid == before.tag_valid);
}

TEST_CASE("legacy SSE memory operands must be aligned, VEX ones need not", "[fpu][sse]") {
    FpuGuest guest;
    guest.state().gpr[RDI] = FpuGuest::kData + 4;
    CHECK(guest.fault({0x0F, 0x58, 0x07}) == kGp);          // addps xmm0, [rdi]
    CHECK(guest.fault({0x0F, 0x28, 0x07}) == kGp);          // movaps xmm0, [rdi]
    CHECK(guest.fault({0x0F, 0x29, 0x07}) == kGp);          // movaps [rdi], xmm0
    CHECK(guest.fault({0x0F, 0x10, 0x07}) == kNone);        // movups xmm0, [rdi]
    CHECK(guest.fault({0xF3, 0x0F, 0x58, 0x07}) == kNone);  // addss xmm0, [rdi]
    if (guest.cpu().features.has(Feature::AVX)) {
        CHECK(guest.fault({0xC5, 0xF8, 0x58, 0x07}) == kNone);  // vaddps xmm0, xmm0, [rdi]
        CHECK(guest.fault({0xC5, 0xFC, 0x28, 0x07}) == kGp);    // vmovaps ymm0, [rdi]
        guest.state().gpr[RDI] = FpuGuest::kData + 16;
        CHECK(guest.fault({0xC5, 0xF8, 0x28, 0x07}) == kNone);  // vmovaps xmm0, [rdi]
        CHECK(guest.fault({0xC5, 0xFC, 0x28, 0x07}) == kGp);
    }
}

TEST_CASE("a memory operand is read with its exact size", "[fpu][sse]") {
    FpuGuest guest;
    guest.state().gpr[RDI] = FpuGuest::kData + 2 * kPageBytes - 4;  // the next page is not mapped
    guest.poke<float>(FpuGuest::kData + 2 * kPageBytes - 4, 2.0F);
    guest.set_xmm<float>(0, {1.0F, 0.0F, 0.0F, 0.0F});
    CHECK(guest.fault({0xF3, 0x0F, 0x58, 0x07}) == kNone);  // addss
    CHECK(guest.xmm<float>(0) == 3.0F);
    CHECK(guest.fault({0xF2, 0x0F, 0x58, 0x07}) == kPf);  // addsd
}

TEST_CASE("LDMXCSR refuses reserved bits", "[fpu][sse]") {
    FpuGuest guest;
    guest.poke<u32>(FpuGuest::kData, 0x1'1F80);
    CHECK(guest.fault({0x0F, 0xAE, 0x17}) == kGp);
    CHECK(guest.state().mxcsr == 0x1F80);
    guest.poke<u32>(FpuGuest::kData, 0xFFFF);
    CHECK(guest.fault({0x0F, 0xAE, 0x17}) == kNone);
    CHECK(guest.state().mxcsr == 0xFFFF);
    CHECK(guest.fault({0x0F, 0xAE, 0x5F, 0x08}) == kNone);  // stmxcsr [rdi+8]
    CHECK(guest.peek<u32>(FpuGuest::kData + 8) == 0xFFFF);
}

TEST_CASE("W does not widen general operands outside 64-bit mode", "[fpu][avx]") {
    if (!all_features().has(Feature::AVX)) {
        return;
    }
    FpuGuest guest;
    guest.machine().enter_protected_mode();
    guest.state().cr4 |= cr4::kOsxsave;
    guest.state().xcr0 = 7;
    guest.refresh();
    guest.state().gpr[RCX] = 0xFFFF'FFFF'0000'0005;
    CHECK(guest.fault({0xC4, 0xE1, 0xFB, 0x2A, 0xC1}) ==
          kNone);  // vcvtsi2sd xmm0, xmm0, ecx with W = 1
    CHECK(guest.xmm<double>(0) == 5.0);
    guest.set_xmm<u64>(0, {0x1111'1111'2222'2222, 0});
    CHECK(guest.fault({0xC4, 0xE1, 0xF9, 0x7E, 0xC1}) == kNone);  // vmovd ecx, xmm0 with W = 1
    CHECK(guest.state().gpr[RCX] == 0x2222'2222);
    guest.set_xmm<u64>(0, {0x0041, 0});
    guest.set_xmm<u64>(1, {0x4100, 0});
    guest.state().gpr[RAX] = 0xFFFF'FFFF'0000'0001;  // lengths 1 and 1
    guest.state().gpr[RDX] = 0xFFFF'FFFF'0000'0001;
    CHECK(guest.fault({0xC4, 0xE3, 0xF9, 0x61, 0xC1, 0x00}) ==
          kNone);                         // vpcmpestri xmm0, xmm1, 0 with W = 1
    CHECK(guest.state().gpr[RCX] == 16);  // 'A' is not in the first byte
}

}  // namespace
}  // namespace droste::test
