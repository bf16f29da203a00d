#pragma once
// The opcode maps. Each is defined in the file of its name; decode() walks them, tests and the
// instruction generator read their rows.

#include "cpu/x86/decode/map_table.hpp"

#include <array>

namespace droste::opcode_map {

extern const MapView kOneByte;
extern const MapView kMap0F;
extern const MapView kMap0F38;
extern const MapView kMap0F3A;
extern const MapView kX87;
extern const MapView kVex0F;
extern const MapView kVex0F38;
extern const MapView kVex0F3A;

}  // namespace droste::opcode_map
