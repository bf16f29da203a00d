#pragma once
// What an instruction does with the six status flags, for deciding where they must be kept.
// SDM Vol. 1, Appendix A, "EFLAGS Cross-Reference". A flag that the manual leaves undefined and
// Droste unchanged (docs/x86/undefined.md) counts as kept: what a program makes of it must not
// depend on how its code was cut into translations.

#include "core/types.hpp"
#include "cpu/x86/decode/insn.hpp"

namespace droste::jit {

struct StatusEffect {
    bool reads = false;       // any of the six
    bool writes_all = false;  // none of the old values is left
    bool writes = false;
    // Writes some, or none under some condition: the others are needed if any is needed later.
    bool keeps() const { return writes && !writes_all; }
};

StatusEffect status_effect(const Insn& insn);

}  // namespace droste::jit
