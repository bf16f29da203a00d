#include "devices/system/reset_cf9.hpp"

#include "devices/state_archive.hpp"

namespace droste {

IoStatus ResetCf9::pio_read(u16 /*port*/, std::span<u8> data) {
    if (data.size() != 1) {
        return IoStatus::BadSize;
    }
    data[0] = control_;
    return IoStatus::Done;
}

IoStatus ResetCf9::pio_write(u16 /*port*/, std::span<const u8> data) {
    if (data.size() != 1) {
        return IoStatus::BadSize;
    }
    const bool triggers = (data[0] & kResetCpu) != 0 && (control_ & kResetCpu) == 0;
    control_ = data[0] & (kSystemReset | kResetCpu);
    if (triggers) {
        system_reset_.pulse();
    }
    return IoStatus::Done;
}

void ResetCf9::state(StateArchive& archive) {
    archive("control", control_);
}

}  // namespace droste
