#pragma once
// Near control transfers: where the instruction goes, with the checks every one of them makes.
// SDM Vol. 2, "JMP—Jump", "CALL—Call Procedure": a target beyond the code segment's limit, or a
// non-canonical one in 64-bit mode, is #GP(0) with the branch not taken.

#include "core/types.hpp"
#include "cpu/x86/decode/insn.hpp"
#include "cpu/x86/mmu/paging.hpp"
#include "cpu/x86/vcpu.hpp"

namespace droste {

// Canonical whatever the linear-address width: 47 equal bits.
inline bool canonical_in_any_width(u64 target) {
    return static_cast<u64>(static_cast<i64>(target) >> 47) + 1 <= 1;
}

inline bool canonical_target(const Vcpu& cpu, u64 target) {
    if (canonical_in_any_width(target)) [[likely]] {
        return true;
    }
    return is_canonical(cpu, target);
}

// Would a branch to `target` (truncated to the operand size) fault? Next or Fault.
inline Status check_target(Vcpu& cpu, u64 target) {
    const bool reachable =
        cpu.mode.long_mode64 ? canonical_target(cpu, target) : target <= cpu.state.seg[CS].limit;
    return reachable ? Status::Next : raise(cpu, Exception::GP, 0);
}

inline Status branch_to(Vcpu& cpu, u64 target) {
    if (const Status status = check_target(cpu, target); status != Status::Next) [[unlikely]] {
        return status;
    }
    cpu.state.rip() = target;
    return Status::Branch;
}

// The address of the instruction behind this one.
inline u64 next_rip(const Vcpu& cpu, const Insn& insn) {
    return (cpu.state.rip() + insn.length) & cpu.mode.rip_mask;
}

// Target of a relative branch: "the instruction pointer is truncated to 16 bits" with a 16-bit
// operand size.
inline u64 relative_target(const Vcpu& cpu, const Insn& insn) {
    const u64 target = cpu.state.rip() + insn.length + insn.imm;
    return target & (~u64{0} >> (64 - 8 * insn.opsize));
}

}  // namespace droste
