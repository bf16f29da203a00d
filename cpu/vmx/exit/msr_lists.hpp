#pragma once
// MSR areas of VM entries and VM exits; load and store functions are declared in exit.hpp.

#include "core/types.hpp"

namespace droste {

class Vcpu;

inline constexpr u32 kPerfGlobalCtrl = 0x38F;
// IA32_VMX_MISC[27:25] = 0 recommends at most 512 entries; more is undefined, and fails here.
inline constexpr u32 kMaxMsrListEntries = 512;

// WRMSR / RDMSR at CPL 0 whose fault is an answer, not an event.
bool set_msr_quietly(Vcpu& cpu, u32 index, u64 value);
bool get_msr_quietly(Vcpu& cpu, u32 index, u64& value);

}  // namespace droste
