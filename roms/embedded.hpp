#pragma once
// The guest that is part of the program: the self-nesting hypervisor of roms/, a multiboot image.
// It is what runs when no other guest is named. docs/vmx/rom.md explains it.

#include "core/types.hpp"

#include <span>

namespace droste {

std::span<const u8> embedded_rom();

}  // namespace droste
