#include "frontends/machine/free_memory.hpp"

#include <algorithm>

#include <fmt/format.h>

namespace droste {

namespace {

bool covers(const MemoryRange& range, PhysAddr first, u64 bytes) {
    return first >= range.first && first <= range.end && bytes <= range.end - first;
}

}  // namespace

FreeMemory::FreeMemory(std::span<const MemoryRange> free) {
    std::copy_if(free.begin(), free.end(), std::back_inserter(free_),
                 [](const MemoryRange& range) { return range.first < range.end; });
}

bool FreeMemory::is_free(PhysAddr first, u64 bytes) const {
    return bytes == 0 || std::any_of(free_.begin(), free_.end(), [&](const MemoryRange& range) {
               return covers(range, first, bytes);
           });
}

bool FreeMemory::reserve(PhysAddr first, u64 bytes) {
    if (bytes == 0) {
        return true;
    }
    const auto found = std::find_if(free_.begin(), free_.end(), [&](const MemoryRange& range) {
        return covers(range, first, bytes);
    });
    if (found == free_.end()) {
        return false;
    }
    const MemoryRange above = {first + bytes, found->end};
    found->end = first;
    auto behind = found + 1;
    if (found->first == found->end) {
        behind = free_.erase(found);
    }
    if (above.first < above.end) {
        free_.insert(behind, above);
    }
    return true;
}

std::optional<PhysAddr>
FreeMemory::find(u64 bytes, u64 alignment, MemoryRange within, Prefer prefer) const {
    std::optional<PhysAddr> best;
    for (const MemoryRange& range : free_) {
        const PhysAddr first = std::max(range.first, within.first);
        const PhysAddr end = std::min(range.end, within.end);
        if (first >= end || bytes > end - first) {
            continue;
        }
        const PhysAddr last = end - bytes;
        const PhysAddr place = prefer == Prefer::Highest
                                   ? last / alignment * alignment
                                   : (first + alignment - 1) / alignment * alignment;
        if (place < first || place > last) {
            continue;
        }
        best = place;
        if (prefer == Prefer::Lowest) {
            break;
        }
    }
    return best;
}

std::string FreeMemory::describe() const {
    constexpr std::size_t kMostShown = 4;
    std::string text;
    for (const MemoryRange& range : std::span(free_).first(std::min(free_.size(), kMostShown))) {
        text += fmt::format("{}{:#x}..{:#x}", text.empty() ? "" : ", ", range.first, range.end);
    }
    if (free_.size() > kMostShown) {
        text += ", ...";
    }
    return text.empty() ? "nothing" : text;
}

}  // namespace droste
