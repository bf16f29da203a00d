#pragma once
// VMX of a machine as text: for the monitor (info vmx, info vmcs, info exits) and for --stats.

#include "frontends/machine/pc.hpp"

#include <optional>
#include <string>

namespace droste {

// Per vCPU: operation, mode, level, regions, IA32_FEATURE_CONTROL, the VMCSs that are active.
std::string describe_vmx(const Pc& pc);
// All fields of the VMCS at `address`, or of each vCPU's current one.
std::string describe_vmcs(const Pc& pc, std::optional<u64> address);
// Exits by level and reason with rates and costs; empty if there were none.
std::string describe_exits(Pc& pc);

}  // namespace droste
