#pragma once
// Multiboot version 1 kernels: ELF or with the header's own addresses ("a.out kludge"), modules,
// memory map. Multiboot Specification 0.6.96. Modules come from -initrd as "FILE ARGS,FILE ARGS" (a
// comma in a file name is doubled), each with its whole text as command line, as QEMU users expect.

#include "core/error.hpp"
#include "frontends/machine/boot_plan.hpp"

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace droste {

// Offset of the multiboot header in the image's first 8 KiB.
std::optional<std::size_t> find_multiboot_header(std::span<const u8> image);

struct ModuleFile {
    std::string text;  // file name and arguments, as given
    std::vector<u8> bytes;
};

// Splits -initrd's value at single commas; doubled ones stand for themselves.
std::vector<std::string> split_module_list(std::string_view value);
// The file name of one element: up to the first space.
std::string module_file_name(std::string_view element);

Expected<BootPlan> plan_multiboot(std::vector<u8> image,
                                  std::vector<ModuleFile> modules,
                                  const BootRequest& request,
                                  const BootEnvironment& environment);

}  // namespace droste
