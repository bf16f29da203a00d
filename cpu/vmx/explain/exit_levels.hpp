#pragma once
// Which level of nesting a guest is, as far as the processor can tell. The machine's own software
// is L1 (VMX root operation); what a VMCS runs is L2 or deeper, but the processor sees one VMCS at
// a time: L1 runs L3 on a VMCS of its own, too.
//
// Levels go by lineage. A guest that executed VMLAUNCH or VMRESUME (and thereby exited) started
// something; a {VMCS, EPTP, VPID} never seen before that is entered then is one level below it. The
// VMCS alone decides for most hypervisors (KVM, Xen and the ROM keep one for each guest); EPTP and
// VPID tell apart the guests of a hypervisor that runs several levels on one VMCS. An EPTP that
// changes under the same VMCS and VPID is the same guest with new tables.
//
// The table is shared by the logical processors of a machine: a guest may move between them. What
// is pending is each processor's own. A guess it stays: two L2 guests, of which the second is
// entered for the first time between VMLAUNCH of the first and its answer, are confused.

#include "core/types.hpp"

#include <array>
#include <cstddef>

namespace droste {

inline constexpr unsigned kMaxLevels = 10;  // L0 unused, L1 .. L9 and deeper

struct GuestIdentity {
    u64 vmcs_pointer = ~u64{0};
    u64 ept_pointer = 0;
    u16 vpid = 0;
    bool operator==(const GuestIdentity&) const = default;
};

class GuestLevels {
  public:
    struct Guest {
        GuestIdentity identity;
        u64 last_use = 0;
        unsigned level = 0;
    };

    // The guest's row, made if need be. `launching`: deepest level whose VMLAUNCH or VMRESUME
    // awaits its answer on this processor; 1 if none. `hint` is where the last one was found.
    Guest& find(const GuestIdentity& identity, unsigned launching, std::size_t& hint);
    // 0 if no guest ran on that VMCS.
    unsigned level_of_vmcs(u64 vmcs_pointer) const;

  private:
    // The guest that ran last on that VMCS; null if none did.
    const Guest* latest_on(u64 vmcs_pointer) const;
    unsigned guess(const GuestIdentity& identity, unsigned launching) const;

    std::array<Guest, 64> guests_{};
    u64 use_counter_ = 0;
};

}  // namespace droste
