#pragma once
// An enhanced PS/2 keyboard (MF II), as far as drivers probe it. It speaks scan code set 2; the
// controller translates to set 1. The front end sends scan codes as the keyboard would.

#include "devices/input/ps2_device.hpp"

namespace droste {

class Ps2Keyboard final : public Ps2Device {
  public:
    std::string_view name() const override { return "PS/2 keyboard"; }
    void write(u8 value) override;
    void reset() override;
    void state(StateArchive& archive) override;

    // A make or break sequence of set 2; dropped while the guest has scanning disabled.
    void send_scan_code(std::span<const u8> bytes);
    u8 leds() const { return leds_; }

  private:
    void write_argument(u8 value);
    void set_defaults();

    u8 pending_command_ = 0;  // waits for its argument; 0 = none
    u8 leds_ = 0;             // scroll, num, caps lock
    u8 scan_code_set_ = 2;
    bool scanning_ = true;
};

}  // namespace droste
