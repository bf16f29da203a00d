#pragma once
// System Control Port A (I/O port 92h): fast A20 gate and fast CPU reset.
// PS/2 Hardware Interface Technical Reference, "System Control Port A"; see docs/devices/port92.md.

#include "core/bus.hpp"
#include "core/irq_line.hpp"
#include "devices/device.hpp"

#include <array>

namespace droste {

class Port92 final : public PioDevice, public Device {
  public:
    Port92(IrqLine& a20, IrqLine& cpu_reset) : a20_(a20), cpu_reset_(cpu_reset) {}

    std::string_view name() const override { return "port 92h"; }
    std::span<const PortRange> pio_ranges() const override { return kRanges; }
    IoStatus pio_read(u16 port, std::span<u8> data) override;
    IoStatus pio_write(u16 port, std::span<const u8> data) override;

    void reset() override;
    void state(StateArchive& archive) override;

  private:
    static constexpr std::array kRanges = {PortRange{.first = 0x92, .count = 1}};
    static constexpr u8 kFastReset = 1U << 0;  // written as 1 pulses INIT#; always reads as 0
    static constexpr u8 kA20Enable = 1U << 1;

    IrqLine& a20_;
    IrqLine& cpu_reset_;
    u8 control_ = kA20Enable;
};

}  // namespace droste
