#pragma once
// What a PC BIOS leaves in low memory, for kernels started without one. Some still look at the BIOS
// data area for the end of base memory, or drop to real mode and call BIOS services (Xen does
// both): they find an interrupt table whose services answer "failed" (CF = 1) and return. IBM,
// "PC/AT Technical Reference", "BIOS Data Areas".

#include "frontends/machine/boot_plan.hpp"

namespace droste {

// `serial_ports`: bit n set if COM(n+1) exists.
void place_bios_remains(BootPlan& plan, u8 serial_ports);

}  // namespace droste
