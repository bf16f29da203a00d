#pragma once
// Which level of nesting a guest is. The machine's own software is L1 (VMX root operation); what it
// runs is L2 or deeper.
//
// The problem: the processor sees L1's VMCSs only. L1 runs the guests of its guests, too, on VMCSs of
// its own, and KVM needs one for all of them: L3, L4 and what lies below share it, and its VPID.
//
// The choice: lineage, told by VMCS regions. Every VMX instruction of a guest exits, whatever its
// level, so the processor does see which region is current for whom: VMPTRLD names it, and its
// machine address is the same for all virtual CPUs. What a hypervisor runs on a region is
//   a guest of its own, or
//   what a guest of it, the region's owner, asked for by VMLAUNCH: the first VM entry on such a region
//   is the answer to that.
// A VM entry on a region of the second kind leads to the owner's current region, which is of the first
// or second kind in turn, and so on down. A region that its hypervisor erased begins a new life.
//
// Who is the owner: several guests may have launched something that has not been entered yet. A
// hypervisor answers in the address space in which it runs that guest (KVM's in its VMM's process,
// Xen's in its vCPU's), so CR3 at the VM entry decides, and among the virtual CPUs of one guest what
// this logical processor saw last.
//
// Rejected: {VMCS, EPTP, VPID} as identity (hypervisors build new tables for an old guest, reuse old
// ones for a new guest, and KVM's L4 shares VMCS and VPID with its L3); the last launch on this
// processor as owner (another guest may begin there in between; with many short-lived guests the
// levels drift downwards).
//
// It stays a guess where a hypervisor has one address space for everything and starts two guests at
// once of which one nests. A guest with an enlightened VMCS loads none: it has one for each EPT. The
// table is shared by the logical processors of a machine: guests move between them.

#include "core/types.hpp"

#include <array>

namespace droste {

inline constexpr unsigned kMaxLevels = 10;  // L0 unused, L1 .. L9 and deeper

// A guest, named by the region its hypervisor runs it on. 0: none, as in L1.
using GuestId = u64;

class GuestLevels {
  public:
    struct Guest {
        GuestId id = 0;
        unsigned level = 1;
    };

    // By level: whose launch a logical processor saw last.
    using Launches = std::array<GuestId, kMaxLevels>;

    // What L1 says by a VM entry, as far as levels go.
    struct Entry {
        PhysAddr region = 0;
        u64 cr3 = 0;  // L1's
        u64 ept_pointer = 0;
        u16 vpid = 0;
        u64 rip = 0;  // the guest's
    };
    struct Region;
    // What a VM entry came to, for the next one that names the same region, EPT and VPID: it leads to
    // the same guest while nothing was heard of guests that start others.
    struct Memo {
        u64 generation = 0;
        u64 cr3 = 0;
        Region* region = nullptr;
        Guest guest;
    };
    bool same_again(const Memo& memo, u64 cr3) {
        if (memo.generation != generation_ || memo.cr3 != cr3) {
            return false;
        }
        memo.region->last_use = ++use_counter_;
        return true;
    }
    // L1 enters on `entry.region`: the guest that runs there now.
    Guest entered(const Entry& entry, const Launches& seen, Memo& memo) {
        Region* recent = recent_[(entry.region >> 12) % kRecent];
        if (recent != nullptr && as_before(*recent, entry)) [[likely]] {
            recent->last_use = ++use_counter_;
            generation_ += recent->launching ? 1 : 0;
            recent->launching = false;
            memo = {generation_, entry.cr3, recent, {recent->address, 2}};
        } else {
            const Guest guest = entered_anew(entry, seen);
            memo = {generation_, entry.cr3, recent_[(entry.region >> 12) % kRecent], guest};
        }
        return memo.guest;
    }
    // The guest exited by VMLAUNCH or VMRESUME at `rip`, with CR3 as given.
    void launched(GuestId guest, u64 cr3, u64 rip);
    // The guest exited by VMPTRLD of a region, given by machine address (or unknown_region()).
    void loaded(GuestId guest, PhysAddr region);
    // The region was erased: what ran on it is gone.
    void born(PhysAddr region);

    // A name for a region whose machine address is not known: `pointer` as that guest sees it.
    static PhysAddr unknown_region(GuestId guest, u64 pointer);
    // Of the guest that ran last on that VMCS; 0 if none did.
    unsigned level_of_vmcs(PhysAddr region) const;

    struct Region {
        PhysAddr address = 0;  // 0: free
        u64 last_use = 0;
        unsigned host_level = 0;  // of the hypervisor whose region it is
        u64 cr3 = 0;              // that hypervisor's, at the last entry
        PhysAddr owner = 0;       // 0: a guest of the hypervisor itself
        // Of the guest that runs here:
        PhysAddr current = 0;  // its current region; 0: not known
        PhysAddr running = 0;  // the region of the guest that runs on its behalf
        bool launching = false;
        u64 launch_cr3 = 0;
        u64 launch_rip = 0;
        // One VMCS for several levels, see choose().
        u64 ept_pointer = 0;
        u16 vpid = 0;
        bool split = false;
    };

  private:
    Region* find(PhysAddr address);
    const Region* find(PhysAddr address) const;
    Region& make(PhysAddr address, unsigned host_level, u64 cr3, const Launches& seen);
    PhysAddr launcher(unsigned level, u64 cr3, PhysAddr not_this, const Launches& seen) const;
    PhysAddr choose(const Entry& entry);
    // L1 enters a guest of its own once more.
    static bool as_before(const Region& region, const Entry& entry) {
        return region.address == entry.region && region.host_level == 1 && region.owner == 0 &&
               region.vpid == entry.vpid && region.ept_pointer == entry.ept_pointer &&
               region.cr3 == address_space(entry.cr3);
    }
    // CR3 without PCID, PWT and PCD.
    static constexpr u64 address_space(u64 cr3) { return cr3 & ~u64{0xFFF}; }
    Guest entered_anew(const Entry& entry, const Launches& seen);
    Guest resolve(PhysAddr address, unsigned host_level, u64 cr3, const Launches& seen);

    // Sets of ways, the least recently used of a set makes room.
    static constexpr unsigned kSets = 256, kWays = 4;
    static std::size_t set_of(PhysAddr address);
    std::array<std::array<Region, kWays>, kSets> regions_{};
    // Regions that L1 entered on lately: most VM entries find nothing new there.
    static constexpr unsigned kRecent = 8;
    std::array<Region*, kRecent> recent_{};
    u64 use_counter_ = 0;
    u64 generation_ = 1;  // changes with what a VM entry leads to
};

}  // namespace droste
