#pragma once
// What the CPU we run on must have for translated code.

#include "core/error.hpp"

namespace droste::jit {

// An Error that names what is missing of x86-64-v2 (x86-64 psABI, "Micro-Architecture Levels").
// Everything beyond is asked for where it would be used, and done without.
Expected<void> check_native_cpu();

// Whether what the manual leaves undefined in the status flags is what docs/x86/undefined.md says: so
// it is on AMD's Zen 3 and later. Elsewhere the interpreter executes instructions that leave flags
// undefined if anything may see them. DROSTE_NATIVE_WITHOUT=undefined-flags: elsewhere.
bool native_undefined_flags_are_ours();

}  // namespace droste::jit
