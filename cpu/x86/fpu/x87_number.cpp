// See x87_number.hpp.

#include "cpu/x86/fpu/x87_number.hpp"

#include "cpu/x86/fpu/x87.hpp"

namespace droste::x87 {
namespace {

using Register = X87State::Register;

constexpr i32 kBias = 16383, kMaxExponent = 0x7FFE, kWrap = 24576;
constexpr u64 kIntegerBit = u64{1} << 63, kQuietBit = u64{1} << 62;

enum class Rounding : u8 { Nearest, Down, Up, Zero };
Rounding rounding_of(u16 control) {
    return static_cast<Rounding>((control >> 10) & 3);
}

// The significand shifted right by `shift` and rounded to 64 bits.
struct Significand {
    u64 value;
    bool carried;  // it became 2^64: `value` is 2^63, the exponent one more
    bool inexact;
    bool up;
};
Significand
round_significand(const wide::Number& number, bool exact, unsigned shift, Rounding mode) {
    const u128 kept = shift > 127 ? 0 : number.significand >> shift;
    const bool lost = shift > 127 || (kept << shift) != number.significand;
    const u64 high = wide::high_half(kept);
    const u64 rest = wide::low_half(kept);
    const bool inexact = rest != 0 || lost || !exact;
    const bool more_than_half = rest > kIntegerBit || (rest == kIntegerBit && (lost || !exact));
    const bool tie = rest == kIntegerBit && !lost && exact;
    bool up = false;
    switch (mode) {
    case Rounding::Nearest: up = more_than_half || (tie && (high & 1) != 0); break;
    case Rounding::Down: up = inexact && number.negative; break;
    case Rounding::Up: up = inexact && !number.negative; break;
    case Rounding::Zero: break;
    }
    const u64 value = high + (up ? 1 : 0);
    const bool carried = up && value == 0;
    return {carried ? kIntegerBit : value, carried, inexact, up};
}

Register assemble(bool negative, i32 biased_exponent, u64 significand) {
    return {significand, static_cast<u16>(biased_exponent | (negative ? 0x8000 : 0))};
}

Rounded overflowed(const wide::Number& number, Rounding mode) {
    const bool to_infinity =
        mode == Rounding::Nearest || mode == (number.negative ? Rounding::Down : Rounding::Up);
    const Register value =
        to_infinity ? infinity(number.negative) : assemble(number.negative, kMaxExponent, ~u64{0});
    return {value, kOe | kPe, to_infinity};
}

}  // namespace

ValueClass classify(const Register& value) {
    const unsigned exponent = value.sign_exponent & 0x7FFFU;
    if (exponent == 0) {
        return value.significand == 0 ? ValueClass::Zero : ValueClass::Denormal;
    }
    if ((value.significand & kIntegerBit) == 0) {
        return ValueClass::Unsupported;
    }
    if (exponent != 0x7FFF) {
        return ValueClass::Normal;
    }
    if (value.significand == kIntegerBit) {
        return ValueClass::Infinity;
    }
    return (value.significand & kQuietBit) != 0 ? ValueClass::QuietNan : ValueClass::SignalingNan;
}

wide::Number to_wide(const Register& value) {
    const i32 biased = value.sign_exponent & 0x7FFF;
    return wide::normalized(negative(value), (biased == 0 ? 1 : biased) - kBias,
                            u128{value.significand} << 64);
}

Rounded round_to_register(const wide::Number& number, bool exact, u16 control) {
    const Rounding mode = rounding_of(control);
    const Significand full = round_significand(number, exact, 0, mode);
    const i32 biased = number.exponent + kBias + (full.carried ? 1 : 0);
    const u16 inexact = full.inexact ? kPe : u16{0};
    if (biased > kMaxExponent) {
        if ((control & kOe) != 0) {
            return overflowed(number, mode);
        }
        return {assemble(number.negative, biased - kWrap, full.value),
                static_cast<u16>(kOe | inexact), full.up};
    }
    if (biased > 0) {
        return {assemble(number.negative, biased, full.value), inexact, full.up};
    }
    if ((control & kUe) == 0) {
        return {assemble(number.negative, biased + kWrap, full.value),
                static_cast<u16>(kUe | inexact), full.up};
    }
    // Tiny, masked: a denormal, or the smallest normal number if rounding carries into it.
    const auto shift = static_cast<unsigned>(1 - (number.exponent + kBias));
    const Significand tiny = round_significand(number, exact, shift, mode);
    const i32 exponent = (tiny.value & kIntegerBit) != 0 ? 1 : 0;
    return {assemble(number.negative, exponent, tiny.value),
            static_cast<u16>(tiny.inexact ? kUe | kPe : 0), tiny.up};
}

Register propagated_nan(const Register& a, const Register& b) {
    const ValueClass a_class = classify(a);
    const ValueClass b_class = classify(b);
    bool take_a = is_nan(a_class);
    if (is_nan(a_class) && is_nan(b_class)) {
        if (a_class != b_class) {
            take_a = a_class == ValueClass::QuietNan;
        } else if (a.significand != b.significand) {
            take_a = a.significand > b.significand;
        } else {
            take_a = !negative(a);  // the manual leaves it open
        }
    }
    Register value = take_a ? a : b;
    value.significand |= kQuietBit;
    return value;
}

}  // namespace droste::x87
