#pragma once
// ELF executables as boot images: their loadable segments by physical address, their notes and
// their sections. Tool Interface Standard (TIS) Executable and Linking Format, and its 64-bit form.
//
// A file may say anything, so what it can make us do is bounded: at most kMostSegments segments,
// notes that are no larger together than the file, and, because segments are placed through
// FreeMemory, no byte of RAM that is filled twice.

#include "core/error.hpp"
#include "core/types.hpp"
#include "frontends/machine/boot_plan.hpp"
#include "frontends/machine/free_memory.hpp"

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace droste {

// What a kernel wants in memory, and where it starts. An ELF file, or a flat file with one segment.
struct KernelImage {
    static constexpr std::size_t kMostSegments = 1024;

    struct Segment {
        u64 link_address;  // p_vaddr
        PhysAddr address;  // p_paddr
        std::span<const u8> bytes;
        u64 memory_bytes;  // >= bytes.size(); the rest is zero
    };

    u64 entry = 0;
    std::vector<Segment> segments;  // only those that take memory

    PhysAddr first() const;
    PhysAddr end() const;
    // Where `entry` lies physically: a kernel linked at C0100000h and loaded at 100000h names an
    // entry that no paging translates yet. An entry in no segment is taken as physical.
    u64 physical_entry() const;
    // Puts the segments into the plan, `offset` (modulo 2^64) above their physical addresses; an
    // Error unless all that memory is free.
    Expected<void>
    place(BootPlan& plan, FreeMemory& memory, const std::string& path, u64 offset = 0) const;
};

struct ElfImage : KernelImage {
    struct NoteArea {
        std::span<const u8> bytes;
        u64 alignment;
    };

    bool is_64 = false;
    std::vector<NoteArea> notes;

    // The contents of a note.
    std::optional<std::span<const u8>> find_note(std::string_view owner, u32 type) const;
};

bool is_elf(std::span<const u8> image);
// Borrows `image`. x86 executables only; segments must lie in the file.
Expected<ElfImage> parse_elf(std::span<const u8> image, const std::string& path);

// The section header table, as boot loaders hand it on.
struct ElfSections {
    struct Section {
        std::size_t address_at;  // offset and width of its sh_addr in `table`
        unsigned address_width;
        u64 address;
        std::span<const u8> bytes;  // empty for .bss and the like
    };
    std::vector<u8> table;  // a copy
    u64 entry_bytes = 0;
    u64 names_index = 0;  // e_shstrndx
    std::vector<Section> sections;
};
// Nothing, if the file has no usable section headers: they are not needed to run it.
std::optional<ElfSections> elf_sections(std::span<const u8> image);

}  // namespace droste
