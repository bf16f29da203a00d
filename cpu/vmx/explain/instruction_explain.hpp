#pragma once
// Why a VMX instruction failed or faulted, in words, for the log (-d vmx). Nothing here decides
// anything.

#include "core/types.hpp"
#include "cpu/vmx/instructions/vmx_status.hpp"
#include "cpu/x86/decode/decoder.hpp"

#include <optional>
#include <string>

namespace droste {

class VmxState;

// Logs VMfailInvalid (`valid` is false: the error then has no field to go to) or VMfailValid. VM
// entries whose checks failed have been explained already and are left out.
void log_vm_fail(VmxState& vmx,
                 const Insn& insn,
                 bool valid,
                 std::optional<VmError> error,
                 std::string_view detail);
// Logs #UD and #GP of a VMX instruction with the state that decides about them.
void log_vmx_fault(VmxState& vmx, const Insn& insn);
// "encoding 0x200e (PML address): needs vmx-pml".
std::string describe_unsupported_field(u64 encoding);
// "rip 0x1234 <name+0x10>": of the code that runs now.
std::string describe_rip(const VmxState& vmx, u64 rip);

}  // namespace droste
