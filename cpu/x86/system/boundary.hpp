#pragma once
// What happens between two instructions. SDM Vol. 3A, "Prioritization of Concurrent Events".

namespace droste {

class Vcpu;

// Instruction-boundary work in priority order (SDM Vol. 3A, "Prioritization of Concurrent Events"):
// machine check, INIT, pending #DB, NMI, interrupts, code breakpoints. Called by the engine when
// attention & attention_mask is non-zero, and after every instruction in single-step mode. Returns
// true if an event was delivered or the activity state changed.
bool service_boundary(Vcpu& cpu);

}  // namespace droste
