#pragma once
// The interpreter: complete, exact, and the reference every other engine is compared with.

#include "cpu/x86/seams/execution_engine.hpp"

#include <memory>

namespace droste {

std::unique_ptr<ExecutionEngine> make_interpreter();

}  // namespace droste
