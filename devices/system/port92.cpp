#include "devices/system/port92.hpp"

#include "devices/state_archive.hpp"

namespace droste {

IoStatus Port92::pio_read(u16 /*port*/, std::span<u8> data) {
    if (data.size() != 1) {
        return IoStatus::BadSize;
    }
    data[0] = control_;
    return IoStatus::Done;
}

IoStatus Port92::pio_write(u16 /*port*/, std::span<const u8> data) {
    if (data.size() != 1) {
        return IoStatus::BadSize;
    }
    control_ = static_cast<u8>(data[0] & ~kFastReset);
    a20_.set_level((control_ & kA20Enable) != 0);
    if ((data[0] & kFastReset) != 0) {
        cpu_reset_.pulse();
    }
    return IoStatus::Done;
}

void Port92::reset() {
    control_ = kA20Enable;
    a20_.set_level(true);
}

void Port92::state(StateArchive& archive) {
    archive("control", control_);
}

}  // namespace droste
