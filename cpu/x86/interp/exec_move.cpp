// Data movement: MOV, MOVZX, MOVSX, MOVSXD, MOVNTI, LEA, XCHG, XADD, CMPXCHG, CMPXCHG8B,
// CMPXCHG16B, XLAT. SDM Vol. 2, the pages of that name.

#include "cpu/x86/exec/exec_table.hpp"
#include "cpu/x86/exec/operands.hpp"

#include <type_traits>

namespace droste {
namespace {

struct MovEG {
    template <typename T, Place P>
    static Status exec(Vcpu& cpu, const Insn& insn) {
        const Status status = store_operand<T, P>(cpu, insn, read_gpr<T>(cpu, insn.reg));
        return status == Status::Next ? status : give_up<MovEG, T, P>(cpu, insn, status);
    }
};

struct MovGE {
    template <typename T, Place P>
    static Status exec(Vcpu& cpu, const Insn& insn) {
        T value = 0;
        if (const Status status = load_operand<T, P>(cpu, insn, value); status != Status::Next)
            [[unlikely]] {
            return give_up<MovGE, T, P>(cpu, insn, status);
        }
        write_gpr<T>(cpu, insn.reg, value);
        return Status::Next;
    }
};

struct MovEI {
    template <typename T, Place P>
    static Status exec(Vcpu& cpu, const Insn& insn) {
        const Status status = store_operand<T, P>(cpu, insn, static_cast<T>(insn.imm));
        return status == Status::Next ? status : give_up<MovEI, T, P>(cpu, insn, status);
    }
};

ExecFn select_mov(Vcpu& cpu, Insn& insn) {
    switch (insn.form) {
    case Form::EG: return by_width_and_place<MovEG>(cpu, insn, insn.width);
    case Form::GE: return by_width_and_place<MovGE>(cpu, insn, insn.width);
    case Form::EI: return by_width_and_place<MovEI>(cpu, insn, insn.width);
    default: return exec_undefined;
    }
}

// MOVNTI: a store; the non-temporal hint has no meaning here.
ExecFn select_movnti(Vcpu& cpu, Insn& insn) {
    return by_word_width_and_place<MovEG>(cpu, insn, insn.width);
}

// MOVZX, MOVSX, MOVSXD from T to To.
template <typename To, bool kSigned>
struct Extend {
    template <typename T, Place P>
    static Status exec(Vcpu& cpu, const Insn& insn) {
        T value = 0;
        if (const Status status = load_operand<T, P>(cpu, insn, value); status != Status::Next)
            [[unlikely]] {
            return give_up<Extend, T, P>(cpu, insn, status);
        }
        if constexpr (kSigned) {
            write_gpr<To>(cpu, insn.reg,
                          static_cast<To>(static_cast<std::make_signed_t<T>>(value)));
        } else {
            write_gpr<To>(cpu, insn.reg, static_cast<To>(value));
        }
        return Status::Next;
    }
};

// B6, BE: byte source; B7, BF: word source. The destination has the operand size.
template <bool kSigned>
ExecFn select_extend(Vcpu& cpu, Insn& insn) {
    const bool from_byte = (insn.opcode & 1) == 0;
    switch (insn.opsize) {
    case 2:
        return from_byte ? by_place<Extend<u16, kSigned>, u8>(cpu, insn)
                         : by_place<Extend<u16, kSigned>, u16>(cpu, insn);
    case 4:
        return from_byte ? by_place<Extend<u32, kSigned>, u8>(cpu, insn)
                         : by_place<Extend<u32, kSigned>, u16>(cpu, insn);
    default:
        return from_byte ? by_place<Extend<u64, kSigned>, u8>(cpu, insn)
                         : by_place<Extend<u64, kSigned>, u16>(cpu, insn);
    }
}

// MOVSXD: only REX.W extends; without it this is a plain 16- or 32-bit move.
ExecFn select_movsxd(Vcpu& cpu, Insn& insn) {
    switch (insn.opsize) {
    case 2: return by_place<MovGE, u16>(cpu, insn);
    case 4: return by_place<MovGE, u32>(cpu, insn);
    default: return by_place<Extend<u64, true>, u32>(cpu, insn);
    }
}

// LEA: the effective address, truncated to the address size, then to the operand size.
struct Lea {
    template <typename T>
    static Status exec(Vcpu& cpu, const Insn& insn) {
        write_gpr<T>(cpu, insn.reg, static_cast<T>(effective_offset(cpu, insn)));
        return Status::Next;
    }
};
// With a 64-bit address size there is nothing to truncate first, and often no index.
template <bool kIndex>
struct Lea64 {
    template <typename T>
    static Status exec(Vcpu& cpu, const Insn& insn) {
        const u64 offset = kIndex ? flat_linear(cpu, insn)
                                  : cpu.state.gpr[insn.base] + static_cast<u64>(insn.disp);
        write_gpr<T>(cpu, insn.reg, static_cast<T>(offset));
        return Status::Next;
    }
};

ExecFn select_lea(Vcpu& /*cpu*/, Insn& insn) {
    if (!insn.mem()) {
        return exec_undefined;
    }
    if (insn.addrsize != 8) {
        return by_word_width<Lea>(insn.opsize);
    }
    return insn.index == kZeroSlot ? by_word_width<Lea64<false>>(insn.opsize)
                                   : by_word_width<Lea64<true>>(insn.opsize);
}

// The read-modify-write of an instruction that locks whether or not LOCK is there.
template <typename T, typename Compute>
inline Status modify_memory_locked(Vcpu& cpu, const Insn& insn, Compute&& compute) {
    LinearAddr linear = 0;
    const auto seg = static_cast<SegReg>(insn.seg);
    if (const Status status =
            linear_address(cpu, seg, effective_offset(cpu, insn), sizeof(T), true, linear);
        status != Status::Next) {
        return status;
    }
    return modify_linear<T>(cpu, linear, seg, true, compute);
}

// XCHG: "If a memory operand is referenced, the processor's locking protocol is automatically
// implemented."
struct Xchg {
    template <typename T>
    static Status exec(Vcpu& cpu, const Insn& insn) {
        const T source = read_gpr<T>(cpu, insn.reg);
        T old = 0;
        if (insn.mem()) {
            const Status status = modify_memory_locked<T>(cpu, insn, [&](T dest) {
                old = dest;
                return source;
            });
            if (status != Status::Next) {
                return status;
            }
        } else {
            old = read_gpr<T>(cpu, insn.rm);
            write_gpr<T>(cpu, insn.rm, source);
        }
        write_gpr<T>(cpu, insn.reg, old);
        return Status::Next;
    }
};

// XADD: TEMP := SRC + DEST; SRC := DEST; DEST := TEMP.
struct Xadd {
    template <typename T>
    static Status exec(Vcpu& cpu, const Insn& insn) {
        const T source = read_gpr<T>(cpu, insn.reg);
        T old = 0;
        if (insn.mem()) {
            const Status status = modify_memory<T>(cpu, insn, [&](T dest) {
                old = dest;
                return static_cast<T>(dest + source);
            });
            if (status != Status::Next) {
                return status;
            }
            write_gpr<T>(cpu, insn.reg, old);
        } else {
            old = read_gpr<T>(cpu, insn.rm);
            write_gpr<T>(cpu, insn.reg, old);
            write_gpr<T>(cpu, insn.rm, static_cast<T>(old + source));
        }
        cpu.state.flags = LazyFlags::add<T>(old, source, static_cast<T>(old + source));
        return Status::Next;
    }
};

// CMPXCHG: accumulator = DEST: DEST := SRC. ELSE accumulator := DEST. A memory operand is written
// in both cases ("the destination operand receives a write cycle without regard to the result of
// the comparison"); a register only in the first.
struct Cmpxchg {
    template <typename T>
    static Status exec(Vcpu& cpu, const Insn& insn) {
        const T expected = read_gpr<T>(cpu, RAX);
        const T source = read_gpr<T>(cpu, insn.reg);
        T old = 0;
        if (insn.mem()) {
            const Status status = modify_memory<T>(cpu, insn, [&](T dest) {
                old = dest;
                return dest == expected ? source : dest;
            });
            if (status != Status::Next) {
                return status;
            }
        } else {
            old = read_gpr<T>(cpu, insn.rm);
            if (old == expected) {
                write_gpr<T>(cpu, insn.rm, source);
            }
        }
        if (old != expected) {
            write_gpr<T>(cpu, RAX, old);
        }
        cpu.state.flags = LazyFlags::sub<T>(expected, old, static_cast<T>(expected - old));
        return Status::Next;
    }
};

inline void set_zero_flag(LazyFlags& flags, bool zero) {
    flags = LazyFlags::from_status((flags.status() & ~rflags::kZf) | (zero ? rflags::kZf : 0));
}

// CMPXCHG8B: EDX:EAX = m64: ZF := 1, m64 := ECX:EBX. ELSE ZF := 0, EDX:EAX := m64. Other flags
// stay.
Status exec_cmpxchg8b(Vcpu& cpu, const Insn& insn) {
    const auto pair = [&cpu](Gpr high, Gpr low) {
        return (cpu.state.gpr[high] << 32) | static_cast<u32>(cpu.state.gpr[low]);
    };
    const u64 expected = pair(RDX, RAX);
    const u64 source = pair(RCX, RBX);
    u64 old = 0;
    const Status status = modify_memory<u64>(cpu, insn, [&](u64 dest) {
        old = dest;
        return dest == expected ? source : dest;
    });
    if (status != Status::Next) {
        return status;
    }
    if (old != expected) {
        write_gpr<u32>(cpu, RAX, static_cast<u32>(old));
        write_gpr<u32>(cpu, RDX, static_cast<u32>(old >> 32));
    }
    set_zero_flag(cpu.state.flags, old == expected);
    return Status::Next;
}

struct Pair {
    u64 low;
    u64 high;
    bool operator==(const Pair&) const = default;
};

// One native LOCK CMPXCHG16B: yields what memory held; `expected` there means it now holds
// `desired`.
inline Pair compare_exchange_pair(void* cell, Pair expected, const Pair& desired) {
    asm volatile("lock cmpxchg16b %[cell]"
                 : [cell] "+m"(*static_cast<u128*>(cell)), "+a"(expected.low), "+d"(expected.high)
                 : "b"(desired.low), "c"(desired.high)
                 : "cc", "memory");
    return expected;
}

// CMPXCHG16B: the same with RDX:RAX, RCX:RBX and m128, which must be 16-byte aligned (#GP(0)).
Status exec_cmpxchg16b(Vcpu& cpu, const Insn& insn) {
    const auto seg = static_cast<SegReg>(insn.seg);
    LinearAddr linear = 0;
    Status status =
        linear_address(cpu, seg, effective_offset(cpu, insn), sizeof(Pair), true, linear);
    if (status != Status::Next) {
        return status;
    }
    if (linear % sizeof(Pair) != 0) {
        return raise(cpu, Exception::GP, 0);
    }
    const Pair expected{cpu.state.gpr[RAX], cpu.state.gpr[RDX]};
    const Pair desired{cpu.state.gpr[RBX], cpu.state.gpr[RCX]};
    Pair old{};
    if (const DataTlb& tlb = *cpu.mode.data_tlb; tlb.hits_write(linear, sizeof(Pair))) {
        old = compare_exchange_pair(tlb.native(linear), expected, desired);
    } else {
        if (insn.lock()) {
            stop_other_vcpus(cpu);
        }
        status = probe_store(cpu, linear, sizeof(Pair), seg);
        if (status != Status::Next) {
            return status;
        }
        status = load_slow(cpu, linear, &old, sizeof(Pair), seg);
        if (status != Status::Next) {
            return status;
        }
        status = store_slow(cpu, linear, old == expected ? &desired : &old, sizeof(Pair), seg);
        if (status != Status::Next) {
            return status;
        }
    }
    if (old != expected) {
        cpu.state.gpr[RAX] = old.low;
        cpu.state.gpr[RDX] = old.high;
    }
    set_zero_flag(cpu.state.flags, old == expected);
    return Status::Next;
}

// XLAT: AL := [seg:rBX + ZeroExtend(AL)].
Status exec_xlat(Vcpu& cpu, const Insn& insn) {
    const u64 offset = (cpu.state.gpr[RBX] + read_gpr<u8>(cpu, RAX)) & size_mask(insn.addrsize);
    const auto seg = static_cast<SegReg>(insn.seg);
    LinearAddr linear = 0;
    Status status = linear_address(cpu, seg, offset, 1, false, linear);
    if (status != Status::Next) {
        return status;
    }
    u8 value = 0;
    status = load_linear(cpu, linear, value, seg);
    if (status != Status::Next) {
        return status;
    }
    write_gpr<u8>(cpu, RAX, value);
    return Status::Next;
}

template <typename Handler>
ExecFn select_width(Vcpu& /*cpu*/, Insn& insn) {
    return by_width<Handler>(insn.width);
}

constexpr auto kRows = std::to_array<ExecRow>({
    {Op::MOV, select_mov},
    {Op::MOVZX, select_extend<false>},
    {Op::MOVSX, select_extend<true>},
    {Op::MOVSXD, select_movsxd},
    {Op::MOVNTI, select_movnti},
    {Op::LEA, select_lea},
    {Op::XCHG, select_width<Xchg>},
    {Op::XADD, select_width<Xadd>},
    {Op::CMPXCHG, select_width<Cmpxchg>},
    {Op::CMPXCHG8B, always<exec_cmpxchg8b>},
    {Op::CMPXCHG16B, always<exec_cmpxchg16b>},
    {Op::XLAT, always<exec_xlat>},
});

}  // namespace

std::span<const ExecRow> exec_rows_move() {
    return kRows;
}

}  // namespace droste
