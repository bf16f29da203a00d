#pragma once
// VM entry. SDM Vol. 3C, "VM Entries".

#include "cpu/x86/exception.hpp"
#include "cpu/x86/insn.hpp"

namespace droste {

class VmxState;

Status exec_vmlaunch(VmxState& vmx, const Insn& insn);
Status exec_vmresume(VmxState& vmx, const Insn& insn);

}  // namespace droste
