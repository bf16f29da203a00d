#pragma once
// Field-aware mutation of a VMCS and of the memory it points to: values that are legal, at a
// boundary, or illegal in a way the field can be.

#include "tests/fuzz/vmcs_guests.hpp"

namespace droste::test {

// A new value for `field`, which holds `old`.
u64 mutated_value(Random& random, const VmxCapabilities& caps, VmcsField field, u64 old);
// Random controls; most of the time with what they depend on, so that many entries succeed.
void mutate_controls(Random& random, VmxMachine& m);
// EPT entries (rights, loops, reserved bits, outside RAM), guest page tables, bitmaps, MSR areas,
// virtual-APIC page, posted interrupts, shadow VMCS.
void mutate_memory(Random& random, VmxMachine& m);

}  // namespace droste::test
