#pragma once
// How a VMX instruction reports. SDM Vol. 3C, "Conventions": VMsucceed, VMfailInvalid, VMfailValid,
// VMfail.

#include "core/types.hpp"
#include "cpu/x86/decode/insn.hpp"
#include "cpu/x86/state/exception.hpp"

#include <string_view>

namespace droste {

class Vcpu;
class VmxState;

enum class VmError : u32 {
#define DROSTE_VM_ERROR(number, id, text) id = number,
#include "cpu/vmx/instructions/instruction_errors.inc"
#undef DROSTE_VM_ERROR
};
std::string_view describe(VmError error);

// Set RFLAGS; all return Status::Next.
Status vm_succeed(Vcpu& cpu);
// The failing ones also log (category vmx) `insn`'s mnemonic, the error and `detail`, with level
// and RIP.
Status vm_fail_invalid(VmxState& vmx, const Insn& insn, std::string_view detail);
// Requires: there is a current VMCS; its VM-instruction error field is written.
Status vm_fail_valid(VmxState& vmx, const Insn& insn, VmError error, std::string_view detail = {});
// VMfailValid if there is a current VMCS, else VMfailInvalid.
Status vm_fail(VmxState& vmx, const Insn& insn, VmError error, std::string_view detail = {});

}  // namespace droste
