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
constexpr u32 kShtNull = 0;
constexpr u32 kShtNobits = 8;

// Where the two classes keep the same fields: {offset, width}.
struct FieldAt {
    std::size_t offset;
    unsigned width;
};
struct ElfLayout {
    FieldAt entry, phoff, phentsize, phnum;
    FieldAt shoff, shentsize, shnum, shstrndx;
    FieldAt p_offset, p_vaddr, p_paddr, p_filesz, p_memsz, p_align;
    std::size_t phdr_bytes;
    FieldAt sh_addr, sh_offset, sh_size;
    std::size_t shdr_bytes;
};
// clang-format off
constexpr ElfLayout kElf32 = {
    .entry = {24, 4}, .phoff = {28, 4}, .phentsize = {42, 2}, .phnum = {44, 2},
    .shoff = {32, 4}, .shentsize = {46, 2}, .shnum = {48, 2}, .shstrndx = {50, 2},
    .p_offset = {4, 4}, .p_vaddr = {8, 4}, .p_paddr = {12, 4}, .p_filesz = {16, 4}, .p_memsz = {20, 4}, .p_align = {28, 4},
    .phdr_bytes = 32,
    .sh_addr = {12, 4}, .sh_offset = {16, 4}, .sh_size = {20, 4},
    .shdr_bytes = 40,
};
constexpr ElfLayout kElf64 = {
    .entry = {24, 8}, .phoff = {32, 8}, .phentsize = {54, 2}, .phnum = {56, 2},
    .shoff = {40, 8}, .shentsize = {58, 2}, .shnum = {60, 2}, .shstrndx = {62, 2},
    .p_offset = {8, 8}, .p_vaddr = {16, 8}, .p_paddr = {24, 8}, .p_filesz = {32, 8}, .p_memsz = {40, 8}, .p_align = {48, 8},
    .phdr_bytes = 56,
    .sh_addr = {16, 8}, .sh_offset = {24, 8}, .sh_size = {32, 8},
    .shdr_bytes = 64,
};
// clang-format on

u64 at(std::span<const u8> image, u64 base, FieldAt where) {
    return field(image, static_cast<std::size_t>(base) + where.offset, where.width);
}

bool inside(std::span<const u8> image, u64 offset, u64 bytes) {
    return offset <= image.size() && bytes <= image.size() - offset;
}

std::optional<std::span<const u8>>
find_in(const ElfImage::NoteArea& area, std::string_view owner, u32 type) {
    const u64 align = area.alignment == 8 ? 8 : 4;
    u64 offset = 0;
    while (inside(area.bytes, offset, 12)) {
        const u64 name_bytes = field(area.bytes, offset, 4);
        const u64 contents_bytes = field(area.bytes, offset + 4, 4);
        const u64 name_at = offset + 12;
        const u64 contents_at = align_up<u64>(name_at + name_bytes, align);
        if (!inside(area.bytes, name_at, name_bytes) ||
            !inside(area.bytes, contents_at, contents_bytes)) {
            return std::nullopt;
        }
        std::string_view name(reinterpret_cast<const char*>(area.bytes.data() + name_at),
                              name_bytes);
        name = name.substr(0, name.find('\0'));
        if (name == owner && field(area.bytes, offset + 8, 4) == type) {
            return area.bytes.subspan(contents_at, contents_bytes);
        }
        offset = align_up<u64>(contents_at + contents_bytes, align);
    }
    return std::nullopt;
}

}  // namespace

PhysAddr KernelImage::first() const {
    PhysAddr lowest = ~PhysAddr{0};
    for (const Segment& segment : segments) {
        lowest = std::min(lowest, segment.address);
    }
    return lowest;
}

PhysAddr KernelImage::end() const {
    PhysAddr highest = 0;
    for (const Segment& segment : segments) {
        highest = std::max(highest, segment.address + segment.memory_bytes);
    }
    return highest;
}

std::optional<std::span<const u8>> ElfImage::find_note(std::string_view owner, u32 type) const {
    for (const NoteArea& area : notes) {
        if (const auto contents = find_in(area, owner, type)) {
            return contents;
        }
    }
    return std::nullopt;
}

u64 KernelImage::physical_entry() const {
    for (const Segment& segment : segments) {
        if (entry - segment.link_address < segment.memory_bytes) {
            return entry - segment.link_address + segment.address;
        }
    }
    return entry;
}

Expected<void>
KernelImage::place(BootPlan& plan, FreeMemory& memory, const std::string& path, u64 offset) const {
    const FreeMemory before = memory;
    for (const Segment& segment : segments) {
        const PhysAddr address = segment.address + offset;
        if (!before.is_free(address, segment.memory_bytes)) {
            return Error{
                fmt::format("kernel '{}': wants {:#x} bytes of memory at {:#x}, the machine has {} "
                            "free (-m)",
                            path, segment.memory_bytes, address, before.describe())};
        }
        if (!memory.reserve(address, segment.memory_bytes)) {
            return Error{fmt::format(
                "kernel '{}': its segment at {:#x} overlaps another of its own", path, address)};
        }
        plan.place_kept(address, segment.bytes, segment.memory_bytes - segment.bytes.size());
    }
    return {};
}

bool is_elf(std::span<const u8> image) {
    return field(image, 0, 4) == 0x464C'457F;
}

namespace {

// Adds what program header `index`, at `phdr`, names. Empty, or what is wrong with it.
std::string
add_segment(std::span<const u8> image, u64 index, u64 phdr, u64& note_bytes, ElfImage& elf) {
    const ElfLayout& layout = elf.is_64 ? kElf64 : kElf32;
    const u64 type = field(image, static_cast<std::size_t>(phdr), 4);
    const u64 offset = at(image, phdr, layout.p_offset);
    const u64 file_bytes = at(image, phdr, layout.p_filesz);
    const u64 memory_bytes = at(image, phdr, layout.p_memsz);
    if (type != kPtLoad && type != kPtNote) {
        return {};
    }
    if (!inside(image, offset, file_bytes)) {
        return fmt::format("is truncated: ELF segment {} ends beyond the end of the file", index);
    }
    const auto bytes = image.subspan(offset, file_bytes);
    if (type == kPtNote) {
        note_bytes += file_bytes;
        if (note_bytes > image.size()) {
            return "is damaged: its ELF notes overlap each other";
        }
        elf.notes.push_back({bytes, at(image, phdr, layout.p_align)});
        return {};
    }
    if (memory_bytes == 0) {
        return {};
    }
    if (memory_bytes < file_bytes) {
        return fmt::format("ELF segment {} is larger in the file than in memory", index);
    }
    if (elf.segments.size() == KernelImage::kMostSegments) {
        return fmt::format("has more than {} ELF segments to load: no kernel does",
                           KernelImage::kMostSegments);
    }
    elf.segments.push_back(
        {at(image, phdr, layout.p_vaddr), at(image, phdr, layout.p_paddr), bytes, memory_bytes});
    return {};
}

}  // namespace

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
    u64 note_bytes = 0;
    for (u64 i = 0; i < count; ++i) {
        if (const std::string why = add_segment(image, i, table + i * stride, note_bytes, elf);
            !why.empty()) {
            return bad(why);
        }
    }
    if (elf.segments.empty()) {
        return bad("is an ELF file with nothing to load");
    }
    return elf;
}

std::optional<ElfSections> elf_sections(std::span<const u8> image) {
    if (!is_elf(image) || (image[4] != 1 && image[4] != 2)) {
        return std::nullopt;
    }
    const ElfLayout& layout = image[4] == 2 ? kElf64 : kElf32;
    const u64 table = at(image, 0, layout.shoff);
    const u64 count = at(image, 0, layout.shnum);
    ElfSections result;
    result.entry_bytes = at(image, 0, layout.shentsize);
    result.names_index = at(image, 0, layout.shstrndx);
    if (table == 0 || count == 0 || result.entry_bytes < layout.shdr_bytes ||
        !inside(image, table, result.entry_bytes * count)) {
        return std::nullopt;
    }
    const auto headers = image.subspan(table, result.entry_bytes * count);
    result.table.assign(headers.begin(), headers.end());
    for (u64 i = 0; i < count; ++i) {
        const u64 shdr = i * result.entry_bytes;
        const u64 type = field(headers, shdr + 4, 4);
        const u64 offset = at(headers, shdr, layout.sh_offset);
        const u64 bytes = at(headers, shdr, layout.sh_size);
        const bool in_file = type != kShtNull && type != kShtNobits && inside(image, offset, bytes);
        result.sections.push_back(
            {.address_at = shdr + layout.sh_addr.offset,
             .address_width = layout.sh_addr.width,
             .address = at(headers, shdr, layout.sh_addr),
             .bytes = in_file ? image.subspan(offset, bytes) : std::span<const u8>{}});
    }
    return result;
}

}  // namespace droste
