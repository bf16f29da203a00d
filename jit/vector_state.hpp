#pragma once
// Where the guest's vector registers and MXCSR are.
//
// All sixteen XMM or YMM registers of translated code are the guest's, and so is MXCSR, but only
// once a vector instruction has come by: TranslatedCode::vector_native says so, and until then they
// are in CpuState. The first vector instruction of a translation looks (Assembly::need_vector()) and
// loads all of them if need be; every way to C++ stores them again, because C++ uses them itself.
// Code without vector instructions, like a kernel's, pays for one compare when it leaves.
//
// MXCSR is read only there: STMXCSR waits for all that goes before it.

#include "core/types.hpp"
#include "jit/emitter.hpp"

namespace droste::jit {

// MXCSR's six exception masks.
inline constexpr u32 kMxcsrMasks = 0x1F80;

// CpuState to the native registers. Changes nothing else, flags included. `avx`: the native CPU has
// upper halves that the guest may reach.
void load_vector(Emitter& e, bool avx);
// The other way round if they are native; C++'s MXCSR is in force afterwards. Changes flags.
void store_vector_if_native(Emitter& e, bool avx);

}  // namespace droste::jit
