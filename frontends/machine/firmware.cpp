#include "frontends/machine/firmware.hpp"

#include "frontends/machine/image_file.hpp"
#include "frontends/machine/memory_map.hpp"

#include <fmt/format.h>

namespace droste {

Expected<std::vector<u8>> read_firmware(const std::string& path) {
    constexpr u64 kBlock = u64{64} << 10;
    constexpr u64 kLargest = u64{16} << 20;
    constexpr u64 kReadLimit = u64{1} << 30;
    auto rom = read_image_file("firmware", path, kReadLimit, LimitIs::Fixed);
    if (rom && (rom.value().size() % kBlock != 0 || rom.value().size() > kLargest)) {
        return Error{
            fmt::format("firmware '{}': {} bytes, expected a multiple of 64 KiB up to 16 MiB", path,
                        rom.value().size())};
    }
    return rom;
}

PhysAddr firmware_base(u64 rom_bytes) {
    return memory_map::kFourGiB - rom_bytes;
}

}  // namespace droste
