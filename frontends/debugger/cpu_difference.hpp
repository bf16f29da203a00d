#pragma once
// The states of two vCPUs, field by field.

#include "cpu/x86/state/cpu_state.hpp"

#include <string>

namespace droste {

// A line for each field that differs, with both values; empty if none does. `status_flags`: bits of
// RFLAGS among the six status flags that must agree.
std::string describe_difference(const CpuState& leader, const CpuState& follower, u64 status_flags);

}  // namespace droste
