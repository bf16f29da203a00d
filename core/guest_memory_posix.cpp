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

u8* map_lazily(u64 bytes) {
    void* host = mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return host == MAP_FAILED ? nullptr : static_cast<u8*>(host);
}

}  // namespace

Expected<std::unique_ptr<GuestMemory>> GuestMemory::create(u64 ram_bytes) {
    if (ram_bytes < kMinRam || ram_bytes > kMaxRam || ram_bytes % kPageBytes != 0) {
        return Error{fmt::format("RAM size {} bytes: expected 1 MiB to 64 GiB in whole 4 KiB pages",
                                 ram_bytes)};
    }
    u8* host = map_lazily(ram_bytes);
    if (host == nullptr) {
        return Error{
            fmt::format("RAM size {} MiB: the host does not give that much address space ({})",
                        ram_bytes >> 20, std::strerror(errno))};
    }
    u8* flags = map_lazily(ram_bytes / kPageBytes);
    if (flags == nullptr) {
        munmap(host, ram_bytes);
        return Error{
            fmt::format("RAM size {} MiB: no host memory for the page flags", ram_bytes >> 20)};
    }
    const u64 low = std::min(ram_bytes, kLowLimit);
    return std::unique_ptr<GuestMemory>(new GuestMemory(host, flags, low, ram_bytes - low));
}

GuestMemory::GuestMemory(u8* host, u8* flags, u64 low_bytes, u64 high_bytes)
    : host_(host)
    , flags_(flags)
    , low_bytes_(low_bytes)
    , high_bytes_(high_bytes) {}

GuestMemory::~GuestMemory() {
    munmap(flags_, ram_bytes() / kPageBytes);
    munmap(host_, ram_bytes());
}

HostPage GuestMemory::lookup(PhysAddr page) const {
    if (page < overlays_end_ && page >= overlays_begin_) {
        for (auto overlay = overlays_.rbegin(); overlay != overlays_.rend(); ++overlay) {
            if (page - overlay->first < overlay->bytes) {
                if (overlay->kind == PageKind::Mmio) {
                    return {};
                }
                const u64 offset = page - overlay->first;
                return {overlay->host + offset, &overlay->flags[offset / kPageBytes],
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
    return {host_ + offset, flags_ + offset / kPageBytes, PageKind::Ram};
}

void GuestMemory::refresh_overlay_bounds() {
    overlays_begin_ = ~u64{0};
    overlays_end_ = 0;
    for (const Overlay& overlay : overlays_) {
        overlays_begin_ = std::min(overlays_begin_, overlay.first);
        overlays_end_ = std::max(overlays_end_, overlay.first + overlay.bytes);
    }
    ++layout_generation_;
}

void GuestMemory::overlay(PhysAddr first, u64 bytes, PageKind kind, u8* host) {
    DROSTE_ASSERT(first % kPageBytes == 0 && bytes % kPageBytes == 0 && bytes != 0);
    DROSTE_ASSERT(kind == PageKind::Mmio || host != nullptr);
    overlays_.push_back({first, bytes, kind, host, std::vector<u8>(bytes / kPageBytes)});
    refresh_overlay_bounds();
}

void GuestMemory::remove_overlay(PhysAddr first, u64 bytes) {
    overlays_.erase(std::remove_if(overlays_.begin(), overlays_.end(),
                                   [&](const Overlay& overlay) {
                                       return overlay.first == first && overlay.bytes == bytes;
                                   }),
                    overlays_.end());
    refresh_overlay_bounds();
}

bool GuestMemory::read(PhysAddr address, std::span<u8> out) const {
    while (!out.empty()) {
        const HostPage page = lookup(address & kPageMask);
        if (page.host == nullptr) {
            return false;
        }
        const u64 offset = address % kPageBytes;
        const std::size_t count = std::min<std::size_t>(out.size(), kPageBytes - offset);
        std::memcpy(out.data(), page.host + offset, count);
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
        const HostPage page = lookup(address & kPageMask);
        if (page.host == nullptr) {
            return false;
        }
        if ((*page.flags & kPageHasCode) != 0 && code_observer_) {
            code_observer_(address & kPageMask);
        }
        const u64 offset = address % kPageBytes;
        const std::size_t count = std::min<std::size_t>(data.size(), kPageBytes - offset);
        std::memcpy(page.host + offset, data.data(), count);
        data = data.subspan(count);
        address += count;
    }
    return true;
}

u64 GuestMemory::resident_bytes() const {
    std::vector<unsigned char> present(ram_bytes() / kPageBytes);
    if (mincore(host_, ram_bytes(), present.data()) != 0) {
        return 0;
    }
    const auto count =
        std::count_if(present.begin(), present.end(), [](unsigned char p) { return (p & 1) != 0; });
    return static_cast<u64>(count) * kPageBytes;
}

}  // namespace droste
