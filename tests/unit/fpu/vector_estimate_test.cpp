// RCPPS, RCPSS, RSQRTPS, RSQRTSS and their VEX forms: the manual's bound, its special values, and the
// bits Droste gives on any machine: the true value rounded to 12 significant bits.

#include "tests/differential/state_pair.hpp"
#include "tests/unit/fpu/fpu_test_support.hpp"

#include <catch2/catch.hpp>

#include <bit>
#include <cmath>

namespace droste::test {
namespace {

constexpr u32 kInfinity = 0x7F80'0000, kNegative = 0x8000'0000, kDefaultNan = 0xFFC0'0000;

class Estimates {
  public:
    u32 rcp(u32 bits) { return run({0xF3, 0x0F, 0x53, 0xC1}, bits); }    // rcpss xmm0, xmm1
    u32 rsqrt(u32 bits) { return run({0xF3, 0x0F, 0x52, 0xC1}, bits); }  // rsqrtss xmm0, xmm1

  private:
    u32 run(std::initializer_list<u8> bytes, u32 bits) {
        guest_.set_xmm<u32>(1, {bits, 0, 0, 0});
        REQUIRE(guest_.fault(bytes) == kNone);
        return guest_.xmm<u32>(0);
    }
    FpuGuest guest_;
};

double value_of(u32 bits) {
    return static_cast<double>(std::bit_cast<float>(bits));
}
// To 12 significant bits, to nearest; 0 below the smallest normal number.
double rounded(double value) {
    int exponent = 0;
    const double fraction = std::frexp(value, &exponent);
    const double result = std::ldexp(std::round(std::ldexp(fraction, 12)), exponent - 12);
    return std::fabs(result) < 0x1p-126 ? 0 : result;
}

TEST_CASE("RCPSS, RSQRTSS: 12 significant bits, within the manual's bound", "[fpu][estimate]") {
    Estimates estimates;
    differential::Rng rng(0xEC0);
    constexpr double kBound = 1.5 * 0x1p-12;
    for (unsigned i = 0; i < 20'000; ++i) {
        const auto exponent = static_cast<u32>(1 + rng.below(254));
        const u32 bits = (exponent << 23) | static_cast<u32>(rng.next() & 0x7F'FFFF);
        CAPTURE(bits);
        const double x = value_of(bits);
        const double root = value_of(estimates.rsqrt(bits));
        REQUIRE(root == rounded(1 / std::sqrt(x)));
        REQUIRE(std::fabs(root * std::sqrt(x) - 1) <= kBound);
        const double inverse = value_of(estimates.rcp(bits));
        REQUIRE(inverse == rounded(1 / x));
        if (inverse != 0) {
            REQUIRE(std::fabs(inverse * x - 1) <= kBound);
        }
        REQUIRE(value_of(estimates.rcp(bits | kNegative)) == -inverse);
    }
}

TEST_CASE("RCPSS, RSQRTSS: special values", "[fpu][estimate]") {
    Estimates e;
    CHECK(e.rcp(0) == kInfinity);
    CHECK(e.rcp(kNegative) == (kInfinity | kNegative));
    CHECK(e.rcp(1) == kInfinity);  // a denormal is 0
    CHECK(e.rcp(kNegative | 0x7F'FFFF) == (kInfinity | kNegative));
    CHECK(e.rcp(kInfinity) == 0);
    CHECK(e.rcp(kInfinity | kNegative) == kNegative);
    CHECK(e.rcp(0x7F80'0001) == 0x7FC0'0001);
    CHECK(e.rcp(0xFFC1'2345) == 0xFFC1'2345);
    CHECK(e.rcp(0x3F80'0000) == 0x3F80'0000);
    CHECK(e.rcp(0x4000'0000) == 0x3F00'0000);
    CHECK(e.rcp(0x0080'0000) == 0x7E80'0000);  // 2^-126
    CHECK(e.rcp(0x7E80'0000) == 0x0080'0000);  // 2^126
    CHECK(e.rcp(0xFE80'1000) == kNegative);    // tiny
    CHECK(e.rcp(0x7F7F'FFFF) == 0);
    CHECK(e.rsqrt(0) == kInfinity);
    CHECK(e.rsqrt(kNegative) == (kInfinity | kNegative));
    CHECK(e.rsqrt(kNegative | 1) == (kInfinity | kNegative));
    CHECK(e.rsqrt(0xBF80'0000) == kDefaultNan);
    CHECK(e.rsqrt(kInfinity | kNegative) == kDefaultNan);
    CHECK(e.rsqrt(kInfinity) == 0);
    CHECK(e.rsqrt(0xFF80'0001) == 0xFFC0'0001);
    CHECK(e.rsqrt(0x3F80'0000) == 0x3F80'0000);
    CHECK(e.rsqrt(0x4080'0000) == 0x3F00'0000);
    CHECK(e.rsqrt(0x3E80'0000) == 0x4000'0000);
}

TEST_CASE("RCPPS, RSQRTPS, scalar and VEX forms: which lanes are written", "[fpu][estimate]") {
    FpuGuest guest;
    constexpr u32 kThird = 0x3EAA'B000, kHalf = 0x3F00'0000;  // of 3 (12 bits) and of 2, 4
    const auto prepare = [&] {
        for (unsigned i = 0; i < 8; ++i) {
            const std::array<u32, 3> fill = {0xAAAA'0000 + i, 0x4040'0000 + 0x40'0000 * (i & 1), i};
            for (unsigned reg = 0; reg < 3; ++reg) {
                std::memcpy(guest.state().ymm[reg].bytes.data() + 4 * i, &fill[reg], 4);
            }
        }
    };
    const auto lane = [&](unsigned i) { return guest.xmm<u32>(0, i); };
    prepare();
    REQUIRE(guest.fault({0x0F, 0x53, 0xC1}) == kNone);  // rcpps xmm0, xmm1
    CHECK(lane(0) == kThird);
    CHECK(lane(1) == 0x3E80'0000);  // of 4
    CHECK(lane(3) == 0x3E80'0000);
    CHECK(lane(4) == 0xAAAA'0004);
    prepare();
    REQUIRE(guest.fault({0xF3, 0x0F, 0x52, 0xC1}) == kNone);  // rsqrtss xmm0, xmm1
    CHECK(lane(0) == 0x3F13'D000);
    CHECK(lane(1) == 0xAAAA'0001);
    guest.poke<std::array<u32, 4>>(FpuGuest::kData, {0x4080'0000, 0x4080'0000, 0, kInfinity});
    REQUIRE(guest.fault({0x0F, 0x52, 0x07}) == kNone);  // rsqrtps xmm0, [rdi]
    CHECK(lane(1) == kHalf);
    CHECK(lane(2) == kInfinity);
    CHECK(lane(3) == 0);
    CHECK(guest.fault({0x0F, 0x53, 0x47, 0x04}) == kGp);  // rcpps xmm0, [rdi + 4]: misaligned
    if (!guest.cpu().features.has(Feature::AVX)) {
        return;
    }
    prepare();
    REQUIRE(guest.fault({0xC5, 0xFC, 0x53, 0xC1}) == kNone);  // vrcpps ymm0, ymm1
    CHECK(lane(6) == kThird);
    CHECK(lane(7) == 0x3E80'0000);
    prepare();
    REQUIRE(guest.fault({0xC5, 0xF8, 0x52, 0xC1}) == kNone);  // vrsqrtps xmm0, xmm1
    CHECK(lane(3) == kHalf);
    CHECK(lane(4) == 0);
    prepare();
    REQUIRE(guest.fault({0xC5, 0xEA, 0x53, 0x07}) == kNone);  // vrcpss xmm0, xmm2, [rdi]
    CHECK(lane(0) == 0x3E80'0000);
    CHECK(lane(1) == 1);
    CHECK(lane(3) == 3);
    CHECK(lane(4) == 0);
    prepare();
    REQUIRE(guest.fault({0xC5, 0xF2, 0x52, 0xC1}) == kNone);  // vrsqrtss xmm0, xmm1, xmm1
    CHECK(lane(0) == 0x3F13'D000);
    CHECK(lane(1) == 0x4080'0000);
}

}  // namespace
}  // namespace droste::test
