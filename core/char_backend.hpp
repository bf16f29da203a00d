#pragma once
// Where a serial port or debug console sends its bytes, and where they come from.

#include "core/types.hpp"

#include <span>

namespace droste {

// Receives the bytes a backend read from the outside.
class CharReceiver {
  public:
    CharReceiver() = default;
    CharReceiver(const CharReceiver&) = delete;
    CharReceiver& operator=(const CharReceiver&) = delete;
    virtual ~CharReceiver() = default;

    // How many bytes receive() would take now.
    virtual std::size_t receive_room() const = 0;
    virtual void receive(std::span<const u8> bytes) = 0;
};

class CharBackend {
  public:
    CharBackend() = default;
    CharBackend(const CharBackend&) = delete;
    CharBackend& operator=(const CharBackend&) = delete;
    virtual ~CharBackend() = default;

    // Never blocks the machine; a closed peer swallows the bytes.
    virtual void write(std::span<const u8> bytes) = 0;
    virtual void set_receiver(CharReceiver* receiver) = 0;
    // The receiver has room again.
    virtual void receiver_ready() {}
};

}  // namespace droste
