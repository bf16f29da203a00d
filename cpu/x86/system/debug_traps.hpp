#pragma once
// Names shared by those who raise, postpone and deliver debug exceptions. SDM Vol. 3B, "Debug
// Exceptions".

#include "core/types.hpp"
#include "cpu/x86/cpu_state.hpp"

namespace droste {

class Vcpu;

// Bits of Vcpu::step_marks, valid from code_breakpoint_hit() to after_instruction_in_step_mode().
namespace step_mark {
// in force when the instruction began
inline constexpr u32 kShadows = blocking::kSti | blocking::kMovSs;
// RFLAGS.RF was set; IRET and task switches, which load RF, clear the mark
inline constexpr u32 kRf = 1U << 16;
// the instruction went through the IDT or SYSCALL masked TF
inline constexpr u32 kNoSingleStep = 1U << 17;
}  // namespace step_mark

// SDM Vol. 3B, "IA32_DEBUGCTL MSR".
namespace debugctl {
inline constexpr u64 kLbr = 1U << 0, kBtf = 1U << 1;
}  // namespace debugctl

// Sets or withdraws attention::kStep; part of update_attention().
void refresh_step_request(Vcpu& cpu);

// What a #DB carries in DR6 format: B0-B3, BD, BS, BT.
inline constexpr u64 kDebugConditions = 0xF | dr6::kBd | dr6::kBs | dr6::kBt;

}  // namespace droste
