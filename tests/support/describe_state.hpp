#pragma once
// CpuState as text, for comparing two runs of one program.

#include "cpu/x86/state/cpu_state.hpp"

#include <string>

namespace droste::test {

// All that two runs must agree in, one line for each kind of register. RFLAGS without the bits of
// `ignored_flags`.
std::string describe(const CpuState& state, u64 ignored_flags = 0);

}  // namespace droste::test
