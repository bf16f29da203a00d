#pragma once
// The interpreter: complete, exact, and the reference every other engine is compared with.

#include "cpu/x86/interp/block_cache.hpp"
#include "cpu/x86/seams/execution_engine.hpp"

#include <memory>

namespace droste {

struct InterpreterOptions {
    // Instructions decoded into a block at most, 1 to kMaxBlockInsns. It changes how fast a guest
    // runs and nothing that the guest or a count of its events can show; tests say so.
    unsigned block_insns = kMaxBlockInsns;
};

std::unique_ptr<ExecutionEngine> make_interpreter(const InterpreterOptions& options = {});

}  // namespace droste
