// FSIN .. FYL2XP1, FPREM's partial step and FBLD: the manual's tables of results, exceptions, rounding,
// stack faults, C2. Accuracy is elementary_test.cpp's; the CPU as a witness x87_native_test.cpp's.

#include "cpu/x86/fpu/x87_number.hpp"
#include "cpu/x86/fpu/x87_state.hpp"
#include "tests/unit/fpu/fpu_test_support.hpp"

#include <catch2/catch.hpp>

namespace droste::test {
namespace {

using Register = X87State::Register;

constexpr Register kPlusZero = x87::zero(false), kMinusZero = x87::zero(true), kOne = x87::one(),
                   kMinusOne = x87::one(true), kPlusInfinity = x87::infinity(false),
                   kMinusInfinity = x87::infinity(true),
                   kIndefinite = {0xC000'0000'0000'0000, 0xFFFF},
                   kTwo = {0x8000'0000'0000'0000, 0x4000}, kHalf = {0x8000'0000'0000'0000, 0x3FFE},
                   kMinusTwo = {0x8000'0000'0000'0000, 0xC000},
                   kMinusHalf = {0x8000'0000'0000'0000, 0xBFFE},
                   kThree = {0xC000'0000'0000'0000, 0x4000},
                   kQuietNan = {0xC000'0000'0000'0007, 0x7FFF},
                   kSignalingNan = {0x8000'0000'0000'0009, 0x7FFF},
                   kDenormal = {0x0000'0000'0001'0000, 0}, kUnnormal = {1, 0x3FFF},
                   kTwoTo63 = {0x8000'0000'0000'0000, 0x403E};
// pi and its parts, rounded to nearest.
constexpr u64 kPiBits = 0xC90F'DAA2'2168'C235;
constexpr Register kPi = {kPiBits, 0x4000}, kMinusPi = {kPiBits, 0xC000},
                   kHalfPi = {kPiBits, 0x3FFF}, kMinusHalfPi = {kPiBits, 0xBFFF},
                   kQuarterPi = {kPiBits, 0x3FFE},
                   kThreeQuarterPi = {0x96CB'E3F9'990E'91A8, 0x4000};

constexpr u16 kNothing = 0;

const std::initializer_list<u8> fsin = {0xD9, 0xFE}, fcos = {0xD9, 0xFF}, fsincos = {0xD9, 0xFB},
                                fptan = {0xD9, 0xF2}, fpatan = {0xD9, 0xF3}, f2xm1 = {0xD9, 0xF0},
                                fyl2x = {0xD9, 0xF1}, fyl2xp1 = {0xD9, 0xF9}, fprem = {0xD9, 0xF8};

// A guest with ST(0) = x, ST(1) = y and the rest empty.
class X87Guest {
  public:
    X87Guest(const Register& x, const Register& y, u16 control = x87::kInitialControl) {
        X87State& fpu = state();
        fpu.control = control;
        x87::push(fpu) = y;
        x87::push(fpu) = x;
    }
    X87State& state() { return guest_.state().x87; }
    FpuGuest& guest() { return guest_; }
    const Register& st(unsigned i) { return x87::st(state(), i); }
    void run(std::initializer_list<u8> bytes) { REQUIRE(guest_.fault(bytes) == kNone); }
    u16 exceptions() { return state().status & x87::kExceptions; }
    bool condition(u16 bit) { return (state().status & bit) != 0; }

  private:
    FpuGuest guest_;
};

bool same(const Register& a, const Register& b) {
    return a.significand == b.significand && a.sign_exponent == b.sign_exponent;
}

struct Row {
    std::initializer_list<u8> bytes;
    Register x, y;
    Register result;  // in ST(0); FSINCOS and FPTAN: in ST(1)
    u16 exceptions;
};
using x87::kDe;
using x87::kIe;
using x87::kPe;
using x87::kUe;
using x87::kZe;

// clang-format off
const Row kRows[] = {
    // FSIN, FCOS, FSINCOS, FPTAN
    {fsin, kPlusZero, kOne, kPlusZero, kNothing},       {fsin, kMinusZero, kOne, kMinusZero, kNothing},
    {fsin, kPlusInfinity, kOne, kIndefinite, kIe},      {fsin, kQuietNan, kOne, kQuietNan, kNothing},
    {fsin, kSignalingNan, kOne, {0xC000'0000'0000'0009, 0x7FFF}, kIe},
    {fsin, kUnnormal, kOne, kIndefinite, kIe},          {fsin, kDenormal, kOne, kDenormal, kDe | kUe | kPe},
    {fsin, kOne, kOne, {0xD76A'A478'4867'7021, 0x3FFE}, kPe},
    {fcos, kMinusZero, kOne, kOne, kNothing},           {fcos, kMinusInfinity, kOne, kIndefinite, kIe},
    {fcos, kOne, kOne, {0x8A51'407D'A834'5C92, 0x3FFE}, kPe},
    {fcos, kDenormal, kOne, kOne, kDe | kPe},
    {fsincos, kMinusZero, kOne, kMinusZero, kNothing},  {fsincos, kPlusInfinity, kOne, kIndefinite, kIe},
    {fptan, kMinusZero, kOne, kMinusZero, kNothing},    {fptan, kMinusInfinity, kOne, kIndefinite, kIe},
    {fptan, kOne, kOne, {0xC759'22E5'F71D'2DC5, 0x3FFF}, kPe},
    // FPATAN: of y / x
    {fpatan, kMinusInfinity, kPlusInfinity, kThreeQuarterPi, kPe}, {fpatan, kPlusInfinity, kPlusInfinity, kQuarterPi, kPe},
    {fpatan, kMinusInfinity, kOne, kPi, kPe},           {fpatan, kMinusInfinity, kMinusZero, kMinusPi, kPe},
    {fpatan, kPlusInfinity, kOne, kPlusZero, kNothing}, {fpatan, kPlusInfinity, kMinusOne, kMinusZero, kNothing},
    {fpatan, kOne, kPlusInfinity, kHalfPi, kPe},        {fpatan, kMinusOne, kMinusInfinity, kMinusHalfPi, kPe},
    {fpatan, kMinusZero, kPlusZero, kPi, kPe},          {fpatan, kMinusZero, kMinusZero, kMinusPi, kPe},
    {fpatan, kPlusZero, kMinusZero, kMinusZero, kNothing}, {fpatan, kMinusZero, kOne, kHalfPi, kPe},
    {fpatan, kOne, kMinusZero, kMinusZero, kNothing},   {fpatan, kMinusOne, kPlusZero, kPi, kPe},
    {fpatan, kOne, kOne, kQuarterPi, kPe},              {fpatan, kMinusOne, kOne, kThreeQuarterPi, kPe},
    {fpatan, kOne, kDenormal, kDenormal, kDe | kUe | kPe}, {fpatan, kQuietNan, kSignalingNan, kQuietNan, kIe},
    // F2XM1
    {f2xm1, kMinusZero, kOne, kMinusZero, kNothing},    {f2xm1, kOne, kOne, kOne, kNothing},
    {f2xm1, kMinusOne, kOne, kMinusHalf, kNothing},     {f2xm1, kPlusInfinity, kOne, kPlusInfinity, kNothing},
    {f2xm1, kMinusInfinity, kOne, kMinusOne, kNothing}, {f2xm1, kHalf, kOne, {0xD413'CCCF'E779'9211, 0x3FFD}, kPe},
    {f2xm1, kThree, kOne, kThree, kNothing},            // undefined by the manual
    // FYL2X: y * log2(x)
    {fyl2x, kPlusZero, kOne, kMinusInfinity, kZe},      {fyl2x, kPlusZero, kMinusOne, kPlusInfinity, kZe},
    {fyl2x, kMinusZero, kOne, kMinusInfinity, kZe},     {fyl2x, kPlusZero, kPlusZero, kIndefinite, kIe},
    {fyl2x, kPlusZero, kPlusInfinity, kMinusInfinity, kNothing}, {fyl2x, kMinusOne, kOne, kIndefinite, kIe},
    {fyl2x, kMinusInfinity, kOne, kIndefinite, kIe},    {fyl2x, kOne, kPlusInfinity, kIndefinite, kIe},
    {fyl2x, kOne, kMinusTwo, kMinusZero, kNothing},     {fyl2x, kOne, kTwo, kPlusZero, kNothing},
    {fyl2x, kHalf, kMinusZero, kPlusZero, kNothing},    {fyl2x, kHalf, kPlusInfinity, kMinusInfinity, kNothing},
    {fyl2x, kTwo, kThree, kThree, kNothing},            {fyl2x, kHalf, kTwo, kMinusTwo, kNothing},
    {fyl2x, kPlusInfinity, kOne, kPlusInfinity, kNothing}, {fyl2x, kPlusInfinity, kPlusZero, kIndefinite, kIe},
    {fyl2x, kThree, kOne, {0xCAE0'0D1C'FDEB'43D0, 0x3FFF}, kPe},
    {fyl2x, kPlusZero, kDenormal, kMinusInfinity, kZe}, {fyl2x, kTwo, kDenormal, kDenormal, kDe},
    // FYL2XP1: y * log2(x + 1)
    {fyl2xp1, kPlusZero, kOne, kPlusZero, kNothing},    {fyl2xp1, kMinusZero, kOne, kMinusZero, kNothing},
    {fyl2xp1, kMinusZero, kMinusOne, kPlusZero, kNothing}, {fyl2xp1, kPlusZero, kPlusInfinity, kIndefinite, kIe},
    {fyl2xp1, {0x8000'0000'0000'0000, 0x3FFC}, kOne, {0xAE00'D1CF'DEB4'3CFD, 0x3FFC}, kPe},
    {fyl2xp1, {0x8000'0000'0000'0000, 0x3FFC}, kMinusInfinity, kMinusInfinity, kNothing},
    {fyl2xp1, kMinusOne, kOne, kIndefinite, kIe},       // undefined by the manual
};
// clang-format on

TEST_CASE("x87 functions: results and exceptions of the manual's tables", "[fpu][x87]") {
    for (const Row& row : kRows) {
        X87Guest guest(row.x, row.y);
        guest.run(row.bytes);
        const u8 op = *(row.bytes.begin() + 1);
        const bool pushes = op == 0xFB || op == 0xF2;
        const Register result = guest.st(pushes ? 1 : 0);
        INFO("D9 " << std::hex << unsigned{op} << " x " << row.x.sign_exponent << ":"
                   << row.x.significand << " y " << row.y.sign_exponent << ":" << row.y.significand
                   << " gives " << result.sign_exponent << ":" << result.significand);
        CHECK(same(result, row.result));
        CHECK(guest.exceptions() == row.exceptions);
    }
}

TEST_CASE("x87 functions: operands are popped, results pushed", "[fpu][x87]") {
    X87Guest two(kOne, kOne);
    two.run(fpatan);
    CHECK(x87::top(two.state()) == 7);
    CHECK(two.state().tag_valid == 0x80);
    X87Guest tangent(kOne, kThree);
    tangent.run(fptan);
    CHECK(same(tangent.st(0), kOne));
    CHECK(same(tangent.st(2), kThree));
    X87Guest both(kPlusZero, kThree);
    both.run(fsincos);
    CHECK(same(both.st(0), kOne));
    CHECK(same(both.st(1), kPlusZero));
}

TEST_CASE("x87 functions: rounding control and C1, whatever the precision control", "[fpu][x87]") {
    struct Rounding {
        u16 control;
        u64 significand;
        bool up;
    };
    // log2(3) = CAE00D1CFDEB43CF.D0..: the next number is ..3D0.
    for (const Rounding& r : {Rounding{0x37F, 0xCAE0'0D1C'FDEB'43D0, true},
                              Rounding{0x77F, 0xCAE0'0D1C'FDEB'43CF, false},
                              Rounding{0xB7F, 0xCAE0'0D1C'FDEB'43D0, true},
                              Rounding{0xC7F, 0xCAE0'0D1C'FDEB'43CF, false}}) {
        X87Guest guest(kThree, kOne, r.control);
        guest.run(fyl2x);
        CAPTURE(r.control);
        CHECK(guest.st(0).significand == r.significand);
        CHECK(guest.condition(x87::kC1) == r.up);
    }
    X87Guest negative(kThree, kMinusOne, 0x77F);  // down is away from zero here
    negative.run(fyl2x);
    CHECK(negative.st(0).significand == 0xCAE0'0D1C'FDEB'43D0);
    CHECK(negative.condition(x87::kC1));
}

TEST_CASE("x87 functions: C2 beyond 2^63, and the operand stays", "[fpu][x87]") {
    for (const auto& bytes : {fsin, fcos, fsincos, fptan}) {
        X87Guest guest(kTwoTo63, kOne);
        guest.run(bytes);
        CHECK(guest.condition(x87::kC2));
        CHECK(guest.exceptions() == 0);
        CHECK(same(guest.st(0), kTwoTo63));
        CHECK(same(guest.st(1), kOne));
        X87Guest below({~u64{0}, 0x403D}, kOne);
        below.state().status |= x87::kC2;
        below.run(bytes);
        CHECK_FALSE(below.condition(x87::kC2));
        CHECK(below.exceptions() == kPe);
    }
}

TEST_CASE("x87 functions: unmasked, an exception of the operands leaves them", "[fpu][x87]") {
    struct Unmasked {
        std::initializer_list<u8> bytes;
        Register x;
        u16 exception;
    };
    for (const Unmasked& row :
         {Unmasked{fsin, kPlusInfinity, kIe}, Unmasked{fyl2x, kPlusZero, kZe},
          Unmasked{fpatan, kDenormal, kDe}, Unmasked{fptan, kSignalingNan, kIe}}) {
        X87Guest guest(row.x, kOne, static_cast<u16>(0x37F & ~row.exception));
        guest.run(row.bytes);
        CHECK(guest.exceptions() == row.exception);
        CHECK(guest.condition(x87::kEs));
        CHECK(same(guest.st(0), row.x));
        CHECK(same(guest.st(1), kOne));
        CHECK(guest.guest().fault({0x9B}) == kMf);  // fwait
    }
}

TEST_CASE("x87 functions: overflow and underflow, masked and not", "[fpu][x87]") {
    const Register huge = {0xC000'0000'0000'0000, 0x7FFE};
    X87Guest infinite(kThree, huge);  // huge * log2(3)
    infinite.run(fyl2x);
    CHECK(same(infinite.st(0), kPlusInfinity));
    CHECK(infinite.exceptions() == (x87::kOe | kPe));
    CHECK(infinite.condition(x87::kC1));
    X87Guest largest(kThree, huge, 0xF7F);  // toward zero
    largest.run(fyl2x);
    CHECK(same(largest.st(0), {~u64{0}, 0x7FFE}));
    X87Guest wrapped(kThree, huge, 0x37F & ~x87::kOe);
    wrapped.run(fyl2x);
    CHECK(wrapped.st(0).sign_exponent == 0x7FFF - 24576);
    CHECK(wrapped.condition(x87::kEs));
    X87Guest tiny(kDenormal, kOne, 0x37F & ~x87::kUe);
    tiny.run(fsin);
    CHECK(tiny.st(0).sign_exponent == 24576 - 46);
    CHECK(tiny.exceptions() == (kDe | kUe | kPe));
    // 2^-16382 * log2(1.5) rounds to a denormal; an exact one raises nothing.
    const Register smallest = {0x8000'0000'0000'0000, 1};
    X87Guest denormal({0xC000'0000'0000'0000, 0x3FFF}, smallest);
    denormal.run(fyl2x);
    CHECK(denormal.st(0).sign_exponent == 0);
    CHECK(denormal.exceptions() == (kUe | kPe));
    X87Guest carried(kThree, {~u64{0}, 0}, 0xB7F);  // a pseudo-denormal is a denormal
    carried.run(fyl2x);
    CHECK(carried.exceptions() == (kDe | kPe));
}

TEST_CASE("x87 functions: empty registers and a full stack", "[fpu][x87]") {
    X87Guest empty(kOne, kOne);
    empty.state().tag_valid = 0x80;  // ST(1)
    empty.run(fsin);
    CHECK(same(empty.st(0), kIndefinite));
    CHECK(empty.exceptions() == kIe);
    CHECK(empty.condition(x87::kSf));
    CHECK_FALSE(empty.condition(x87::kC1));
    X87Guest full(kOne, kOne);
    full.state().tag_valid = 0xFF;
    full.run(fptan);
    CHECK(same(full.st(0), kIndefinite));
    CHECK(same(full.st(1), kIndefinite));
    CHECK(full.condition(x87::kSf));
    CHECK(full.condition(x87::kC1));
    X87Guest second(kOne, kOne);
    second.state().tag_valid = 0x40;  // ST(0) alone
    second.run(fyl2x);
    CHECK(same(second.st(0), kIndefinite));
    CHECK(x87::top(second.state()) == 7);
}

TEST_CASE("FPREM: exponents 64 apart take two steps", "[fpu][x87]") {
    const Register big = {0xC123'4567'89AB'CDEF, 0x3FFF + 70};
    const Register divisor = {0xD000'0000'0000'0001, 0x3FFF};
    X87Guest guest(big, divisor);
    guest.state().status |= x87::kConditions;
    guest.run(fprem);
    CHECK(guest.condition(x87::kC2));
    CHECK_FALSE(guest.condition(x87::kC0 | x87::kC1 | x87::kC3));
    // By 32 + (70 mod 32) bits: what is left is less than the divisor times 2^32.
    u128 partial = big.significand;
    for (unsigned i = 0; i < 38; ++i) {
        partial = (partial << 1) % divisor.significand;
    }
    const wide::Number step = wide::normalized(false, 0, partial);
    CHECK(guest.st(0).significand == wide::high_half(step.significand));
    guest.run(fprem);
    CHECK_FALSE(guest.condition(x87::kC2));
    // The remainder and the quotient's last bits by whole numbers.
    u128 rest = big.significand;
    for (unsigned i = 0; i < 70; ++i) {
        rest = (rest << 1) % (u128{divisor.significand} << 3);
    }
    const auto quotient = static_cast<unsigned>(rest / divisor.significand);
    const wide::Number value = wide::normalized(false, 127, rest % divisor.significand);
    CHECK(guest.st(0).significand == wide::high_half(value.significand));
    CHECK(guest.condition(x87::kC0) == ((quotient & 4) != 0));
    CHECK(guest.condition(x87::kC3) == ((quotient & 2) != 0));
    CHECK(guest.condition(x87::kC1) == ((quotient & 1) != 0));
}

TEST_CASE("FBLD: digits, signs, and digits above 9 at their face value", "[fpu][x87]") {
    FpuGuest guest;
    const auto load = [&](u64 low, u16 high) {
        x87_initialize(guest.state().x87);
        guest.poke<u64>(FpuGuest::kData, low);
        guest.poke<u16>(FpuGuest::kData + 8, high);
        REQUIRE(guest.fault({0xDF, 0x27}) == kNone);  // fbld [rdi]
        return x87::st(guest.state().x87, 0);
    };
    CHECK(same(load(0x1, 0x0000), kOne));
    CHECK(same(load(0x1, 0x8000), kMinusOne));
    CHECK(same(load(0, 0x8000), kMinusZero));
    CHECK(same(load(0x9999'9999'9999'9999, 0x0099), {0xDE0B'6B3A'763F'FFF0, 0x403A}));
    CHECK(same(load(0xF, 0x7F00), {0xF000'0000'0000'0000, 0x4002}));
    CHECK(guest.state().x87.status == (7U << 11));
    guest.state().x87.tag_valid = 0xFF;
    REQUIRE(guest.fault({0xDF, 0x27}) == kNone);  // fbld [rdi]
    CHECK((guest.state().x87.status & (x87::kSf | x87::kC1 | x87::kIe)) ==
          (x87::kSf | x87::kC1 | x87::kIe));
}

TEST_CASE("x87 functions and estimates are counted", "[fpu][x87]") {
    X87Guest guest(kOne, kOne);
    Vcpu& cpu = guest.guest().cpu();
    const u64& counter = cpu.thunks->vendor_results(cpu.index);
    guest.run(fsin);
    CHECK(counter == 1);
    REQUIRE(guest.guest().fault({0x0F, 0x53, 0xC1}) == kNone);  // rcpps xmm0, xmm1
    CHECK(counter == 2);
    REQUIRE(guest.guest().fault({0x0F, 0x51, 0xC1}) == kNone);  // sqrtps xmm0, xmm1
    CHECK(counter == 2);
}

}  // namespace
}  // namespace droste::test
