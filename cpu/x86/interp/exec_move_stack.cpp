// The stack: PUSH, POP, PUSHA, POPA, PUSH and POP of segment registers, ENTER, LEAVE.
// SDM Vol. 2, the pages of that name. PUSHF and POPF are in exec_flags.cpp.
//
// Operand size 8 exists only in 64-bit mode, so it picks the variants without segment checks.

#include "cpu/x86/exec/exec_table.hpp"
#include "cpu/x86/exec/operands.hpp"
#include "cpu/x86/system/segment.hpp"

#include <array>

namespace droste {

Status push_slow64(Vcpu& cpu, u64 value) {
    return push<u64>(cpu, value);
}

namespace {

// --- PUSH ---------------------------------------------------------------------------------------

Status exec_push64_register(Vcpu& cpu, const Insn& insn) {
    return push64(cpu, cpu.state.gpr[insn.rm]);  // PUSH RSP pushes the value before the instruction
}
Status exec_push64_immediate(Vcpu& cpu, const Insn& insn) {
    return push64(cpu, insn.imm);
}

// A memory operand based on rSP is addressed with rSP before the push.
struct PushE {
    template <typename T>
    static Status exec(Vcpu& cpu, const Insn& insn) {
        T value = 0;
        if (const Status status = read_e<T>(cpu, insn, value); status != Status::Next) {
            return status;
        }
        return push<T>(cpu, value);
    }
};
struct PushI {
    template <typename T>
    static Status exec(Vcpu& cpu, const Insn& insn) {
        return push<T>(cpu, static_cast<T>(insn.imm));
    }
};

ExecFn select_push(Vcpu& /*cpu*/, Insn& insn) {
    if (insn.form == Form::I) {
        return insn.opsize == 8 ? exec_push64_immediate : by_word_width<PushI>(insn.opsize);
    }
    return insn.opsize == 8 && !insn.mem() ? exec_push64_register
                                           : by_word_width<PushE>(insn.opsize);
}

// --- POP ----------------------------------------------------------------------------------------

template <typename T>
inline Status pop_register(Vcpu& cpu, unsigned number) {
    T value = 0;
    if (const Status status = peek<T>(cpu, value); status != Status::Next) {
        return status;
    }
    release_stack(cpu, sizeof(T));
    write_gpr<T>(cpu, number, value);  // after the release: POP rSP ends with the value popped
    return Status::Next;
}
Status pop_slow64(Vcpu& cpu, unsigned number) {
    return pop_register<u64>(cpu, number);
}

Status exec_pop64_register(Vcpu& cpu, const Insn& insn) {
    u64 value = 0;
    if (!peek64(cpu, value)) [[unlikely]] {
        return pop_slow64(cpu, insn.rm);
    }
    cpu.state.gpr[RSP] += sizeof(u64);
    cpu.state.gpr[insn.rm] = value;
    return Status::Next;
}

// "If the ESP register is used as a base register for addressing a destination operand in memory,
// the POP instruction computes the effective address of the operand after it increments the ESP
// register."
struct PopE {
    template <typename T>
    static Status exec(Vcpu& cpu, const Insn& insn) {
        if (!insn.mem()) {
            return pop_register<T>(cpu, insn.rm);
        }
        T value = 0;
        if (const Status status = peek<T>(cpu, value); status != Status::Next) {
            return status;
        }
        const u64 rsp = cpu.state.gpr[RSP];
        release_stack(cpu, sizeof(T));
        const Status status = store<T>(cpu, insn, value);
        if (status != Status::Next) {
            cpu.state.gpr[RSP] = rsp;
        }
        return status;
    }
};

ExecFn select_pop(Vcpu& /*cpu*/, Insn& insn) {
    return insn.opsize == 8 && !insn.mem() ? exec_pop64_register : by_word_width<PopE>(insn.opsize);
}

// --- all registers ------------------------------------------------------------------------------

// PUSHA: eAX eCX eDX eBX, eSP as it was, eBP eSI eDI.
struct PushAll {
    template <typename T>
    static Status exec(Vcpu& cpu, const Insn& /*insn*/) {
        const u64 rsp = cpu.state.gpr[RSP];
        for (unsigned number = RAX; number <= RDI; ++number) {
            const u64 offset = stack_offset(cpu, rsp - (number + 1) * sizeof(T));
            LinearAddr linear = 0;
            Status status = linear_address(cpu, SS, offset, sizeof(T), true, linear);
            if (status == Status::Next) {
                status = store_linear(cpu, linear, read_gpr<T>(cpu, number), SS);
            }
            if (status != Status::Next) {
                return status;
            }
        }
        cpu.state.gpr[RSP] = with_stack_offset(cpu, rsp, rsp - 8 * sizeof(T));
        return Status::Next;
    }
};

// POPA: in the opposite order; the value for eSP is skipped.
struct PopAll {
    template <typename T>
    static Status exec(Vcpu& cpu, const Insn& /*insn*/) {
        std::array<T, 8> values{};
        for (unsigned number = RAX; number <= RDI; ++number) {
            if (number == RSP) {
                continue;
            }
            if (const Status status = peek<T>(cpu, values[number], (RDI - number) * sizeof(T));
                status != Status::Next) {
                return status;
            }
        }
        for (unsigned number = RAX; number <= RDI; ++number) {
            if (number != RSP) {
                write_gpr<T>(cpu, number, values[number]);
            }
        }
        release_stack(cpu, 8 * sizeof(T));
        return Status::Next;
    }
};

template <typename Handler>
ExecFn select_by_opsize(Vcpu& /*cpu*/, Insn& insn) {
    return by_word_width<Handler>(insn.opsize);
}

// --- segment registers --------------------------------------------------------------------------

// The selector is pushed zero-extended to the operand size.
struct PushSreg {
    template <typename T>
    static Status exec(Vcpu& cpu, const Insn& insn) {
        return push<T>(cpu, static_cast<T>(cpu.state.seg[insn.reg].selector));
    }
};

// POP SS inhibits interrupts and debug exceptions until after the next instruction; the stack
// pointer is incremented with the stack-address size in force before.
struct PopSreg {
    template <typename T>
    static Status exec(Vcpu& cpu, const Insn& insn) {
        T value = 0;
        if (const Status status = peek<T>(cpu, value); status != Status::Next) {
            return status;
        }
        const u64 rsp = cpu.state.gpr[RSP];
        const u64 after = with_stack_offset(cpu, rsp, rsp + sizeof(T));
        const auto reg = static_cast<SegReg>(insn.reg);
        if (const Status status = load_segment(cpu, reg, static_cast<u16>(value));
            status != Status::Next) {
            return status;
        }
        cpu.state.gpr[RSP] = after;
        if (reg == SS) {
            cpu.state.interruptibility |= blocking::kMovSs;
            update_attention(cpu);
        }
        return Status::Sync;
    }
};

// --- stack frames -------------------------------------------------------------------------------

// Pushes `value` at `rsp`, a local copy of RSP.
template <typename T>
inline Status push_at(Vcpu& cpu, u64& rsp, T value) {
    const u64 offset = stack_offset(cpu, rsp - sizeof(T));
    LinearAddr linear = 0;
    Status status = linear_address(cpu, SS, offset, sizeof(T), true, linear);
    if (status == Status::Next) {
        status = store_linear(cpu, linear, value, SS);
    }
    if (status == Status::Next) {
        rsp = with_stack_offset(cpu, rsp, offset);
    }
    return status;
}

// ENTER: Push(rBP); FrameTemp := rSP; copies `level` - 1 frame pointers from below rBP and pushes
// FrameTemp if level > 0; rBP := FrameTemp; rSP := rSP - AllocSize. "The ENTER instruction causes a
// page fault whenever a write using the final value of the stack pointer (within the current stack
// segment) would do so."
struct Enter {
    template <typename T>
    static Status exec(Vcpu& cpu, const Insn& insn) {
        const auto allocate = static_cast<u16>(insn.imm);
        const unsigned level = insn.imm2 % 32;
        u64 rsp = cpu.state.gpr[RSP];
        u64 display = cpu.state.gpr[RBP];
        if (const Status status = push_at<T>(cpu, rsp, read_gpr<T>(cpu, RBP));
            status != Status::Next) {
            return status;
        }
        const T frame = static_cast<T>(rsp);
        for (unsigned i = 1; i < level; ++i) {
            display -= sizeof(T);
            T pointer = 0;
            LinearAddr linear = 0;
            Status status =
                linear_address(cpu, SS, stack_offset(cpu, display), sizeof(T), false, linear);
            if (status == Status::Next) {
                status = load_linear(cpu, linear, pointer, SS);
            }
            if (status == Status::Next) {
                status = push_at<T>(cpu, rsp, pointer);
            }
            if (status != Status::Next) {
                return status;
            }
        }
        if (level > 0) {
            if (const Status status = push_at<T>(cpu, rsp, frame); status != Status::Next) {
                return status;
            }
        }
        rsp = with_stack_offset(cpu, rsp, rsp - allocate);
        LinearAddr top = 0;
        Status status = linear_address(cpu, SS, stack_offset(cpu, rsp), sizeof(T), true, top);
        if (status == Status::Next) {
            status = probe_store(cpu, top, sizeof(T), SS);
        }
        if (status != Status::Next) {
            return status;
        }
        cpu.state.gpr[RSP] = rsp;
        write_gpr<T>(cpu, RBP, frame);
        return Status::Next;
    }
};

// LEAVE: rSP := rBP (stack-address size); rBP := Pop() (operand size).
struct Leave {
    template <typename T>
    static Status exec(Vcpu& cpu, const Insn& /*insn*/) {
        const u64 frame = stack_offset(cpu, cpu.state.gpr[RBP]);
        LinearAddr linear = 0;
        T value = 0;
        Status status = linear_address(cpu, SS, frame, sizeof(T), false, linear);
        if (status == Status::Next) {
            status = load_linear(cpu, linear, value, SS);
        }
        if (status != Status::Next) {
            return status;
        }
        cpu.state.gpr[RSP] = with_stack_offset(cpu, cpu.state.gpr[RSP], frame + sizeof(T));
        write_gpr<T>(cpu, RBP, value);
        return Status::Next;
    }
};

constexpr auto kRows = std::to_array<ExecRow>({
    {Op::PUSH, select_push},
    {Op::POP, select_pop},
    {Op::PUSHA, select_by_opsize<PushAll>},
    {Op::POPA, select_by_opsize<PopAll>},
    {Op::PUSH_SREG, select_by_opsize<PushSreg>},
    {Op::POP_SREG, select_by_opsize<PopSreg>},
    {Op::ENTER, select_by_opsize<Enter>},
    {Op::LEAVE, select_by_opsize<Leave>},
});

}  // namespace

std::span<const ExecRow> exec_rows_stack() {
    return kRows;
}

}  // namespace droste
