#pragma once
// The families of x87 handlers, joined by exec_rows_x87().

#include "cpu/x86/decode/insn.hpp"
#include "cpu/x86/fpu/fpu_access.hpp"
#include "cpu/x86/fpu/x87_state.hpp"

namespace droste {

// What every non-control instruction does first: #NM, then #MF.
inline Status x87_ready(Vcpu& cpu) {
    const Status status = require_x87(cpu);
    return status == Status::Next ? x87_check_pending(cpu) : status;
}

// exec_x87_arith.cpp: whatever computes, on the native unit.
ExecFn select_x87_arith(Vcpu& cpu, Insn& insn);
// exec_x87_transcendental.cpp
ExecFn select_x87_transcendental(Vcpu& cpu, Insn& insn);
// exec_x87_remainder.cpp: true if FPREM or FPREM1 can only reduce ST(0) partially, which is then done.
bool partial_remainder(X87State& fpu);
// exec_x87_decimal.cpp
ExecFn select_fbld(Vcpu& cpu, Insn& insn);
// exec_x87_move.cpp
ExecFn select_fld(Vcpu& cpu, Insn& insn);  // m80 and ST(i); m32fp and m64fp convert: arith
ExecFn select_fst(Vcpu& cpu, Insn& insn);  // FST, FSTP likewise
ExecFn select_fxch(Vcpu& cpu, Insn& insn);
ExecFn select_fcmov(Vcpu& cpu, Insn& insn);
ExecFn select_sign(Vcpu& cpu, Insn& insn);  // FCHS, FABS
ExecFn select_fxam(Vcpu& cpu, Insn& insn);
ExecFn select_stack(Vcpu& cpu, Insn& insn);  // FINCSTP, FDECSTP, FFREE, FFREEP, FNOP
// exec_x87_control.cpp
ExecFn select_x87_control(Vcpu& cpu,
                          Insn& insn);  // FNINIT, FNCLEX, FLDCW, FNSTCW, FNSTSW, FNENI ...
// exec_x87_environment.cpp
ExecFn select_x87_environment(Vcpu& cpu, Insn& insn);  // FLDENV, FNSTENV, FRSTOR, FNSAVE

// The response to stack underflow: ST(i) is read but empty. #IS, C1 = 0. Overflow: C1 = 1.
// Returns true if the exception is masked, so that the instruction goes on with the indefinite
// value.
bool stack_fault(X87State& fpu, bool overflow);
// Pushes `value` or, if there is no room, answers with a stack fault.
void x87_push(X87State& fpu, const X87State::Register& value);

inline constexpr X87State::Register kRealIndefinite = {0xC000'0000'0000'0000, 0xFFFF};

}  // namespace droste
