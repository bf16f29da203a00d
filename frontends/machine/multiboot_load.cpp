#include "frontends/machine/multiboot_load.hpp"

#include "frontends/machine/memory_map.hpp"

#include <algorithm>

#include <fmt/format.h>

namespace droste {

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

Expected<KernelImage> flat_kernel(std::span<const u8> image,
                                  std::size_t header_at,
                                  const HeaderAddresses& addresses,
                                  u64 entry,
                                  const std::string& path) {
    const auto bad = [&](std::string_view why) {
        return Error{fmt::format("kernel '{}': its multiboot header {}", path, why)};
    };
    if (addresses.load > addresses.header || addresses.header - addresses.load > header_at) {
        return bad("puts the load address outside the file");
    }
    const u64 file_offset = header_at - (addresses.header - addresses.load);
    const u64 available = image.size() - file_offset;
    if (addresses.load_end != 0 && addresses.load_end < addresses.load) {
        return bad("ends the load before its start");
    }
    const u64 load_bytes =
        addresses.load_end == 0 ? available : addresses.load_end - addresses.load;
    if (load_bytes > available) {
        return bad(fmt::format("wants {} bytes loaded, the file has {}: it is truncated",
                               load_bytes, available));
    }
    const PhysAddr end = std::max(addresses.load + load_bytes, addresses.bss_end);
    KernelImage kernel;
    kernel.entry = entry;
    kernel.segments.push_back({.link_address = addresses.load,
                               .address = addresses.load,
                               .bytes = image.subspan(file_offset, load_bytes),
                               .memory_bytes = end - addresses.load});
    return kernel;
}

std::optional<PhysAddr>
find_behind(const FreeMemory& memory, u64 bytes, u64 alignment, PhysAddr kernel_end) {
    const PhysAddr behind = std::max(kernel_end, memory_map::kOneMiB);
    const auto place = memory.find(bytes, alignment, {behind, memory_map::kFourGiB});
    return place ? place
                 : memory.find(bytes, alignment, {memory_map::kOneMiB, memory_map::kFourGiB});
}

Expected<std::vector<LoadedModule>> place_modules(BootPlan& plan,
                                                  FreeMemory& memory,
                                                  std::vector<ModuleFile> modules,
                                                  PhysAddr kernel_end) {
    std::vector<LoadedModule> loaded;
    for (ModuleFile& module : modules) {
        const u64 bytes = module.bytes.size();
        const auto place = find_behind(memory, bytes, kPageBytes, kernel_end);
        if (!place) {
            return Error{fmt::format("initrd '{}': its {} KiB do not fit, the machine has {} free "
                                     "(-m)",
                                     module_file_name(module.text), bytes / 1024,
                                     memory.describe())};
        }
        memory.reserve(*place, bytes);
        plan.notes.push_back(
            fmt::format("module {}: {} KiB at {:#x}", module.text, bytes / 1024, *place));
        loaded.push_back({*place, *place + bytes, std::move(module.text)});
        plan.place(*place, std::move(module.bytes));
    }
    return loaded;
}

}  // namespace droste
