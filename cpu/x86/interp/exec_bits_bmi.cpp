// BMI1 and BMI2: ANDN, BEXTR, BLSI, BLSMSK, BLSR, BZHI, PDEP, PEXT, RORX, SARX, SHLX, SHRX.
// SDM Vol. 2, the pages of that name. All are VEX-encoded, with 32-bit or 64-bit operands (VEX.W).
//
// Undefined, as on Zen 4 (docs/x86/undefined.md): PF from the result, AF clear (set by BEXTR), SF
// of BEXTR clear.

#include "cpu/x86/exec/exec_table.hpp"
#include "cpu/x86/exec/operands.hpp"

#include <bit>

namespace droste {
namespace {

// What one instruction computes from the E operand and, where there is one, the B operand
// (VEX.vvvv) or imm8.
template <typename T>
struct Andn {
    static T compute(T e, T b, LazyFlags& flags) {
        const T result = static_cast<T>(~b & e);
        flags = LazyFlags::logic<T>(result);
        return result;
    }
};

// DEST := SRC1[start + length - 1 : start]; B holds start in bits 7:0, length in bits 15:8.
template <typename T>
struct Bextr {
    static T compute(T e, T b, LazyFlags& flags) {
        const auto start = static_cast<unsigned>(b & 0xFF);
        const auto length = static_cast<unsigned>((b >> 8) & 0xFF);
        T result = start < kBitsOf<T> ? static_cast<T>(e >> start) : T{0};
        if (length < kBitsOf<T>) {
            result &= static_cast<T>((T{1} << length) - 1);
        }
        flags = LazyFlags::logic<T>(result);
        flags.carries |= bit(3) | (flags.sf() ? LazyFlags::kSignFlip : 0);
        return result;
    }
};

// DEST := SRC with the bits from position INDEX upward cleared; CF := INDEX > OperandSize - 1.
template <typename T>
struct Bzhi {
    static T compute(T e, T b, LazyFlags& flags) {
        const auto index = static_cast<unsigned>(b & 0xFF);
        const T result = index < kBitsOf<T> ? static_cast<T>(e & ((T{1} << index) - 1)) : e;
        flags = LazyFlags::logic<T>(result);
        flags.set_carry_overflow(index >= kBitsOf<T>, false);
        return result;
    }
};

// Isolates the lowest set bit; CF := source is not 0.
template <typename T>
struct Blsi {
    static T compute(T e, T /*b*/, LazyFlags& flags) {
        const T result = static_cast<T>(e & (T{0} - e));
        flags = LazyFlags::logic<T>(result);
        flags.set_carry_overflow(e != 0, false);
        return result;
    }
};

// Mask up to and including the lowest set bit; CF := source is 0.
template <typename T>
struct Blsmsk {
    static T compute(T e, T /*b*/, LazyFlags& flags) {
        const T result = static_cast<T>(e ^ (e - 1));
        flags = LazyFlags::logic<T>(result);
        flags.set_carry_overflow(e == 0, false);
        return result;
    }
};

// Resets the lowest set bit; CF := source is 0.
template <typename T>
struct Blsr {
    static T compute(T e, T /*b*/, LazyFlags& flags) {
        const T result = static_cast<T>(e & (e - 1));
        flags = LazyFlags::logic<T>(result);
        flags.set_carry_overflow(e == 0, false);
        return result;
    }
};

// Deposits the low bits of B at the positions set in the mask E.
template <typename T>
struct Pdep {
    static T compute(T e, T b, LazyFlags& /*flags*/) {
        T result = 0;
        for (T mask = e; mask != 0; mask &= static_cast<T>(mask - 1)) {
            if ((b & 1) != 0) {
                result |= static_cast<T>(mask & (T{0} - mask));
            }
            b >>= 1;
        }
        return result;
    }
};

// Gathers the bits of B at the positions set in the mask E into the low bits.
template <typename T>
struct Pext {
    static T compute(T e, T b, LazyFlags& /*flags*/) {
        T result = 0;
        T next = 1;
        for (T mask = e; mask != 0; mask &= static_cast<T>(mask - 1)) {
            if ((b & mask & (T{0} - mask)) != 0) {
                result |= next;
            }
            next = static_cast<T>(next << 1);
        }
        return result;
    }
};

// Shifts without flags; the count is masked to the operand size.
template <typename T>
struct Shlx {
    static T compute(T e, T b, LazyFlags& /*flags*/) {
        return static_cast<T>(e << (b % kBitsOf<T>));
    }
};
template <typename T>
struct Shrx {
    static T compute(T e, T b, LazyFlags& /*flags*/) {
        return static_cast<T>(e >> (b % kBitsOf<T>));
    }
};
template <typename T>
struct Sarx {
    static T compute(T e, T b, LazyFlags& /*flags*/) {
        return static_cast<T>(static_cast<i64>(sign_extend(e, kBitsOf<T>)) >> (b % kBitsOf<T>));
    }
};
template <typename T>
struct Rorx {
    static T compute(T e, T b, LazyFlags& /*flags*/) {
        return std::rotr(e, static_cast<int>(b % kBitsOf<T>));
    }
};

enum class Second : u8 { Vvvv, Immediate };
enum class Dest : u8 { Reg, Vvvv };

template <template <typename> class Compute, Second kSecond, Dest kDest, typename T>
Status exec_bmi(Vcpu& cpu, const Insn& insn) {
    T e = 0;
    if (const Status status = read_e<T>(cpu, insn, e); status != Status::Next) {
        return status;
    }
    const T second =
        kSecond == Second::Immediate ? static_cast<T>(insn.imm) : read_gpr<T>(cpu, insn.vvvv);
    const T result = Compute<T>::compute(e, second, cpu.state.flags);
    write_gpr<T>(cpu, kDest == Dest::Reg ? insn.reg : insn.vvvv, result);
    return Status::Next;
}

template <template <typename> class Compute, Second kSecond = Second::Vvvv, Dest kDest = Dest::Reg>
ExecFn select_bmi(Vcpu& /*cpu*/, Insn& insn) {
    return insn.width == 8 ? &exec_bmi<Compute, kSecond, kDest, u64>
                           : &exec_bmi<Compute, kSecond, kDest, u32>;
}

constexpr auto kRows = std::to_array<ExecRow>({
    {Op::ANDN, select_bmi<Andn>},
    {Op::BEXTR, select_bmi<Bextr>},
    {Op::BLSI, select_bmi<Blsi, Second::Vvvv, Dest::Vvvv>},
    {Op::BLSMSK, select_bmi<Blsmsk, Second::Vvvv, Dest::Vvvv>},
    {Op::BLSR, select_bmi<Blsr, Second::Vvvv, Dest::Vvvv>},
    {Op::BZHI, select_bmi<Bzhi>},
    {Op::PDEP, select_bmi<Pdep>},
    {Op::PEXT, select_bmi<Pext>},
    {Op::RORX, select_bmi<Rorx, Second::Immediate>},
    {Op::SARX, select_bmi<Sarx>},
    {Op::SHLX, select_bmi<Shlx>},
    {Op::SHRX, select_bmi<Shrx>},
});

}  // namespace

std::span<const ExecRow> exec_rows_bmi() {
    return kRows;
}

}  // namespace droste
