#pragma once
// Loading guest state. SDM Vol. 3C, "Loading Guest State".

#include "core/types.hpp"

#include <array>

namespace droste {

struct ActiveControls;
struct Vmcs;
class VmxState;

bool guest_uses_pae_paging(const Vmcs& vmcs, const ActiveControls& controls);
// Of the current VMCS, whose digest of controls is up to date: the PDPTE fields with EPT, else what
// lies at CR3.
std::array<u64, 4> guest_pdptes(const VmxState& vmx);

// Registers, MSRs with fields, non-register state; and the seams and tags of non-root operation.
// Derived state and the address space are not switched yet: enter_guest_context() does that.
void load_guest_state(VmxState& vmx);
void enter_guest_context(VmxState& vmx);

// Injection of the event in the VM-entry interruption-information field (entry_inject.cpp).
// Requires: it is valid.
void inject_event(VmxState& vmx);

}  // namespace droste
