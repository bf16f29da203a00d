#pragma once
// The virtual-APIC page and the operations that emulate the local APIC on it (apic_virt.cpp); what
// reaches it (apic_access.cpp). SDM Vol. 3C, "Virtual APIC State".

#include "core/types.hpp"

namespace droste {

class VmxState;

namespace virtual_apic {
inline constexpr u32 kTpr = 0x80, kPpr = 0xA0, kEoi = 0xB0, kIsr = 0x100, kIrr = 0x200,
                     kIcrLow = 0x300, kIcrHigh = 0x310;
}  // namespace virtual_apic

u32 read_virtual_apic(VmxState& vmx, u32 offset);
void write_virtual_apic(VmxState& vmx, u32 offset, u32 value);

void virtualize_tpr(VmxState& vmx);
void virtualize_eoi(VmxState& vmx);
void virtualize_self_ipi(VmxState& vmx, u8 vector);
void apic_write_exit(VmxState& vmx, u32 offset);

}  // namespace droste
