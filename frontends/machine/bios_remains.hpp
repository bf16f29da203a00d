#pragma once
// What a PC BIOS leaves behind, for kernels started without one. Some still look at the BIOS data
// area for the end of base memory, or drop to real mode, switch interrupts on and call the BIOS
// (Xen does all of it). They find interrupt vectors that serve the 8259s' requests, the memory map
// (INT 15h, AX = E820h and E801h, AH = 88h), and services that answer "failed" (CF = 1). IBM,
// "PC/AT Technical Reference", "BIOS Data Areas". The code is bios_remains.asm.
//
// The chips are left as a BIOS leaves them by PcChips::apply_firmware_settings().

#include "frontends/machine/boot_plan.hpp"

namespace droste {

// `serial_ports`: bit n set if COM(n+1) exists.
void place_bios_remains(BootPlan& plan, const BootEnvironment& environment, u8 serial_ports);

}  // namespace droste
