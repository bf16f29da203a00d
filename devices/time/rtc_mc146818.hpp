#pragma once
// MC146818 real-time clock and CMOS RAM. Motorola, "MC146818A Real-Time Clock Plus RAM (RTC)".
//
// The time of day is a count of seconds since 1970 that advances with virtual time; the registers
// are computed when read, in the format register B asks for. While the guest holds updates (SET, or
// the divider in reset) the registers are what it wrote, and become the time again on release.
// Flags in register C are caught up when looked at, so an idle clock has no events: the timer is
// armed only for an enabled interrupt that is not already pending.

#include "core/bus.hpp"
#include "core/event_queue.hpp"
#include "core/irq_line.hpp"
#include "devices/device.hpp"

#include <array>

namespace droste {

class RtcMc146818 final : public PioDevice, public Device {
  public:
    static constexpr u8 kCentury = 0x32;

    // `start_seconds`: the guest's wall clock at virtual time 0, in seconds since 1970-01-01 00:00.
    RtcMc146818(EventQueue& events, IrqLine& irq8, i64 start_seconds);

    // CMOS RAM as the board or a battery left it. Requires: index is 0Eh..7Fh and not kCentury.
    void set_byte(u8 index, u8 value) { ram_[index] = value; }
    u8 byte(u8 index) const { return ram_[index]; }
    // The memory sizes where PC firmware looks for them (15h-18h, 30h-31h, 34h-35h, 5Bh-5Dh).
    void set_memory_size(u64 below_4g_bytes, u64 above_4g_bytes);

    std::string_view name() const override { return "MC146818"; }
    std::span<const PortRange> pio_ranges() const override { return kRanges; }
    IoStatus pio_read(u16 port, std::span<u8> data) override;
    IoStatus pio_write(u16 port, std::span<const u8> data) override;

    void reset() override;
    void state(StateArchive& archive) override;

  private:
    static constexpr std::array kRanges = {PortRange{.first = 0x70, .count = 2}};
    // The registers that hold the time: seconds, minutes, hours, day of week, day, month, year,
    // century.
    using TimeRegisters = std::array<u8, 8>;

    u8 read_register(u8 index);
    void write_register(u8 index, u8 value);
    void write_time(std::size_t field, u8 value);
    void write_b(u8 value);
    void write_a(u8 value);

    bool updating() const;  // neither SET nor divider reset
    bool dividing() const;
    u64 second_index(u64 ns) const { return (ns + phase_ns_) / kSecondNs; }
    i64 seconds_at(u64 index) const {
        return base_seconds_ + static_cast<i64>(index - base_index_);
    }
    u64 periodic_ticks() const;  // of 32,768 Hz between two periodic interrupts; 0 = none
    TimeRegisters encode(i64 seconds) const;
    i64 decode(const TimeRegisters& registers) const;
    u8 encode_field(unsigned value) const;
    u8 encode_hour(unsigned hour) const;
    unsigned decode_field(u8 value) const;
    bool alarm_matches(std::size_t field, unsigned value) const;
    // The first second after `seconds` that the alarm registers match, at most a day later; or -1.
    i64 next_alarm(i64 seconds) const;
    void hold_updates();
    void release_updates();

    // Sets the flags of register C for what has happened since the last look.
    void catch_up();
    void update_irq();

    static constexpr u64 kSecondNs = 1'000'000'000;

    EventQueue& events_;
    IrqLine& irq8_;
    Timer timer_;
    u8 index_ = 0;
    u8 a_ = 0x26;  // 32,768 Hz time base, 1,024 Hz periodic rate
    u8 b_ = 0x02;  // 24-hour, BCD
    u8 c_ = 0;
    TimeRegisters held_{};  // the time registers while updates are held
    i64 base_seconds_;      // the time at second base_index_ of the divider
    u64 base_index_ = 0;
    u64 phase_ns_ = 0;  // a new second when now + phase is a multiple of a second
    u64 caught_up_ns_ = 0;
    i64 weekday_bias_ = 0;  // what the guest wrote, relative to the calendar
    std::array<u8, 128> ram_{};
};

}  // namespace droste
