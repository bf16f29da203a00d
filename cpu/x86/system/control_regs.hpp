#pragma once
// Control registers as instructions and VMX reach them: every write with its checks and effects.

#include "core/types.hpp"
#include "cpu/x86/state/exception.hpp"

namespace droste {

class Vcpu;

// MOV to CR0/CR3/CR4/CR8, XSETBV: reserved bits and illegal combinations -> #GP(0); TLB effects;
// mode_changed(). SDM Vol. 3A, "Control Registers". Return Next or Fault.
Status write_cr0(Vcpu& cpu, u64 value);
Status write_cr3(Vcpu& cpu, u64 value);
Status write_cr4(Vcpu& cpu, u64 value);
Status write_cr8(Vcpu& cpu, u64 value);
u64 read_cr8(const Vcpu& cpu);
Status write_xcr0(Vcpu& cpu, u32 index, u64 value);
// Bits the guest may set in CR4 with this CPU's features (also IA32_VMX_CR4_FIXED1).
u64 cr4_allowed(const Vcpu& cpu);

// All translations, global ones too, of the current VPID. SDM Vol. 3C, "Operations that Invalidate
// Cached Mappings".
void flush_current_vpid(Vcpu& cpu);

}  // namespace droste
