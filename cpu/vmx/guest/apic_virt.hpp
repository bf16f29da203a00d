#pragma once
// APIC virtualization: the virtual-APIC page, virtual interrupts, posted interrupts.
// SDM Vol. 3C, "APIC Virtualization and Virtual Interrupts".

#include "core/types.hpp"

namespace droste {

class VmxState;

// VM entry: PPR virtualization and evaluation of pending virtual interrupts, or the TPR-threshold
// exit.
void evaluate_apic_after_entry(VmxState& vmx);
// "Virtual-Interrupt Delivery". Requires: an open interrupt window. True if an interrupt was
// delivered.
bool deliver_virtual_interrupt(VmxState& vmx);
// "Posted-Interrupt Processing": PIR -> VIRR.
void process_posted_interrupts(VmxState& vmx);

}  // namespace droste
