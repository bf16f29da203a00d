// The partial step of FPREM and FPREM1, which is the same for both: when the exponents differ by 64 or
// more, ST(0) is reduced by N bits only and C2 tells to repeat. The manual leaves N open between 32
// and 63; here it is 32 + (difference mod 32), as on the processors we know. The complete step is
// defined to the bit and runs on the native unit.
//
// SDM Vol. 2A, "FPREM—Partial Remainder", Operation.

#include "cpu/x86/fpu/exec_x87.hpp"
#include "cpu/x86/fpu/x87_number.hpp"

namespace droste {
namespace {

constexpr i32 kCompleteBelow = 64;

// x mod (y * 2^(difference - N)).
wide::Number reduced(const wide::Number& x, const wide::Number& y) {
    const i32 difference = x.exponent - y.exponent;
    const i32 bits = 32 + difference % 32;
    const u64 divisor = wide::high_half(y.significand);
    const u128 dividend = u128{wide::high_half(x.significand)} << bits;
    return wide::normalized(x.negative, x.exponent - bits + 64, dividend % divisor);
}

}  // namespace

bool partial_remainder(X87State& fpu) {
    if (x87::empty(fpu, 0) || x87::empty(fpu, 1) || (fpu.status & x87::kEs) != 0) {
        return false;
    }
    X87State::Register& dividend = x87::st(fpu, 0);
    const X87State::Register& divisor = x87::st(fpu, 1);
    const x87::ValueClass x_class = x87::classify(dividend);
    const x87::ValueClass y_class = x87::classify(divisor);
    if (!x87::is_finite_nonzero(x_class) || !x87::is_finite_nonzero(y_class)) {
        return false;
    }
    const wide::Number x = x87::to_wide(dividend);
    const wide::Number y = x87::to_wide(divisor);
    if (x.exponent - y.exponent < kCompleteBelow) {
        return false;
    }
    const bool denormal =
        x_class == x87::ValueClass::Denormal || y_class == x87::ValueClass::Denormal;
    u16 flags = denormal ? x87::kDe : u16{0};
    if (x87::unmasked(flags, fpu.control) != 0) {
        fpu.status = static_cast<u16>(fpu.status & ~(x87::kC1 | x87::kC2));
    } else {
        const wide::Number rest = reduced(x, y);
        fpu.status = static_cast<u16>((fpu.status & ~x87::kConditions) | x87::kC2);
        if (rest.significand == 0) {
            dividend = x87::zero(x.negative);
        } else {
            const x87::Rounded result = x87::round_to_register(rest, true, fpu.control);
            dividend = result.value;
            flags |= result.flags;
        }
    }
    fpu.status |= flags;
    x87::update_summary(fpu);
    return true;
}

}  // namespace droste
