#pragma once
// The debug console of Bochs and QEMU: a byte written goes to the backend, and a read gives E9h,
// which is how a guest finds it. Port E9h, or 402h for SeaBIOS.

#include "core/bus.hpp"
#include "core/char_backend.hpp"
#include "devices/device.hpp"

#include <array>

namespace droste {

class DebugConsoleE9 final : public PioDevice, public Device {
  public:
    static constexpr u16 kPort = 0xE9;
    static constexpr u16 kSeaBiosPort = 0x402;

    explicit DebugConsoleE9(CharBackend& backend, u16 port = kPort)
        : ranges_{PortRange{.first = port, .count = 1}}
        , backend_(backend) {}

    std::string_view name() const override { return "debug console"; }
    std::span<const PortRange> pio_ranges() const override { return ranges_; }
    IoStatus pio_read(u16 port, std::span<u8> data) override;
    IoStatus pio_write(u16 port, std::span<const u8> data) override;

    void reset() override {}
    void state(StateArchive& /*archive*/) override {}

  private:
    static constexpr u8 kSignature = 0xE9;

    std::array<PortRange, 1> ranges_;
    CharBackend& backend_;
};

}  // namespace droste
