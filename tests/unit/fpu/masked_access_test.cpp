// Masked moves and gathers: which elements are touched, and how a fault leaves things.

#include "tests/unit/fpu/fpu_test_support.hpp"

#include <catch2/catch.hpp>

#include <vector>

namespace droste::test {
namespace {

constexpr u64 kEnd = FpuGuest::kData + 2 * kPageBytes;  // first unmapped byte
constexpr u32 kOn = 0x8000'0000;

bool no_avx2() {
    return !all_features().has(Feature::AVX2);
}

TEST_CASE("VMASKMOVPS does not touch elements whose mask is clear", "[fpu][avx]") {
    if (no_avx2()) {
        return;
    }
    FpuGuest guest;
    guest.state().gpr[RDI] = kEnd - 8;
    guest.poke<u64>(kEnd - 8, 0x2222'2222'1111'1111);
    guest.set_xmm<u32>(1, {kOn, kOn, 0, 0, 0, 0, 0, 0});
    guest.set_xmm<u64>(0, {~u64{0}, ~u64{0}, ~u64{0}, ~u64{0}});
    CHECK(guest.fault({0xC4, 0xE2, 0x75, 0x2C, 0x07}) == kNone);  // vmaskmovps ymm0, ymm1, [rdi]
    CHECK(guest.xmm<u64>(0, 0) == 0x2222'2222'1111'1111);
    CHECK(guest.xmm<u64>(0, 1) == 0);
    CHECK(guest.xmm<u64>(0, 3) == 0);
    guest.set_xmm<u32>(1, {kOn, kOn, kOn, 0});
    CHECK(guest.fault({0xC4, 0xE2, 0x75, 0x2C, 0x07}) == kPf);  // vmaskmovps ymm0, ymm1, [rdi]
}

TEST_CASE("a faulting masked store writes no element", "[fpu][avx]") {
    if (no_avx2()) {
        return;
    }
    FpuGuest guest;
    guest.state().gpr[RDI] = kEnd - 8;
    guest.set_xmm<u32>(0, {1, 2, 3, 4});
    guest.set_xmm<u32>(1, {kOn, 0, kOn, 0});
    CHECK(guest.fault({0xC4, 0xE2, 0x71, 0x8E, 0x07}) == kPf);  // vpmaskmovd [rdi], xmm1, xmm0
    CHECK(guest.peek<u64>(kEnd - 8) == 0);
    guest.set_xmm<u32>(1, {kOn, 0, 0, 0});
    CHECK(guest.fault({0xC4, 0xE2, 0x71, 0x8E, 0x07}) == kNone);  // vpmaskmovd [rdi], xmm1, xmm0
    CHECK(guest.peek<u64>(kEnd - 8) == 1);
}

TEST_CASE("a masked store over the end of a page faults at its last byte", "[fpu][avx]") {
    if (no_avx2()) {
        return;
    }
    FpuGuest guest;
    const auto fault_address = [&](u64 at, std::initializer_list<u32> mask) {
        guest.state().gpr[RDI] = at;
        guest.set_xmm<u32>(1, mask);
        CHECK(guest.fault({0xC4, 0xE2, 0x75, 0x8E, 0x07}) == kPf);  // vpmaskmovd [rdi], ymm1, ymm0
        return guest.cpu().fault.payload;
    };
    CHECK(fault_address(kEnd - 2, {kOn, 0, 0, 0, 0, 0, 0, 0}) == kEnd + 1);
    CHECK(fault_address(kEnd - 2, {kOn, 0, 0, kOn, 0, kOn, 0, 0}) == kEnd - 2 + 23);
    CHECK(fault_address(kEnd - 4, {kOn, kOn, 0, 0, 0, 0, kOn, 0}) == kEnd - 4 + 27);
    // Wholly in the second page: the first byte.
    CHECK(fault_address(kEnd - 4, {0, 0, kOn, 0, 0, 0, kOn, 0}) == kEnd + 4);
    // Both pages fault: the first byte.
    guest.machine().map(kEnd, kEnd, false);
    guest.machine().map(kEnd - kPageBytes, kEnd - kPageBytes, false);
    guest.cpu().tlb.flush_all(guest.cpu());
    CHECK(fault_address(kEnd - 2, {kOn, kOn, 0, 0, 0, 0, 0, 0}) == kEnd - 2);
}

TEST_CASE("MASKMOVDQU stores the selected bytes at DS:rDI", "[fpu][sse]") {
    FpuGuest guest;
    guest.state().gpr[RDI] = FpuGuest::kData + kPageBytes - 4;
    guest.set_xmm<u32>(0, {0x4433'2211, 0x8877'6655, 0, 0x0000'00FF});
    guest.set_xmm<u32>(1, {0x8000'8000, 0x80, 0, 0x80});
    CHECK(guest.fault({0x66, 0x0F, 0xF7, 0xC1}) == kNone);  // maskmovdqu xmm0, xmm1
    CHECK(guest.peek<u64>(FpuGuest::kData + kPageBytes - 4) == 0x0000'0055'4400'2200);
    CHECK(guest.peek<u64>(FpuGuest::kData + kPageBytes + 4) == 0x0000'00FF'0000'0000);
}

TEST_CASE("MASKMOVQ and MASKMOVDQU fault by quadwords, whatever the mask", "[fpu][sse]") {
    FpuGuest guest;
    const std::vector<u8> kMaskmovdqu = {0x66, 0x0F, 0xF7, 0xC1};
    const std::vector<u8> kMaskmovq = {0x0F, 0xF7, 0xC1};
    guest.set_xmm<u64>(0, {~u64{0}, ~u64{0}});
    guest.set_xmm<u64>(1, {0x80, 0});
    guest.state().x87.st[1].significand = 0;
    guest.state().gpr[RDI] = kEnd - 4;
    CHECK(guest.fault(kMaskmovdqu) == kPf);
    CHECK(guest.cpu().fault.payload == kEnd + 4);  // the upper one first
    CHECK(guest.fault(kMaskmovq) == kPf);
    CHECK(guest.cpu().fault.payload == kEnd);
    guest.state().gpr[RDI] = kEnd - 12;
    CHECK(guest.fault(kMaskmovdqu) == kPf);
    CHECK(guest.cpu().fault.payload == kEnd);
    CHECK(guest.fault(kMaskmovq) == kNone);
    CHECK(guest.peek<u64>(kEnd - 8) == 0);
    guest.state().rflags_system |= rflags::kAc;
    guest.refresh();
    constexpr int kAlignment = 17;
    CHECK(guest.fault(kMaskmovq) == kAlignment);
    guest.state().gpr[RDI] = kEnd - 16;
    CHECK(guest.fault(kMaskmovdqu) == kNone);
}

TEST_CASE("a gather that faults keeps what it has and can be restarted", "[fpu][avx2]") {
    if (no_avx2()) {
        return;
    }
    FpuGuest guest;
    guest.poke<u32>(FpuGuest::kData, 0xAAAA);
    guest.poke<u32>(FpuGuest::kData + 4, 0xBBBB);
    guest.set_xmm<u64>(0, {~u64{0}, ~u64{0}, ~u64{0}, ~u64{0}});
    guest.set_xmm<u32>(1, {0, 1, (FpuGuest::kUnmapped - FpuGuest::kData) / 4, 0});
    guest.set_xmm<u32>(2, {kOn, kOn, kOn, kOn, 7, 7, 7, 7});

    // vpgatherdd xmm0, [rdi + xmm1 * 4], xmm2
    CHECK(guest.fault({0xC4, 0xE2, 0x69, 0x90, 0x04, 0x8F}) ==
          kPf);  // vpgatherdd xmm0, [rdi+xmm1*4], xmm2
    CHECK(guest.cpu().fault.payload == FpuGuest::kUnmapped);
    CHECK(guest.xmm<u32>(0, 0) == 0xAAAA);
    CHECK(guest.xmm<u32>(0, 1) == 0xBBBB);
    CHECK(guest.xmm<u32>(0, 2) == ~0U);
    CHECK(guest.xmm<u32>(2, 0) == 0);
    CHECK(guest.xmm<u32>(2, 1) == 0);
    CHECK((guest.xmm<u32>(2, 2) & kOn) != 0);

    guest.machine().map(FpuGuest::kUnmapped, FpuGuest::kUnmapped);
    guest.poke<u32>(FpuGuest::kUnmapped, 0xCCCC);
    // vpgatherdd xmm0, [rdi + xmm1 * 4], xmm2
    CHECK(guest.fault({0xC4, 0xE2, 0x69, 0x90, 0x04, 0x8F}) == kNone);
    CHECK(guest.xmm<u32>(0, 2) == 0xCCCC);
    CHECK(guest.xmm<u32>(0, 3) == 0xAAAA);
    CHECK(guest.xmm<u64>(0, 2) == 0);
    CHECK(guest.xmm<u64>(2, 0) == 0);
    CHECK(guest.xmm<u64>(2, 3) == 0);
}

TEST_CASE("alignment checking does not concern gathers and masked moves", "[fpu][avx2]") {
    if (no_avx2()) {
        return;
    }
    FpuGuest guest;
    guest.state().rflags_system |= rflags::kAc;
    guest.refresh();
    guest.state().gpr[RDI] = FpuGuest::kData + 1;
    guest.set_xmm<u32>(1, {0, 1, 2, 3});
    guest.set_xmm<u32>(2, {kOn, kOn, kOn, kOn});
    // vpgatherdd xmm0, [rdi + xmm1 * 4], xmm2
    CHECK(guest.fault({0xC4, 0xE2, 0x69, 0x90, 0x04, 0x8F}) == kNone);
    guest.set_xmm<u32>(1, {kOn, kOn, kOn, kOn});
    CHECK(guest.fault({0xC4, 0xE2, 0x71, 0x2C, 0x07}) == kNone);  // vmaskmovps xmm0, xmm1, [rdi]
    CHECK(guest.fault({0xC4, 0xE2, 0x71, 0x2E, 0x07}) == kNone);  // vmaskmovps [rdi], xmm1, xmm0
    CHECK(guest.fault({0x0F, 0x10, 0x07}) == 17);                 // movups: #AC
}

TEST_CASE("VZEROUPPER and VZEROALL", "[fpu][avx]") {
    if (no_avx2()) {
        return;
    }
    FpuGuest guest;
    guest.set_xmm<u64>(15, {1, 2, 3, 4});
    CHECK(guest.fault({0xC5, 0xF8, 0x77}) == kNone);  // vzeroupper
    CHECK(guest.xmm<u64>(15, 1) == 2);
    CHECK(guest.xmm<u64>(15, 2) == 0);
    CHECK(guest.xmm<u64>(15, 3) == 0);
    CHECK(guest.fault({0xC5, 0xFC, 0x77}) == kNone);  // vzeroall
    CHECK(guest.xmm<u64>(15, 1) == 0);
}

}  // namespace
}  // namespace droste::test
