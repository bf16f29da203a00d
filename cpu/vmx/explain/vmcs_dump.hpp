#pragma once
// A VMCS in words: every field by group and manual name, control words and state words with their
// bits named.

#include "cpu/vmx/vmcs/vmcs.hpp"

#include <string>

namespace droste {

class VmxCapabilities;

// All supported fields. With `before`, changed fields carry their former value ("was").
std::string dump_vmcs(const Vmcs& vmcs,
                      const VmxCapabilities& caps,
                      PhysAddr address,
                      const Vmcs* before = nullptr);
// Only the fields that differ, one line each; empty if none do.
std::string diff_vmcs(const Vmcs& before, const Vmcs& after, const VmxCapabilities& caps);
// For a VM entry that failed: what differs from the last one that succeeded, if there was one, and
// all fields.
std::string dump_failed_vmcs(const Vmcs& vmcs,
                             const VmxCapabilities& caps,
                             PhysAddr address,
                             const Vmcs* last_good);
// The named bits of a control or state word ("NMI exiting | virtual NMIs"), or an empty string.
std::string decode_bits(VmcsField field, u64 value);

}  // namespace droste
