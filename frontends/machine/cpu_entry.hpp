#pragma once
// Puts a vCPU into the state a BootPlan asks for, as a boot loader would have left it.

#include "cpu/x86/vcpu.hpp"
#include "frontends/machine/boot_plan.hpp"

namespace droste {

// What firmware does on every CPU before an operating system starts: MTRRs, IA32_FEATURE_CONTROL.
void apply_firmware_settings(Vcpu& cpu);
// And on the bootstrap processor: local APIC enabled, the 8259s on LINT0 as ExtINT, NMI on LINT1.
void apply_virtual_wire_mode(Vcpu& cpu);

// Requires: a freshly reset vCPU; the plan's chunks are in memory.
void enter(Vcpu& cpu, const EntryState& entry);

}  // namespace droste
