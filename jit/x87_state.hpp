#pragma once
// Where the guest's x87 registers are: in CpuState until translated code meets an x87 or MMX
// instruction (Assembly::need_x87()), then in the native unit, where TOP, tags, flags and the
// control word are the guest's too; a byte beside the vector registers' says so (layout.hpp). The ways
// to C++ take all of it out again, and leave the native unit as C++ wants it.
//
// Registers that are empty keep their contents, which FXSAVE shows and MMX reads. FSTP cannot reach
// those, so the way out is FXSAVE all the same (44 TSC and as cheap as eight FSTP on Zen 5), and the
// way in FLDENV behind eight FLD (85 TSC), as FXRSTOR would load XMM too.
//
// Only while the control word masks all exceptions: then none is ever pending.

#include "core/types.hpp"
#include "jit/emitter.hpp"

namespace droste::jit {

// The control word's six exception masks.
inline constexpr u16 kX87Masks = 0x3F;

// CpuState to the native unit. Keeps t0; changes flags and uses t1. `tags` is code memory where
// write_tag_table() wrote.
void load_x87(Emitter& e, const u8* tags);
// For each abridged tag word the full one, as FLDENV wants it: valid or empty.
void write_tag_table(Emitter& e);
// The other way if it is native, on the engine's stack. Requires: the guest's general registers are
// stored. Changes all of them, and flags.
void store_x87_if_native(Emitter& e);

}  // namespace droste::jit
