#pragma once
// Where the witnesses may differ, each with its reason: flags the manual leaves undefined, and
// behavior that differs between CPU vendors. Anything else that differs is a bug.
// docs/x86/undefined.md tells the same in prose.

#include "cpu/x86/decode/insn.hpp"
#include "tests/differential/state_pair.hpp"

namespace droste::differential {

// Status flags to compare for this instruction.
u64 compared_flags(const Insn& insn, const NativeState& start);
// A known difference between this host's vendor and the architecture we emulate.
bool accepted(const Insn& insn, const Outcome& guest, const Outcome& native);

}  // namespace droste::differential
