// Integer arithmetic and logic on one or two operands: ADD .. CMP, TEST, NOT, NEG, INC, DEC, CBW,
// CWD, ADCX, ADOX, CRC32. SDM Vol. 2, the pages of that name.
//
// The binary operations share one compute function, alu<Op, T>, and three handlers, one for each
// operand form. A handler stores the result first and commits the flags only if the store did not
// fault.

#include "cpu/x86/exec/exec_table.hpp"
#include "cpu/x86/exec/operands.hpp"

namespace droste {
namespace {

// DEST := DEST op SRC; `carry` is CF before the instruction.
template <Op O, typename T>
inline T alu(T a, T b, bool carry, LazyFlags& flags) {
    if constexpr (O == Op::ADD || O == Op::ADC) {
        const T sum = static_cast<T>(a + b + static_cast<T>(O == Op::ADC && carry ? 1 : 0));
        flags = LazyFlags::add<T>(a, b, sum);
        return sum;
    } else if constexpr (O == Op::SUB || O == Op::SBB || O == Op::CMP) {
        const T difference = static_cast<T>(a - b - static_cast<T>(O == Op::SBB && carry ? 1 : 0));
        flags = LazyFlags::sub<T>(a, b, difference);
        return difference;
    } else {
        const T result = O == Op::OR    ? static_cast<T>(a | b)
                         : O == Op::XOR ? static_cast<T>(a ^ b)
                                        : static_cast<T>(a & b);
        flags = LazyFlags::logic<T>(result);
        return result;
    }
}

template <Op O>
inline bool carry_in(const Vcpu& cpu) {
    if constexpr (O == Op::ADC || O == Op::SBB) {
        return cpu.state.flags.cf();
    } else {
        return false;
    }
}

template <Op O>
inline constexpr bool kOnlyFlags = O == Op::CMP || O == Op::TEST;

// E := E op `source`, or only the flags of it.
template <typename Handler, Op O, typename T, Place P>
inline Status alu_to_e(Vcpu& cpu, const Insn& insn, T source) {
    const bool carry = carry_in<O>(cpu);
    LazyFlags flags;
    if constexpr (kOnlyFlags<O>) {
        T dest = 0;
        if (const Status status = load_operand<T, P>(cpu, insn, dest); status != Status::Next)
            [[unlikely]] {
            return give_up<Handler, T, P>(cpu, insn, status);
        }
        alu<O, T>(dest, source, carry, flags);
    } else {
        const Status status = modify_operand<T, P>(
            cpu, insn, [&](T dest) { return alu<O, T>(dest, source, carry, flags); });
        if (status != Status::Next) [[unlikely]] {
            return give_up<Handler, T, P>(cpu, insn, status);
        }
    }
    cpu.state.flags = flags;
    return Status::Next;
}

template <Op O>
struct AluEG {
    template <typename T, Place P>
    static Status exec(Vcpu& cpu, const Insn& insn) {
        return alu_to_e<AluEG, O, T, P>(cpu, insn, read_gpr<T>(cpu, insn.reg));
    }
};

template <Op O>
struct AluEI {
    template <typename T, Place P>
    static Status exec(Vcpu& cpu, const Insn& insn) {
        return alu_to_e<AluEI, O, T, P>(cpu, insn, static_cast<T>(insn.imm));
    }
};

template <Op O>
struct AluGE {
    template <typename T, Place P>
    static Status exec(Vcpu& cpu, const Insn& insn) {
        T source = 0;
        if (const Status status = load_operand<T, P>(cpu, insn, source); status != Status::Next)
            [[unlikely]] {
            return give_up<AluGE, T, P>(cpu, insn, status);
        }
        LazyFlags flags;
        const T result = alu<O, T>(read_gpr<T>(cpu, insn.reg), source, carry_in<O>(cpu), flags);
        if constexpr (!kOnlyFlags<O>) {
            write_gpr<T>(cpu, insn.reg, result);
        }
        cpu.state.flags = flags;
        return Status::Next;
    }
};

// XOR r, r and SUB r, r of 32 or 64 bits: the idiom that clears a register.
Status exec_clear_register(Vcpu& cpu, const Insn& insn) {
    cpu.state.gpr[insn.rm] = 0;
    cpu.state.flags = LazyFlags{0, 0};
    return Status::Next;
}

template <Op O>
ExecFn select_alu(Vcpu& cpu, Insn& insn) {
    if constexpr (O == Op::XOR || O == Op::SUB) {
        if (insn.form != Form::EI && !insn.mem() && insn.width >= 4 && insn.reg == insn.rm) {
            return exec_clear_register;
        }
    }
    switch (insn.form) {
    case Form::EG: return by_width_and_place<AluEG<O>>(cpu, insn, insn.width);
    case Form::EI: return by_width_and_place<AluEI<O>>(cpu, insn, insn.width);
    case Form::GE: return by_width_and_place<AluGE<O>>(cpu, insn, insn.width);
    default: return exec_undefined;
    }
}

// INC, DEC: "The CF flag is not affected. The OF, SF, ZF, AF, and PF flags are set according to the
// result."
template <Op O>
struct Step {
    static constexpr Op kAlu = O == Op::INC ? Op::ADD : Op::SUB;
    template <typename T, Place P>
    static Status exec(Vcpu& cpu, const Insn& insn) {
        LazyFlags flags;
        const Status status = modify_operand<T, P>(
            cpu, insn, [&](T dest) { return alu<kAlu, T>(dest, T{1}, false, flags); });
        if (status != Status::Next) [[unlikely]] {
            return give_up<Step, T, P>(cpu, insn, status);
        }
        // Replacing CF without changing OF: bit 63 becomes the old CF, bit 62 follows it.
        const u64 overflow = (flags.carries ^ (flags.carries << 1)) & bit(63);
        const u64 carry = cpu.state.flags.carries & bit(63);
        flags.carries = (flags.carries & ~(bit(63) | bit(62))) | carry | ((carry ^ overflow) >> 1);
        cpu.state.flags = flags;
        return Status::Next;
    }
};

// NEG: DEST := 0 - DEST.
struct Neg {
    template <typename T, Place P>
    static Status exec(Vcpu& cpu, const Insn& insn) {
        LazyFlags flags;
        const Status status = modify_operand<T, P>(
            cpu, insn, [&](T dest) { return alu<Op::SUB, T>(T{0}, dest, false, flags); });
        if (status != Status::Next) [[unlikely]] {
            return give_up<Neg, T, P>(cpu, insn, status);
        }
        cpu.state.flags = flags;
        return Status::Next;
    }
};

// NOT: DEST := NOT DEST. No flags.
struct Not {
    template <typename T, Place P>
    static Status exec(Vcpu& cpu, const Insn& insn) {
        const Status status =
            modify_operand<T, P>(cpu, insn, [](T dest) { return static_cast<T>(~dest); });
        return status == Status::Next ? status : give_up<Not, T, P>(cpu, insn, status);
    }
};

template <typename Handler>
ExecFn select_unary(Vcpu& cpu, Insn& insn) {
    return by_width_and_place<Handler>(cpu, insn, insn.width);
}

// CBW/CWDE/CDQE: rAX := sign-extension of its lower half.
struct Cbw {
    template <typename T>
    static Status exec(Vcpu& cpu, const Insn& /*insn*/) {
        write_gpr<T>(cpu, RAX, static_cast<T>(sign_extend(cpu.state.gpr[RAX], kBitsOf<T> / 2)));
        return Status::Next;
    }
};

// CWD/CDQ/CQO: every bit of rDX := sign of rAX.
struct Cwd {
    template <typename T>
    static Status exec(Vcpu& cpu, const Insn& /*insn*/) {
        const u64 sign = sign_extend(cpu.state.gpr[RAX] >> (kBitsOf<T> - 1), 1);
        write_gpr<T>(cpu, RDX, static_cast<T>(sign));
        return Status::Next;
    }
};

template <typename Handler>
ExecFn select_by_opsize(Vcpu& /*cpu*/, Insn& insn) {
    return by_word_width<Handler>(insn.opsize);
}

// ADCX: DEST := DEST + SRC + CF, carry to CF only. ADOX: the same with OF.
template <Op O>
struct AddWithOneFlag {
    template <typename T>
    static Status exec(Vcpu& cpu, const Insn& insn) {
        T source = 0;
        if (const Status status = read_e<T>(cpu, insn, source); status != Status::Next) {
            return status;
        }
        LazyFlags& flags = cpu.state.flags;
        const T dest = read_gpr<T>(cpu, insn.reg);
        const bool carry = O == Op::ADCX ? flags.cf() : flags.of();
        const u128 sum = static_cast<u128>(dest) + source + (carry ? 1U : 0U);
        const bool carry_out = (sum >> kBitsOf<T>) != 0;
        write_gpr<T>(cpu, insn.reg, static_cast<T>(sum));
        if constexpr (O == Op::ADCX) {
            flags.set_carry(carry_out);
        } else {
            flags.set_carry_overflow(flags.cf(), carry_out);
        }
        return Status::Next;
    }
};

template <typename Handler>
ExecFn select_word_width(Vcpu& /*cpu*/, Insn& insn) {
    return by_word_width<Handler>(insn.width);
}

// CRC32: the remainder modulo 11EDC6F41H, bits reflected; one table lookup a byte.
constexpr auto kCrc32cTable = [] {
    constexpr u32 kReflectedPolynomial = 0x82F6'3B78;
    std::array<u32, 256> table{};
    for (u32 byte = 0; byte < 256; ++byte) {
        u32 remainder = byte;
        for (int i = 0; i < 8; ++i) {
            remainder = (remainder >> 1) ^ ((remainder & 1) != 0 ? kReflectedPolynomial : 0);
        }
        table[byte] = remainder;
    }
    return table;
}();

struct Crc32 {
    template <typename T>
    static Status exec(Vcpu& cpu, const Insn& insn) {
        T source = 0;
        if (const Status status = read_e<T>(cpu, insn, source); status != Status::Next) {
            return status;
        }
        auto remainder = static_cast<u32>(cpu.state.gpr[insn.reg]);
        u64 data = source;
        for (unsigned i = 0; i < sizeof(T); ++i) {
            remainder = (remainder >> 8) ^ kCrc32cTable[(remainder ^ data) & 0xFF];
            data >>= 8;
        }
        cpu.state.gpr[insn.reg] = remainder;  // bits 63:32 are cleared whatever the operand size
        return Status::Next;
    }
};

// F0: byte source; F1: source of the operand size.
ExecFn select_crc32(Vcpu& /*cpu*/, Insn& insn) {
    return by_width<Crc32>((insn.opcode & 1) == 0 ? 1 : insn.opsize);
}

constexpr auto kRows = std::to_array<ExecRow>({
    {Op::ADD, select_alu<Op::ADD>},
    {Op::OR, select_alu<Op::OR>},
    {Op::ADC, select_alu<Op::ADC>},
    {Op::SBB, select_alu<Op::SBB>},
    {Op::AND, select_alu<Op::AND>},
    {Op::SUB, select_alu<Op::SUB>},
    {Op::XOR, select_alu<Op::XOR>},
    {Op::CMP, select_alu<Op::CMP>},
    {Op::TEST, select_alu<Op::TEST>},
    {Op::NOT, select_unary<Not>},
    {Op::NEG, select_unary<Neg>},
    {Op::INC, select_unary<Step<Op::INC>>},
    {Op::DEC, select_unary<Step<Op::DEC>>},
    {Op::CBW, select_by_opsize<Cbw>},
    {Op::CWD, select_by_opsize<Cwd>},
    {Op::ADCX, select_word_width<AddWithOneFlag<Op::ADCX>>},
    {Op::ADOX, select_word_width<AddWithOneFlag<Op::ADOX>>},
    {Op::CRC32, select_crc32},
});

}  // namespace

std::span<const ExecRow> exec_rows_arith() {
    return kRows;
}

}  // namespace droste
