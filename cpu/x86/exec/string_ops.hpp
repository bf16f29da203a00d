#pragma once
// What the string instructions have in common: rSI and rDI by address size and direction, the
// repeat count, and how much of a repetition one call of a handler does.
//
// "A repeating string operation can be suspended by an exception or interrupt. When this happens,
// the state of the registers is preserved" (SDM Vol. 2B, "REP/REPE/REPZ/REPNE/REPNZ"). So a handler
// may stop between any two iterations with rCX, rSI, rDI updated and RIP where it is; it does so
// after kRepQuantumBytes, which gives the engine its chance to look at interrupts, and after every
// iteration while the CPU is stepped.

#include "core/types.hpp"
#include "cpu/x86/exec/operands.hpp"

#include <algorithm>

namespace droste {

inline constexpr u64 kRepQuantumBytes = kPageBytes;

// Element size: opcode bit 0 clear = byte.
inline unsigned string_width(const Insn& insn) {
    return (insn.opcode & 1) == 0 ? 1 : insn.opsize;
}
inline bool repeats(const Insn& insn) {
    return insn.rep() || insn.repne();
}
inline bool stepped(const Vcpu& cpu) {
    return (cpu.attention.load(std::memory_order_relaxed) & attention::kStep) != 0;
}

inline u64 string_offset(const Vcpu& cpu, const Insn& insn, Gpr reg) {
    return cpu.state.gpr[reg] & size_mask(insn.addrsize);
}
inline bool backwards(const Vcpu& cpu) {
    return (cpu.state.rflags_system & rflags::kDf) != 0;
}
// rSI or rDI past `elements` elements of T.
template <typename T>
inline void advance(Vcpu& cpu, const Insn& insn, Gpr reg, u64 elements) {
    const u64 distance = elements * sizeof(T);
    write_gpr_masked(cpu, reg, insn.addrsize,
                     backwards(cpu) ? cpu.state.gpr[reg] - distance
                                    : cpu.state.gpr[reg] + distance);
}

template <typename T>
inline Status load_source(Vcpu& cpu, const Insn& insn, T& value) {
    LinearAddr linear = 0;
    const auto seg = static_cast<SegReg>(insn.seg);
    const Status status =
        linear_address(cpu, seg, string_offset(cpu, insn, RSI), sizeof(T), false, linear);
    return status == Status::Next ? load_linear(cpu, linear, value, seg) : status;
}
// ES:rDI; the segment cannot be overridden.
template <typename T>
inline Status load_dest(Vcpu& cpu, const Insn& insn, T& value) {
    LinearAddr linear = 0;
    const Status status =
        linear_address(cpu, ES, string_offset(cpu, insn, RDI), sizeof(T), false, linear);
    return status == Status::Next ? load_linear(cpu, linear, value, ES) : status;
}
template <typename T>
inline Status store_dest(Vcpu& cpu, const Insn& insn, T value) {
    LinearAddr linear = 0;
    const Status status =
        linear_address(cpu, ES, string_offset(cpu, insn, RDI), sizeof(T), true, linear);
    return status == Status::Next ? store_linear(cpu, linear, value, ES) : status;
}

// A repetition of n elements counts as n / kElementsPerInsn instructions, rounded up, wherever it is
// interrupted or cut into calls of the handler. docs/x86/events.md, "What counts".
inline constexpr u64 kElementsPerInsn = 8;
static_assert(kRepQuantumBytes / sizeof(u64) % kElementsPerInsn == 0);

// How many iterations this call may do: `count` is the remaining repeat count. Not more than the
// budget has time for: an event waits at its end.
template <typename T>
inline u64 rep_quantum(const Vcpu& cpu, u64 count) {
    if (stepped(cpu)) {
        return 1;
    }
    const u64 quantum = std::min<u64>(count, kRepQuantumBytes / sizeof(T));
    if (cpu.icount_limit - cpu.icount > kRepQuantumBytes) {
        return quantum;  // far from it, wherever in its block this is
    }
    const u64 left = cpu.icount_limit - cpu.retired();  // this call's own included
    return std::min(quantum, left * kElementsPerInsn);
}

// Accounts for the `done` elements of one call; the engine adds the instruction itself, or the
// fault that ended the call.
inline void charge_elements(Vcpu& cpu, u64 done, bool faulted) {
    if (done != 0) {
        cpu.charge((faulted ? done : done - 1) / kElementsPerInsn);
    }
}

}  // namespace droste
