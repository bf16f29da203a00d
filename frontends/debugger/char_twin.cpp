#include "frontends/debugger/char_twin.hpp"

namespace droste {

CharTwin::CharTwin(CharBackend& outside) : outside_(outside) {
    outside_.set_receiver(this);
}

CharTwin::~CharTwin() {
    outside_.set_receiver(nullptr);
}

std::size_t CharTwin::receive_room() const {
    return leader_.waiting() < kMostWaiting ? kMostWaiting : 0;
}

void CharTwin::receive(std::span<const u8> bytes) {
    leader_.take(bytes);
    follower_.take(bytes);
}

void CharTwin::Side::write(std::span<const u8> bytes) {
    if (leads_) {
        twin_.outside_.write(bytes);
        twin_.written_.insert(twin_.written_.end(), bytes.begin(), bytes.end());
        return;
    }
    for (const u8 byte : bytes) {
        if (twin_.written_.empty() || twin_.written_.front() != byte) {
            twin_.differs_ = true;
            return;
        }
        twin_.written_.pop_front();
    }
}

void CharTwin::Side::take(std::span<const u8> bytes) {
    waiting_.insert(waiting_.end(), bytes.begin(), bytes.end());
    deliver();
}

// The receiver may report itself ready from within.
void CharTwin::Side::deliver() {
    while (receiver_ != nullptr && !waiting_.empty() && receiver_->receive_room() != 0) {
        const u8 byte = waiting_.front();
        waiting_.pop_front();
        receiver_->receive({&byte, 1});
    }
}

}  // namespace droste
