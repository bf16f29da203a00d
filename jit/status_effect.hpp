#pragma once
// What an instruction does with the six status flags, for deciding where they must be kept.
// SDM Vol. 1, Appendix A, "EFLAGS Cross-Reference". A flag that the manual leaves undefined and
// Droste unchanged (docs/x86/undefined.md) counts as kept: what a program makes of it must not
// depend on how its code was cut into translations.

#include "core/types.hpp"
#include "cpu/x86/decode/insn.hpp"

namespace droste::jit {

struct StatusEffect {
    bool reads = false;             // any of the six
    bool reads_only_carry = false;  // ... but for CF none
    bool writes_all = false;        // none of the old values is left
    bool writes_all_but_carry = false;
    bool writes_only_carry = false;
    bool writes = false;
    // Writes some, or none under some condition: the others are needed if any is needed later.
    bool keeps() const { return writes && !writes_all; }
};

StatusEffect status_effect(const Insn& insn);

// Which flags somebody may still read: chains of ADC and SBB hand on CF alone, which is cheaper to
// keep.
enum class LiveStatus : u8 { None, Carry, All };
// Before an instruction, if these are live behind it.
LiveStatus live_before(const StatusEffect& effect, LiveStatus after);

}  // namespace droste::jit
