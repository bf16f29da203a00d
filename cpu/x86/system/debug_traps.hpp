#pragma once
// Debug exceptions: what raises, postpones and collects them. SDM Vol. 3B, "Debug Exceptions".

#include "core/types.hpp"
#include "cpu/x86/state/cpu_state.hpp"

namespace droste {

class Vcpu;

// Bits of StepMemory::marks, valid from code_breakpoint_hit() to after_instruction_in_step_mode().
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

// What a #DB carries in DR6 format: B0-B3, BD, BS, BT.
inline constexpr u64 kDebugConditions = 0xF | dr6::kBd | dr6::kBs | dr6::kBt;

// After an instruction retired in step mode: TF trap, shadow expiry, data/I-O breakpoint traps
// collected in pending_debug. `branch_taken`: the instruction went elsewhere than to the next one
// (single-stepping on branches, IA32_DEBUGCTL.BTF).
void after_instruction_in_step_mode(Vcpu& cpu, bool trap_flag_was_set, bool branch_taken = false);
// Before every instruction in step mode: instruction breakpoint (fault class), and a note of which
// shadows and RF the instruction began under, so that after_instruction_in_step_mode() ends those
// and not what the instruction itself set. True if #DB was delivered.
bool code_breakpoint_hit(Vcpu& cpu);
// Does an enabled DR7 data breakpoint cover [linear, linear+bytes)? Records the DR6 bits in
// state.pending_debug.
void note_data_access(Vcpu& cpu, LinearAddr linear, unsigned bytes, bool write);
void note_io_access(Vcpu& cpu, u16 port, unsigned bytes);
bool data_breakpoints_in_page(const Vcpu& cpu, LinearAddr page);
// After any change of DR0-DR3, DR7 or CR4.DE: translations that must not stay on the fast path go,
// kStep is refreshed.
void debug_registers_changed(Vcpu& cpu);

}  // namespace droste
