#pragma once
// From the files the user named to a BootPlan: reads them, tells the kind of kernel and asks its
// loader.

#include "core/error.hpp"
#include "frontends/machine/boot_plan.hpp"

namespace droste {

// Order of detection, on the uncompressed contents: "HdrS" (Linux), multiboot header of
// version 1, of version 2, PVH note.
Expected<BootPlan> plan_boot(const BootRequest& request, const BootEnvironment& environment);

}  // namespace droste
