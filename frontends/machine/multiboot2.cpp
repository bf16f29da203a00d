#include "frontends/machine/multiboot2.hpp"

#include "frontends/machine/elf_image.hpp"
#include "frontends/machine/memory_map.hpp"

#include <algorithm>
#include <array>

#include <fmt/format.h>

namespace droste {

namespace {

constexpr u32 kHeaderMagic = 0xE852'50D6;
constexpr u32 kLoaderMagic = 0x36D7'6289;
constexpr std::size_t kHeaderSearchBytes = 32768;
constexpr std::size_t kHeaderBytes = 16;
constexpr std::size_t kTagBytes = 8;
constexpr u32 kArchitectureI386 = 0;

// The 64-bit header fields of the specification are 32-bit addresses; all of them below 4 GiB.
constexpr u64 kAddressLimit = memory_map::kFourGiB;

// What the header's tags ask for.
struct Wishes {
    std::optional<HeaderAddresses> addresses;
    bool load_from_start = false;  // load_addr is -1
    std::optional<u64> entry;
    bool console_required = false;
    struct Relocation {
        u64 least, most, alignment;
        u32 preference;
    };
    std::optional<Relocation> relocation;
};

struct HeaderTag {
    std::span<const u8> bytes;  // from its type on
    bool required;

    u64 number(std::size_t offset) const { return field(bytes, offset, 4); }
};

// Each gives an Error's text, or nothing when the wish is fulfilled.
using TakeTag = std::string (*)(Wishes& wishes, const HeaderTag& tag);

// Types of information tags that exist; we hand over those this machine has something to say in.
constexpr u32 kHighestInformation = 21;

std::string take_information_request(Wishes& /*wishes*/, const HeaderTag& tag) {
    for (std::size_t at = kTagBytes; at + 4 <= tag.bytes.size(); at += 4) {
        if (tag.required && tag.number(at) > kHighestInformation) {
            return fmt::format("requests information of type {} that is unknown", tag.number(at));
        }
    }
    return {};
}

std::string take_addresses(Wishes& wishes, const HeaderTag& tag) {
    constexpr u64 kFromStart = 0xFFFF'FFFF;
    wishes.addresses = {.header = tag.number(8),
                        .load = tag.number(12),
                        .load_end = tag.number(16),
                        .bss_end = tag.number(20)};
    wishes.load_from_start = wishes.addresses->load == kFromStart;
    return {};
}

std::string take_entry(Wishes& wishes, const HeaderTag& tag) {
    wishes.entry = tag.number(8);
    return {};
}

std::string take_console_flags(Wishes& /*wishes*/, const HeaderTag& tag) {
    constexpr u32 kConsoleRequired = 1U << 0;
    return (tag.number(8) & kConsoleRequired) != 0
               ? "requires a console, and this machine has no display"
               : "";
}

std::string take_relocation(Wishes& wishes, const HeaderTag& tag) {
    wishes.relocation = {.least = tag.number(8),
                         .most = tag.number(12),
                         .alignment = std::max<u64>(tag.number(16), 1),
                         .preference = static_cast<u32>(tag.number(20))};
    return {};
}

// Fulfilled without doing anything: modules are page-aligned always, a video mode is a wish, and
// the ways into a kernel that EFI starts are not for us.
std::string take_nothing(Wishes& /*wishes*/, const HeaderTag& /*tag*/) {
    return {};
}

struct TagRow {
    u16 type;
    std::string_view name;
    std::size_t least_bytes;
    TakeTag take;
};

// Multiboot2 Specification 2.0, 3.1.3 "General tag structure" and what follows it.
// clang-format off
constexpr std::array kHeaderTags = {
    TagRow{1,  "information request",       8, take_information_request},
    TagRow{2,  "address",                  24, take_addresses},
    TagRow{3,  "entry address",            12, take_entry},
    TagRow{4,  "flags (console)",          12, take_console_flags},
    TagRow{5,  "framebuffer",              20, take_nothing},
    TagRow{6,  "module alignment",          8, take_nothing},
    TagRow{7,  "EFI boot services",         8, take_nothing},
    TagRow{8,  "EFI i386 entry address",   12, take_nothing},
    TagRow{9,  "EFI amd64 entry address",  12, take_nothing},
    TagRow{10, "relocatable header",       24, take_relocation},
};
// clang-format on

Expected<Wishes>
read_header(std::span<const u8> image, std::size_t header, const std::string& path) {
    const auto bad = [&](std::string_view why) {
        return Error{fmt::format("kernel '{}': its multiboot2 header {}", path, why)};
    };
    const auto whole = image.subspan(header, field(image, header + 8, 4));
    if (field(whole, 4, 4) != kArchitectureI386) {
        return bad(fmt::format("is for another architecture ({})", field(whole, 4, 4)));
    }
    Wishes wishes;
    for (std::size_t at = kHeaderBytes; at + kTagBytes <= whole.size();) {
        const auto type = static_cast<u16>(field(whole, at, 2));
        const u64 bytes = field(whole, at + 4, 4);
        if (bytes < kTagBytes || bytes > whole.size() - at) {
            return bad(fmt::format("is damaged: its tag of type {} has {} bytes", type, bytes));
        }
        if (type == 0) {
            return wishes;
        }
        constexpr u32 kOptional = 1U << 0;
        const HeaderTag tag = {whole.subspan(at, bytes),
                               (field(whole, at + 2, 2) & kOptional) == 0};
        const auto row = std::find_if(kHeaderTags.begin(), kHeaderTags.end(),
                                      [&](const TagRow& r) { return r.type == type; });
        if (row == kHeaderTags.end()) {
            if (tag.required) {
                return bad(fmt::format("requires a feature that is unknown (tag {})", type));
            }
        } else if (bytes < row->least_bytes) {
            return bad(fmt::format("is damaged: its {} tag has {} bytes", row->name, bytes));
        } else if (const std::string why = row->take(wishes, tag); !why.empty()) {
            return bad(why);
        }
        at += (bytes + 7) & ~u64{7};
    }
    return bad("has no end tag");
}

Expected<KernelImage> image_of(std::span<const u8> file,
                               std::size_t header,
                               const Wishes& wishes,
                               const std::string& path) {
    if (wishes.addresses) {
        HeaderAddresses addresses = *wishes.addresses;
        if (wishes.load_from_start) {
            if (addresses.header < header) {
                return Error{fmt::format(
                    "kernel '{}': its multiboot2 header puts the load address below 0", path)};
            }
            addresses.load = addresses.header - header;
        }
        if (!wishes.entry) {
            return Error{fmt::format(
                "kernel '{}': its multiboot2 header has addresses, but no entry address", path)};
        }
        return flat_kernel(file, header, addresses, *wishes.entry, path);
    }
    if (!is_elf(file)) {
        return Error{fmt::format(
            "kernel '{}': its multiboot2 header has no addresses and it is no ELF file", path)};
    }
    auto elf = parse_elf(file, path);
    if (!elf) {
        return elf.error();
    }
    return KernelImage(std::move(elf).value());
}

// Where the kernel goes: how far above the addresses it was linked for (modulo 2^64).
Expected<u64> choose_offset(const KernelImage& kernel,
                            const Wishes& wishes,
                            const FreeMemory& memory,
                            const std::string& path) {
    if (!wishes.relocation) {
        return u64{0};
    }
    constexpr u32 kHighest = 2;
    const Wishes::Relocation& wish = *wishes.relocation;
    const u64 bytes = kernel.end() - kernel.first();
    const MemoryRange within = {wish.least, wish.most == 0xFFFF'FFFF ? kAddressLimit : wish.most};
    if (wish.preference == 0 && kernel.first() >= within.first && kernel.end() <= within.end &&
        kernel.first() % wish.alignment == 0 && memory.is_free(kernel.first(), bytes)) {
        return u64{0};
    }
    const auto place = memory.find(bytes, wish.alignment, within,
                                   wish.preference == kHighest ? FreeMemory::Prefer::Highest
                                                               : FreeMemory::Prefer::Lowest);
    if (!place) {
        return Error{fmt::format("kernel '{}': wants {:#x} bytes of memory within {:#x}..{:#x}, "
                                 "the machine has {} free (-m)",
                                 path, bytes, within.first, within.end, memory.describe())};
    }
    return *place - kernel.first();
}

// The information structure: tags of 8-byte alignment behind a head of 8 bytes.
class Information {
  public:
    Information() : record_(8) {}

    Record& begin(u32 type) {
        record_.align(8);
        tag_ = record_.size();
        record_.append(4, type);
        record_.append(4, 0);
        return record_;
    }
    void end() { record_.put(tag_ + 4, 4, record_.size() - tag_); }
    void add_string(u32 type, std::string_view text) {
        begin(type).append(zero_terminated(text));
        end();
    }
    std::vector<u8> take() {
        begin(0);
        end();
        record_.put(0, 4, record_.size());
        return std::move(record_.bytes());
    }

  private:
    Record record_;
    std::size_t tag_ = 0;
};

// Types of information tags. Multiboot2 Specification 2.0, 3.6 "Boot information format".
namespace tag {
constexpr u32 kCommandLine = 1, kLoaderName = 2, kModule = 3, kBasicMemory = 4, kBootDevice = 5,
              kMemoryMap = 6, kElfSections = 9, kAcpiOld = 14, kAcpiNew = 15, kLoadBase = 21;
}  // namespace tag

void add_memory(Information& information, const BootEnvironment& environment) {
    Record& basic = information.begin(tag::kBasicMemory);
    basic.append(4, memory_map::kConventionalEnd / 1024);
    basic.append(4, (environment.low_bytes - memory_map::kOneMiB) / 1024);
    information.end();

    constexpr u32 kEntryBytes = 24;
    Record& map = information.begin(tag::kMemoryMap);
    map.append(4, kEntryBytes);
    map.append(4, 0);  // version of the entries
    for (const E820Entry& entry : environment.e820()) {
        map.append(8, entry.first);
        map.append(8, entry.bytes);
        map.append(4, static_cast<u32>(entry.type));
        map.append(4, 0);
    }
    information.end();
}

void add_sections(Information& information, const ElfSections& sections) {
    Record& record = information.begin(tag::kElfSections);
    record.append(4, sections.sections.size());
    record.append(4, sections.entry_bytes);
    record.append(4, sections.names_index);
    record.append(sections.table);
    information.end();
}

void add_acpi(Information& information, const BootEnvironment& environment) {
    if (environment.acpi_rsdp_bytes.empty()) {
        return;
    }
    constexpr std::size_t kVersion1Bytes = 20;
    const std::span<const u8> rsdp = environment.acpi_rsdp_bytes;
    information.begin(tag::kAcpiOld).append(rsdp.first(kVersion1Bytes));
    information.end();
    information.begin(tag::kAcpiNew).append(rsdp);
    information.end();
}

struct Loaded {
    PhysAddr first;
    std::vector<LoadedModule> modules;
    std::optional<ElfSections> sections;
};

std::vector<u8> make_information(const Loaded& loaded,
                                 const BootRequest& request,
                                 const BootEnvironment& environment) {
    Information information;
    information.add_string(tag::kCommandLine, request.append);
    information.add_string(tag::kLoaderName, "droste");
    for (const LoadedModule& module : loaded.modules) {
        Record& record = information.begin(tag::kModule);
        record.append(4, module.first);
        record.append(4, module.end);
        record.append(zero_terminated(module.text));
        information.end();
    }
    add_memory(information, environment);
    Record& device = information.begin(tag::kBootDevice);
    device.append(4, 0x80);         // first hard disk
    device.append(4, 0xFFFF'FFFF);  // no partition
    device.append(4, 0xFFFF'FFFF);
    information.end();
    if (loaded.sections) {
        add_sections(information, *loaded.sections);
    }
    add_acpi(information, environment);
    information.begin(tag::kLoadBase).append(4, loaded.first);
    information.end();
    return information.take();
}

// Sections that no segment loads (symbols, their names, debugging information) go behind the
// kernel, and the copy of the section headers tells where. What segments load keeps the address it
// was linked for.
Expected<void> place_sections(BootPlan& plan,
                              FreeMemory& memory,
                              ElfSections& sections,
                              PhysAddr kernel_end,
                              const std::string& path) {
    for (const ElfSections::Section& section : sections.sections) {
        if (section.address != 0 || section.bytes.empty()) {
            continue;
        }
        const auto place = find_behind(memory, section.bytes.size(), 16, kernel_end);
        if (!place) {
            return Error{fmt::format("kernel '{}': the {} KiB of one of its ELF sections do not "
                                     "fit, the machine has {} free (-m)",
                                     path, section.bytes.size() / 1024, memory.describe())};
        }
        memory.reserve(*place, section.bytes.size());
        plan.place_kept(*place, section.bytes);
        for (unsigned i = 0; i < section.address_width; ++i) {
            sections.table[section.address_at + i] = static_cast<u8>(*place >> (8 * i));
        }
    }
    return {};
}

}  // namespace

std::optional<std::size_t> find_multiboot2_header(std::span<const u8> image) {
    const std::size_t end = std::min(image.size(), kHeaderSearchBytes);
    for (std::size_t at = 0; at + kHeaderBytes <= end; at += 8) {
        if (field(image, at, 4) != kHeaderMagic) {
            continue;
        }
        const auto architecture = static_cast<u32>(field(image, at + 4, 4));
        const auto length = static_cast<u32>(field(image, at + 8, 4));
        const auto checksum = static_cast<u32>(field(image, at + 12, 4));
        if (kHeaderMagic + architecture + length + checksum == 0 && length >= kHeaderBytes &&
            length <= end - at) {
            return at;
        }
    }
    return std::nullopt;
}

Expected<BootPlan> plan_multiboot2(std::vector<u8> image,
                                   std::vector<ModuleFile> modules,
                                   const BootRequest& request,
                                   const BootEnvironment& environment) {
    BootPlan plan;
    const std::span<const u8> kept = plan.keep(std::move(image));
    const auto header = find_multiboot2_header(kept);
    if (!header) {
        return Error{fmt::format("kernel '{}': has no multiboot2 header", request.kernel)};
    }
    const auto wishes = read_header(kept, *header, request.kernel);
    if (!wishes) {
        return wishes.error();
    }
    const auto kernel = image_of(kept, *header, wishes.value(), request.kernel);
    if (!kernel) {
        return kernel.error();
    }
    FreeMemory memory = environment.free_memory();
    const auto offset = choose_offset(kernel.value(), wishes.value(), memory, request.kernel);
    if (!offset) {
        return offset.error();
    }
    if (const auto placed = kernel.value().place(plan, memory, request.kernel, offset.value());
        !placed) {
        return placed.error();
    }
    const PhysAddr end = kernel.value().end() + offset.value();
    const u64 entry =
        wishes.value().entry.value_or(kernel.value().physical_entry()) + offset.value();

    auto loaded_modules = place_modules(plan, memory, std::move(modules), end);
    if (!loaded_modules) {
        return loaded_modules.error();
    }
    Loaded loaded = {kernel.value().first() + offset.value(), std::move(loaded_modules).value(),
                     elf_sections(kept)};
    if (loaded.sections) {
        if (const auto placed = place_sections(plan, memory, *loaded.sections, end, request.kernel);
            !placed) {
            return placed.error();
        }
    }
    std::vector<u8> information = make_information(loaded, request, environment);
    const auto at = find_behind(memory, information.size(), kPageBytes, end);
    if (!at) {
        return Error{fmt::format("kernel '{}': no room for the boot information, the machine has "
                                 "{} free (-m)",
                                 request.kernel, memory.describe())};
    }
    plan.notes.push_back(
        fmt::format("kernel {}: multiboot2 {}, entry {:#x}, memory {:#x}..{:#x}", request.kernel,
                    wishes.value().addresses ? "with addresses" : "ELF", entry, loaded.first, end));
    plan.place(*at, std::move(information));
    plan.place(memory_map::kBootGdt, make_boot_gdt(false, false));
    plan.entry = {.mode = EntryMode::Protected32, .rip = entry, .rax = kLoaderMagic, .rbx = *at};
    return plan;
}

}  // namespace droste
