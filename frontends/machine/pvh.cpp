#include "frontends/machine/pvh.hpp"

#include "core/bits.hpp"
#include "frontends/machine/memory_map.hpp"

#include <fmt/format.h>

namespace droste {

namespace {

constexpr u32 kPhys32EntryNote = 18;      // XEN_ELFNOTE_PHYS32_ENTRY
constexpr u32 kStartMagic = 0x336E'C578;  // XEN_HVM_START_MAGIC_VALUE
constexpr std::size_t kStartInfoBytes = 56;
constexpr std::size_t kModuleEntryBytes = 32;

struct Placement {
    PhysAddr initrd = 0;
    u64 initrd_bytes = 0;
};

// struct hvm_start_info (version 1), then the module list and the memory map it points to.
std::vector<u8> make_start_info(const Placement& placement, const BootEnvironment& environment) {
    const std::vector<E820Entry> map = environment.e820();
    const PhysAddr base = memory_map::kBootParams;
    const u64 module_count = placement.initrd_bytes != 0 ? 1 : 0;
    const u64 modules_at = base + kStartInfoBytes;
    const u64 map_at = modules_at + module_count * kModuleEntryBytes;
    Record info(0);
    info.append(4, kStartMagic);
    info.append(4, 1);  // version
    info.append(4, 0);  // flags
    info.append(4, module_count);
    info.append(8, module_count != 0 ? modules_at : 0);
    info.append(8, memory_map::kBootCommandLine);
    info.append(8, environment.acpi_rsdp);
    info.append(8, map_at);
    info.append(4, map.size());
    info.append(4, 0);
    if (module_count != 0) {
        info.append(8, placement.initrd);
        info.append(8, placement.initrd_bytes);
        info.append(8, 0);  // command line
        info.append(8, 0);
    }
    for (const E820Entry& entry : map) {
        info.append(8, entry.first);
        info.append(8, entry.bytes);
        info.append(4, static_cast<u32>(entry.type));
        info.append(4, 0);
    }
    return std::move(info.bytes());
}

}  // namespace

std::optional<u64> pvh_entry(const ElfImage& elf) {
    const auto contents = elf.find_note("Xen", kPhys32EntryNote);
    if (!contents || (contents->size() != 4 && contents->size() != 8)) {
        return std::nullopt;
    }
    return field(*contents, 0, static_cast<unsigned>(contents->size()));
}

Expected<BootPlan> plan_pvh_boot(std::vector<u8> image,
                                 std::vector<u8> initrd,
                                 const BootRequest& request,
                                 const BootEnvironment& environment) {
    BootPlan plan;
    const std::span<const u8> kept = plan.keep(std::move(image));
    const PhysAddr ram_end = environment.usable_end();
    const auto elf = parse_elf(kept, request.kernel);
    if (!elf) {
        return elf.error();
    }
    const auto entry = pvh_entry(elf.value());
    if (!entry) {
        return Error{fmt::format(
            "kernel '{}': is an ELF file with neither a multiboot header nor a PVH entry note",
            request.kernel)};
    }
    if (request.append.size() >= memory_map::kBootCommandLineBytes) {
        return Error{fmt::format("-append: {} characters, at most {} fit", request.append.size(),
                                 memory_map::kBootCommandLineBytes - 1)};
    }
    // Below 1 MiB lies what this protocol hands over.
    const MemoryRange usable = {memory_map::kOneMiB, ram_end};
    FreeMemory memory({&usable, 1});
    if (const auto placed = elf.value().place(plan, memory, request.kernel); !placed) {
        return placed.error();
    }
    plan.notes.push_back(fmt::format("kernel {}: PVH ELF, entry {:#x}, memory {:#x}..{:#x}",
                                     request.kernel, *entry, elf.value().first(),
                                     elf.value().end()));
    Placement placement{.initrd = 0, .initrd_bytes = initrd.size()};
    if (!initrd.empty()) {
        if (initrd.size() > ram_end ||
            ((ram_end - initrd.size()) & kPageMask) < elf.value().end()) {
            return Error{
                fmt::format("initrd '{}': its {} KiB do not fit between {:#x} and {:#x} (-m)",
                            request.initrd, initrd.size() / 1024, elf.value().end(), ram_end)};
        }
        placement.initrd = (ram_end - initrd.size()) & kPageMask;
        plan.notes.push_back(fmt::format("initrd {}: {} KiB at {:#x}", request.initrd,
                                         placement.initrd_bytes / 1024, placement.initrd));
        plan.place(placement.initrd, std::move(initrd));
    }
    plan.place(memory_map::kBootParams, make_start_info(placement, environment));
    plan.place(memory_map::kBootCommandLine, zero_terminated(request.append));
    plan.place(memory_map::kBootGdt, make_boot_gdt(false, false));
    plan.entry = {.mode = EntryMode::Protected32, .rip = *entry, .rbx = memory_map::kBootParams};
    return plan;
}

}  // namespace droste
