#pragma once
// Firmware images (-bios): read, checked, and where they appear.

#include "core/error.hpp"
#include "core/guest_memory.hpp"
#include "core/types.hpp"

#include <string>
#include <vector>

namespace droste {

// 64 KiB to 16 MiB in whole 64 KiB blocks.
Expected<std::vector<u8>> read_firmware(const std::string& path);

// The image ends at 4 GiB.
PhysAddr firmware_base(u64 rom_bytes);

}  // namespace droste
