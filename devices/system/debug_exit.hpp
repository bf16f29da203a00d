#pragma once
// isa-debug-exit: a write of any size ends the run with the written value. What the value becomes
// as an exit status is the front end's business (QEMU's convention: value << 1 | 1).

#include "core/bus.hpp"
#include "devices/device.hpp"

#include <array>
#include <functional>

namespace droste {

class DebugExit final : public PioDevice, public Device {
  public:
    DebugExit(u16 base, u16 size, std::function<void(u32 value)> on_exit)
        : ranges_{PortRange{.first = base, .count = size}}
        , on_exit_(std::move(on_exit)) {}

    std::string_view name() const override { return "isa-debug-exit"; }
    std::span<const PortRange> pio_ranges() const override { return ranges_; }
    IoStatus pio_read(u16 port, std::span<u8> data) override;
    IoStatus pio_write(u16 port, std::span<const u8> data) override;

    void reset() override {}
    void state(StateArchive& /*archive*/) override {}

  private:
    std::array<PortRange, 1> ranges_;
    std::function<void(u32)> on_exit_;
};

}  // namespace droste
