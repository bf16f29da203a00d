// Bit tests, scans and counts, byte order: BT, BTS, BTR, BTC, BSF, BSR, TZCNT, LZCNT, POPCNT,
// BSWAP, MOVBE.
//
// Undefined, as on Zen 4 (docs/x86/undefined.md): BT* leave all flags but CF; BSF and BSR clear CF
// OF AF and set PF from the result, and leave the destination alone if the source is 0 (all 64 bits
// of it); TZCNT and LZCNT clear SF AF PF and leave OF.

#include "cpu/x86/exec/exec_table.hpp"
#include "cpu/x86/exec/operands.hpp"

#include <bit>
#include <type_traits>

namespace droste {
namespace {

template <Op O, typename T>
inline T change_bit(T value, T mask) {
    if constexpr (O == Op::BTS) {
        return static_cast<T>(value | mask);
    } else if constexpr (O == Op::BTR) {
        return static_cast<T>(value & ~mask);
    } else {
        return static_cast<T>(value ^ mask);
    }
}

// SDM Vol. 2A, "BT—Bit Test": CF := Bit(BitBase, BitOffset), then the bit is left, set, reset or
// complemented. Immediate offsets and register operands: the offset is taken modulo the operand
// size.
template <Op O, bool kImmediate>
struct BitTest {
    template <typename T, Place P>
    static Status exec(Vcpu& cpu, const Insn& insn) {
        const u64 offset = kImmediate ? insn.imm : cpu.state.gpr[insn.reg];
        const T mask = static_cast<T>(T{1} << (offset % kBitsOf<T>));
        bool carry = false;
        Status status = Status::Next;
        if constexpr (O == Op::BT) {
            T value = 0;
            status = load_operand<T, P>(cpu, insn, value);
            carry = (value & mask) != 0;
        } else {
            status = modify_operand<T, P>(cpu, insn, [&](T value) {
                carry = (value & mask) != 0;
                return change_bit<O>(value, mask);
            });
        }
        if (status != Status::Next) [[unlikely]] {
            return give_up<BitTest, T, P>(cpu, insn, status);
        }
        cpu.state.flags.set_carry(carry);
        return Status::Next;
    }
};

// A bit string in memory: a register offset is signed and reaches whole operands beyond the
// addressed one.
template <Op O>
struct BitTestString {
    template <typename T>
    static Status exec(Vcpu& cpu, const Insn& insn) {
        using S = std::make_signed_t<T>;
        const i64 offset = static_cast<S>(read_gpr<T>(cpu, insn.reg));
        const i64 operand = offset >> std::countr_zero(kBitsOf<T>);
        const T mask = static_cast<T>(T{1} << (static_cast<u64>(offset) % kBitsOf<T>));
        const u64 address = (effective_offset(cpu, insn) + static_cast<u64>(operand) * sizeof(T)) &
                            size_mask(insn.addrsize);
        const auto seg = static_cast<SegReg>(insn.seg);
        LinearAddr linear = 0;
        Status status = linear_address(cpu, seg, address, sizeof(T), O != Op::BT, linear);
        if (status != Status::Next) {
            return status;
        }
        bool carry = false;
        if constexpr (O == Op::BT) {
            T value = 0;
            status = load_linear(cpu, linear, value, seg);
            carry = (value & mask) != 0;
        } else {
            status = modify_linear<T>(cpu, linear, seg, insn.lock(), [&](T value) {
                carry = (value & mask) != 0;
                return change_bit<O>(value, mask);
            });
        }
        if (status != Status::Next) {
            return status;
        }
        cpu.state.flags.set_carry(carry);
        return Status::Next;
    }
};

template <Op O>
ExecFn select_bit_test(Vcpu& cpu, Insn& insn) {
    if (insn.form == Form::EI) {
        return by_word_width_and_place<BitTest<O, true>>(cpu, insn, insn.width);
    }
    return insn.mem() ? by_word_width<BitTestString<O>>(insn.width)
                      : by_word_width_and_place<BitTest<O, false>>(cpu, insn, insn.width);
}

// BSF, BSR: index of the least or most significant set bit; ZF := source is 0.
template <Op O>
struct BitScan {
    template <typename T>
    static Status exec(Vcpu& cpu, const Insn& insn) {
        T source = 0;
        if (const Status status = read_e<T>(cpu, insn, source); status != Status::Next) {
            return status;
        }
        if (source == 0) {
            cpu.state.flags = LazyFlags{0, 0};
            return Status::Next;
        }
        const auto index = static_cast<unsigned>(O == Op::BSF ? std::countr_zero(source)
                                                              : static_cast<int>(kBitsOf<T>) - 1 -
                                                                    std::countl_zero(source));
        write_gpr<T>(cpu, insn.reg, static_cast<T>(index));
        cpu.state.flags = LazyFlags{index | bit(32), 0};  // bit 32: ZF = 0 even for index 0
        return Status::Next;
    }
};

// ZF as given, SF AF PF clear, CF OF clear.
inline LazyFlags only_zero_flag(bool zero) {
    return zero ? LazyFlags{0, bit(8)} : LazyFlags{1, 0};
}

// TZCNT, LZCNT: CF := source is 0 (the count is then the operand size); ZF := count is 0.
template <Op O>
struct CountZeros {
    template <typename T>
    static Status exec(Vcpu& cpu, const Insn& insn) {
        T source = 0;
        if (const Status status = read_e<T>(cpu, insn, source); status != Status::Next) {
            return status;
        }
        const int count = O == Op::TZCNT ? std::countr_zero(source) : std::countl_zero(source);
        write_gpr<T>(cpu, insn.reg, static_cast<T>(count));
        LazyFlags flags = only_zero_flag(count == 0);
        flags.set_carry_overflow(source == 0, cpu.state.flags.of());
        cpu.state.flags = flags;
        return Status::Next;
    }
};

// POPCNT: "OF, SF, ZF, AF, CF, PF are all cleared. ZF is set if SRC = 0, otherwise ZF is cleared."
struct Popcnt {
    template <typename T>
    static Status exec(Vcpu& cpu, const Insn& insn) {
        T source = 0;
        if (const Status status = read_e<T>(cpu, insn, source); status != Status::Next) {
            return status;
        }
        write_gpr<T>(cpu, insn.reg, static_cast<T>(std::popcount(source)));
        cpu.state.flags = only_zero_flag(source == 0);
        return Status::Next;
    }
};

template <typename T>
inline T swap_bytes(T value) {
    if constexpr (sizeof(T) == 2) {
        return __builtin_bswap16(value);
    } else if constexpr (sizeof(T) == 4) {
        return __builtin_bswap32(value);
    } else {
        return __builtin_bswap64(value);
    }
}

// BSWAP r16 is undefined; it clears the register's low 16 bits.
struct Bswap {
    template <typename T>
    static Status exec(Vcpu& cpu, const Insn& insn) {
        if constexpr (sizeof(T) == 2) {
            write_gpr<T>(cpu, insn.rm, 0);
        } else {
            write_gpr<T>(cpu, insn.rm, swap_bytes(read_gpr<T>(cpu, insn.rm)));
        }
        return Status::Next;
    }
};

// MOVBE: a load (GE) or store (EG) with the bytes in the opposite order.
template <Form F>
struct Movbe {
    template <typename T>
    static Status exec(Vcpu& cpu, const Insn& insn) {
        if constexpr (F == Form::EG) {
            return write_e<T>(cpu, insn, swap_bytes(read_gpr<T>(cpu, insn.reg)));
        } else {
            T source = 0;
            if (const Status status = read_e<T>(cpu, insn, source); status != Status::Next) {
                return status;
            }
            write_gpr<T>(cpu, insn.reg, swap_bytes(source));
            return Status::Next;
        }
    }
};

template <typename Handler>
ExecFn select_word(Vcpu& /*cpu*/, Insn& insn) {
    return by_word_width<Handler>(insn.width);
}
ExecFn select_bswap(Vcpu& /*cpu*/, Insn& insn) {
    return by_word_width<Bswap>(insn.opsize);
}
ExecFn select_movbe(Vcpu& /*cpu*/, Insn& insn) {
    return insn.form == Form::EG ? by_word_width<Movbe<Form::EG>>(insn.width)
                                 : by_word_width<Movbe<Form::GE>>(insn.width);
}

constexpr auto kRows = std::to_array<ExecRow>({
    {Op::BT, select_bit_test<Op::BT>},
    {Op::BTS, select_bit_test<Op::BTS>},
    {Op::BTR, select_bit_test<Op::BTR>},
    {Op::BTC, select_bit_test<Op::BTC>},
    {Op::BSF, select_word<BitScan<Op::BSF>>},
    {Op::BSR, select_word<BitScan<Op::BSR>>},
    {Op::TZCNT, select_word<CountZeros<Op::TZCNT>>},
    {Op::LZCNT, select_word<CountZeros<Op::LZCNT>>},
    {Op::POPCNT, select_word<Popcnt>},
    {Op::BSWAP, select_bswap},
    {Op::MOVBE, select_movbe},
});

}  // namespace

std::span<const ExecRow> exec_rows_bits() {
    return kRows;
}

}  // namespace droste
