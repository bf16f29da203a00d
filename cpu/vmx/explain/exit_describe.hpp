#pragma once
// VM exits in words, for traces: what the qualification and the other information fields say.

#include "core/types.hpp"
#include "cpu/vmx/exit/exit.hpp"

#include <string>

namespace droste {

struct Vmcs;
struct VmExitRecord;

// "MOV to CR3 from RAX", "read 4 bytes of port 3F8h", "write of 12345000h, readable" ...; empty if
// there is nothing to say. Without the processor's registers.
std::string describe_qualification(ExitReason reason, u64 qualification, const Vmcs& vmcs);

// With what the registers add: CPUID leaf, MSR and value, VMCS field, value of a control register.
std::string describe_exit(const VmExitRecord& record);

}  // namespace droste
