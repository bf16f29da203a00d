#pragma once
// Floating-point numbers of 128 significant bits in integer arithmetic: what the x87's own functions
// are computed in before they are rounded to 64 bits (elementary.hpp).
//
// Only integers, so that every compiler and every CPU gives the same bits. Operations truncate: a
// result is at most 2 units of its last bit (2^-126 relative) below the true one. There is no zero,
// infinity or NaN here except a significand of 0, which only a difference of equals gives: the
// callers have dealt with special values. Exponents are far from an i32's ends.

#include "core/types.hpp"

#include <bit>

namespace droste::wide {

// (-1)^negative * significand * 2^(exponent - 127); bit 127 of the significand is set.
struct Number {
    bool negative = false;
    i32 exponent = 0;
    u128 significand = 0;
};

constexpr u128 join(u64 high, u64 low) {
    return (u128{high} << 64) | low;
}
constexpr u64 high_half(u128 value) {
    return static_cast<u64>(value >> 64);
}
constexpr u64 low_half(u128 value) {
    return static_cast<u64>(value);
}
// Requires: value is not 0.
constexpr int leading_zeros(u128 value) {
    return high_half(value) != 0 ? std::countl_zero(high_half(value))
                                 : 64 + std::countl_zero(low_half(value));
}

// Bits 255:128 of a * b.
constexpr u128 multiply_high(u128 a, u128 b) {
    const u128 low_low = u128{low_half(a)} * low_half(b);
    const u128 low_high = u128{low_half(a)} * high_half(b);
    const u128 high_low = u128{high_half(a)} * low_half(b);
    const u128 high_high = u128{high_half(a)} * high_half(b);
    const u128 middle = u128{high_half(low_low)} + low_half(low_high) + low_half(high_low);
    return high_high + high_half(low_high) + high_half(high_low) + high_half(middle);
}

// value * 2^(exponent - 127) with bit 127 set afterwards.
constexpr Number normalized(bool negative, i32 exponent, u128 value) {
    if (value == 0) {
        return {negative, exponent, 0};
    }
    const int shift = leading_zeros(value);
    return {negative, exponent - shift, value << shift};
}

constexpr Number negated(const Number& a, bool negate = true) {
    return {a.negative != negate, a.exponent, a.significand};
}

constexpr Number multiply(const Number& a, const Number& b) {
    return normalized(a.negative != b.negative, a.exponent + b.exponent + 1,
                      multiply_high(a.significand, b.significand));
}

// One digit of a long division in base 2^64 (Knuth, "The Art of Computer Programming", vol. 2,
// algorithm D): floor(remainder * 2^64 / divisor); `remainder` becomes the next one.
// Requires: remainder < divisor, bit 127 of the divisor set.
constexpr u64 divide_digit(u128& remainder, u128 divisor) {
    constexpr u128 kBase = u128{1} << 64;
    u128 digit = remainder / high_half(divisor);
    if (digit >= kBase) {
        digit = kBase - 1;
    }
    u128 rest = remainder - digit * high_half(divisor);
    while (rest < kBase && digit * low_half(divisor) > (rest << 64)) {
        --digit;
        rest += high_half(divisor);
    }
    remainder = (rest << 64) - digit * low_half(divisor);
    return static_cast<u64>(digit);
}

// Requires: b is not 0.
constexpr Number divide(const Number& a, const Number& b) {
    const bool negative = a.negative != b.negative;
    const bool above_one = a.significand >= b.significand;
    u128 remainder = above_one ? a.significand - b.significand : a.significand;
    const u64 high = divide_digit(remainder, b.significand);
    const u64 low = divide_digit(remainder, b.significand);
    const u128 fraction = join(high, low);
    return above_one ? Number{negative, a.exponent - b.exponent, (u128{1} << 127) | (fraction >> 1)}
                     : normalized(negative, a.exponent - b.exponent - 1, fraction);
}

constexpr bool magnitude_less(const Number& a, const Number& b) {
    return a.exponent != b.exponent ? a.exponent < b.exponent : a.significand < b.significand;
}

constexpr Number add(const Number& a, const Number& b) {
    if (a.significand == 0) {
        return b;
    }
    if (b.significand == 0) {
        return a;
    }
    const Number& large = magnitude_less(a, b) ? b : a;
    const Number& small = magnitude_less(a, b) ? a : b;
    const i32 distance = large.exponent - small.exponent;
    const u128 aligned = distance > 127 ? 0 : small.significand >> distance;
    if (large.negative != small.negative) {
        return normalized(large.negative, large.exponent, large.significand - aligned);
    }
    const u128 sum = large.significand + aligned;
    const bool carried = sum < aligned;
    return carried ? Number{large.negative, large.exponent + 1, (u128{1} << 127) | (sum >> 1)}
                   : Number{large.negative, large.exponent, sum};
}

constexpr Number from_integer(i32 value) {
    const u32 magnitude = value < 0 ? 0U - static_cast<u32>(value) : static_cast<u32>(value);
    return normalized(value < 0, 127, magnitude);
}

// |a| as a fixed-point fraction of 128 bits. Requires: |a| < 1.
constexpr u128 fraction_of(const Number& a) {
    const i32 shift = -1 - a.exponent;
    return shift > 127 ? 0 : a.significand >> shift;
}

}  // namespace droste::wide
