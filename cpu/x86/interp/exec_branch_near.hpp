#pragma once
// Near CALL, RET and indirect JMP of every width, and with control-flow enforcement where it is in
// force (ModeState::cet, part of the key of decoded blocks); exec_branch.cpp has faster ones for
// 64-bit code without it.

#include "cpu/x86/decode/insn.hpp"
#include "cpu/x86/state/exception.hpp"

namespace droste {

ExecFn select_near_call(const Insn& insn);
ExecFn select_near_jmp(const Insn& insn);  // indirect
ExecFn select_near_ret(const Insn& insn);

// After decoding the target of an indirect branch (Vcpu::kCetWaiting): what an instruction other
// than ENDBR comes to. Sets insn.exec and returns true if it is not to be executed as it is.
bool replace_missing_endbranch(const Vcpu& cpu, Insn& insn);
// At the target of an indirect branch: whether `insn` is the ENDBR that is waited for. If so nothing is
// waited for any more, and `insn` is still to be executed.
bool accept_endbranch(Vcpu& cpu, const Insn& insn);
// The next instruction must be ENDBR.
void wait_for_endbranch(Vcpu& cpu);
// At the target of an indirect branch that is no ENDBR: #CP, unless its page may go without.
Status check_missing_endbranch(Vcpu& cpu);

}  // namespace droste
