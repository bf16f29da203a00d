// Memory comparison on mincore().

#include "frontends/debugger/memory_compare.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <span>

#include <sys/mman.h>

namespace droste {

namespace {

constexpr std::size_t kPagesAtOnce = 512;
using Resident = std::array<u8, kPagesAtOnce>;

// Which pages from `native` on are committed; all, if the native kernel does not tell.
void find_resident(const u8* native, std::size_t pages, Resident& out) {
    void* first = const_cast<u8*>(native);
    if (mincore(first, pages * kPageBytes, out.data()) != 0) {
        out.fill(1);
    }
}

std::optional<PhysAddr>
compare_ram(const GuestMemory& one, const GuestMemory& other, PhysAddr first, u64 bytes) {
    Resident ours{};
    Resident theirs{};
    for (u64 done = 0; done < bytes; done += kPagesAtOnce * kPageBytes) {
        const PhysAddr chunk = first + done;
        const auto pages =
            static_cast<std::size_t>(std::min<u64>(kPagesAtOnce, (bytes - done) / kPageBytes));
        // Overlays make holes: asked for page by page below.
        const u8* a = one.lookup(chunk).native;
        const u8* b = other.lookup(chunk).native;
        ours.fill(1);
        theirs.fill(1);
        const PhysAddr last = chunk + (pages - 1) * kPageBytes;
        const bool whole = a != nullptr && b != nullptr &&
                           one.lookup(last).native == a + (pages - 1) * kPageBytes &&
                           other.lookup(last).native == b + (pages - 1) * kPageBytes;
        if (whole) {
            find_resident(a, pages, ours);
            find_resident(b, pages, theirs);
        }
        for (std::size_t page = 0; page < pages; ++page) {
            if (((ours[page] | theirs[page]) & 1) == 0) {
                continue;
            }
            const auto found = first_difference(one, other, chunk + page * kPageBytes, kPageBytes);
            if (found) {
                return found;
            }
        }
    }
    return std::nullopt;
}

}  // namespace

std::optional<PhysAddr> first_difference(const GuestMemory& one,
                                         const GuestMemory& other,
                                         PhysAddr first,
                                         std::size_t bytes) {
    const u64 offset = first % kPageBytes;
    const NativePage ours = one.lookup(first & kPageMask);
    const NativePage theirs = other.lookup(first & kPageMask);
    if (ours.native == nullptr || theirs.native == nullptr ||
        std::memcmp(ours.native + offset, theirs.native + offset, bytes) == 0) {
        return std::nullopt;
    }
    const std::span<const u8> mine{ours.native + offset, bytes};
    const std::span<const u8> yours{theirs.native + offset, bytes};
    const auto at = std::mismatch(mine.begin(), mine.end(), yours.begin());
    return first + static_cast<u64>(at.first - mine.begin());
}

std::optional<PhysAddr> first_difference(const GuestMemory& one, const GuestMemory& other) {
    constexpr PhysAddr kHigh = u64{4} << 30;
    const auto low = compare_ram(one, other, 0, one.low_bytes());
    return low ? low : compare_ram(one, other, kHigh, one.high_bytes());
}

}  // namespace droste
