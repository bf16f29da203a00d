#pragma once
// What an instruction does with the six status flags, for deciding where they must be kept.
// SDM Vol. 1, Appendix A, "EFLAGS Cross-Reference". A flag that an instruction leaves undefined
// counts as written: nothing may rely on what it was before.

#include "core/types.hpp"
#include "cpu/x86/decode/insn.hpp"

namespace droste::jit {

struct StatusEffect {
    bool reads = false;       // any of the six, or keeps one while it writes others
    bool writes_all = false;  // none of the old values is left
    bool writes = false;
};

StatusEffect status_effect(const Insn& insn);

}  // namespace droste::jit
