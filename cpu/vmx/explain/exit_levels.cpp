#include "cpu/vmx/explain/exit_levels.hpp"

#include <algorithm>

namespace droste {

namespace {

// Two numbers as one that is never the address of a region.
constexpr u64 mixed(u64 a, u64 b) {
    constexpr u64 kGolden = 0x9E37'79B9'7F4A'7C15;
    return ((a * kGolden) ^ (b + kGolden + (a >> 7))) | 1;
}

}  // namespace

std::size_t GuestLevels::set_of(PhysAddr address) {
    const u64 page = (address & 1) != 0 ? address >> 1 : address >> 12;
    return (page ^ (page >> 8) ^ (page >> 16)) % kSets;
}

const GuestLevels::Region* GuestLevels::find(PhysAddr address) const {
    if (address == 0) {
        return nullptr;
    }
    const auto& set = regions_[set_of(address)];
    const auto found = std::find_if(set.begin(), set.end(),
                                    [address](const Region& r) { return r.address == address; });
    return found == set.end() ? nullptr : &*found;
}

GuestLevels::Region* GuestLevels::find(PhysAddr address) {
    return const_cast<Region*>(static_cast<const GuestLevels*>(this)->find(address));
}

// The guest of that level whose launch waits for an answer out of that address space: the one this
// processor saw last, else the latest.
PhysAddr
GuestLevels::launcher(unsigned level, u64 cr3, PhysAddr not_this, const Launches& seen) const {
    const auto fits = [=](const Region& region) {
        return region.address != 0 && region.launching && region.owner == 0 &&
               region.host_level + 1 == level && region.cr3 == cr3 && region.address != not_this;
    };
    if (const Region* last = find(level < kMaxLevels ? seen[level] : 0);
        last != nullptr && fits(*last)) {
        return last->address;
    }
    const Region* latest = nullptr;
    for (const auto& set : regions_) {
        for (const Region& region : set) {
            if (fits(region) && (latest == nullptr || region.last_use > latest->last_use)) {
                latest = &region;
            }
        }
    }
    return latest == nullptr ? 0 : latest->address;
}

GuestLevels::Region&
GuestLevels::make(PhysAddr address, unsigned host_level, u64 cr3, const Launches& seen) {
    const PhysAddr owner = launcher(host_level + 1, cr3, address, seen);
    auto& set = regions_[set_of(address)];
    Region* room = find(address);
    if (room == nullptr) {
        room = &*std::min_element(set.begin(), set.end(), [](const Region& a, const Region& b) {
            return a.last_use < b.last_use;
        });
    }
    *room = {};
    room->address = address;
    room->host_level = host_level;
    room->owner = owner;
    return *room;
}

GuestLevels::Guest
GuestLevels::resolve(PhysAddr address, unsigned host_level, u64 cr3, const Launches& seen) {
    Region* region = find(address);
    if (region == nullptr || region->host_level != host_level) {
        region = &make(address, host_level, cr3, seen);
    }
    region->cr3 = cr3;
    region->last_use = ++use_counter_;
    const unsigned level = std::min(host_level + 1, kMaxLevels - 1);
    if (region->owner == 0) {
        region->launching = false;  // back without an answer
        return {address, level};
    }
    const unsigned deeper = std::min(level + 1, kMaxLevels - 1);
    Region* owner = find(region->owner);
    if (owner == nullptr || deeper == level) {
        return {address, deeper};
    }
    if (owner->launching) {
        owner->launching = false;
        // A guest that loads no region has one for each EPT and VPID it is entered with.
        const u64 entered_with =
            host_level == 1 ? mixed(region->ept_pointer, region->vpid) : address;
        const PhysAddr next =
            owner->current != 0 ? owner->current : unknown_region(owner->address, entered_with);
        const PhysAddr asking = owner->address;
        const Guest guest = resolve(next, level, owner->launch_cr3, seen);
        if (Region* still_there = find(asking); still_there != nullptr) {
            still_there->running = guest.id;
        }
        return guest;
    }
    const Region* running = find(owner->running);
    return running == nullptr ? Guest{owner->running, deeper}
                              : Guest{running->address, running->host_level + 1};
}

// A hypervisor may run several levels on one VMCS: its guest launched something, and what it enters
// instead of answering is another guest (another VPID or EPTP, and not where the launch stood). From
// then on VPID and EPTP are part of the name.
PhysAddr GuestLevels::choose(const Entry& entry) {
    Region* region = find(entry.region);
    if (region == nullptr) {
        return entry.region;
    }
    const bool same = region->vpid == entry.vpid && region->ept_pointer == entry.ept_pointer;
    if (!same && region->split) {
        const PhysAddr other = mixed(entry.region, mixed(entry.ept_pointer, entry.vpid));
        if (find(other) != nullptr) {
            return other;
        }
    }
    constexpr u64 kLaunchBytes = 3;
    const bool goes_on =
        entry.rip == region->launch_rip || entry.rip == region->launch_rip + kLaunchBytes;
    if (!same && region->launching && !goes_on) {
        region->split = true;
        return mixed(entry.region, mixed(entry.ept_pointer, entry.vpid));
    }
    return entry.region;
}

GuestLevels::Guest GuestLevels::entered_anew(const Entry& entry, const Launches& seen) {
    ++generation_;
    const PhysAddr address = choose(entry);
    const u64 cr3 = address_space(entry.cr3);
    Region* region = find(address);
    if (region == nullptr || region->host_level != 1) {
        region = &make(address, 1, cr3, seen);
    }
    region->vpid = entry.vpid;
    region->ept_pointer = entry.ept_pointer;
    recent_[(entry.region >> 12) % kRecent] = region;
    return resolve(address, 1, cr3, seen);
}

void GuestLevels::launched(GuestId guest, u64 cr3, u64 rip) {
    ++generation_;
    if (Region* region = find(guest); region != nullptr) {
        region->launching = true;
        region->launch_cr3 = address_space(cr3);
        region->launch_rip = rip;
    }
}

void GuestLevels::loaded(GuestId guest, PhysAddr region) {
    ++generation_;
    if (Region* loader = find(guest); loader != nullptr) {
        loader->current = region;
    }
}

void GuestLevels::born(PhysAddr region) {
    ++generation_;
    if (Region* old = find(region); old != nullptr) {
        *old = {};
    }
}

PhysAddr GuestLevels::unknown_region(GuestId guest, u64 pointer) {
    constexpr u64 kNotAsChoose = 1;  // there are two regions of one guest, EPT and VPID
    return mixed(mixed(guest, pointer), kNotAsChoose);
}

unsigned GuestLevels::level_of_vmcs(PhysAddr region) const {
    const Region* found = find(region);
    if (found == nullptr) {
        return 0;
    }
    if (found->owner == 0) {
        return found->host_level + 1;
    }
    const Region* owner = find(found->owner);
    const Region* running = owner == nullptr ? nullptr : find(owner->running);
    return running == nullptr ? std::min(found->host_level + 2, kMaxLevels - 1)
                              : running->host_level + 1;
}

}  // namespace droste
