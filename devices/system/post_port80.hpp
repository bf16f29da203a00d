#pragma once
// The POST code port 80h: keeps the last byte written. Firmware reports its progress here, and
// Linux writes it as a delay.

#include "core/bus.hpp"
#include "devices/device.hpp"

#include <array>

namespace droste {

class PostPort80 final : public PioDevice, public Device {
  public:
    std::string_view name() const override { return "POST port 80h"; }
    std::span<const PortRange> pio_ranges() const override { return kRanges; }
    IoStatus pio_read(u16 port, std::span<u8> data) override;
    IoStatus pio_write(u16 port, std::span<const u8> data) override;

    void reset() override { code_ = 0; }
    void state(StateArchive& archive) override;
    u8 last_code() const { return code_; }

  private:
    static constexpr std::array kRanges = {PortRange{.first = 0x80, .count = 1}};

    u8 code_ = 0;
};

}  // namespace droste
