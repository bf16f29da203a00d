#pragma once
// Where the witnesses may differ, each with its reason: what the manual leaves undefined, where the
// native CPU is not one whose choice we follow (docs/x86/undefined.md), and behavior that differs
// between CPU vendors. Anything else that differs is a bug.

#include "cpu/x86/decode/insn.hpp"
#include "tests/differential/state_pair.hpp"

namespace droste::differential {

// AMD's processors since Zen, whose choice Droste follows wherever the manual leaves one. Masked by
// DROSTE_NATIVE_WITHOUT=zen.
bool native_is_zen();
// Copies into `native` from `guest` what the manual leaves undefined after this instruction, unless
// the native CPU is one whose choice we follow.
void forget_undefined(const Insn& insn,
                      const Outcome& start,
                      const Outcome& guest,
                      Outcome& native);
// A known difference between this host's vendor and the architecture we emulate.
bool accepted(const Insn& insn, const Outcome& guest, const Outcome& native);

}  // namespace droste::differential
