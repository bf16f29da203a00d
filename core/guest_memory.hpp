#pragma once
// Guest RAM and ROM, by physical address.
//
// RAM is one lazily committed host mapping: [0, low_bytes) and [4 GiB, 4 GiB + high_bytes), with
// the PCI hole between. Regions may overlay it (ROM images, the VGA hole, PAM shadows). A page that
// is neither RAM nor ROM is MMIO: the Bus answers it.
//
// Every RAM page has a flag byte. kPageHasCode: decoded blocks were made from it, so no TLB may
// hold a write tag for it; writers that bypass the CPU (DMA, loaders) go through write()/dma_*(),
// which tell the code observer.

#include "core/error.hpp"
#include "core/types.hpp"

#include <functional>
#include <memory>
#include <span>
#include <vector>

namespace droste {

enum class PageKind : u8 { Ram, Rom, Mmio };

struct HostPage {
    u8* host = nullptr;   // first byte of the page; nullptr for MMIO
    u8* flags = nullptr;  // flag byte; nullptr for MMIO
    PageKind kind = PageKind::Mmio;
};

inline constexpr u8 kPageHasCode = 1U << 0;

class GuestMemory {
  public:
    // RAM below 4 GiB ends here at the latest (3 GiB), the rest lies above 4 GiB.
    static constexpr u64 kLowLimit = 0xC000'0000;

    // ram_bytes: 1 MiB .. 64 GiB, a multiple of 4096.
    static Expected<std::unique_ptr<GuestMemory>> create(u64 ram_bytes);
    ~GuestMemory();
    GuestMemory(const GuestMemory&) = delete;
    GuestMemory& operator=(const GuestMemory&) = delete;

    u64 ram_bytes() const { return low_bytes_ + high_bytes_; }
    u64 low_bytes() const { return low_bytes_; }
    u64 high_bytes() const { return high_bytes_; }

    // What answers the page at `page` (page-aligned, A20 already applied).
    HostPage lookup(PhysAddr page) const;

    // Overlays [first, first+bytes) with MMIO (host == nullptr) or with ROM/RAM contents at `host`
    // (borrowed). Page-aligned. A later overlay wins. Bumps layout_generation().
    void overlay(PhysAddr first, u64 bytes, PageKind kind, u8* host);
    void remove_overlay(PhysAddr first, u64 bytes);
    // Changes whenever lookup() may answer differently: TLBs compare it and flush.
    u64 layout_generation() const { return layout_generation_; }

    // Bulk access for loaders and DMA: RAM and (reads only) ROM; false if any byte is elsewhere.
    bool read(PhysAddr address, std::span<u8> out) const;
    bool write(PhysAddr address, std::span<const u8> data);
    // Writes even where the guest could not (ROM): for loaders.
    bool write_rom(PhysAddr address, std::span<const u8> data);

    // Called before a write() to a page flagged kPageHasCode.
    void set_code_observer(std::function<void(PhysAddr page)> observer) {
        code_observer_ = std::move(observer);
    }

    // Bytes of guest RAM the host has committed (resident).
    u64 resident_bytes() const;

  private:
    struct Overlay {
        PhysAddr first;
        u64 bytes;
        PageKind kind;
        u8* host;
        std::vector<u8> flags;
    };
    GuestMemory(u8* host, u8* flags, u64 low_bytes, u64 high_bytes);
    void refresh_overlay_bounds();

    u8* host_;
    u8* flags_;
    u64 low_bytes_;
    u64 high_bytes_;
    mutable std::vector<Overlay> overlays_;
    PhysAddr overlays_begin_ = ~u64{0};  // bounds of all overlays: most lookups skip them
    PhysAddr overlays_end_ = 0;
    u64 layout_generation_ = 1;
    std::function<void(PhysAddr)> code_observer_;
};

}  // namespace droste
