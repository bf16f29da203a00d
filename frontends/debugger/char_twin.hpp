#pragma once
// One character device for two machines in lockstep: what the leader writes goes out, what the
// follower writes is compared with it. What comes in is taken between two slices, when both
// machines are at the same instruction, and waits in a queue for each: so both receivers get the
// same bytes at the same instruction, whenever they have room.

#include "core/char_backend.hpp"

#include <deque>

namespace droste {

class CharTwin final : private CharReceiver {
  public:
    // Borrows `outside`.
    explicit CharTwin(CharBackend& outside);
    ~CharTwin() override;

    CharBackend& leader() { return leader_; }
    CharBackend& follower() { return follower_; }
    // The follower has written something else than the leader, or more.
    bool differs() const { return differs_; }

  private:
    static constexpr std::size_t kMostWaiting = std::size_t{64} << 10;

    class Side final : public CharBackend {
      public:
        Side(CharTwin& twin, bool leads) : twin_(twin), leads_(leads) {}
        void write(std::span<const u8> bytes) override;
        void set_receiver(CharReceiver* receiver) override { receiver_ = receiver; }
        void receiver_ready() override { deliver(); }
        void take(std::span<const u8> bytes);
        std::size_t waiting() const { return waiting_.size(); }

      private:
        void deliver();

        CharTwin& twin_;
        const bool leads_;
        CharReceiver* receiver_ = nullptr;
        std::deque<u8> waiting_;
    };

    std::size_t receive_room() const override;
    void receive(std::span<const u8> bytes) override;

    CharBackend& outside_;
    Side leader_{*this, true};
    Side follower_{*this, false};
    std::deque<u8> written_;  // by the leader, not yet by the follower
    bool differs_ = false;
};

}  // namespace droste
