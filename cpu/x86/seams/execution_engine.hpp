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

    // Runs until exactly `budget` (1 or more) instructions retired, counted by the rule of
    // docs/x86/events.md ("What counts"), or something else ends the run before. Only an
    // instruction that takes the time of many (a device that copied memory for it) ends beyond.
    // Where a run is cut into budgets does not show in what the guest does.
    virtual RunResult run(Vcpu& cpu, u64 budget) = 0;
};

}  // namespace droste
