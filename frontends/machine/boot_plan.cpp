#include "frontends/machine/boot_plan.hpp"

#include "core/assert.hpp"
#include "core/bits.hpp"
#include "frontends/machine/memory_map.hpp"

#include <algorithm>
#include <array>

namespace droste {

FreeMemory BootEnvironment::free_memory() const {
    const std::array free = {
        MemoryRange{memory_map::kLowFree, memory_map::kConventionalEnd},
        MemoryRange{memory_map::kOneMiB, usable_end()},
    };
    return FreeMemory(free);
}

std::span<const u8> BootPlan::keep(std::vector<u8> bytes) {
    kept_.push_back(std::make_unique<std::vector<u8>>(std::move(bytes)));
    return *kept_.back();
}

void BootPlan::place(PhysAddr first, std::vector<u8> bytes, u64 zero_bytes) {
    place_kept(first, keep(std::move(bytes)), zero_bytes);
}

void BootPlan::place_kept(PhysAddr first, std::span<const u8> bytes, u64 zero_bytes) {
    chunks_.push_back({first, bytes, zero_bytes});
}

void Record::put(std::size_t offset, unsigned width, u64 value) {
    DROSTE_ASSERT(offset + width <= bytes_.size());
    for (unsigned i = 0; i < width; ++i) {
        bytes_[offset + i] = static_cast<u8>(value >> (8 * i));
    }
}

void Record::put(std::size_t offset, std::span<const u8> data) {
    DROSTE_ASSERT(offset + data.size() <= bytes_.size());
    std::copy(data.begin(), data.end(), bytes_.begin() + static_cast<std::ptrdiff_t>(offset));
}

void Record::append(unsigned width, u64 value) {
    bytes_.resize(bytes_.size() + width);
    put(bytes_.size() - width, width, value);
}

void Record::append(std::span<const u8> data) {
    bytes_.insert(bytes_.end(), data.begin(), data.end());
}

void Record::append(std::string_view text) {
    bytes_.insert(bytes_.end(), text.begin(), text.end());
}

void Record::align(std::size_t alignment) {
    bytes_.resize(align_up(bytes_.size(), alignment));
}

std::vector<u8> zero_terminated(std::string_view text) {
    std::vector<u8> bytes(text.begin(), text.end());
    bytes.push_back(0);
    return bytes;
}

u64 field(std::span<const u8> image, std::size_t offset, unsigned width) {
    if (offset > image.size() || width > image.size() - offset) {
        return 0;
    }
    u64 value = 0;
    for (unsigned i = 0; i < width; ++i) {
        value |= static_cast<u64>(image[offset + i]) << (8 * i);
    }
    return value;
}

std::vector<u8> make_boot_gdt(bool linux_layout, bool long_mode) {
    // Base 0, limit 4 GiB, present, DPL 0, accessed. SDM Vol. 3A, "Segment Descriptors".
    constexpr u64 kCode32 = 0x00CF'9B00'0000'FFFF;
    constexpr u64 kCode64 = 0x00AF'9B00'0000'FFFF;
    constexpr u64 kData = 0x00CF'9300'0000'FFFF;
    Record gdt(0);
    gdt.append(8, 0);
    if (linux_layout) {
        gdt.append(8, 0);
    }
    gdt.append(8, long_mode ? kCode64 : kCode32);
    gdt.append(8, kData);
    return std::move(gdt.bytes());
}

std::vector<u8> make_identity_page_tables() {
    // SDM Vol. 3A, "4-Level Paging and 5-Level Paging".
    constexpr u64 kPresentWritable = 3;
    constexpr u64 kLargePage = bit(7);
    const PhysAddr base = memory_map::kBootPageTables;
    Record tables(6 * kPageBytes);
    tables.put(0, 8, (base + kPageBytes) | kPresentWritable);
    for (std::size_t gib = 0; gib < 4; ++gib) {
        const PhysAddr directory = base + (2 + gib) * kPageBytes;
        tables.put(kPageBytes + gib * 8, 8, directory | kPresentWritable);
        for (std::size_t i = 0; i < 512; ++i) {
            const PhysAddr page = (gib << 30) + (i << 21);
            tables.put((2 + gib) * kPageBytes + i * 8, 8, page | kPresentWritable | kLargePage);
        }
    }
    return std::move(tables.bytes());
}

}  // namespace droste
