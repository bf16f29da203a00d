#include "frontends/machine/multiboot.hpp"

#include "core/bits.hpp"
#include "frontends/machine/elf_image.hpp"
#include "frontends/machine/memory_map.hpp"

#include <algorithm>

#include <fmt/format.h>

namespace droste {

namespace {

constexpr u32 kHeaderMagic = 0x1BAD'B002;
constexpr u32 kLoaderMagic = 0x2BAD'B002;
constexpr std::size_t kHeaderSearchBytes = 8192;
constexpr std::size_t kHeaderBytes = 12;

// Header flags. Bits 0..15 must be understood, 16 on may be ignored.
constexpr u32 kPageAlign = 1U << 0, kMemoryInfo = 1U << 1, kVideoMode = 1U << 2,
              kAddresses = 1U << 16;
// a video mode is a wish we may not grant
constexpr u32 kUnderstood = kPageAlign | kMemoryInfo | kVideoMode;

// Boot information flags.
namespace info {
constexpr u32 kMemory = 1U << 0, kBootDevice = 1U << 1, kCmdline = 1U << 2, kModules = 1U << 3,
              kMemoryMap = 1U << 6, kLoaderName = 1U << 9;
constexpr std::size_t kBytes = 120;
}  // namespace info

struct Placed {
    PhysAddr end;  // first byte behind the kernel, its zeroed part included
    u64 entry;
};

Expected<Placed> place_by_header(BootPlan& plan,
                                 std::span<const u8> image,
                                 std::size_t header,
                                 PhysAddr ram_end,
                                 const std::string& path) {
    const auto bad = [&](std::string_view why) {
        return Error{fmt::format("kernel '{}': its multiboot header {}", path, why)};
    };
    const u64 header_addr = field(image, header + 12, 4);
    const u64 load_addr = field(image, header + 16, 4);
    const u64 load_end_addr = field(image, header + 20, 4);
    const u64 bss_end_addr = field(image, header + 24, 4);
    if (load_addr > header_addr || header_addr - load_addr > header) {
        return bad("puts the load address outside the file");
    }
    const u64 file_offset = header - (header_addr - load_addr);
    const u64 available = image.size() - file_offset;
    const u64 load_bytes = load_end_addr == 0 ? available : load_end_addr - load_addr;
    if (load_end_addr != 0 && load_end_addr < load_addr) {
        return bad("ends the load before its start");
    }
    if (load_bytes > available) {
        return bad(fmt::format("wants {} bytes loaded, the file has {}: it is truncated",
                               load_bytes, available));
    }
    const PhysAddr load_end = load_addr + load_bytes;
    const PhysAddr end = std::max(load_end, bss_end_addr);
    if (load_addr < memory_map::kOneMiB || end > ram_end) {
        return bad(fmt::format("wants memory {:#x}..{:#x}, the machine has {:#x}..{:#x} free (-m)",
                               load_addr, end, memory_map::kOneMiB, ram_end));
    }
    plan.place_kept(load_addr, image.subspan(file_offset, load_bytes), end - load_end);
    return Placed{end, field(image, header + 28, 4)};
}

Expected<Placed>
place_elf(BootPlan& plan, std::span<const u8> image, PhysAddr ram_end, const std::string& path) {
    const auto elf = parse_elf(image, path);
    if (!elf) {
        return elf.error();
    }
    if (const auto fits = elf.value().check_fits(path, memory_map::kOneMiB, ram_end); !fits) {
        return fits.error();
    }
    for (const ElfImage::Segment& segment : elf.value().segments) {
        plan.place_kept(segment.address, segment.bytes,
                        segment.memory_bytes - segment.bytes.size());
    }
    return Placed{elf.value().end(), elf.value().entry};
}

// The boot information and everything it points to, in one block at `base`.
class InfoBlock {
  public:
    explicit InfoBlock(PhysAddr base) : base_(base), record_(info::kBytes) {}
    u32 here() const { return static_cast<u32>(base_ + record_.size()); }
    u32 add_string(std::string_view text) {
        const u32 address = here();
        record_.append(zero_terminated(text));
        record_.align(4);
        return address;
    }
    Record& record() { return record_; }

  private:
    PhysAddr base_;
    Record record_;
};

struct LoadedModule {
    PhysAddr first, end;
    std::string text;
};

std::vector<u8> make_boot_information(PhysAddr base,
                                      const std::vector<LoadedModule>& modules,
                                      const BootRequest& request,
                                      const BootEnvironment& environment) {
    InfoBlock block(base);
    const std::string cmdline = request.append.empty()
                                    ? request.kernel
                                    : fmt::format("{} {}", request.kernel, request.append);
    const u32 cmdline_at = block.add_string(cmdline);
    const u32 name_at = block.add_string("droste");
    std::vector<u32> texts;
    texts.reserve(modules.size());
    for (const LoadedModule& module : modules) {
        texts.push_back(block.add_string(module.text));
    }
    const u32 modules_at = block.here();
    for (std::size_t i = 0; i < modules.size(); ++i) {
        block.record().append(4, modules[i].first);
        block.record().append(4, modules[i].end);
        block.record().append(4, texts[i]);
        block.record().append(4, 0);
    }
    const u32 map_at = block.here();
    for (const E820Entry& entry : environment.e820()) {
        block.record().append(4, 20);  // size of the rest of this entry
        block.record().append(8, entry.first);
        block.record().append(8, entry.bytes);
        block.record().append(4, static_cast<u32>(entry.type));
    }
    const u32 map_bytes = block.here() - map_at;

    Record& record = block.record();
    record.put(0, 4,
               info::kMemory | info::kBootDevice | info::kCmdline | info::kModules |
                   info::kMemoryMap | info::kLoaderName);
    record.put(4, 4, memory_map::kConventionalEnd / 1024);  // mem_lower, KiB
    record.put(8, 4, (environment.low_bytes - memory_map::kOneMiB) / 1024);
    record.put(12, 4, 0x8000'FFFF);  // boot device: first hard disk, no partition
    record.put(16, 4, cmdline_at);
    record.put(20, 4, modules.size());
    record.put(24, 4, modules_at);
    record.put(44, 4, map_bytes);
    record.put(48, 4, map_at);
    record.put(64, 4, name_at);
    return std::move(record.bytes());
}

}  // namespace

std::optional<std::size_t> find_multiboot_header(std::span<const u8> image) {
    const std::size_t end = std::min(image.size(), kHeaderSearchBytes);
    for (std::size_t at = 0; at + kHeaderBytes <= end; at += 4) {
        if (field(image, at, 4) != kHeaderMagic) {
            continue;
        }
        const auto flags = static_cast<u32>(field(image, at + 4, 4));
        const auto checksum = static_cast<u32>(field(image, at + 8, 4));
        if (kHeaderMagic + flags + checksum == 0) {
            return at;
        }
    }
    return std::nullopt;
}

std::vector<std::string> split_module_list(std::string_view value) {
    std::vector<std::string> elements;
    std::string element;
    for (std::size_t i = 0; i < value.size(); ++i) {
        if (value[i] != ',') {
            element.push_back(value[i]);
        } else if (i + 1 < value.size() && value[i + 1] == ',') {
            element.push_back(',');
            ++i;
        } else {
            elements.push_back(std::move(element));
            element.clear();
        }
    }
    elements.push_back(std::move(element));
    return elements;
}

std::string module_file_name(std::string_view element) {
    return std::string(element.substr(0, element.find(' ')));
}

Expected<BootPlan> plan_multiboot(std::vector<u8> image,
                                  std::vector<ModuleFile> modules,
                                  const BootRequest& request,
                                  const BootEnvironment& environment) {
    BootPlan plan;
    const std::span<const u8> kept = plan.keep(std::move(image));
    const auto header = find_multiboot_header(kept);
    if (!header) {
        return Error{fmt::format("kernel '{}': has no multiboot header", request.kernel)};
    }
    const auto flags = static_cast<u32>(field(kept, *header + 4, 4));
    if ((flags & 0xFFFF & ~kUnderstood) != 0) {
        return Error{fmt::format(
            "kernel '{}': its multiboot header requires features {:#x} that are unknown",
            request.kernel, flags & 0xFFFF & ~kUnderstood)};
    }
    const PhysAddr ram_end = environment.usable_end();
    const bool by_header = (flags & kAddresses) != 0;
    if (!by_header && !is_elf(kept)) {
        return Error{
            fmt::format("kernel '{}': its multiboot header has no addresses and it is no ELF file",
                        request.kernel)};
    }
    const auto placed = by_header ? place_by_header(plan, kept, *header, ram_end, request.kernel)
                                  : place_elf(plan, kept, ram_end, request.kernel);
    if (!placed) {
        return placed.error();
    }
    plan.notes.push_back(fmt::format("kernel {}: multiboot {}, entry {:#x}, memory up to {:#x}",
                                     request.kernel, by_header ? "with addresses" : "ELF",
                                     placed.value().entry, placed.value().end));

    // Behind the kernel, page-aligned: the modules, then the boot information.
    PhysAddr next = align_up<u64>(placed.value().end, kPageBytes);
    std::vector<LoadedModule> loaded;
    for (ModuleFile& module : modules) {
        const u64 bytes = module.bytes.size();
        if (next > ram_end || bytes > ram_end - next) {
            return Error{
                fmt::format("initrd '{}': its {} KiB do not fit between {:#x} and {:#x} (-m)",
                            module_file_name(module.text), bytes / 1024, next, ram_end)};
        }
        plan.notes.push_back(
            fmt::format("module {}: {} KiB at {:#x}", module.text, bytes / 1024, next));
        loaded.push_back({next, next + bytes, std::move(module.text)});
        plan.place(next, std::move(module.bytes));
        next = align_up<u64>(next + bytes, kPageBytes);
    }
    std::vector<u8> information = make_boot_information(next, loaded, request, environment);
    if (next > ram_end || information.size() > ram_end - next) {
        return Error{fmt::format("kernel '{}': no room for the boot information at {:#x} (-m)",
                                 request.kernel, next)};
    }
    plan.place(next, std::move(information));
    plan.place(memory_map::kBootGdt, make_boot_gdt(false, false));
    plan.entry = {.mode = EntryMode::Protected32,
                  .rip = placed.value().entry,
                  .rax = kLoaderMagic,
                  .rbx = next};
    return plan;
}

}  // namespace droste
