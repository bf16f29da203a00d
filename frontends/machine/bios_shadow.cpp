#include "frontends/machine/bios_shadow.hpp"

#include "frontends/machine/memory_map.hpp"

#include <algorithm>

namespace droste {

namespace {

constexpr PhysAddr kFirst = 0xC'0000;
constexpr u64 kGranule = 0x4000;

}  // namespace

BiosShadow::BiosShadow(GuestMemory& memory, std::span<u8> rom) : memory_(memory), rom_(rom) {
    const u64 shown = std::min<u64>(rom.size(), memory_map::kOneMiB - memory_map::kBiosArea);
    rom_ = rom.last(shown);
    rom_first_ = memory_map::kOneMiB - shown;
    show_rom();
}

void BiosShadow::show_rom() {
    for (PhysAddr first = kFirst; first < memory_map::kOneMiB; first += kGranule) {
        arrange({.first = first, .bytes = kGranule, .read_ram = false, .write_ram = false});
    }
}

void BiosShadow::cover(const Range& range, PageKind kind, u8* native) {
    memory_.overlay(range.first, range.bytes, kind, native);
    covered_.push_back(range);
}

void BiosShadow::uncover(PhysAddr first, u64 bytes) {
    const auto within = [&](const Range& range) {
        return range.first >= first && range.first < first + bytes;
    };
    for (const Range& range : covered_) {
        if (within(range)) {
            memory_.remove_overlay(range.first, range.bytes);
        }
    }
    covered_.erase(std::remove_if(covered_.begin(), covered_.end(), within), covered_.end());
}

void BiosShadow::arrange(const PamSegment& segment) {
    uncover(segment.first, segment.bytes);
    if (segment.read_ram && segment.write_ram) {
        return;
    }
    for (u64 offset = 0; offset < segment.bytes; offset += kGranule) {
        const Range range = {segment.first + offset, kGranule};
        if (segment.read_ram) {
            // The range is contiguous in RAM, so its first page's address serves for all of it.
            u8* ram = memory_.lookup(range.first).native;
            cover(range, ram != nullptr ? PageKind::Rom : PageKind::Mmio, ram);
        } else if (range.first >= rom_first_ && !rom_.empty()) {
            cover(range, PageKind::Rom, rom_.data() + (range.first - rom_first_));
        } else {
            cover(range, PageKind::Mmio, nullptr);
        }
    }
}

}  // namespace droste
