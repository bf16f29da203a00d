#pragma once
// What happens between two instructions. SDM Vol. 3A, "Prioritization of Concurrent Events".

namespace droste {

class Vcpu;

// Instruction-boundary work in priority order (SDM Vol. 3A, "Prioritization of Concurrent Events"):
// machine check, INIT, pending #DB, NMI, interrupts, code breakpoints. Called by the engine when
// attention & attention_mask is non-zero, and after every instruction in single-step mode. Returns
// true if an event was delivered or the activity state changed.
bool service_boundary(Vcpu& cpu);

// Whether attention_mask and attention::kStep are what update_attention() would make them. The
// engine asserts it at each boundary of a debug build, so that nobody who changes what that reads
// (RFLAGS.IF/TF/RF, interruptibility, activity, DR7, VMX operation) forgets to call it.
bool attention_is_current(const Vcpu& cpu);

}  // namespace droste
