#pragma once
// Guest code to native code. See translator.cpp.

#include "cpu/x86/vcpu.hpp"
#include "jit/code_cache.hpp"
#include "jit/translation.hpp"
#include "jit/vector_state.hpp"
#include "jit/x87_state.hpp"

namespace droste::jit {

// 64-bit code at level 0 or 3, whose branches are not tracked: nearly all code is such.
inline bool in_plain_mode(const Vcpu& cpu) {
    constexpr u32 kTracked = u32{Vcpu::kCetTracked} << mode_key::kCetShift;
    const bool middle_level = cpu.mode.cpl - 1U < 2;
    return (cpu.mode.key & (mode_key::kCodeBits | kTracked)) == 64 && !middle_level;
}
// The same of any mode.
u32 general_mode_key(const Vcpu& cpu);
bool can_translate_generally(const Vcpu& cpu);

// What translations depend on beside their address: equal keys may be linked.
inline u32 translation_key(const Vcpu& cpu) {
    const CpuState& state = cpu.state;
    const u32 mode = in_plain_mode(cpu) ? cpu.mode.key : general_mode_key(cpu);
    return mode | ((~state.mxcsr & kMxcsrMasks) == 0 ? 0 : kKeyMxcsrUnmasked) |
           ((~u32{state.x87.control} & kX87Masks) == 0 ? 0 : kKeyX87Unmasked);
}

// Whether code of the present mode is translated at all.
inline bool can_translate(const Vcpu& cpu) {
    return in_plain_mode(cpu) || can_translate_generally(cpu);
}

// Translates the code at RIP, which begins with `block`, and what follows it as far as it is
// decoded. Null if it must be interpreted. Requires: can_translate().
Translation* translate(CodeCache& code, Vcpu& cpu, Block& block);

}  // namespace droste::jit
