#pragma once
// Where the witnesses may differ, each with its reason: what the manual leaves undefined, where the
// native CPU is not one whose choice we follow (docs/x86/undefined.md), and behavior that differs
// between CPU vendors. Anything else that differs is a bug.

#include "cpu/x86/decode/insn.hpp"
#include "cpu/x86/state/cpu_state.hpp"
#include "tests/differential/state_pair.hpp"

namespace droste::differential {

// The vendor of the processor we emulate.
bool native_is_intel();
// AMD's processors since Zen, whose decimal adjustments leave the flags that Droste does. Masked by
// DROSTE_NATIVE_WITHOUT=zen.
bool native_is_zen();
// Copies into `native` from `guest` what the manual leaves undefined after this instruction, if the
// native CPU's choice is not ours (jit/native_choices.hpp).
void forget_undefined(const Insn& insn,
                      const Outcome& start,
                      const Outcome& guest,
                      Outcome& native);
// Which of C0 to C3 are open after an x87 instruction: C0, C2 and C3 unless it writes them all, and
// C1 of FCOMI and its like, which clear it by the manual and leave it on Intel's and AMD's processors.
u16 open_conditions(Op op);
// x87 functions whose error the manual bounds, but whose last bits it leaves open.
bool bounded_by_the_manual(Op op);
// Whether `a` and `b` may both be results of such a function.
bool last_bits_agree(const X87State::Register& a, const X87State::Register& b);
// Whether the native FSIN, FCOS, FSINCOS and FPTAN reduce arguments by the Pi of 66 bits that Intel
// documents. Masked by DROSTE_NATIVE_WITHOUT=pi66.
bool native_reduces_by_our_pi();
// Whether the manual leaves the function of `x` undefined altogether, or the native CPU computes
// another one.
bool undefined_argument(Op op, const X87State::Register& x);
// A known difference between the native CPU's vendor and the architecture we emulate.
bool accepted(const Insn& insn, const Outcome& guest, const Outcome& native);

}  // namespace droste::differential
