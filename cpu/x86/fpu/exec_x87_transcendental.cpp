// FSIN, FCOS, FSINCOS, FPTAN, FPATAN, F2XM1, FYL2X, FYL2XP1, computed here and not by the native unit:
// the manual bounds their error but leaves the last bit open, and processors differ in it, so that a
// guest's results would depend on the machine below (docs/decisions/0010-own-elementary-functions.md).
//
// Each function below is one page of the manual: special values from its table of results, everything
// else from elementary.hpp, rounded once. What all share is in exec_transcendental(): empty registers,
// NaNs, denormals, unmasked exceptions, C2, the stack. SDM Vol. 1, "x87 FPU Floating-Point Exception
// Conditions" gives the order: stack fault, invalid operand, NaN, divide by zero, denormal.

#include "cpu/x86/fpu/elementary.hpp"
#include "cpu/x86/fpu/exec_x87.hpp"
#include "cpu/x86/fpu/thunk_cache.hpp"
#include "cpu/x86/fpu/x87_number.hpp"

#include <algorithm>
#include <array>
#include <utility>

namespace droste {
namespace {

using x87::ValueClass;
using Register = X87State::Register;

struct Answer {
    Register value{};   // into ST(0); into ST(1), with a pop, if there are two operands
    Register pushed{};  // FSINCOS, FPTAN
    u16 flags = 0;      // exceptions raised
    bool rounded_up = false;
    bool out_of_range = false;  // C2: nothing is done
};

// ST(0), ST(1) and how to round. No NaN and no unsupported encoding.
struct Operands {
    Register x;
    Register y;
    ValueClass x_class;
    ValueClass y_class;
    u16 control;
};

Answer exactly(const Register& value, const Register& pushed = {}) {
    Answer answer;
    answer.value = value;
    answer.pushed = pushed;
    return answer;
}
Answer invalid() {
    Answer answer = exactly(kRealIndefinite, kRealIndefinite);
    answer.flags = x87::kIe;
    return answer;
}
Answer rounded(const wide::Number& number, bool exact, u16 control) {
    const x87::Rounded result = x87::round_to_register(number, exact, control);
    Answer answer = exactly(result.value);
    answer.flags = result.flags;
    answer.rounded_up = result.up;
    return answer;
}

// --- trigonometric functions ---

bool beyond_trigonometric_range(const Operands& in) {
    constexpr unsigned kExponentOf2To63 = 0x3FFF + 63;
    return in.x_class == ValueClass::Normal && (in.x.sign_exponent & 0x7FFF) >= kExponentOf2To63;
}
Answer out_of_range() {
    Answer answer;
    answer.out_of_range = true;
    return answer;
}

// FSIN: +-0 gives +-0, an infinity #IA.
Answer sine(const Operands& in) {
    if (in.x_class == ValueClass::Zero) {
        return exactly(in.x);
    }
    return rounded(wide::sine_cosine(x87::to_wide(in.x)).sine, false, in.control);
}
// FCOS: +-0 gives 1.
Answer cosine(const Operands& in) {
    if (in.x_class == ValueClass::Zero) {
        return exactly(x87::one());
    }
    return rounded(wide::sine_cosine(x87::to_wide(in.x)).cosine, false, in.control);
}
// FSINCOS: the sine replaces ST(0), the cosine is pushed; C1 tells of the sine's rounding.
Answer sine_and_cosine(const Operands& in) {
    if (in.x_class == ValueClass::Zero) {
        return exactly(in.x, x87::one());
    }
    const wide::SineCosine both = wide::sine_cosine(x87::to_wide(in.x));
    const x87::Rounded sine = x87::round_to_register(both.sine, false, in.control);
    const x87::Rounded cosine = x87::round_to_register(both.cosine, false, in.control);
    Answer answer = exactly(sine.value, cosine.value);
    answer.flags = sine.flags | cosine.flags;
    answer.rounded_up = sine.up;
    return answer;
}
// FPTAN: the tangent replaces ST(0), 1.0 is pushed.
Answer tangent(const Operands& in) {
    if (in.x_class == ValueClass::Zero) {
        return exactly(in.x, x87::one());
    }
    Answer answer = rounded(wide::tangent(x87::to_wide(in.x)), false, in.control);
    answer.pushed = x87::one();
    return answer;
}

template <Answer (*Function)(const Operands&)>
Answer trigonometric(const Operands& in) {
    if (in.x_class == ValueClass::Infinity) {
        return invalid();
    }
    return beyond_trigonometric_range(in) ? out_of_range() : Function(in);
}

// FPATAN: the angle of the point (ST(0), ST(1)). SDM Vol. 2A, Table "FPATAN Results".
Answer arctangent(const Operands& in) {
    const bool x_negative = x87::negative(in.x);
    const bool y_negative = x87::negative(in.y);
    const bool x_infinite = in.x_class == ValueClass::Infinity;
    const bool y_infinite = in.y_class == ValueClass::Infinity;
    const bool on_x_axis =
        in.y_class == ValueClass::Zero || (x_infinite && !y_infinite);  // y / x = 0
    if (on_x_axis && !x_negative) {
        return exactly(x87::zero(y_negative));
    }
    if (x87::is_finite_nonzero(in.x_class) && x87::is_finite_nonzero(in.y_class)) {
        return rounded(wide::atan2(x87::to_wide(in.y), x87::to_wide(in.x)), false, in.control);
    }
    // A multiple of pi/4: of the point with the same signs on an axis or a diagonal.
    constexpr wide::Number kUnit = wide::from_integer(1);
    constexpr wide::Number kFar = {false, 200, kUnit.significand};
    const bool on_y_axis =
        !on_x_axis && (in.x_class == ValueClass::Zero || (y_infinite && !x_infinite));
    const wide::Number x = on_x_axis ? kFar : kUnit;
    const wide::Number y = on_y_axis ? kFar : kUnit;
    return rounded(
        wide::atan2(wide::negated(y, y_negative), wide::negated(x, x_negative && !on_y_axis)),
        false, in.control);
}

// --- exponential and logarithms ---

// F2XM1: 2^x - 1. Undefined outside of [-1, 1]: there ST(0) stays, but for -infinity, which gives -1.
Answer exponential(const Operands& in) {
    if (in.x_class == ValueClass::Infinity && x87::negative(in.x)) {
        return exactly(x87::one(true));
    }
    if (!x87::is_finite_nonzero(in.x_class)) {
        return exactly(in.x);
    }
    const wide::Number x = x87::to_wide(in.x);
    if (x.exponent >= 0) {
        constexpr wide::Number kMinusHalf = {true, -1, wide::from_integer(1).significand};
        const bool minus_one = x.negative && in.x.significand == u64{1} << 63 && x.exponent == 0;
        return minus_one ? rounded(kMinusHalf, true, in.control) : exactly(in.x);
    }
    return rounded(wide::exp2_minus_1(x), false, in.control);
}

// y * logarithm, where the logarithm is not 0 and finite; `exact`: it has at most 64 bits.
Answer times_logarithm(const Operands& in, const wide::Number& logarithm, bool exact) {
    if (in.y_class == ValueClass::Infinity || in.y_class == ValueClass::Zero) {
        const bool negative = x87::negative(in.y) != logarithm.negative;
        return exactly(in.y_class == ValueClass::Zero ? x87::zero(negative)
                                                      : x87::infinity(negative));
    }
    return rounded(wide::multiply(x87::to_wide(in.y), logarithm), exact, in.control);
}

// y * (+-infinity).
Answer times_infinity(const Operands& in, bool negative) {
    return in.y_class == ValueClass::Zero ? invalid()
                                          : exactly(x87::infinity(x87::negative(in.y) != negative));
}
// y * (+-0).
Answer times_zero(const Operands& in, bool negative) {
    return in.y_class == ValueClass::Infinity ? invalid()
                                              : exactly(x87::zero(x87::negative(in.y) != negative));
}

// FYL2X: y * log2(x). SDM Vol. 2A, Table "FYL2X Results".
Answer logarithm(const Operands& in) {
    if (in.x_class == ValueClass::Zero) {
        Answer answer = times_infinity(in, true);
        if (x87::is_finite_nonzero(in.y_class)) {
            answer.flags = x87::kZe;
        }
        return answer;
    }
    if (x87::negative(in.x)) {
        return invalid();
    }
    if (in.x_class == ValueClass::Infinity) {
        return times_infinity(in, false);
    }
    const wide::Number x = x87::to_wide(in.x);
    const wide::Number log = wide::log2(x);
    const bool power_of_two = (x.significand << 1) == 0;
    return log.significand == 0 ? times_zero(in, false) : times_logarithm(in, log, power_of_two);
}

// FYL2XP1: y * log2(x + 1). The manual leaves x outside of +-(1 - sqrt(2)/2) undefined: here the
// function goes on, and x <= -1 is an invalid operand.
Answer logarithm_plus_one(const Operands& in) {
    if (in.x_class == ValueClass::Zero) {
        return times_zero(in, x87::negative(in.x));
    }
    if (in.x_class == ValueClass::Infinity) {
        return x87::negative(in.x) ? invalid() : times_infinity(in, false);
    }
    const wide::Number x = x87::to_wide(in.x);
    if (x.negative && x.exponent >= 0) {
        return invalid();
    }
    return times_logarithm(in, wide::log2_1p(x), false);
}

// --- what all have in common ---

struct FunctionRow {
    Op op;
    Answer (*function)(const Operands&);
    bool two_operands;  // ST(1) is one, takes the result, and ST(0) is popped
    bool pushes;
    bool uses_c2;
};
constexpr auto kFunctions = std::to_array<FunctionRow>({
    {Op::FSIN, trigonometric<sine>, false, false, true},
    {Op::FCOS, trigonometric<cosine>, false, false, true},
    {Op::FSINCOS, trigonometric<sine_and_cosine>, false, true, true},
    {Op::FPTAN, trigonometric<tangent>, false, true, true},
    {Op::FPATAN, arctangent, true, false, false},
    {Op::F2XM1, exponential, false, false, false},
    {Op::FYL2X, logarithm, true, false, false},
    {Op::FYL2XP1, logarithm_plus_one, true, false, false},
});

Answer evaluate(const FunctionRow& row, const Register& x, const Register& y, u16 control) {
    const Operands in = {x, y, x87::classify(x),
                         row.two_operands ? x87::classify(y) : ValueClass::Zero, control};
    if (in.x_class == ValueClass::Unsupported || in.y_class == ValueClass::Unsupported) {
        return invalid();
    }
    if (x87::is_nan(in.x_class) || x87::is_nan(in.y_class)) {
        const Register nan = x87::propagated_nan(x, row.two_operands ? y : x);
        Answer answer = exactly(nan, nan);
        const bool signaling =
            in.x_class == ValueClass::SignalingNan || in.y_class == ValueClass::SignalingNan;
        answer.flags = signaling ? x87::kIe : u16{0};
        return answer;
    }
    Answer answer = row.function(in);
    const bool denormal = in.x_class == ValueClass::Denormal || in.y_class == ValueClass::Denormal;
    if (denormal && (answer.flags & (x87::kIe | x87::kZe)) == 0) {
        answer.flags |= x87::kDe;
    }
    return answer;
}

void commit(X87State& fpu, const FunctionRow& row, const Answer& answer) {
    x87::st(fpu, row.two_operands ? 1 : 0) = answer.value;
    if (row.two_operands) {
        x87::set_valid(fpu, 1);
        x87::pop(fpu);
    } else {
        x87::set_valid(fpu, 0);
    }
    if (row.pushes) {
        x87::push(fpu) = answer.pushed;
    }
}

// Exceptions found before anything is computed keep the result from being stored when unmasked.
constexpr u16 kPrecomputation = x87::kIe | x87::kDe | x87::kZe;

void operate(X87State& fpu, const FunctionRow& row) {
    const bool underflow = x87::empty(fpu, 0) || (row.two_operands && x87::empty(fpu, 1));
    const bool overflow = row.pushes && !x87::empty(fpu, 7);
    Answer answer;
    if (underflow || overflow) {
        answer = invalid();
        answer.flags |= x87::kSf;
        answer.rounded_up = !underflow;  // C1: overflow
    } else {
        answer = evaluate(row, x87::st(fpu, 0), x87::st(fpu, 1), fpu.control);
    }
    const bool suppressed = (x87::unmasked(answer.flags, fpu.control) & kPrecomputation) != 0;
    if (suppressed) {
        answer.flags &= kPrecomputation | x87::kSf;
        answer.rounded_up = answer.rounded_up && overflow;
    }
    x87::set_c1(fpu, answer.rounded_up);
    if (row.uses_c2) {
        fpu.status =
            static_cast<u16>((fpu.status & ~x87::kC2) | (answer.out_of_range ? x87::kC2 : 0));
    }
    if (answer.out_of_range) {
        return;
    }
    fpu.status |= answer.flags;
    x87::update_summary(fpu);
    if (!suppressed) {
        commit(fpu, row, answer);
    }
}

template <std::size_t kRow>
Status exec_transcendental(Vcpu& cpu, const Insn& insn) {
    if (const Status status = x87_ready(cpu); status != Status::Next) [[unlikely]] {
        return status;
    }
    operate(cpu.state.x87, kFunctions[kRow]);
    ++cpu.thunks->vendor_results(cpu.index);
    x87::note_pointers(cpu, insn);
    return Status::Next;
}

template <std::size_t... kRows>
constexpr std::array<ExecFn, sizeof...(kRows)> handlers(std::index_sequence<kRows...>) {
    return {exec_transcendental<kRows>...};
}
constexpr auto kHandlers = handlers(std::make_index_sequence<kFunctions.size()>{});

}  // namespace

ExecFn select_x87_transcendental(Vcpu& /*cpu*/, Insn& insn) {
    const auto* row = std::find_if(kFunctions.begin(), kFunctions.end(),
                                   [&](const FunctionRow& f) { return f.op == insn.op; });
    return kHandlers[static_cast<std::size_t>(row - kFunctions.begin())];
}

}  // namespace droste
