#pragma once
// PVH direct boot: an ELF kernel with the note XEN_ELFNOTE_PHYS32_ENTRY is entered in 32-bit
// protected mode with EBX pointing to hvm_start_info. Xen, docs/misc/pvh.pandoc;
// xen/include/public/arch-x86/hvm.

#include "core/error.hpp"
#include "frontends/machine/boot_plan.hpp"
#include "frontends/machine/elf_image.hpp"

#include <optional>

namespace droste {

// The entry point the note names.
std::optional<u64> pvh_entry(const ElfImage& elf);

// `initrd` may be empty.
Expected<BootPlan> plan_pvh_boot(std::vector<u8> image,
                                 std::vector<u8> initrd,
                                 const BootRequest& request,
                                 const BootEnvironment& environment);

}  // namespace droste
