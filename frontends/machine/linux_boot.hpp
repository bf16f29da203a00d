#pragma once
// The Linux/x86 boot protocol, as a boot loader without a BIOS carries it out: the protected-mode
// part of a bzImage, its command line and initrd are placed in memory, boot_params ("zero page") is
// built here and the kernel is entered at its 64-bit or 32-bit entry. The real-mode setup code
// never runs. Linux, Documentation/arch/x86/boot.rst and zero-page.rst.

#include "core/error.hpp"
#include "frontends/machine/boot_plan.hpp"

#include <span>

namespace droste {

// Has the image the "HdrS" signature of a setup header?
bool is_linux_image(std::span<const u8> image);

// `initrd` may be empty.
Expected<BootPlan> plan_linux_boot(std::vector<u8> image,
                                   std::vector<u8> initrd,
                                   const BootRequest& request,
                                   const BootEnvironment& environment);

}  // namespace droste
