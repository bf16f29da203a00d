#pragma once
// The x87's transcendental functions on wide numbers. Relative errors stay below 2^-118, so after
// rounding to 64 bits a result is off by less than 0.51 ulp; the manual allows 1 (SDM Vol. 1,
// "Transcendental Instruction Accuracy"). tests/unit/fpu/elementary_test.cpp measures it.
//
// Where a true result lies just beside a number of 64 bits (sin x for tiny x), the result here lies
// on the same side of it, so that directed rounding and C1 come out right.
//
// Special values are the caller's; arguments are not 0, infinite or NaN.

#include "cpu/x86/fpu/wide.hpp"

namespace droste::wide {

// 2^x - 1. Requires: |x| <= 1.
Number exp2_minus_1(const Number& x);
// log2(x); exact for a power of two (a significand of 0 for 1). Requires: x > 0.
Number log2(const Number& x);
// log2(1 + x). Requires: x > -1.
Number log2_1p(const Number& x);
// The angle of the point (x, y), in (-pi, pi].
Number atan2(const Number& y, const Number& x);

struct SineCosine {
    Number sine;
    Number cosine;
};
// The argument is reduced by multiples of Pi / 2, with the x87's Pi of 66 bits and without error: by
// multiples of that number and not of the true one, as processors do (SDM Vol. 1, "Approximation of
// Pi"). Requires: |x| < 2^63.
SineCosine sine_cosine(const Number& x);
Number tangent(const Number& x);

}  // namespace droste::wide
