#include "devices/char/debug_console_e9.hpp"

namespace droste {

IoStatus DebugConsoleE9::pio_read(u16 /*port*/, std::span<u8> data) {
    if (data.size() != 1) {
        return IoStatus::BadSize;
    }
    data[0] = kSignature;
    return IoStatus::Done;
}

IoStatus DebugConsoleE9::pio_write(u16 /*port*/, std::span<const u8> data) {
    if (data.size() != 1) {
        return IoStatus::BadSize;
    }
    backend_.write(data);
    return IoStatus::Done;
}

}  // namespace droste
