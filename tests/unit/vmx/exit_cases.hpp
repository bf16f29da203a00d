#pragma once
// Which exit reasons the table of intercepted instructions (exits_test.cpp) covers.

#include "cpu/vmx/exit/exit.hpp"

#include <vector>

namespace droste::test {

std::vector<ExitReason> instruction_exit_reasons();

}  // namespace droste::test
