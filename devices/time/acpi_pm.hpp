#pragma once
// ACPI fixed hardware, laid out as in the PIIX4: PM1a event and control block, PM timer, a GPE
// block, and the APM ports whose commands switch ACPI mode on and off. ACPI Specification, "ACPI
// Register Model"; Intel, "82371AB (PIIX4)" (290562), "Power Management I/O Space".
//
// The timer is computed when read. Its overflow needs an event only while the guest asked for the
// interrupt and has not got it yet.

#include "core/bus.hpp"
#include "core/event_queue.hpp"
#include "core/irq_line.hpp"
#include "devices/device.hpp"

#include <array>
#include <functional>

namespace droste {

class AcpiPm final : public PioDevice, public Device {
  public:
    static constexpr u16 kDefaultBase = 0x600;
    static constexpr u16 kPmBytes = 64;
    static constexpr u16 kControlOffset = 4;
    static constexpr u16 kTimerOffset = 8;
    static constexpr u16 kGpeBase = 0xAFE0;
    static constexpr u16 kGpeBytes = 4;  // two of status, two of enable
    static constexpr u16 kSmiCommand = 0xB2;
    static constexpr u8 kAcpiEnable = 0xF1;  // commands for the SMI command port
    static constexpr u8 kAcpiDisable = 0xF0;
    static constexpr u8 kSlpTypS5 = 0;  // what \_S5 in the DSDT has to say
    static constexpr u64 kTimerHz = 3'579'545;

    enum class TimerWidth : u8 { Bits24 = 24, Bits32 = 32 };  // FADT flag TMR_VAL_EXT

    AcpiPm(EventQueue& events,
           IrqLine& sci,
           std::function<void()> power_off,
           TimerWidth width = TimerWidth::Bits32);

    // Moves the PM block; 0 takes it off the bus, the other ports stay. The caller detaches the
    // device from the bus before and attaches it after.
    void set_base(u16 base) {
        ranges_[0] = PortRange{.first = base, .count = base != 0 ? kPmBytes : u16{0}};
    }
    u16 base() const { return ranges_[0].first; }

    void press_power_button();
    // Sets the status bit of general-purpose event `n`. Requires: n < 16.
    void raise_gpe(unsigned n);
    // For boards without firmware: the machine starts in ACPI mode.
    void enable_acpi_mode();

    std::string_view name() const override { return "PIIX4 ACPI"; }
    std::span<const PortRange> pio_ranges() const override { return ranges_; }
    IoStatus pio_read(u16 port, std::span<u8> data) override;
    IoStatus pio_write(u16 port, std::span<const u8> data) override;

    void reset() override;
    void state(StateArchive& archive) override;

  private:
    u8 read_pm(unsigned offset) const;
    void write_pm(unsigned offset, u8 value);
    void write_control_high(u8 value);
    void write_smi_command(u8 value);
    void write_gpe(unsigned offset, u8 value);

    u64 ticks() const;
    // Notes an overflow of the timer since the last look.
    void settle();
    void update_sci();

    std::array<PortRange, 3> ranges_;
    EventQueue& events_;
    IrqLine& sci_;
    std::function<void()> power_off_;
    Timer overflow_;
    unsigned timer_bits_;
    u64 settled_half_ = 0;  // half periods of the timer's top bit, when last looked at

    u16 pm1_status_ = 0;
    u16 pm1_enable_ = 0;
    u16 pm1_control_ = 0;
    u16 gpe_status_ = 0;
    u16 gpe_enable_ = 0;
    std::array<u8, 2> apm_{};
};

}  // namespace droste
