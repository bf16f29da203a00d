// GuestMemory on mmap().

#include "core/bits.hpp"
#include "core/guest_memory.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>

#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>

namespace droste {

namespace {

constexpr u64 kMinRam = u64{1} << 20;
constexpr u64 kMaxRam = u64{64} << 30;
constexpr u64 kHighBase = u64{1} << 32;

constexpr u64 kGuardBytes = u64{64} << 10;
constexpr u64 kHugePageBytes = u64{2} << 20;

Error no_address_space(u64 ram_bytes) {
    return Error{
        .message = fmt::format(
            "RAM size {} MiB: the native machine does not give that much address space ({})",
            ram_bytes >> 20, std::strerror(errno)),
        .native = true};
}

}  // namespace

// [guard][RAM][guard][flags][guard], RAM on a boundary of huge pages.
Expected<std::unique_ptr<GuestMemory>> GuestMemory::create(u64 ram_bytes) {
    if (ram_bytes < kMinRam || ram_bytes > kMaxRam || ram_bytes % kPageBytes != 0) {
        return Error{fmt::format("RAM size {} bytes: expected 1 MiB to 64 GiB in whole 4 KiB pages",
                                 ram_bytes)};
    }
    const u64 flag_bytes = align_up(ram_bytes / kPageBytes, kPageBytes);
    const u64 reserved_bytes = kHugePageBytes + ram_bytes + flag_bytes + 3 * kGuardBytes;
    void* reserved = mmap(nullptr, reserved_bytes, PROT_NONE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (reserved == MAP_FAILED) {
        return no_address_space(ram_bytes);
    }
    auto* first = static_cast<u8*>(reserved);
    const u64 ram_offset = align_up(reinterpret_cast<u64>(first) + kGuardBytes, kHugePageBytes) -
                           reinterpret_cast<u64>(first);
    const Mapping mapping = {first, reserved_bytes, first + ram_offset,
                             first + ram_offset + ram_bytes + kGuardBytes};
    if (mprotect(mapping.ram, ram_bytes, PROT_READ | PROT_WRITE) != 0 ||
        mprotect(mapping.flags, flag_bytes, PROT_READ | PROT_WRITE) != 0) {
        const Error error = no_address_space(ram_bytes);
        munmap(reserved, reserved_bytes);
        return error;
    }
    (void)madvise(mapping.ram, ram_bytes, MADV_HUGEPAGE);  // a kernel without them is as good
    const u64 low = std::min(ram_bytes, kLowLimit);
    return std::unique_ptr<GuestMemory>(new GuestMemory(mapping, low, ram_bytes - low));
}

GuestMemory::GuestMemory(const Mapping& mapping, u64 low_bytes, u64 high_bytes)
    : mapping_(mapping)
    , low_bytes_(low_bytes)
    , high_bytes_(high_bytes) {}

GuestMemory::~GuestMemory() {
    munmap(mapping_.reserved, mapping_.reserved_bytes);
}

NativePage GuestMemory::lookup(PhysAddr page) const {
    if (page < overlays_end_ && page >= overlays_begin_) {
        for (auto overlay = overlays_.rbegin(); overlay != overlays_.rend(); ++overlay) {
            if (page - overlay->first < overlay->bytes) {
                if (overlay->kind == PageKind::Mmio) {
                    return {};
                }
                const u64 offset = page - overlay->first;
                return {overlay->native + offset, &overlay->flags[offset / kPageBytes],
                        overlay->kind};
            }
        }
    }
    u64 offset = page;
    if (page >= low_bytes_) {
        if (page < kHighBase || page - kHighBase >= high_bytes_) {
            return {};
        }
        offset = page - kHighBase + low_bytes_;
    }
    return {mapping_.ram + offset, mapping_.flags + offset / kPageBytes, PageKind::Ram};
}

void GuestMemory::refresh_overlay_bounds() {
    overlays_begin_ = ~u64{0};
    overlays_end_ = 0;
    for (const Overlay& overlay : overlays_) {
        overlays_begin_ = std::min(overlays_begin_, overlay.first);
        overlays_end_ = std::max(overlays_end_, overlay.first + overlay.bytes);
    }
}

void GuestMemory::overlay(PhysAddr first, u64 bytes, PageKind kind, u8* native) {
    DROSTE_ASSERT(first % kPageBytes == 0 && bytes % kPageBytes == 0 && bytes != 0);
    DROSTE_ASSERT(kind == PageKind::Mmio || native != nullptr);
    code_pages_.layout_changing();
    overlays_.push_back({first, bytes, kind, native, std::vector<u8>(bytes / kPageBytes)});
    refresh_overlay_bounds();
    code_pages_.layout_changed();
}

void GuestMemory::remove_overlay(PhysAddr first, u64 bytes) {
    code_pages_.layout_changing();
    overlays_.erase(std::remove_if(overlays_.begin(), overlays_.end(),
                                   [&](const Overlay& overlay) {
                                       return overlay.first == first && overlay.bytes == bytes;
                                   }),
                    overlays_.end());
    refresh_overlay_bounds();
    code_pages_.layout_changed();
}

bool GuestMemory::read(PhysAddr address, std::span<u8> out) const {
    while (!out.empty()) {
        const NativePage page = lookup(address & kPageMask);
        if (page.native == nullptr) {
            return false;
        }
        const u64 offset = address % kPageBytes;
        const std::size_t count = std::min<std::size_t>(out.size(), kPageBytes - offset);
        std::memcpy(out.data(), page.native + offset, count);
        out = out.subspan(count);
        address += count;
    }
    return true;
}

bool GuestMemory::write(PhysAddr address, std::span<const u8> data) {
    // First see whether all of it may be written: nothing is half-written.
    for (PhysAddr page = address & kPageMask; page < address + data.size(); page += kPageBytes) {
        if (lookup(page).kind != PageKind::Ram) {
            return false;
        }
    }
    return write_rom(address, data);
}

bool GuestMemory::write_rom(PhysAddr address, std::span<const u8> data) {
    while (!data.empty()) {
        const NativePage page = lookup(address & kPageMask);
        if (page.native == nullptr) {
            return false;
        }
        const u64 offset = address % kPageBytes;
        const std::size_t count = std::min<std::size_t>(data.size(), kPageBytes - offset);
        code_pages_.written(address, static_cast<unsigned>(count), *page.flags);
        std::memcpy(page.native + offset, data.data(), count);
        data = data.subspan(count);
        address += count;
    }
    return true;
}

template <typename T>
Exchange GuestMemory::exchange(PhysAddr address, T& expected, T desired) {
    DROSTE_DEBUG_ASSERT(address % sizeof(T) == 0);
    const NativePage page = lookup(address & kPageMask);
    if (page.kind != PageKind::Ram) {
        return Exchange::NotRam;
    }
    code_pages_.written(address, sizeof(T), *page.flags);
    T* cell = reinterpret_cast<T*>(page.native + address % kPageBytes);
    return __atomic_compare_exchange_n(cell, &expected, desired, false, __ATOMIC_SEQ_CST,
                                       __ATOMIC_SEQ_CST)
               ? Exchange::Done
               : Exchange::Changed;
}

template Exchange GuestMemory::exchange(PhysAddr, u32&, u32);
template Exchange GuestMemory::exchange(PhysAddr, u64&, u64);

u64 GuestMemory::resident_bytes() const {
    std::vector<unsigned char> present(ram_bytes() / kPageBytes);
    if (mincore(mapping_.ram, ram_bytes(), present.data()) != 0) {
        return 0;
    }
    const auto count =
        std::count_if(present.begin(), present.end(), [](unsigned char p) { return (p & 1) != 0; });
    return static_cast<u64>(count) * kPageBytes;
}

}  // namespace droste
