#include "devices/system/debug_exit.hpp"

#include "devices/little_endian.hpp"

namespace droste {

IoStatus DebugExit::pio_read(u16 /*port*/, std::span<u8> data) {
    store_le(data, 0);
    return IoStatus::Done;
}

IoStatus DebugExit::pio_write(u16 /*port*/, std::span<const u8> data) {
    on_exit_(static_cast<u32>(load_le(data)));
    return IoStatus::Done;
}

}  // namespace droste
