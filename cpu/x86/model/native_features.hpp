#pragma once
// Which x87, MMX and vector features the native CPU can run, and so the most a CPU model may show
// the guest: their instructions execute on the native unit (docs/x86/fpu.md).
//
// The environment variable DROSTE_NATIVE_WITHOUT=name,name... hides features as if the CPU lacked
// them, so that what happens on a lesser machine can be tried on any. Names are those of
// features.inc; tests add some for what they probe (docs/testing.md).

#include "cpu/x86/state/features.hpp"

#include <string_view>

namespace droste {

// Holds only features whose instructions need the native unit; nothing about XSAVE, which is
// emulated.
CpuFeatures native_vector_features();
// Every feature of the table that the native CPUID shows, whether or not the kernel enabled it:
// what a test may run beside the emulator.
CpuFeatures native_cpuid_features();
// True for the features of native_vector_features(), whether or not the native CPU has them.
bool needs_native_unit(Feature feature);
// True if DROSTE_NATIVE_WITHOUT hides `name`.
bool native_masked(std::string_view name);

}  // namespace droste
