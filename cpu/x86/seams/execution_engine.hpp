#pragma once
// Seam: what executes guest instructions (the interpreter; later the translator).

#include "core/types.hpp"

namespace droste {

class Vcpu;

enum class RunResult : u8 {
    BudgetSpent,
    Idle,     // HLT, MWAIT, shutdown or wait-for-SIPI: nothing to do until an event
    Stopped,  // attention::kStop
    Yielded,  // PAUSE and the like: another vCPU may make better use of the time
};

class ExecutionEngine {
  public:
    ExecutionEngine() = default;
    ExecutionEngine(const ExecutionEngine&) = delete;
    ExecutionEngine& operator=(const ExecutionEngine&) = delete;
    virtual ~ExecutionEngine() = default;

    // Runs until about `budget` instructions retired (never many more: a block's worth, or one REP
    // quantum).
    virtual RunResult run(Vcpu& cpu, u64 budget) = 0;
};

}  // namespace droste
