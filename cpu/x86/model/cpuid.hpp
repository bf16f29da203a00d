#pragma once
// CPUID. SDM Vol. 2A, "CPUID—CPU Identification".

#include "core/types.hpp"

namespace droste {

class Vcpu;

struct CpuidResult {
    u32 eax = 0, ebx = 0, ecx = 0, edx = 0;
    bool operator==(const CpuidResult&) const = default;
};
CpuidResult cpuid(const Vcpu& cpu, u32 leaf, u32 subleaf);

}  // namespace droste
