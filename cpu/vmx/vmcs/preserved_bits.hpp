#pragma once
// CR0 bits that VM entries and VM exits never modify: ET, CD, NW and the reserved 15:6, 17, 28:19
// and 63:32. SDM Vol. 3C, "Loading Guest Control Registers, Debug Registers, and MSRs", "Loading
// Host Control Registers ...".

#include "core/types.hpp"

namespace droste {

inline constexpr u64 kCr0Preserved = 0xFFFF'FFFF'0000'0000 | 0x7FFA'FFD0;

}  // namespace droste
