#pragma once
// What VMX looks at between instructions (boundary.cpp).

#include "core/types.hpp"

namespace droste {

class VmxState;

// After a VM entry, or when the conditions of a window changed: tells the vCPU which attention it
// needs.
void arm_boundary(VmxState& vmx);

}  // namespace droste
