// The x87's functions on wide numbers: against values computed with 400 bits (Python's mpmath), and, if
// the compiler has a quadruple-precision library, against that at random arguments. Trigonometric
// functions are those of the x87's Pi of 66 bits, by which the reference reduces, too.

#include "cpu/x86/fpu/elementary.hpp"
#include "tests/differential/state_pair.hpp"

#include <catch2/catch.hpp>

#include <array>

#ifdef DROSTE_TEST_QUADMATH
    #include <quadmath.h>
#endif

namespace droste::wide {
namespace {

Number sine_of(const Number& x) {
    return sine_cosine(x).sine;
}
Number cosine_of(const Number& x) {
    return sine_cosine(x).cosine;
}
Number arc_of(const Number& x) {
    return atan2(x, from_integer(1));
}

struct Row {
    Number (*function)(const Number& x);
    Number x;
    Number value;  // truncated to 128 bits
};
// clang-format off
const Row kRows[] = {
    {exp2_minus_1, {false, -1, join(0xFFFF'FFFF'FFFF'FFFF, 0)}, {false, -1, join(0xFFFF'FFFF'FFFF'FFFE, 0x9D1B'D010'5C61'0CA8)}},
    {exp2_minus_1, {true, -1, join(0xC90F'DAA2'2168'C235, 0)}, {true, -2, join(0xD6F1'195A'17C3'0A38, 0xCFF8'A653'F626'D99C)}},
    {exp2_minus_1, {false, -2, join(0xB504'F333'F9DE'6484, 0)}, {false, -2, join(0x8E2F'3035'58CA'4A17, 0xF702'BEB6'E5AB'3E6A)}},
    {exp2_minus_1, {true, -20, join(0xA3D7'0A3D'70A3'D70B, 0)}, {true, -21, join(0xE321'600F'CBF5'1617, 0x0ABB'F309'1BB7'FF12)}},
    {exp2_minus_1, {false, -100, join(0x8000'0000'0000'0001, 0)}, {false, -101, join(0xB172'17F7'D1CF'79AD, 0x2CC7'E387'AB69'E1C6)}},
    {log2, {false, 0, join(0x8000'0000'0000'0001, 0)}, {false, -63, join(0xB8AA'3B29'5C17'F0BB, 0x05DD'C3A7'0D05'4DCE)}},
    {log2, {false, -1, join(0xFFFF'FFFF'FFFF'FFFF, 0)}, {true, -64, join(0xB8AA'3B29'5C17'F0BC, 0x1ADD'1C65'1729'36E7)}},
    {log2, {false, 0, join(0xB504'F333'F9DE'6484, 0)}, {false, -2, join(0xFFFF'FFFF'FFFF'FFFE, 0x92D4'4E87'F10A'3EF0)}},
    {log2, {false, 0, join(0xB504'F333'F9DE'6485, 0)}, {false, -1, join(0x8000'0000'0000'0001, 0x53B9'DEF4'F4CE'C31C)}},
    {log2, {false, 16000, join(0xA3D7'0A3D'70A3'D70B, 0)}, {false, 13, join(0xFA01'6CB0'F686'5C8E, 0xA03D'B4D2'521F'34E8)}},
    {log2, {false, -16000, join(0xC90F'DAA2'2168'C235, 0)}, {true, 13, join(0xF9FD'64DE'32D9'C882, 0x293A'E01D'8086'2245)}},
    {log2_1p, {false, -2, join(0xFFFF'FFFF'FFFF'FFFF, 0)}, {false, -1, join(0x95C0'1A39'FBD6'879F, 0x24EE'EA99'1E7B'B7FE)}},
    {log2_1p, {true, -2, join(0x9555'5555'5555'5555, 0)}, {true, -2, join(0xFEB8'467E'6586'E244, 0xF9A1'BA75'E270'3C00)}},
    {log2_1p, {false, -3, join(0xB504'F333'F9DE'6484, 0)}, {false, -3, join(0xF07A'0C9E'0904'E606, 0xC614'C915'5A9B'F632)}},
    {log2_1p, {true, -64, join(0xA3D7'0A3D'70A3'D70B, 0)}, {true, -64, join(0xEC5F'040B'FAFF'EC77, 0x1EBA'6F7A'4287'3694)}},
    {log2_1p, {false, -16000, join(0x8000'0000'0000'0001, 0)}, {false, -16000, join(0xB8AA'3B29'5C17'F0BD, 0x2FDC'7523'214D'2000)}},
    {sine_of, {false, -1, join(0xC90F'DAA2'2168'C235, 0)}, {false, -1, join(0xB504'F333'F9DE'6484, 0x8A1F'21CF'E7C5'246F)}},
    {sine_of, {true, 0, join(0xC90F'DAA2'2168'C235, 0)}, {true, -1, join(0xFFFF'FFFF'FFFF'FFFF, 0xFFFF'FFFF'FFFF'FFFF)}},
    {sine_of, {false, 1, join(0xC90F'DAA2'2168'C235, 0)}, {true, -65, join(0xFFFF'FFFF'FFFF'FFFF, 0xFFFF'FFFF'FFFF'FFFF)}},
    {sine_of, {true, 1, join(0xB504'F333'F9DE'6484, 0)}, {true, -2, join(0x9DBB'9454'8AC2'A1B9, 0x47CE'E81B'734D'20EC)}},
    {sine_of, {false, 30, join(0xA3D7'0A3D'70A3'D70B, 0)}, {false, -1, join(0xEA99'000F'46CD'B105, 0xA9A5'27F0'B78C'35A6)}},
    {sine_of, {true, 62, join(0xFFFF'FFFF'FFFF'FFFF, 0)}, {true, -1, join(0xE0AB'9300'DA6D'2684, 0x2908'F01D'1A69'A443)}},
    {sine_of, {false, 62, join(0xE49B'7E8A'4B2D'3C11, 0)}, {false, -2, join(0xF73C'CCFA'F3F1'C653, 0xF6B7'BEBE'FD6B'EEAF)}},
    {sine_of, {false, -5, join(0x8000'0000'0000'0001, 0)}, {false, -6, join(0xFFF5'5577'7743'7467, 0x7EE0'9D0B'F645'F5CF)}},
    {sine_of, {true, -70, join(0xB504'F333'F9DE'6484, 0)}, {true, -70, join(0xB504'F333'F9DE'6483, 0xFFFF'FFFF'FFFF'FFFF)}},
    {cosine_of, {false, -1, join(0xC90F'DAA2'2168'C235, 0)}, {false, -1, join(0xB504'F333'F9DE'6484, 0x28DB'F197'02D0'58CE)}},
    {cosine_of, {true, 0, join(0xC90F'DAA2'2168'C235, 0)}, {true, -66, join(0xFFFF'FFFF'FFFF'FFFF, 0xFFFF'FFFF'FFFF'FFFF)}},
    {cosine_of, {false, 1, join(0xC90F'DAA2'2168'C235, 0)}, {true, -1, join(0xFFFF'FFFF'FFFF'FFFF, 0xFFFF'FFFF'FFFF'FFFF)}},
    {cosine_of, {true, 1, join(0xB504'F333'F9DE'6484, 0)}, {true, -1, join(0xF38C'88B1'EBB7'BF4A, 0x68DB'646F'4C8C'995F)}},
    {cosine_of, {false, 30, join(0xA3D7'0A3D'70A3'D70B, 0)}, {false, -2, join(0xCCF0'3C75'13B5'8492, 0xD70D'CB51'A66A'0477)}},
    {cosine_of, {true, 62, join(0xFFFF'FFFF'FFFF'FFFF, 0)}, {false, -2, join(0xF56E'C1E0'A37C'4176, 0x6542'6FAC'DE9A'6D16)}},
    {cosine_of, {false, 62, join(0xE49B'7E8A'4B2D'3C11, 0)}, {false, -1, join(0xE02C'C8F4'08B6'31AB, 0x8DDD'727C'990B'F8E9)}},
    {cosine_of, {false, -5, join(0x8000'0000'0000'0001, 0)}, {false, -1, join(0xFFE0'00AA'A93E'9589, 0x56ED'AA41'D8D8'CDFF)}},
    {tangent, {false, -1, join(0xC90F'DAA2'2168'C235, 0)}, {false, 0, join(0x8000'0000'0000'0000, 0x44C6'628B'80DC'1CD1)}},
    {tangent, {true, 0, join(0xC90F'DAA2'2168'C235, 0)}, {false, 64, join(0xFFFF'FFFF'FFFF'FFFF, 0xFFFF'FFFF'FFFF'FFFF)}},
    {tangent, {false, 1, join(0xC90F'DAA2'2168'C235, 0)}, {false, -64, join(0x8000'0000'0000'0000, 0x0000'0000'0000'0000)}},
    {tangent, {true, 1, join(0xB504'F333'F9DE'6484, 0)}, {false, -2, join(0xA5CB'EB3A'4D2D'F416, 0x2436'91B6'F81F'FF4C)}},
    {tangent, {false, 30, join(0xA3D7'0A3D'70A3'D70B, 0)}, {false, 1, join(0x9286'45B4'7781'001F, 0x41D5'424D'7AF2'D394)}},
    {tangent, {true, 62, join(0xFFFF'FFFF'FFFF'FFFF, 0)}, {true, 0, join(0xEA57'F75B'8BFE'BB70, 0x1402'24A4'AC92'89CC)}},
    {tangent, {false, 62, join(0xE49B'7E8A'4B2D'3C11, 0)}, {false, -1, join(0x8D2B'172A'9559'345C, 0xE814'A20A'4B9E'438A)}},
    {tangent, {false, -5, join(0x8000'0000'0000'0001, 0)}, {false, -5, join(0x800A'ABBB'D760'42BF, 0x91A4'C9EC'79E5'55D8)}},
    {tangent, {true, -70, join(0xB504'F333'F9DE'6484, 0)}, {true, -70, join(0xB504'F333'F9DE'6484, 0x0000'0000'0000'0000)}},
    {arc_of, {false, -1, join(0xFFFF'FFFF'FFFF'FFFF, 0)}, {false, -1, join(0xC90F'DAA2'2168'C234, 0x44C6'628B'80DC'1CD0)}},
    {arc_of, {true, -3, join(0xB504'F333'F9DE'6484, 0)}, {true, -3, join(0xB32B'15E3'C92D'E9E9, 0xEBEF'71CE'C0DF'D774)}},
    {arc_of, {false, -4, join(0xFFFF'FFFF'FFFF'FFFF, 0)}, {false, -4, join(0xFEAD'D4D5'617B'6E31, 0xCC87'D7A3'2EC7'92E7)}},
    {arc_of, {false, 0, join(0x8000'0000'0000'0001, 0)}, {false, -1, join(0xC90F'DAA2'2168'C235, 0xC4C6'628B'80DC'1CD0)}},
    {arc_of, {true, 40, join(0xA3D7'0A3D'70A3'D70B, 0)}, {true, 0, join(0xC90F'DAA2'2104'C234, 0xC4C6'628B'8152'DCE5)}},
    {arc_of, {false, -2, join(0xC90F'DAA2'2168'C235, 0)}, {false, -2, join(0xBF96'B512'3BBF'0DA5, 0xF34A'0C86'0F08'538A)}},
    {arc_of, {false, -1, join(0xE000'0000'0000'0001, 0)}, {false, -1, join(0xB805'3E2B'C231'9E74, 0x5C2B'615B'2080'04CD)}},
    {arc_of, {true, -50, join(0xB504'F333'F9DE'6484, 0)}, {true, -50, join(0xB504'F333'F9DE'6483, 0xFFFF'FFFF'F875'2088)}},
};
// clang-format on

// |a - b| in units of 2^-128 of b, at most 2^64.
u64 distance(const Number& a, const Number& b) {
    const Number difference = add(a, negated(b));
    const i32 above = difference.exponent - b.exponent + 128;
    if (difference.significand == 0 || above < 0) {
        return 0;
    }
    return above > 63 ? ~u64{0} : static_cast<u64>(difference.significand >> (127 - above));
}

TEST_CASE("elementary functions: relative errors are below 2^-118", "[fpu][elementary]") {
    for (const Row& row : kRows) {
        CAPTURE(&row - kRows);
        const Number value = row.function(row.x);
        CHECK(value.negative == row.value.negative);
        CHECK(distance(value, row.value) < 1024);
    }
}

TEST_CASE("elementary functions: beside an exact number the result is on the right side of it",
          "[fpu][elementary]") {
    const Number tiny = {false, -80, join(0x8000'0000'0000'0000, 0)};
    CHECK(magnitude_less(sine_of(tiny), tiny));
    CHECK(magnitude_less(tiny, tangent(tiny)));
    CHECK(magnitude_less(cosine_of(tiny), from_integer(1)));
    CHECK(magnitude_less(arc_of(tiny), tiny));
    CHECK(log2(from_integer(1)).significand == 0);
    CHECK(log2(from_integer(8)).significand == from_integer(3).significand);
}

TEST_CASE("wide numbers: a quotient times its divisor is the dividend", "[fpu][elementary]") {
    differential::Rng rng(0xD17);
    for (unsigned i = 0; i < 100'000; ++i) {
        const auto draw = [&rng] {
            // All ones in the upper half make an estimated digit too large.
            const u64 high = rng.one_in(4) ? ~u64{0} : rng.next() | (u64{1} << 63);
            const u64 low = rng.one_in(4) ? ~u64{0} : rng.one_in(4) ? 0 : rng.next();
            return Number{rng.one_in(2), static_cast<i32>(rng.below(100)), join(high, low)};
        };
        const Number a = draw();
        const Number b = draw();
        REQUIRE(distance(multiply(divide(a, b), b), a) < 8);
    }
}

#ifdef DROSTE_TEST_QUADMATH

__extension__ using Quad = __float128;

Quad to_quad(const Number& n) {
    const Quad high = ldexpq(static_cast<Quad>(high_half(n.significand)), n.exponent - 63);
    const Quad low = ldexpq(static_cast<Quad>(low_half(n.significand)), n.exponent - 127);
    return n.negative ? -(high + low) : high + low;
}

struct Turn {
    int quadrant;
    Quad rest;
};
Turn turn_of(Quad x) {
    const Quad pi = ldexpq(static_cast<Quad>(u64{0x3243'F6A8'885A'308D}), -60) +
                    ldexpq(static_cast<Quad>(3), -64);
    Quad rest = fmodq(fabsq(x), 2 * pi);  // exact
    int quadrant = 0;
    for (; rest > pi / 4; rest -= pi / 2) {
        ++quadrant;
    }
    return {quadrant & 3, rest};
}
Quad quad_sine(Quad x) {
    const Turn t = turn_of(x);
    const Quad value = (t.quadrant & 1) != 0 ? cosq(t.rest) : sinq(t.rest);
    return ((t.quadrant & 2) != 0) != (x < 0) ? -value : value;
}
Quad quad_cosine(Quad x) {
    const Turn t = turn_of(x);
    const Quad value = (t.quadrant & 1) != 0 ? -sinq(t.rest) : cosq(t.rest);
    return (t.quadrant & 2) != 0 ? -value : value;
}

struct QuadRow {
    const char* name;
    Number (*function)(const Number& x);
    Quad (*reference)(Quad x);
    i32 first, last;  // exponents of the arguments
    bool negative;
};
const QuadRow kQuadRows[] = {
    {"2^x - 1", exp2_minus_1, [](Quad x) { return expm1q(x * logq(2)); }, -90, -1, true},
    {"log2(x)", log2, log2q, -16000, 16000, false},
    {"log2(x) near 1", log2, log2q, -1, 0, false},
    {"log2(1 + x)", log2_1p, [](Quad x) { return log1pq(x) / logq(2); }, -90, -3, true},
    {"log2(1 + x)", log2_1p, [](Quad x) { return log1pq(x) / logq(2); }, -2, 3, false},
    {"sin", sine_of, quad_sine, -90, 62, true},
    {"cos", cosine_of, quad_cosine, -90, 62, true},
    {"tan", tangent, [](Quad x) { return quad_sine(x) / quad_cosine(x); }, -60, 62, true},
    {"atan", arc_of, atanq, -90, 90, true},
};

TEST_CASE("elementary functions agree with quadruple precision at random arguments",
          "[fpu][elementary]") {
    differential::Rng rng(0xE1E);
    for (const QuadRow& row : kQuadRows) {
        CAPTURE(row.name);
        for (unsigned i = 0; i < 3000; ++i) {
            const auto span = static_cast<u64>(row.last - row.first + 1);
            const Number x = {row.negative && rng.one_in(2),
                              row.first + static_cast<i32>(rng.below(span)),
                              join(rng.next() | (u64{1} << 63), 0)};
            const Quad want = row.reference(to_quad(x));
            const Quad error = fabsq((to_quad(row.function(x)) - want) / want);
            CAPTURE(x.exponent, high_half(x.significand));
            REQUIRE(static_cast<double>(error) <
                    0x1p-109);  // what the reference itself is good for
        }
    }
}

TEST_CASE("the angle of a point agrees with quadruple precision in all quadrants",
          "[fpu][elementary]") {
    differential::Rng rng(0xA7A);
    for (unsigned i = 0; i < 10'000; ++i) {
        const auto draw = [&rng] {
            return Number{rng.one_in(2), static_cast<i32>(rng.below(12)),
                          join(rng.next() | (u64{1} << 63), 0)};
        };
        const Number x = draw();
        const Number y = draw();
        const Quad want = atan2q(to_quad(y), to_quad(x));
        REQUIRE(static_cast<double>(fabsq((to_quad(atan2(y, x)) - want) / want)) < 0x1p-109);
    }
}

#endif

}  // namespace
}  // namespace droste::wide
