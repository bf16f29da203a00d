#pragma once
// Guest RAM and ROM, by physical address.
//
// RAM is one lazily committed native mapping: [0, low_bytes) and [4 GiB, 4 GiB + high_bytes), with
// the PCI hole between. Regions may overlay it (ROM images, the VGA hole, PAM shadows). A page that
// is neither RAM nor ROM is MMIO: the Bus answers it.
//
// Every page has a flag byte. kPageHasCode: code is kept of it (code_pages.hpp), so no TLB may hold
// a write tag for it; all writers but the fast path of the CPUs come through write() or
// compare_exchange(), which tell code_pages() first.
//
// RAM and the flags lie between guard pages: an address that is off by a little faults at once
// instead of changing the emulator. RAM starts on a 2-MiB boundary and asks for huge pages: the
// TLB misses of the native CPU are a good part of what a guest with a large working set costs.

#include "core/code_pages.hpp"
#include "core/error.hpp"
#include "core/types.hpp"

#include <memory>
#include <span>
#include <utility>
#include <vector>

namespace droste {

enum class PageKind : u8 { Ram, Rom, Mmio };

struct NativePage {
    u8* native = nullptr;  // first byte of the page; nullptr for MMIO
    u8* flags = nullptr;   // flag byte; nullptr for MMIO
    PageKind kind = PageKind::Mmio;
};

// How GuestMemory::compare_exchange() ended. Changed: the bytes were not the expected ones. NotRam:
// nothing was done; a write there goes to the bus or nowhere.
enum class Exchange : u8 { Done, Changed, NotRam };

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
    NativePage lookup(PhysAddr page) const;

    // Overlays [first, first+bytes) with MMIO (native == nullptr) or with ROM/RAM contents at `native`
    // (borrowed). Page-aligned. A later overlay wins. Who keeps code or translations hears of it.
    void overlay(PhysAddr first, u64 bytes, PageKind kind, u8* native);
    void remove_overlay(PhysAddr first, u64 bytes);

    // Bulk access for loaders and DMA: RAM and (reads only) ROM; false if any byte is elsewhere.
    bool read(PhysAddr address, std::span<u8> out) const;
    bool write(PhysAddr address, std::span<const u8> data);
    // Writes even where the guest could not (ROM): for loaders.
    bool write_rom(PhysAddr address, std::span<const u8> data);

    // What devices copied while the CPU waited for its access to end: it takes that long.
    void note_dma(u64 bytes) { dma_bytes_ += bytes; }
    u64 take_dma_bytes() { return std::exchange(dma_bytes_, 0); }

    // Replaces the 4 or 8 bytes at `address`, which are naturally aligned, if they are `expected`:
    // one atomic step, as other processors see it. On Changed `expected` holds what is there.
    Exchange compare_exchange(PhysAddr address, u32& expected, u32 desired) {
        return exchange(address, expected, desired);
    }
    Exchange compare_exchange(PhysAddr address, u64& expected, u64 desired) {
        return exchange(address, expected, desired);
    }

    // Who keeps code of which page.
    CodePages& code_pages() { return code_pages_; }

    // Bytes of guest RAM the native machine has committed (resident).
    u64 resident_bytes() const;

  private:
    struct Overlay {
        PhysAddr first;
        u64 bytes;
        PageKind kind;
        u8* native;
        std::vector<u8> flags;
    };
    // The native mapping: RAM and flags with their guards.
    struct Mapping {
        u8* reserved;
        u64 reserved_bytes;
        u8* ram;
        u8* flags;
    };
    GuestMemory(const Mapping& mapping, u64 low_bytes, u64 high_bytes);
    void refresh_overlay_bounds();
    template <typename T>
    Exchange exchange(PhysAddr address, T& expected, T desired);

    Mapping mapping_;
    u64 low_bytes_;
    u64 high_bytes_;
    mutable std::vector<Overlay> overlays_;
    PhysAddr overlays_begin_ = ~u64{0};  // bounds of all overlays: most lookups skip them
    PhysAddr overlays_end_ = 0;
    u64 dma_bytes_ = 0;
    CodePages code_pages_{*this};
};

}  // namespace droste
