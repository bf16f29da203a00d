// Shifts and rotates: SHL, SHR, SAR, ROL, ROR, RCL, RCR, SHLD, SHRD.
// SDM Vol. 2B, "SAL/SAR/SHL/SHR—Shift", "RCL/RCR/ROL/ROR—Rotate", "SHLD—Double Precision Shift
// Left".
//
// The count is masked to 5 bits (6 with a 64-bit operand). A masked count of 0 changes no flag, but
// the operand is still written (which clears bits 63:32 of a 32-bit register). Undefined, as on Zen
// 4 (docs/x86/undefined.md): shifts set AF; OF is computed for every count as the manual defines it
// for 1; SHLD/SHRD of 16 bits by more than 16 yield the rotated second operand.

#include "cpu/x86/exec/exec_table.hpp"
#include "cpu/x86/exec/operands.hpp"

#include <bit>

namespace droste {
namespace {

template <typename T>
inline constexpr unsigned kCountMask = sizeof(T) == 8 ? 63 : 31;

template <typename T>
inline bool top_bit(T value) {
    return (value >> (kBitsOf<T> - 1)) != 0;
}
// The two most significant bits differ: OF of right shifts and rotates.
template <typename T>
inline bool top_bits_differ(T value) {
    return ((value >> (kBitsOf<T> - 1)) ^ ((value >> (kBitsOf<T> - 2)) & 1)) != 0;
}

// SF ZF PF from the result, CF and OF as given, AF set.
template <typename T>
inline LazyFlags shift_flags(T result, bool carry, bool overflow) {
    return {sign_extend(result, kBitsOf<T>),
            (carry ? bit(63) : 0) | (carry != overflow ? bit(62) : 0) | bit(3)};
}

// Each of these gets a masked, non-zero count and replaces `flags`.
template <typename T>
inline T shl(T value, unsigned count, LazyFlags& flags) {
    bool carry = false;
    T result = 0;
    if constexpr (sizeof(T) == 8) {
        result = value << count;
        carry = ((value >> (64 - count)) & 1) != 0;
    } else {
        const u64 wide = static_cast<u64>(value) << count;
        result = static_cast<T>(wide);
        carry = ((wide >> kBitsOf<T>)&1) != 0;
    }
    flags = shift_flags<T>(result, carry, carry != top_bit(result));
    return result;
}
template <typename T>
inline T shr(T value, unsigned count, LazyFlags& flags) {
    const u64 wide = value;
    const T result = static_cast<T>(wide >> count);
    flags = shift_flags<T>(result, ((wide >> (count - 1)) & 1) != 0, top_bits_differ(result));
    return result;
}
template <typename T>
inline T sar(T value, unsigned count, LazyFlags& flags) {
    const auto wide = static_cast<i64>(sign_extend(value, kBitsOf<T>));
    const T result = static_cast<T>(wide >> count);
    flags = shift_flags<T>(result, ((wide >> (count - 1)) & 1) != 0, false);
    return result;
}
template <typename T>
inline T rol(T value, unsigned count, LazyFlags& flags) {
    const T result = std::rotl(value, static_cast<int>(count % kBitsOf<T>));
    const bool carry = (result & 1) != 0;
    flags.set_carry_overflow(carry, carry != top_bit(result));
    return result;
}
template <typename T>
inline T ror(T value, unsigned count, LazyFlags& flags) {
    const T result = std::rotr(value, static_cast<int>(count % kBitsOf<T>));
    flags.set_carry_overflow(top_bit(result), top_bits_differ(result));
    return result;
}
// RCL and RCR rotate CF:value, one bit more than the operand has.
template <typename T>
inline T rcl(T value, unsigned count, LazyFlags& flags) {
    constexpr unsigned kBits = kBitsOf<T>;
    const unsigned n = count % (kBits + 1);
    const u64 wide = value;
    const u64 carry_in = flags.cf() ? 1 : 0;
    T result = value;
    bool carry = carry_in != 0;
    if (n != 0) {
        result = static_cast<T>((wide << n) | (carry_in << (n - 1)) |
                                (n > 1 ? wide >> (kBits + 1 - n) : 0));
        carry = ((wide >> (kBits - n)) & 1) != 0;
    }
    flags.set_carry_overflow(carry, carry != top_bit(result));
    return result;
}
template <typename T>
inline T rcr(T value, unsigned count, LazyFlags& flags) {
    constexpr unsigned kBits = kBitsOf<T>;
    const unsigned n = count % (kBits + 1);
    const u64 wide = value;
    const u64 carry_in = flags.cf() ? 1 : 0;
    T result = value;
    bool carry = carry_in != 0;
    if (n != 0) {
        result = static_cast<T>((wide >> n) | (carry_in << (kBits - n)) |
                                (n > 1 ? wide << (kBits + 1 - n) : 0));
        carry = ((wide >> (n - 1)) & 1) != 0;
    }
    flags.set_carry_overflow(carry, top_bits_differ(result));
    return result;
}

template <Op O, typename T>
inline T shift(T value, unsigned count, LazyFlags& flags) {
    if constexpr (O == Op::SHL) {
        return shl(value, count, flags);
    } else if constexpr (O == Op::SHR) {
        return shr(value, count, flags);
    } else if constexpr (O == Op::SAR) {
        return sar(value, count, flags);
    } else if constexpr (O == Op::ROL) {
        return rol(value, count, flags);
    } else if constexpr (O == Op::ROR) {
        return ror(value, count, flags);
    } else if constexpr (O == Op::RCL) {
        return rcl(value, count, flags);
    } else {
        return rcr(value, count, flags);
    }
}

// An immediate count (EI, EGI) or CL (EC, EGC).
template <typename T, bool kByCl>
inline unsigned masked_count(const Vcpu& cpu, const Insn& insn) {
    return static_cast<unsigned>(kByCl ? cpu.state.gpr[RCX] : insn.imm) & kCountMask<T>;
}

template <Op O, bool kByCl>
struct Shift {
    template <typename T, Place P>
    static Status exec(Vcpu& cpu, const Insn& insn) {
        const unsigned count = masked_count<T, kByCl>(cpu, insn);
        if (count == 0) [[unlikely]] {
            const Status status = modify_operand<T, P>(cpu, insn, [](T dest) { return dest; });
            return status == Status::Next ? status : give_up<Shift, T, P>(cpu, insn, status);
        }
        LazyFlags flags;
        const Status status = modify_operand<T, P>(cpu, insn, [&](T dest) {
            flags = cpu.state.flags;
            return shift<O, T>(dest, count, flags);
        });
        if (status != Status::Next) [[unlikely]] {
            return give_up<Shift, T, P>(cpu, insn, status);
        }
        cpu.state.flags = flags;
        return Status::Next;
    }
};

template <Op O>
ExecFn select_shift(Vcpu& cpu, Insn& insn) {
    return insn.form == Form::EC ? by_width_and_place<Shift<O, true>>(cpu, insn, insn.width)
                                 : by_width_and_place<Shift<O, false>>(cpu, insn, insn.width);
}

// SHLD: DEST:SRC shifted left, DEST keeps the upper half.
template <typename T>
inline T shld(T dest, T source, unsigned count, LazyFlags& flags) {
    constexpr unsigned kBits = kBitsOf<T>;
    if (count > kBits) {  // 16-bit operands only: undefined
        const T result = std::rotl(source, static_cast<int>(count - kBits));
        flags = shift_flags<T>(result, false, false);
        return result;
    }
    const u64 high = dest;
    const u64 low = source;
    const T result =
        static_cast<T>(count == kBits ? low : (high << count) | (low >> (kBits - count)));
    const bool carry = ((high >> (kBits - count)) & 1) != 0;
    // of DEST, 0 when it ran out
    const bool next = count != kBits && ((high >> (kBits - count - 1)) & 1) != 0;
    flags = shift_flags<T>(result, carry, carry != next);
    return result;
}
// SHRD: SRC:DEST shifted right, DEST keeps the lower half.
template <typename T>
inline T shrd(T dest, T source, unsigned count, LazyFlags& flags) {
    constexpr unsigned kBits = kBitsOf<T>;
    if (count > kBits) {
        const T result = std::rotr(source, static_cast<int>(count - kBits));
        flags = shift_flags<T>(result, false, top_bits_differ(result));
        return result;
    }
    const u64 low = dest;
    const u64 high = source;
    const T result =
        static_cast<T>(count == kBits ? high : (low >> count) | (high << (kBits - count)));
    const bool carry = ((low >> (count - 1)) & 1) != 0;
    flags = shift_flags<T>(result, carry, top_bits_differ(result));
    return result;
}

template <Op O, bool kByCl>
struct DoubleShift {
    template <typename T, Place P>
    static Status exec(Vcpu& cpu, const Insn& insn) {
        const unsigned count = masked_count<T, kByCl>(cpu, insn);
        if (count == 0) {
            const Status status = modify_operand<T, P>(cpu, insn, [](T dest) { return dest; });
            return status == Status::Next ? status : give_up<DoubleShift, T, P>(cpu, insn, status);
        }
        const T source = read_gpr<T>(cpu, insn.reg);
        LazyFlags flags;
        const Status status = modify_operand<T, P>(cpu, insn, [&](T dest) {
            return O == Op::SHLD ? shld(dest, source, count, flags)
                                 : shrd(dest, source, count, flags);
        });
        if (status != Status::Next) [[unlikely]] {
            return give_up<DoubleShift, T, P>(cpu, insn, status);
        }
        cpu.state.flags = flags;
        return Status::Next;
    }
};

template <Op O>
ExecFn select_double_shift(Vcpu& cpu, Insn& insn) {
    return insn.form == Form::EGC
               ? by_word_width_and_place<DoubleShift<O, true>>(cpu, insn, insn.width)
               : by_word_width_and_place<DoubleShift<O, false>>(cpu, insn, insn.width);
}

constexpr auto kRows = std::to_array<ExecRow>({
    {Op::ROL, select_shift<Op::ROL>},
    {Op::ROR, select_shift<Op::ROR>},
    {Op::RCL, select_shift<Op::RCL>},
    {Op::RCR, select_shift<Op::RCR>},
    {Op::SHL, select_shift<Op::SHL>},
    {Op::SHR, select_shift<Op::SHR>},
    {Op::SAR, select_shift<Op::SAR>},
    {Op::SHLD, select_double_shift<Op::SHLD>},
    {Op::SHRD, select_double_shift<Op::SHRD>},
});

}  // namespace

std::span<const ExecRow> exec_rows_shift() {
    return kRows;
}

}  // namespace droste
