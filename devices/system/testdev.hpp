#pragma once
// pc-testdev: what bare-metal test kernels poke at. A data register in port space, wires into the
// interrupt controllers, and 64 KiB of memory behind the MMIO path. See docs/devices/testdev.md.

#include "core/bus.hpp"
#include "core/irq_line.hpp"
#include "devices/device.hpp"

#include <array>
#include <vector>

namespace droste {

class TestDevice final : public PioDevice, public MmioDevice, public Device {
  public:
    static constexpr unsigned kIrqs = 24;
    static constexpr PhysAddr kMemoryBase = 0xFF00'0000;
    static constexpr u64 kMemoryBytes = 0x10000;
    using Irqs = std::array<IrqLine*, kIrqs>;  // nullptr where nothing is wired

    explicit TestDevice(const Irqs& irqs) : irqs_(irqs), memory_(kMemoryBytes) {}

    std::string_view name() const override { return "pc-testdev"; }
    std::span<const PortRange> pio_ranges() const override { return kPorts; }
    IoStatus pio_read(u16 port, std::span<u8> data) override;
    IoStatus pio_write(u16 port, std::span<const u8> data) override;
    std::span<const MmioRange> mmio_ranges() const override { return kMemory; }
    IoStatus mmio_read(PhysAddr address, std::span<u8> data) override;
    IoStatus mmio_write(PhysAddr address, std::span<const u8> data) override;

    void reset() override;
    void state(StateArchive& archive) override;

  private:
    static constexpr u16 kData = 0xE0;
    static constexpr u16 kFlushPage = 0xE4;
    static constexpr u16 kByteData = 0xE8;
    static constexpr u16 kIrqLines = 0x2000;
    static constexpr std::array kPorts = {PortRange{.first = kData, .count = 12},
                                          PortRange{.first = kIrqLines, .count = kIrqs}};
    static constexpr std::array kMemory = {MmioRange{.first = kMemoryBase, .count = kMemoryBytes}};

    Irqs irqs_;
    std::array<u8, 4> data_{};
    std::vector<u8> memory_;
};

}  // namespace droste
