#pragma once
// Multiboot version 2 kernels: header tags in, information tags out. Multiboot2 Specification 2.0.
//
// The header says what the kernel needs; a tag that is not marked optional and that we do not know
// is refused, because the kernel says that it cannot do without. What this machine does not have
// (EFI, APM, VBE, a framebuffer) leaves no tag in the information: a wish for a video mode is a
// wish, but a console that must be there is refused, too, as long as there is no display.
//
// A kernel with headers of both versions is started by version 1 (boot_image), as it always was.
// The command line is -append's text alone, as GRUB hands it over, without the file name that
// version 1 has in front; a module's is its whole text, file name first.

#include "core/error.hpp"
#include "frontends/machine/boot_plan.hpp"
#include "frontends/machine/multiboot_load.hpp"

#include <optional>
#include <span>
#include <vector>

namespace droste {

// Offset of the header in the image's first 32 KiB.
std::optional<std::size_t> find_multiboot2_header(std::span<const u8> image);

Expected<BootPlan> plan_multiboot2(std::vector<u8> image,
                                   std::vector<ModuleFile> modules,
                                   const BootRequest& request,
                                   const BootEnvironment& environment);

}  // namespace droste
