#pragma once
// VM entry. SDM Vol. 3C, "VM Entries".

#include "cpu/x86/decode/insn.hpp"
#include "cpu/x86/state/exception.hpp"

namespace droste {

class VmxState;

Status exec_vmlaunch(VmxState& vmx, const Insn& insn);
Status exec_vmresume(VmxState& vmx, const Insn& insn);
// The rest of VMRESUME. Requires: VmxState::may_resume().
Status resume_guest(VmxState& vmx, const Insn& insn);

}  // namespace droste
