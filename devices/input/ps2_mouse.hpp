#pragma once
// A PS/2 mouse with the IntelliMouse wheel: three-byte packets, or four after the sample-rate knock
// 200, 100, 80.

#include "devices/input/ps2_device.hpp"

namespace droste {

class Ps2Mouse final : public Ps2Device {
  public:
    enum Button : u8 { kLeft = 1, kRight = 2, kMiddle = 4 };

    std::string_view name() const override { return "PS/2 mouse"; }
    void write(u8 value) override;
    void reset() override;
    void state(StateArchive& archive) override;

    // Movement to the right and up is positive. Reported in stream mode while the guest enabled it.
    void move(int dx, int dy, int wheel, u8 buttons);

  private:
    void write_argument(u8 value);
    void set_defaults();
    void send_status();
    void send_packet();

    u8 pending_command_ = 0;
    u8 sample_rate_ = 100;
    u8 resolution_ = 2;
    u8 buttons_ = 0;
    bool scaling_ = false;
    bool stream_ = true;
    bool wrap_ = false;
    bool reporting_ = false;
    bool wheel_mode_ = false;
    std::array<u8, 2> earlier_rates_{};  // for the knock
    int dx_ = 0;
    int dy_ = 0;
    int dz_ = 0;
};

}  // namespace droste
