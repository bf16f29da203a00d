#include "devices/system/port61.hpp"

#include "devices/state_archive.hpp"

namespace droste {

IoStatus Port61::pio_read(u16 /*port*/, std::span<u8> data) {
    if (data.size() != 1) {
        return IoStatus::BadSize;
    }
    const bool refresh = (events_.now_ns() / kRefreshNs) % 2 != 0;
    const bool out2 = pit_.out(Pit8254::kSpeaker);
    data[0] = static_cast<u8>(control_ | (refresh ? kRefreshToggle : 0) | (out2 ? kOut2 : 0));
    return IoStatus::Done;
}

IoStatus Port61::pio_write(u16 /*port*/, std::span<const u8> data) {
    if (data.size() != 1) {
        return IoStatus::BadSize;
    }
    control_ = data[0] & kWritable;
    pit_.set_gate(Pit8254::kSpeaker, (control_ & kGate2) != 0);
    return IoStatus::Done;
}

void Port61::reset() {
    control_ = 0;
    pit_.set_gate(Pit8254::kSpeaker, false);
}

void Port61::state(StateArchive& archive) {
    archive("control", control_);
}

}  // namespace droste
