#pragma once
// ELF executables as boot images: their loadable segments by physical address, and their notes.
// Tool Interface Standard (TIS) Executable and Linking Format, and its 64-bit form.

#include "core/error.hpp"
#include "core/types.hpp"

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace droste {

struct ElfImage {
    struct Segment {
        PhysAddr address;  // p_paddr
        std::span<const u8> bytes;
        u64 memory_bytes;  // >= bytes.size(); the rest is zero
    };
    struct Note {
        std::string_view owner;
        u32 type;
        std::span<const u8> contents;
    };

    bool is_64;
    u64 entry;
    std::vector<Segment> segments;  // only those that take memory
    std::vector<Note> notes;

    PhysAddr first() const;
    PhysAddr end() const;
    const Note* find_note(std::string_view owner, u32 type) const;
    // An Error unless all segments lie between these addresses.
    Expected<void>
    check_fits(const std::string& path, PhysAddr memory_first, PhysAddr memory_end) const;
};

bool is_elf(std::span<const u8> image);
// Borrows `image`. x86 executables only; segments must lie in the file.
Expected<ElfImage> parse_elf(std::span<const u8> image, const std::string& path);

}  // namespace droste
