#pragma once
// The VMX instructions, one function each. SDM Vol. 3C, "VMX Instruction Reference".

#include "cpu/x86/decode/insn.hpp"
#include "cpu/x86/state/exception.hpp"

#include <optional>

namespace droste {

class VmxState;

// What most VMX instructions check first, in this order: #UD (outside VMX operation, real or
// virtual-8086 mode, compatibility mode, a register operand where only memory is allowed), VM exit
// in non-root operation, #GP(0) at CPL > 0. Nothing: go on.
enum class OperandRule : bool { Any, MemoryOnly };
std::optional<Status> gate_vmx_instruction(VmxState& vmx, const Insn& insn, OperandRule rule);
// The same modes alone.
bool vmx_instruction_undefined(const VmxState& vmx, const Insn& insn, OperandRule rule);
// The VM exit a VMX instruction causes in non-root operation; returns Status::Switched.
Status exit_by_vmx_instruction(VmxState& vmx, const Insn& insn);
// Operand size outside and inside 64-bit mode.
u64 register_operand(const VmxState& vmx, unsigned gpr);

Status exec_vmxon(VmxState& vmx, const Insn& insn);
Status exec_vmxoff(VmxState& vmx, const Insn& insn);
Status exec_vmclear(VmxState& vmx, const Insn& insn);
Status exec_vmptrld(VmxState& vmx, const Insn& insn);
Status exec_vmptrst(VmxState& vmx, const Insn& insn);
Status exec_vmcall(VmxState& vmx, const Insn& insn);
Status exec_vmread(VmxState& vmx, const Insn& insn);  // exec_vmread.cpp
Status exec_vmwrite(VmxState& vmx, const Insn& insn);
// The same done at once where nothing is in the way: 64-bit code at CPL 0 in root operation with a
// current VMCS, a register operand, and a field that may be accessed. False: nothing is done.
bool vmread_directly(VmxState& vmx, const Insn& insn);
bool vmwrite_directly(VmxState& vmx, const Insn& insn);
Status exec_invept(VmxState& vmx, const Insn& insn);  // exec_invept.cpp
Status exec_invvpid(VmxState& vmx, const Insn& insn);
Status exec_vmfunc(VmxState& vmx, const Insn& insn);  // exec_vmfunc.cpp

}  // namespace droste
