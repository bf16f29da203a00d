#pragma once
// What a vCPU's state asks for between two instructions: which attention can be taken now, and
// whether instructions are taken one at a time (attention::kStep). update_attention() brings both up
// to date. VM entries and VM exits do it in line, by the same functions: they know what VMX holds
// back, and mostly find nothing to step.

#include "cpu/x86/vcpu.hpp"

namespace droste {

constexpr bool interrupts_accepted(Activity activity, u64 rflags) {
    const bool awake = activity == Activity::Active || activity == Activity::Hlt;
    return awake && (rflags & rflags::kIf) != 0;
}

// Vcpu::attention_mask, before VMX forces anything or holds anything back.
constexpr u32 attention_accepted(Activity activity, u64 rflags, u32 interruptibility) {
    const bool masked = !interrupts_accepted(activity, rflags);
    const bool nmi_blocked =
        (interruptibility & blocking::kNmi) != 0 || activity == Activity::WaitForSipi;
    return ~((masked ? attention::kInterrupt | attention::kInterruptWindow : 0U) |
             (nmi_blocked ? attention::kNmi : 0U));
}
inline u32 attention_accepted(const Vcpu& cpu) {
    const CpuState& s = cpu.state;
    return attention_accepted(s.activity, s.rflags_system, s.interruptibility) |
           cpu.non_root.attention_forced;
}

// Of a state in which something may have to be stepped (debug_traps.cpp).
bool step_needed_for(const Vcpu& cpu);

inline bool step_needed(const Vcpu& cpu) {
    constexpr u64 kStepping = rflags::kTf | rflags::kRf;
    constexpr u32 kShadows = blocking::kSti | blocking::kMovSs;
    constexpr u64 kBreakpoints = 0xFF;
    const CpuState& s = cpu.state;
    const u64 any = s.pending_debug | (s.rflags_system & kStepping) |
                    (s.interruptibility & kShadows) | (s.dr7 & kBreakpoints);
    return (any != 0 || cpu.non_root.step_forced) && step_needed_for(cpu);
}

inline void request_step(Vcpu& cpu, bool needed) {
    const bool requested = (cpu.attention.load(std::memory_order_relaxed) & attention::kStep) != 0;
    if (needed && !requested) {
        cpu.request(attention::kStep);
    } else if (!needed && requested) {
        cpu.withdraw(attention::kStep);
    }
}

// update_attention() where it is known what VMX holds back (VmxInstructions::held_back).
inline void update_attention(Vcpu& cpu, u32 held_back) {
    cpu.attention_mask = attention_accepted(cpu) & ~held_back;
    request_step(cpu, step_needed(cpu));
}

}  // namespace droste
