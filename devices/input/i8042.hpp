#pragma once
// 8042 keyboard controller: two PS/2 ports, the A20 gate and the CPU's reset.
// IBM, "PS/2 Hardware Interface Technical Reference", "Keyboard and Auxiliary Device Controller".
//
// The controller answers at once. Its output buffer holds one byte; what the devices and the
// controller itself have to say waits behind it, the controller's own reply first.

#include "core/bus.hpp"
#include "core/irq_line.hpp"
#include "devices/input/ps2_device.hpp"

namespace droste {

class I8042 final : public PioDevice, public Device {
  public:
    struct Outputs {
        IrqLine& irq1;
        IrqLine& irq12;
        IrqLine& a20;
        IrqLine& cpu_reset;
    };

    I8042(const Outputs& outputs, Ps2Device& keyboard, Ps2Device& mouse);

    std::string_view name() const override { return "8042"; }
    std::span<const PortRange> pio_ranges() const override { return kRanges; }
    IoStatus pio_read(u16 port, std::span<u8> data) override;
    IoStatus pio_write(u16 port, std::span<const u8> data) override;

    // Does not reset the devices on the ports.
    void reset() override;
    void state(StateArchive& archive) override;

  private:
    static constexpr u16 kDataPort = 0x60;
    static constexpr u16 kCommandPort = 0x64;
    static constexpr std::array kRanges = {PortRange{.first = kDataPort, .count = 1},
                                           PortRange{.first = kCommandPort, .count = 1}};

    enum class Source : u8 { None, Keyboard, Mouse };

    u8 status() const;
    u8 read_data();
    void write_command(u8 command);
    void write_data(u8 value);
    void reply(u8 value, Source source = Source::Keyboard);
    void write_output_port(u8 value);
    u8 output_port() const;
    u8 translate(u8 scan_code);
    // Moves the next waiting byte into an empty output buffer, and drives the interrupt lines.
    void refill();

    Outputs out_;
    Ps2Device& keyboard_;
    Ps2Device& mouse_;
    std::array<u8, 32> ram_{};  // byte 0 is the command byte
    u8 pending_command_ = 0;    // waits for its argument at port 60h; 0 = none
    bool last_write_command_ = false;
    bool a20_ = true;
    bool system_flag_ = false;
    u8 buffer_ = 0;
    Source buffer_source_ = Source::None;
    u8 reply_ = 0;
    Source reply_source_ = Source::None;
    bool break_prefix_ = false;  // F0h seen while translating
};

}  // namespace droste
