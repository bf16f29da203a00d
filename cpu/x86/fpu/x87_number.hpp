#pragma once
// Values of x87 registers: what they are, and how a wide number is rounded to one.

#include "cpu/x86/fpu/wide.hpp"
#include "cpu/x86/state/cpu_state.hpp"

namespace droste::x87 {

// SDM Vol. 1, "Unsupported Double Extended-Precision Floating-Point Encodings and Pseudo-Denormals".
// A pseudo-denormal counts as a denormal.
enum class ValueClass : u8 {
    Zero,
    Denormal,
    Normal,
    Infinity,
    QuietNan,
    SignalingNan,
    Unsupported
};
ValueClass classify(const X87State::Register& value);

inline bool negative(const X87State::Register& value) {
    return (value.sign_exponent & 0x8000) != 0;
}
inline bool is_nan(ValueClass value_class) {
    return value_class == ValueClass::QuietNan || value_class == ValueClass::SignalingNan;
}
inline bool is_finite_nonzero(ValueClass value_class) {
    return value_class == ValueClass::Normal || value_class == ValueClass::Denormal;
}

constexpr X87State::Register zero(bool negative) {
    return {0, static_cast<u16>(negative ? 0x8000 : 0)};
}
constexpr X87State::Register infinity(bool negative) {
    return {u64{1} << 63, static_cast<u16>(negative ? 0xFFFF : 0x7FFF)};
}
constexpr X87State::Register one(bool negative = false) {
    return {u64{1} << 63, static_cast<u16>(negative ? 0xBFFF : 0x3FFF)};
}

// Requires: finite and not 0.
wide::Number to_wide(const X87State::Register& value);

// A result with the exceptions its rounding raises (OE, UE, PE) and C1.
struct Rounded {
    X87State::Register value;
    u16 flags = 0;
    bool up = false;  // the magnitude grew
};
// To 64 bits, as the control word's rounding control says; precision control concerns other
// instructions. `exact`: `number` is the true result, else a little more or less than it. With OE or
// UE unmasked the exponent is wrapped by 24576. SDM Vol. 1, "Numeric Overflow Exception (#O)" and
// "Numeric Underflow Exception (#U)".
Rounded round_to_register(const wide::Number& number, bool exact, u16 control);

// The NaN that an operation on `a` and `b` (one of them a NaN) gives. SDM Vol. 1, Table 4-7 "Rules for
// Handling NaNs".
X87State::Register propagated_nan(const X87State::Register& a, const X87State::Register& b);

}  // namespace droste::x87
