// Multiplication and division: MUL, IMUL in three forms, MULX, DIV, IDIV.
// SDM Vol. 2, "MUL—Unsigned Multiply", "IMUL—Signed Multiply", "DIV—Unsigned Divide", "IDIV—Signed
// Divide".
//
// Undefined: SF ZF AF PF of a multiplication stay as they were; after a division CF and OF stay, AF
// is 1 and SF ZF PF are 0. Both are what Zen 4 does; docs/x86/undefined.md.

#include "cpu/x86/exec/exec_table.hpp"
#include "cpu/x86/exec/operands.hpp"

#include <type_traits>

namespace droste {
namespace {

// The type with twice the bits.
template <typename T>
struct DoubleOf;
template <>
struct DoubleOf<u8> {
    using Unsigned = u16;
    using Signed = i16;
};
template <>
struct DoubleOf<u16> {
    using Unsigned = u32;
    using Signed = i32;
};
template <>
struct DoubleOf<u32> {
    using Unsigned = u64;
    using Signed = i64;
};
template <>
struct DoubleOf<u64> {
    using Unsigned = u128;
    using Signed = i128;
};
template <typename T>
using Double = typename DoubleOf<T>::Unsigned;
template <typename T>
using SignedDouble = typename DoubleOf<T>::Signed;

template <typename T>
inline Double<T> multiply_unsigned(T a, T b) {
    return static_cast<Double<T>>(static_cast<Double<T>>(a) * static_cast<Double<T>>(b));
}
template <typename T>
inline SignedDouble<T> multiply_signed(T a, T b) {
    using S = std::make_signed_t<T>;
    return static_cast<SignedDouble<T>>(static_cast<SignedDouble<T>>(static_cast<S>(a)) *
                                        static_cast<SignedDouble<T>>(static_cast<S>(b)));
}

// AX, DX:AX, EDX:EAX or RDX:RAX.
template <typename T>
inline Double<T> read_accumulator_pair(const Vcpu& cpu) {
    if constexpr (sizeof(T) == 1) {
        return read_gpr<u16>(cpu, RAX);
    } else {
        return static_cast<Double<T>>(
            (static_cast<Double<T>>(read_gpr<T>(cpu, RDX)) << kBitsOf<T>) | read_gpr<T>(cpu, RAX));
    }
}
template <typename T>
inline void write_accumulator_pair(Vcpu& cpu, T high, T low) {
    if constexpr (sizeof(T) == 1) {
        write_gpr<u16>(cpu, RAX, static_cast<u16>((high << 8) | low));
    } else {
        write_gpr<T>(cpu, RAX, low);
        write_gpr<T>(cpu, RDX, high);
    }
}

// MUL: CF = OF = upper half is not zero. IMUL, one operand: CF = OF = the result is not its lower
// half sign-extended.
template <bool kSigned>
struct MultiplyAccumulator {
    template <typename T, Place P>
    static Status exec(Vcpu& cpu, const Insn& insn) {
        T source = 0;
        if (const Status status = load_operand<T, P>(cpu, insn, source); status != Status::Next)
            [[unlikely]] {
            return give_up<MultiplyAccumulator, T, P>(cpu, insn, status);
        }
        const T accumulator = read_gpr<T>(cpu, RAX);
        Double<T> product = 0;
        bool significant = false;
        if constexpr (kSigned) {
            const SignedDouble<T> result = multiply_signed(accumulator, source);
            product = static_cast<Double<T>>(result);
            significant = result != static_cast<std::make_signed_t<T>>(product);
        } else {
            product = multiply_unsigned(accumulator, source);
            significant = (product >> kBitsOf<T>) != 0;
        }
        write_accumulator_pair<T>(cpu, static_cast<T>(product >> kBitsOf<T>),
                                  static_cast<T>(product));
        cpu.state.flags.set_carry_overflow(significant, significant);
        return Status::Next;
    }
};

// IMUL r, r/m and IMUL r, r/m, imm.
template <Form F>
struct MultiplyTruncated {
    template <typename T, Place P>
    static Status exec(Vcpu& cpu, const Insn& insn) {
        T source = 0;
        if (const Status status = load_operand<T, P>(cpu, insn, source); status != Status::Next)
            [[unlikely]] {
            return give_up<MultiplyTruncated, T, P>(cpu, insn, status);
        }
        const T other = F == Form::GEI ? static_cast<T>(insn.imm) : read_gpr<T>(cpu, insn.reg);
        using S = std::make_signed_t<T>;
        S product = 0;
        const bool overflow =
            __builtin_mul_overflow(static_cast<S>(source), static_cast<S>(other), &product);
        write_gpr<T>(cpu, insn.reg, static_cast<T>(product));
        cpu.state.flags.set_carry_overflow(overflow, overflow);
        return Status::Next;
    }
};

ExecFn select_mul(Vcpu& cpu, Insn& insn) {
    return by_width_and_place<MultiplyAccumulator<false>>(cpu, insn, insn.width);
}

ExecFn select_imul(Vcpu& cpu, Insn& insn) {
    switch (insn.form) {
    case Form::E: return by_width_and_place<MultiplyAccumulator<true>>(cpu, insn, insn.width);
    case Form::GE:
        return by_word_width_and_place<MultiplyTruncated<Form::GE>>(cpu, insn, insn.width);
    case Form::GEI:
        return by_word_width_and_place<MultiplyTruncated<Form::GEI>>(cpu, insn, insn.width);
    default: return exec_undefined;
    }
}

inline void commit_division_flags(LazyFlags& flags) {
    // A result of 1 is not zero, positive, and of odd parity.
    flags = LazyFlags{1, (flags.carries & (bit(63) | bit(62))) | bit(3)};
}

// DIV: "#DE if the source operand (divisor) is 0 [or] if the quotient is too large for the
// designated register."
template <typename T>
inline bool divide_unsigned(Double<T> dividend, T divisor, T& quotient, T& remainder) {
    // The quotient fits exactly if the upper half is smaller than the divisor (which then is not
    // 0).
    const T high = static_cast<T>(dividend >> kBitsOf<T>);
    if (high >= divisor) {
        return false;
    }
    if constexpr (sizeof(T) == 8) {
        if (high == 0) {  // spares the library call of a 128-bit division
            quotient = static_cast<T>(dividend) / divisor;
            remainder = static_cast<T>(dividend) % divisor;
            return true;
        }
    }
    quotient = static_cast<T>(dividend / divisor);
    remainder = static_cast<T>(dividend % divisor);
    return true;
}

// IDIV truncates towards zero; the remainder has the dividend's sign. Done on magnitudes, so that
// no signed division of ours can overflow.
template <typename T>
inline bool divide_signed(Double<T> dividend, T divisor, T& quotient, T& remainder) {
    constexpr T kMinimum = static_cast<T>(T{1} << (kBitsOf<T> - 1));
    const bool negative_dividend = ((dividend >> (2 * kBitsOf<T> - 1)) & 1) != 0;
    const bool negative_divisor = (divisor & kMinimum) != 0;
    const auto magnitude =
        negative_dividend ? static_cast<Double<T>>(Double<T>{0} - dividend) : dividend;
    T unsigned_quotient = 0;
    T unsigned_remainder = 0;
    if (!divide_unsigned<T>(magnitude, negative_divisor ? static_cast<T>(T{0} - divisor) : divisor,
                            unsigned_quotient, unsigned_remainder)) {
        return false;
    }
    const bool negative_quotient = negative_dividend != negative_divisor;
    if (unsigned_quotient > static_cast<T>(kMinimum - (negative_quotient ? 0 : 1))) {
        return false;
    }
    quotient = negative_quotient ? static_cast<T>(T{0} - unsigned_quotient) : unsigned_quotient;
    remainder = negative_dividend ? static_cast<T>(T{0} - unsigned_remainder) : unsigned_remainder;
    return true;
}

template <bool kSigned>
struct Divide {
    template <typename T, Place P>
    static Status exec(Vcpu& cpu, const Insn& insn) {
        T divisor = 0;
        if (const Status status = load_operand<T, P>(cpu, insn, divisor); status != Status::Next)
            [[unlikely]] {
            return give_up<Divide, T, P>(cpu, insn, status);
        }
        const Double<T> dividend = read_accumulator_pair<T>(cpu);
        T quotient = 0;
        T remainder = 0;
        const bool fits = kSigned ? divide_signed<T>(dividend, divisor, quotient, remainder)
                                  : divide_unsigned<T>(dividend, divisor, quotient, remainder);
        if (!fits) {
            return raise(cpu, Exception::DE);
        }
        write_accumulator_pair<T>(cpu, remainder, quotient);
        commit_division_flags(cpu.state.flags);
        return Status::Next;
    }
};

template <bool kSigned>
ExecFn select_divide(Vcpu& cpu, Insn& insn) {
    return by_width_and_place<Divide<kSigned>>(cpu, insn, insn.width);
}

// MULX: rDX * SRC to DEST1:DEST2 (ModRM.reg : VEX.vvvv) without flags. "If the first and second
// operand are identical, it will contain the high half of the multiplication results."
struct Mulx {
    template <typename T>
    static Status exec(Vcpu& cpu, const Insn& insn) {
        T source = 0;
        if (const Status status = read_e<T>(cpu, insn, source); status != Status::Next) {
            return status;
        }
        const Double<T> product = multiply_unsigned(read_gpr<T>(cpu, RDX), source);
        write_gpr<T>(cpu, insn.vvvv, static_cast<T>(product));
        write_gpr<T>(cpu, insn.reg, static_cast<T>(product >> kBitsOf<T>));
        return Status::Next;
    }
};

ExecFn select_mulx(Vcpu& /*cpu*/, Insn& insn) {
    return insn.width == 8 ? &Mulx::exec<u64> : &Mulx::exec<u32>;
}

constexpr auto kRows = std::to_array<ExecRow>({
    {Op::MUL, select_mul},
    {Op::IMUL, select_imul},
    {Op::DIV, select_divide<false>},
    {Op::IDIV, select_divide<true>},
    {Op::MULX, select_mulx},
});

}  // namespace

std::span<const ExecRow> exec_rows_multiply() {
    return kRows;
}

}  // namespace droste
