#include "roms/embedded.hpp"

#include "roms/rom_image.hpp"  // generated

namespace droste {

std::span<const u8> embedded_rom() {
    return kRomImage;
}

}  // namespace droste
