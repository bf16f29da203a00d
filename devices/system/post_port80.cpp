#include "devices/system/post_port80.hpp"

#include "devices/state_archive.hpp"

namespace droste {

IoStatus PostPort80::pio_read(u16 /*port*/, std::span<u8> data) {
    if (data.size() != 1) {
        return IoStatus::BadSize;
    }
    data[0] = code_;
    return IoStatus::Done;
}

IoStatus PostPort80::pio_write(u16 /*port*/, std::span<const u8> data) {
    if (data.size() != 1) {
        return IoStatus::BadSize;
    }
    code_ = data[0];
    return IoStatus::Done;
}

void PostPort80::state(StateArchive& archive) {
    archive("code", code_);
}

}  // namespace droste
