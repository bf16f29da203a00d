#include "cpu/vmx/explain/exit_levels.hpp"

#include <algorithm>

namespace droste {

GuestLevels::Guest&
GuestLevels::find(const GuestIdentity& identity, unsigned launching, std::size_t& hint) {
    if (guests_[hint].identity != identity) {
        auto found = std::find_if(guests_.begin(), guests_.end(),
                                  [&](const Guest& guest) { return guest.identity == identity; });
        if (found == guests_.end()) {
            const unsigned level = guess(identity, launching);
            found = std::min_element(
                guests_.begin(), guests_.end(),
                [](const Guest& a, const Guest& b) { return a.last_use < b.last_use; });
            *found = {identity, 0, level};
        }
        hint = static_cast<std::size_t>(found - guests_.begin());
    }
    Guest& guest = guests_[hint];
    guest.last_use = ++use_counter_;
    return guest;
}

unsigned GuestLevels::guess(const GuestIdentity& identity, unsigned launching) const {
    const unsigned deeper = std::min(launching + 1, kMaxLevels - 1);
    const Guest* same_vmcs = latest_on(identity.vmcs_pointer);
    if (same_vmcs == nullptr) {
        return deeper;
    }
    const bool launch_pending = launching > 1;
    const bool same_vpid = identity.vpid != 0 && same_vmcs->identity.vpid == identity.vpid;
    return !launch_pending || same_vpid ? same_vmcs->level : std::max(same_vmcs->level, deeper);
}

unsigned GuestLevels::level_of_vmcs(u64 vmcs_pointer) const {
    const Guest* latest = latest_on(vmcs_pointer);
    return latest == nullptr ? 0 : latest->level;
}

const GuestLevels::Guest* GuestLevels::latest_on(u64 vmcs_pointer) const {
    const Guest* latest = nullptr;
    for (const Guest& guest : guests_) {
        if (guest.level != 0 && guest.identity.vmcs_pointer == vmcs_pointer &&
            (latest == nullptr || guest.last_use > latest->last_use)) {
            latest = &guest;
        }
    }
    return latest;
}

}  // namespace droste
