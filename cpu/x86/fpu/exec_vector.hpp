#pragma once
// The handlers behind exec_rows_vector() and the shortcuts select_native_thunk() takes; one file a
// family.

#include "cpu/x86/decode/insn.hpp"

namespace droste {

// Moves and bitwise logic in plain C++, which are cheaper than a call of a thunk; null if `insn` is
// none of them.
ExecFn select_vector_shortcut(const Insn& insn);

// exec_vector_estimate.cpp: RCPPS .. RSQRTSS; null if `insn` is none of them.
ExecFn select_vector_estimate(const Insn& insn);

// exec_vector_mask.cpp
ExecFn select_maskmov_implicit(Vcpu& cpu, Insn& insn);  // MASKMOVQ, (V)MASKMOVDQU
ExecFn select_maskmov(Vcpu& cpu, Insn& insn);           // VMASKMOVPS/PD, VPMASKMOVD/Q
// exec_vector_gather.cpp
ExecFn select_gather(Vcpu& cpu, Insn& insn);

// exec_vector_state.cpp; LDMXCSR and STMXCSR have the same two rows in exec_rows_xsave()
ExecFn select_ldmxcsr(Vcpu& cpu, Insn& insn);
ExecFn select_stmxcsr(Vcpu& cpu, Insn& insn);

// MXCSR_MASK: every bit below 16, DAZ too.
inline constexpr u32 kMxcsrMask = 0xFFFF;

}  // namespace droste
