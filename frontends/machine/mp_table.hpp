#pragma once
// The Intel MultiProcessor tables, for kernels that find CPUs and interrupt routing there because
// they do not read ACPI. Intel, "MultiProcessor Specification", version 1.4 (242016). The same facts
// as the MADT and the DSDT's _PRT.

#include "core/types.hpp"

#include <vector>

namespace droste {

struct MpConfig {
    u32 vcpu_count = 1;
    u32 signature = 0;  // CPUID.1:EAX
    u32 features = 0;   // CPUID.1:EDX
};

// The floating pointer structure with the configuration table behind it, to lie at `address` (a
// multiple of 16 below 1 MiB, in the BIOS area).
std::vector<u8> make_mp_table(const MpConfig& config, PhysAddr address);

}  // namespace droste
