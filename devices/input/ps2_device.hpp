#pragma once
// One end of a PS/2 cable: takes command bytes, and queues what it has to say until the controller
// fetches it. IBM, "PS/2 Hardware Interface Technical Reference", "Keyboard and Auxiliary Device
// Controller".

#include "core/types.hpp"
#include "devices/device.hpp"

#include <array>
#include <functional>
#include <initializer_list>
#include <span>

namespace droste {

class Ps2Device : public Device {
  public:
    // A byte from the controller.
    virtual void write(u8 value) = 0;
    // Subclasses list their own fields behind these.
    void state(StateArchive& archive) override;

    bool has_data() const { return count_ != 0; }
    // Requires: has_data().
    u8 take();
    // Called when the queue stops being empty.
    void set_listener(std::function<void()> listener) { listener_ = std::move(listener); }

  protected:
    static constexpr u8 kAcknowledge = 0xFA;
    static constexpr u8 kResend = 0xFE;
    static constexpr u8 kSelfTestPassed = 0xAA;

    // All of `bytes`, or nothing if they do not fit: half a scan code is worse than none.
    void send(std::span<const u8> bytes);
    void send(std::initializer_list<u8> bytes) { send(std::span(bytes.begin(), bytes.size())); }
    void clear_queue();
    u8 last_sent() const { return last_sent_; }

  private:
    static constexpr std::size_t kQueueBytes = 64;

    std::array<u8, kQueueBytes> queue_{};
    std::size_t head_ = 0;
    std::size_t count_ = 0;
    u8 last_sent_ = 0;
    std::function<void()> listener_;
};

}  // namespace droste
