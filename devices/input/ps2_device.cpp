#include "devices/input/ps2_device.hpp"

#include "devices/state_archive.hpp"

namespace droste {

u8 Ps2Device::take() {
    last_sent_ = queue_[head_];
    head_ = (head_ + 1) % kQueueBytes;
    --count_;
    return last_sent_;
}

void Ps2Device::clear_queue() {
    queue_ = {};
    head_ = 0;
    count_ = 0;
    last_sent_ = 0;
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

void Ps2Device::state(StateArchive& archive) {
    archive("queue", queue_);
    archive("head", head_);
    archive("count", count_);
    archive("last_sent", last_sent_);
}

}  // namespace droste
