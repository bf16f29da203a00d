#pragma once
// Which x87, MMX and vector features the native CPU can run, and so the most a CPU model may show
// the guest: their instructions execute on the native unit (docs/x86/fpu.md).

#include "cpu/x86/state/features.hpp"

namespace droste {

// Holds only features whose instructions need the native unit; nothing about XSAVE, which is
// emulated.
CpuFeatures host_vector_features();
// True for the features above, whether or not the native CPU has them.
bool needs_native_unit(Feature feature);

}  // namespace droste
