#include "core/code_pages.hpp"

#include "core/assert.hpp"
#include "core/guest_memory.hpp"
#include "core/machine_lock.hpp"

#include <algorithm>

namespace droste {

u8 CodePages::add(Keeper& keeper) {
    const auto free = std::find(keepers_.begin(), keepers_.end(), nullptr);
    DROSTE_ASSERT(free != keepers_.end());
    *free = &keeper;
    return static_cast<u8>(1U << (free - keepers_.begin()));
}

void CodePages::remove(Keeper& keeper) {
    std::replace(keepers_.begin(), keepers_.end(), &keeper, static_cast<Keeper*>(nullptr));
}

void CodePages::remove(Watcher& watcher) {
    watchers_.erase(std::remove(watchers_.begin(), watchers_.end(), &watcher), watchers_.end());
}

void CodePages::about_to_read(PhysAddr page) {
    if (lock_ == nullptr) {
        return;
    }
    const u8* flags = memory_.lookup(page).flags;
    if (flags != nullptr && (*flags & kPageHasCode) == 0) {
        lock_->stop_others();
    }
}

void CodePages::became_code(PhysAddr page, u8 mark) {
    u8* flags = memory_.lookup(page).flags;
    if (flags == nullptr) {
        return;  // not memory: every access goes to the bus
    }
    const bool was_plain = (*flags & kPageHasCode) == 0;
    *flags |= mark;
    if (was_plain) {
        if (lock_ != nullptr) {
            lock_->stop_others();
        }
        for (Watcher* watcher : watchers_) {
            watcher->page_became_code(page);
        }
    }
}

void CodePages::no_longer_code(PhysAddr page, u8 mark) {
    if (u8* flags = memory_.lookup(page).flags; flags != nullptr) {
        *flags = static_cast<u8>(*flags & ~mark);
    }
}

void CodePages::written(PhysAddr address, unsigned bytes) {
    if (const u8* flags = memory_.lookup(address & kPageMask).flags; flags != nullptr) {
        written(address, bytes, *flags);
    }
}

void CodePages::tell_keepers(PhysAddr address, unsigned bytes, u8 flags) {
    for (unsigned n = 0; n < kMaxKeepers; ++n) {
        if ((flags & (1U << n)) != 0 && keepers_[n] != nullptr) {
            keepers_[n]->written(address, bytes);
        }
    }
}

void CodePages::layout_changing() {
    if (lock_ != nullptr) {
        lock_->stop_others();
    }
    for (Keeper* keeper : keepers_) {
        if (keeper != nullptr) {
            keeper->layout_changing();
        }
    }
}

void CodePages::layout_changed() {
    for (Watcher* watcher : watchers_) {
        watcher->layout_changed();
    }
}

}  // namespace droste
