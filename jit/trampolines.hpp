#pragma once
// The ways into and out of translated code. See trampolines.cpp.

#include "core/types.hpp"
#include "jit/code_memory.hpp"
#include "jit/emitter.hpp"

namespace droste {
class Vcpu;
}  // namespace droste

namespace droste::jit {

// Called for an instruction that is to be interpreted (TranslatedCode::site): where to go on, or
// null to return to the engine.
using InterpretFn = const u8* (*)(Vcpu& cpu);

inline constexpr u32 kNoSite = ~u32{0};

struct Trampolines {
    // Runs translated code from `code` on. Returns the exit it left by, or kNoSite when it left
    // behind an interpreted instruction.
    u32 (*enter)(Vcpu* cpu, const u8* code) = nullptr;
    const u8* leave = nullptr;  // TranslatedCode::site names the exit
    // The same, unless a row of the jump table has t1, from the place on that t0 points at.
    const u8* leave_by_row = nullptr;
    const u8* interpret = nullptr;    // TranslatedCode::site names the instruction
    const u8* load_x87 = nullptr;     // goes on at t0; changes flags
    const u8* load_vector = nullptr;  // goes on at t0; changes no flag
};

// Writes them at the start of `memory`; returns how many bytes they take. `avx`: it may be used.
std::size_t make_trampolines(CodeMemory& memory, bool avx, InterpretFn interpret, Trampolines& out);

}  // namespace droste::jit
