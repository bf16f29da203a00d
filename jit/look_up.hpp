#pragma once
// Where translated code looks for the translation at an address that it did not know before.

#include "jit/layout.hpp"

#include <bit>

namespace droste::jit {

// t1 holds a linear address; afterwards t0 points at its place in the jump table that the vCPU has
// at `table` (layout::kJumpTable). Changes flags.
inline void find_entry(Emitter& e, i32 table) {
    constexpr unsigned kEntryShift = std::countr_zero(sizeof(JumpTable::Entry));
    e.rr({.opcode = 0x69}, kT0, kT1);  // imul
    e.dword(JumpTable::kMultiplier);
    e.xr({.opcode = 0xC1}, 5, kT0);  // shr
    e.byte(JumpTable::kIndexShift - kEntryShift);
    e.alu_imm(4, kT0, (JumpTable::kEntries - 1) << kEntryShift, false);
    e.rm({.opcode = 0x03, .w = true}, kT0, at_rsp(table));
}

}  // namespace droste::jit
