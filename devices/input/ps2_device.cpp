#include "devices/input/ps2_device.hpp"

namespace droste {

u8 Ps2Device::take() {
    last_sent_ = queue_[head_];
    head_ = (head_ + 1) % kQueueBytes;
    --count_;
    return last_sent_;
}

void Ps2Device::send(std::span<const u8> bytes) {
    if (bytes.size() > kQueueBytes - count_) {
        return;
    }
    for (const u8 byte : bytes) {
        queue_[(head_ + count_) % kQueueBytes] = byte;
        ++count_;
    }
    if (listener_) {
        listener_();
    }
}

}  // namespace droste
