#include "frontends/machine/elf_image.hpp"

#include "core/bits.hpp"
#include "frontends/machine/boot_plan.hpp"

#include <algorithm>

#include <fmt/format.h>

namespace droste {

namespace {

constexpr u64 kMachine386 = 3;
constexpr u64 kMachineX86_64 = 62;
constexpr u32 kPtLoad = 1;
constexpr u32 kPtNote = 4;

// Where the two classes keep the same fields: {offset, width}.
struct FieldAt {
    std::size_t offset;
    unsigned width;
};
struct ElfLayout {
    FieldAt entry, phoff, phentsize, phnum;
    FieldAt p_offset, p_paddr, p_filesz, p_memsz, p_align;
    std::size_t phdr_bytes;
};
constexpr ElfLayout kElf32 = {{24, 4}, {28, 4}, {42, 2}, {44, 2}, {4, 4},
                              {12, 4}, {16, 4}, {20, 4}, {28, 4}, 32};
constexpr ElfLayout kElf64 = {{24, 8}, {32, 8}, {54, 2}, {56, 2}, {8, 8},
                              {24, 8}, {32, 8}, {40, 8}, {48, 8}, 56};

u64 at(std::span<const u8> image, u64 base, FieldAt where) {
    return field(image, static_cast<std::size_t>(base) + where.offset, where.width);
}

bool inside(std::span<const u8> image, u64 offset, u64 bytes) {
    return offset <= image.size() && bytes <= image.size() - offset;
}

void read_notes(std::span<const u8> area, u64 alignment, std::vector<ElfImage::Note>& notes) {
    const u64 align = alignment == 8 ? 8 : 4;
    u64 offset = 0;
    while (inside(area, offset, 12)) {
        const u64 name_bytes = field(area, offset, 4);
        const u64 contents_bytes = field(area, offset + 4, 4);
        const u64 name_at = offset + 12;
        const u64 contents_at = align_up<u64>(name_at + name_bytes, align);
        if (!inside(area, name_at, name_bytes) || !inside(area, contents_at, contents_bytes)) {
            return;
        }
        std::string_view owner(reinterpret_cast<const char*>(area.data() + name_at), name_bytes);
        owner = owner.substr(0, owner.find('\0'));
        notes.push_back({owner, static_cast<u32>(field(area, offset + 8, 4)),
                         area.subspan(contents_at, contents_bytes)});
        offset = align_up<u64>(contents_at + contents_bytes, align);
    }
}

}  // namespace

PhysAddr ElfImage::first() const {
    PhysAddr lowest = ~PhysAddr{0};
    for (const Segment& segment : segments) {
        lowest = std::min(lowest, segment.address);
    }
    return lowest;
}

PhysAddr ElfImage::end() const {
    PhysAddr highest = 0;
    for (const Segment& segment : segments) {
        highest = std::max(highest, segment.address + segment.memory_bytes);
    }
    return highest;
}

const ElfImage::Note* ElfImage::find_note(std::string_view owner, u32 type) const {
    const auto found = std::find_if(notes.begin(), notes.end(), [&](const Note& note) {
        return note.owner == owner && note.type == type;
    });
    return found == notes.end() ? nullptr : &*found;
}

bool is_elf(std::span<const u8> image) {
    return field(image, 0, 4) == 0x464C'457F;
}

Expected<void>
ElfImage::check_fits(const std::string& path, PhysAddr memory_first, PhysAddr memory_end) const {
    for (const Segment& segment : segments) {
        if (segment.address < memory_first || segment.address > memory_end ||
            segment.memory_bytes > memory_end - segment.address) {
            return Error{fmt::format(
                "kernel '{}': wants memory {:#x}..{:#x}, the machine has {:#x}..{:#x} free (-m)",
                path, segment.address, segment.address + segment.memory_bytes, memory_first,
                memory_end)};
        }
    }
    return {};
}

Expected<ElfImage> parse_elf(std::span<const u8> image, const std::string& path) {
    const auto bad = [&](std::string_view why) {
        return Error{fmt::format("kernel '{}': {}", path, why)};
    };
    const u64 elf_class = field(image, 4, 1);
    const u64 machine = field(image, 18, 2);
    if (image.size() < 52 || field(image, 5, 1) != 1 || (elf_class != 1 && elf_class != 2)) {
        return bad("has a damaged ELF header");
    }
    if (machine != kMachine386 && machine != kMachineX86_64) {
        return bad(fmt::format("is an ELF file for another processor (machine {})", machine));
    }
    ElfImage elf{};
    elf.is_64 = elf_class == 2;
    const ElfLayout& layout = elf.is_64 ? kElf64 : kElf32;
    elf.entry = at(image, 0, layout.entry);
    const u64 table = at(image, 0, layout.phoff);
    const u64 stride = at(image, 0, layout.phentsize);
    const u64 count = at(image, 0, layout.phnum);
    if (count == 0) {
        return bad("is an ELF file without program headers: an object file, not a kernel");
    }
    if (stride < layout.phdr_bytes || !inside(image, table, stride * count)) {
        return bad("is truncated: its ELF program headers lie beyond the end");
    }
    for (u64 i = 0; i < count; ++i) {
        const u64 phdr = table + i * stride;
        const u64 type = field(image, static_cast<std::size_t>(phdr), 4);
        const u64 offset = at(image, phdr, layout.p_offset);
        const u64 file_bytes = at(image, phdr, layout.p_filesz);
        const u64 memory_bytes = at(image, phdr, layout.p_memsz);
        if (type != kPtLoad && type != kPtNote) {
            continue;
        }
        if (!inside(image, offset, file_bytes)) {
            return bad(
                fmt::format("is truncated: ELF segment {} ends beyond the end of the file", i));
        }
        const auto bytes = image.subspan(offset, file_bytes);
        if (type == kPtNote) {
            read_notes(bytes, at(image, phdr, layout.p_align), elf.notes);
            continue;
        }
        const PhysAddr address = at(image, phdr, layout.p_paddr);
        if (memory_bytes == 0) {
            continue;
        }
        if (memory_bytes < file_bytes) {
            return bad(fmt::format("ELF segment {} is larger in the file than in memory", i));
        }
        elf.segments.push_back({address, bytes, memory_bytes});
    }
    if (elf.segments.empty()) {
        return bad("is an ELF file with nothing to load");
    }
    return elf;
}

}  // namespace droste
