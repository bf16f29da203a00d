#pragma once
// The reset control register (I/O port CF9h) of the PIIX3, which ACPI's FADT names as the reset
// register too. Intel, "82371SB (PIIX3)" (290550), "RC—Reset Control Register".

#include "core/bus.hpp"
#include "core/irq_line.hpp"
#include "devices/device.hpp"

#include <array>

namespace droste {

class ResetCf9 final : public PioDevice, public Device {
  public:
    static constexpr u16 kPort = 0xCF9;
    static constexpr u8 kResetValue = 0x06;  // a hard reset, for the FADT's RESET_VALUE

    explicit ResetCf9(IrqLine& system_reset) : system_reset_(system_reset) {}

    std::string_view name() const override { return "reset control CF9h"; }
    std::span<const PortRange> pio_ranges() const override { return kRanges; }
    IoStatus pio_read(u16 port, std::span<u8> data) override;
    IoStatus pio_write(u16 port, std::span<const u8> data) override;

    void reset() override { control_ = 0; }
    void state(StateArchive& archive) override;

  private:
    static constexpr std::array kRanges = {PortRange{.first = kPort, .count = 1}};
    static constexpr u8 kSystemReset = 1U << 1;  // hard instead of soft
    static constexpr u8 kResetCpu = 1U << 2;     // 0 -> 1 resets

    IrqLine& system_reset_;
    u8 control_ = 0;
};

}  // namespace droste
