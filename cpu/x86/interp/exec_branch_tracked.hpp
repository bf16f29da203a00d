#pragma once
// Near transfers where control-flow enforcement is in force (Vcpu::cet, part of the key of decoded
// blocks): chosen at decode time instead of those of exec_branch.cpp.

#include "cpu/x86/exception.hpp"
#include "cpu/x86/insn.hpp"

namespace droste {

ExecFn select_enforced_call(const Insn& insn);
ExecFn select_enforced_jmp(const Insn& insn);  // indirect
ExecFn select_enforced_ret(const Insn& insn);

// After decoding the target of an indirect branch (Vcpu::kCetWaiting): what an instruction other
// than ENDBR comes to. Sets insn.exec and returns true if it is not to be executed as it is.
bool replace_missing_endbranch(const Vcpu& cpu, Insn& insn);
// At the target of an indirect branch that is no ENDBR: #CP, unless its page may go without.
Status check_missing_endbranch(Vcpu& cpu);

}  // namespace droste
