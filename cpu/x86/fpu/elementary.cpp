// See elementary.hpp. Power series in fixed point, after a reduction of the argument that makes them
// short. Chosen over minimax polynomials because the coefficients are then formulas that the compiler
// evaluates, and no table has to be trusted; at 20 to 30 terms of one multiplication each (3 ns) they
// cost about as much as the rest of an instruction.
//
// A series is evaluated as a factor near 1, in 127 fraction bits, by which the reduced argument is
// multiplied as a floating-point number: so tiny results are as accurate as large ones.

#include "cpu/x86/fpu/elementary.hpp"

#include <array>

namespace droste::wide {
namespace {

constexpr u128 kOne = u128{1} << 127;  // of a factor

constexpr Number kUnit = {false, 0, kOne};
constexpr Number kTwo = {false, 1, kOne};
constexpr Number kLn2 = {false, -1, join(0xB172'17F7'D1CF'79AB, 0xC9E3'B398'03F2'F6AF)};
constexpr Number kTwoLog2E = {false, 1, join(0xB8AA'3B29'5C17'F0BB, 0xBE87'FED0'691D'3E89)};
constexpr Number kPi = {false, 1, join(0xC90F'DAA2'2168'C234, 0xC4C6'628B'80DC'1CD1)};
constexpr Number kHalfPi = {false, 0, kPi.significand};

// The arcs of 0, 1/4, 1/2, 3/4 and 1.
constexpr std::array<Number, 5> kArcs = {{
    {false, 0, 0},
    {false, -3, join(0xFADB'AFC9'6406'EB15, 0x6DC7'9EF5'F7A2'17E6)},
    {false, -2, join(0xED63'382B'0DDA'7B45, 0x6FE4'45EC'BC3A'8D03)},
    {false, -1, join(0xA4BC'7D19'34F7'0924, 0x19A8'7F2A'457D'AC9F)},
    {false, -1, kPi.significand},
}};

// 1 / (first! ) , then each divided by the next `step` integers: 1/1!, 1/3!, 1/5! ...
template <std::size_t Terms>
constexpr std::array<u128, Terms> reciprocal_factorials(unsigned first, unsigned step) {
    std::array<u128, Terms> out{};
    u128 value = kOne;
    for (unsigned i = 2; i <= first; ++i) {
        value /= i;
    }
    unsigned n = first;
    for (u128& coefficient : out) {
        coefficient = value;
        for (unsigned i = 0; i < step; ++i) {
            value /= ++n;
        }
    }
    return out;
}
// 1, 1/3, 1/5 ...
template <std::size_t Terms>
constexpr std::array<u128, Terms> odd_reciprocals() {
    std::array<u128, Terms> out{};
    for (unsigned k = 0; k < Terms; ++k) {
        out[k] = kOne / (2 * k + 1);
    }
    return out;
}

// Terms: the first one left out is below 2^-128 at the largest argument.
constexpr auto kExponential = reciprocal_factorials<32>(1, 1);  // (e^y - 1) / y, |y| <= ln 2
constexpr auto kSine = reciprocal_factorials<17>(1, 2);         // sin(r) / r in r^2, r <= pi/4
constexpr auto kCosine = reciprocal_factorials<17>(0, 2);
constexpr auto kLogarithm = odd_reciprocals<26>();  // atanh(s) / s in s^2, s <= 3 - 2 sqrt 2
constexpr auto kArc = odd_reciprocals<22>();        // atan(t) / t in t^2, t <= 1/8

// c0 + c1 t + c2 t^2 ..., or with alternating signs; t is a fraction of 128 bits.
template <std::size_t Terms>
u128 sum(const std::array<u128, Terms>& coefficients, u128 t) {
    u128 value = coefficients[Terms - 1];
    for (std::size_t k = Terms - 1; k-- > 0;) {
        value = coefficients[k] + multiply_high(value, t);
    }
    return value;
}
template <std::size_t Terms>
u128 alternating_sum(const std::array<u128, Terms>& coefficients, u128 t) {
    u128 value = coefficients[Terms - 1];
    for (std::size_t k = Terms - 1; k-- > 0;) {
        value = coefficients[k] - multiply_high(value, t);
    }
    return value;
}

// A factor that is less than 1, however little.
u128 below_one(u128 factor) {
    return factor == kOne ? kOne - 1 : factor;
}
Number scaled(const Number& a, u128 factor) {
    return multiply(a, normalized(false, 0, factor));
}

// atan(t), |t| <= 1/8.
Number small_arc(const Number& t) {
    if (t.significand == 0) {
        return t;
    }
    const u128 square = fraction_of(multiply(t, t));
    return scaled(t, below_one(alternating_sum(kArc, square)));
}

// atan(q), 0 < q <= 1: with the nearest c of 0, 1/4 ... 1, atan(c) + atan((q - c) / (1 + q c)).
Number arc(const Number& q) {
    const u128 fraction = q.exponent >= 0 ? ~u128{0} : fraction_of(q);
    const auto center =
        static_cast<unsigned>(((fraction >> 125) + 1) >> 1);  // rounded, in quarters
    if (center == 0) {
        return small_arc(q);
    }
    const Number c = normalized(false, 125, center);
    const Number t = divide(add(q, negated(c)), add(kUnit, multiply(q, c)));
    return add(kArcs[center], small_arc(t));
}

// x = quadrant * Pi/2 + rest, |rest| <= Pi/4.
struct Reduced {
    unsigned quadrant;
    Number rest;
};
Reduced reduce(const Number& x) {
    // Pi/2 in units of 2^-65; x is a whole number of them from 1/2 on.
    constexpr u128 kQuarterTurn = join(3, 0x243F'6A88'85A3'08D3);
    if (x.exponent < -1) {
        return {0, x};
    }
    const u128 units = u128{high_half(x.significand)} << (x.exponent + 2);
    u128 rest = units % kQuarterTurn;
    auto quadrant = static_cast<unsigned>(units / kQuarterTurn);
    const bool beyond = rest > kQuarterTurn / 2;
    if (beyond) {
        rest = kQuarterTurn - rest;
        ++quadrant;
    }
    return {(x.negative ? 0U - quadrant : quadrant) & 3,
            normalized(x.negative != beyond, 62, rest)};
}

// Below this exponent the second term of a series is below 2^-128.
constexpr i32 kTinyExponent = -66;

// Of |r| <= Pi/4.
Number small_sine(const Number& r) {
    if (r.exponent < kTinyExponent) {
        return scaled(r, kOne - 1);
    }
    return scaled(r, below_one(alternating_sum(kSine, fraction_of(multiply(r, r)))));
}
Number small_cosine(const Number& r) {
    const u128 square = r.exponent < kTinyExponent ? 0 : fraction_of(multiply(r, r));
    return normalized(false, 0, below_one(alternating_sum(kCosine, square)));
}

}  // namespace

Number exp2_minus_1(const Number& x) {
    const Number y = multiply(x, kLn2);
    const u128 fraction = fraction_of(y);
    return scaled(y, y.negative ? alternating_sum(kExponential, fraction)
                                : sum(kExponential, fraction));
}

Number log2(const Number& x) {
    // x = m * 2^exponent with m between sqrt(1/2) and sqrt(2); s = (m - 1) / (m + 1);
    // ln m = 2 atanh(s).
    constexpr u128 kSqrt2 = join(0xB504'F333'F9DE'6484, 0x597D'89B3'754A'BE9F);
    const bool halve = x.significand > kSqrt2;
    const Number whole = from_integer(x.exponent + (halve ? 1 : 0));
    const Number numerator = halve ? normalized(true, -1, u128{0} - x.significand)
                                   : normalized(false, 0, x.significand - kOne);
    if (numerator.significand == 0) {
        return whole;
    }
    const Number denominator = {false, halve ? 0 : 1,
                                (x.significand >> 1) + (halve ? kOne : kOne >> 1)};
    const Number s = divide(numerator, denominator);
    const Number fraction =
        multiply(scaled(s, sum(kLogarithm, fraction_of(multiply(s, s)))), kTwoLog2E);
    return add(whole, fraction);
}

Number log2_1p(const Number& x) {
    if (x.exponent >= -2) {  // |x| >= 1/4: nothing cancels in 1 + x
        return log2(add(kUnit, x));
    }
    const Number s = divide(x, add(kTwo, x));
    return multiply(scaled(s, sum(kLogarithm, fraction_of(multiply(s, s)))), kTwoLog2E);
}

Number atan2(const Number& y, const Number& x) {
    const Number height = negated(y, y.negative);
    const Number width = negated(x, x.negative);
    const bool steep = magnitude_less(width, height);
    Number angle = arc(steep ? divide(width, height) : divide(height, width));
    if (steep) {
        angle = add(kHalfPi, negated(angle));
    }
    if (x.negative) {
        angle = add(kPi, negated(angle));
    }
    return negated(angle, y.negative);
}

SineCosine sine_cosine(const Number& x) {
    const Reduced reduced = reduce(x);
    const Number sine = small_sine(reduced.rest);
    const Number cosine = small_cosine(reduced.rest);
    switch (reduced.quadrant) {
    case 0: return {sine, cosine};
    case 1: return {cosine, negated(sine)};
    case 2: return {negated(sine), negated(cosine)};
    default: return {negated(cosine), sine};
    }
}

Number tangent(const Number& x) {
    if (x.exponent < kTinyExponent) {
        return {x.negative, x.exponent, x.significand + 1};  // a little more than x
    }
    const SineCosine both = sine_cosine(x);
    return divide(both.sine, both.cosine);
}

}  // namespace droste::wide
