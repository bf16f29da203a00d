#pragma once
// Control registers, MSRs and CPUID as instructions and VMX reach them: every write with its checks
// and effects.

#include "core/types.hpp"
#include "cpu/x86/exception.hpp"

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

// RDMSR / WRMSR without privilege checks: unknown or illegal -> #GP(0) by Fault. SDM Vol. 4.
Status read_msr(Vcpu& cpu, u32 index, u64& value);
Status write_msr(Vcpu& cpu, u32 index, u64 value);
// Installs rows for MSRs another layer owns (VMX capability MSRs, FEATURE_CONTROL effects): see
// msr.hpp.

struct CpuidResult {
    u32 eax = 0, ebx = 0, ecx = 0, edx = 0;
    bool operator==(const CpuidResult&) const = default;
};
CpuidResult cpuid(const Vcpu& cpu, u32 leaf, u32 subleaf);

}  // namespace droste
