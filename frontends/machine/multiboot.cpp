#include "frontends/machine/multiboot.hpp"

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

Expected<KernelImage>
image_of(std::span<const u8> file, std::size_t header, u32 flags, const std::string& path) {
    if ((flags & kAddresses) != 0) {
        const HeaderAddresses addresses = {.header = field(file, header + 12, 4),
                                           .load = field(file, header + 16, 4),
                                           .load_end = field(file, header + 20, 4),
                                           .bss_end = field(file, header + 24, 4)};
        return flat_kernel(file, header, addresses, field(file, header + 28, 4), path);
    }
    if (!is_elf(file)) {
        return Error{fmt::format(
            "kernel '{}': its multiboot header has no addresses and it is no ELF file", path)};
    }
    auto elf = parse_elf(file, path);
    if (!elf) {
        return elf.error();
    }
    // What an ELF file has beyond that is for other ways of starting it.
    return KernelImage(std::move(elf).value());  // NOLINT(cppcoreguidelines-slicing)
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
    const auto kernel = image_of(kept, *header, flags, request.kernel);
    if (!kernel) {
        return kernel.error();
    }
    FreeMemory memory = environment.free_memory();
    if (const auto placed = kernel.value().place(plan, memory, request.kernel); !placed) {
        return placed.error();
    }
    const PhysAddr end = kernel.value().end();
    const u64 entry = kernel.value().physical_entry();
    plan.notes.push_back(
        fmt::format("kernel {}: multiboot {}, entry {:#x}, memory up to {:#x}", request.kernel,
                    (flags & kAddresses) != 0 ? "with addresses" : "ELF", entry, end));

    // Behind the kernel, page-aligned: the modules, then the boot information.
    const auto loaded = place_modules(plan, memory, std::move(modules), end);
    if (!loaded) {
        return loaded.error();
    }
    const u64 information_bytes =
        make_boot_information(0, loaded.value(), request, environment).size();
    const auto at = find_behind(memory, information_bytes, kPageBytes, end);
    if (!at) {
        return Error{fmt::format("kernel '{}': no room for the boot information, the machine has "
                                 "{} free (-m)",
                                 request.kernel, memory.describe())};
    }
    plan.place(*at, make_boot_information(*at, loaded.value(), request, environment));
    plan.place(memory_map::kBootGdt, make_boot_gdt(false, false));
    plan.entry = {.mode = EntryMode::Protected32, .rip = entry, .rax = kLoaderMagic, .rbx = *at};
    return plan;
}

}  // namespace droste
