#pragma once
// C0000h-FFFFFh as the host bridge's PAM registers arrange it: each segment shows the firmware's
// ROM (or nothing) or the RAM behind it, writable or not. Intel, "82441FX (PMC)" (290549),
// "PAM—Programmable Attribute Map Registers".
//
// QUIRK(pam-copy): "read ROM, write RAM" is shown as ROM whose writes are lost: nobody copies that
// way here, because the ROM can be read at the top of 4 GiB as well.

#include "core/guest_memory.hpp"
#include "devices/pci/pci_host_i440fx.hpp"

#include <span>
#include <vector>

namespace droste {

class BiosShadow {
  public:
    // Borrows both. The last bytes of `rom` appear up to 1 MiB, at most 128 KiB; `rom` may be
    // empty.
    BiosShadow(GuestMemory& memory, std::span<u8> rom);

    // Power-on state: ROM everywhere.
    void show_rom();
    void arrange(const PamSegment& segment);

  private:
    struct Range {
        PhysAddr first;
        u64 bytes;
    };
    void cover(const Range& range, PageKind kind, u8* native);
    void uncover(PhysAddr first, u64 bytes);

    GuestMemory& memory_;
    std::span<u8> rom_;
    PhysAddr rom_first_;
    std::vector<Range> covered_;
};

}  // namespace droste
