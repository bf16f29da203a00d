#pragma once
// Multiboot version 1 kernels: ELF or with the header's own addresses ("a.out kludge"), modules,
// memory map. Multiboot Specification 0.6.96.

#include "core/error.hpp"
#include "frontends/machine/boot_plan.hpp"
#include "frontends/machine/multiboot_load.hpp"

#include <optional>
#include <span>
#include <vector>

namespace droste {

// Offset of the multiboot header in the image's first 8 KiB.
std::optional<std::size_t> find_multiboot_header(std::span<const u8> image);

Expected<BootPlan> plan_multiboot(std::vector<u8> image,
                                  std::vector<ModuleFile> modules,
                                  const BootRequest& request,
                                  const BootEnvironment& environment);

}  // namespace droste
