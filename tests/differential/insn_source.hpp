#pragma once
// Random instructions for the differential test: opcodes spread evenly over the maps, any legal mix
// of prefixes, and registers arranged so that memory operands mostly fall into the scratch pages
// (or across their edges).

#include "cpu/x86/decode/insn.hpp"
#include "cpu/x86/state/features.hpp"
#include "tests/differential/state_pair.hpp"

#include <array>
#include <span>

namespace droste::differential {

enum class Family : u8 { Any, Integer, X87, Vector };

struct Candidate {
    std::array<u8, 16> bytes{};
    unsigned length = 0;
    Insn insn;
};

// Draws until an instruction comes up that both witnesses can execute in user mode (no branches, no
// system state, no instruction whose result differs between two CPUs by design, such as CPUID).
Candidate draw(Rng& rng, Family family, const CpuFeatures& features);

// Whether the native CPU takes `bytes` for the instruction `insn`: one that it lacks is #UD there, or
// another one (LZCNT is BSR where there is no LZCNT).
bool native_decodes(std::span<const u8> bytes, const Insn& insn);

// Points the registers of `candidate`'s memory operand, the stack and the string registers into
// scratch memory.
void place_operands(Rng& rng, const Candidate& candidate, u64 rip, NativeState& state);

}  // namespace droste::differential
