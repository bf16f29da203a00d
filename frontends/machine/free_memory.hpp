#pragma once
// Which RAM is still free while a loader lays out a kernel, its modules and its boot information.
// Everything a loader places goes through here, so nothing can overlap: neither with what firmware
// leaves behind nor, in a damaged or hostile file, with another part of the same image. That also
// bounds the work of loading by the size of RAM, however often a file names the same bytes.

#include "core/types.hpp"

#include <optional>
#include <span>
#include <string>
#include <vector>

namespace droste {

struct MemoryRange {
    PhysAddr first;
    PhysAddr end;  // first byte behind it

    u64 bytes() const { return end - first; }
    bool operator==(const MemoryRange&) const = default;
};

class FreeMemory {
  public:
    // Ascending, not touching each other; empty ranges are dropped.
    explicit FreeMemory(std::span<const MemoryRange> free);

    bool is_free(PhysAddr first, u64 bytes) const;
    // Takes exactly these bytes; false, and nothing changes, unless all of them are free. No bytes
    // are always free.
    bool reserve(PhysAddr first, u64 bytes);

    enum class Prefer : u8 { Lowest, Highest };
    // A free place of `bytes` within [at_least, end), its address a multiple of `alignment`
    // (>= 1, any number), not yet reserved.
    std::optional<PhysAddr>
    find(u64 bytes, u64 alignment, MemoryRange within, Prefer prefer = Prefer::Lowest) const;

    std::span<const MemoryRange> ranges() const { return free_; }
    // "0x600..0x9fc00, 0x100000..0x7fe0000", for messages; only the first few.
    std::string describe() const;

  private:
    std::vector<MemoryRange> free_;
};

}  // namespace droste
