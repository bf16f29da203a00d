#pragma once
// High precision event timers: one 64-bit counter at 100 MHz and three comparators, each one-shot
// or periodic. IA-PC HPET (High Precision Event Timers) Specification, revision 1.0a.
//
// The counter is virtual time. A comparator matches when the counter reaches its value, so one that
// is written too late waits for the counter to wrap, as on the part; drivers check for that.
// Periodic matches that time has passed over in one leap are one interrupt, and the comparator
// keeps its grid.
//
// In legacy replacement mode comparators 0 and 1 take IRQ 0 and IRQ 8 from the 8254 and the RTC,
// whose outputs therefore run through this chip.

#include "core/bus.hpp"
#include "core/event_queue.hpp"
#include "core/irq_line.hpp"
#include "devices/device.hpp"
#include "devices/irq/input_pin.hpp"

#include <array>

namespace droste {

class Hpet final : public MmioDevice, public Device {
  public:
    static constexpr PhysAddr kDefaultBase = 0xFED0'0000;
    static constexpr u64 kBytes = 1024;
    static constexpr unsigned kTimers = 3;
    static constexpr u64 kTickNs = 10;
    static constexpr u32 kHardwareId = 0x8086'A201;  // event timer block ID for the ACPI HPET table
    // I/O APIC inputs by number; nullptr where a comparator cannot be routed.
    using Gsis = std::array<IrqLine*, 32>;

    Hpet(EventQueue& events,
         IrqLine& irq0,
         IrqLine& irq8,
         const Gsis& gsis,
         PhysAddr base = kDefaultBase);

    // What the 8254's channel 0 and the RTC drive.
    IrqLine& pit_input() { return legacy_pins_[0]; }
    IrqLine& rtc_input() { return legacy_pins_[1]; }
    void set_input(unsigned pin, bool asserted);

    std::string_view name() const override { return "HPET"; }
    std::span<const MmioRange> mmio_ranges() const override { return ranges_; }
    IoStatus mmio_read(PhysAddr address, std::span<u8> data) override;
    IoStatus mmio_write(PhysAddr address, std::span<const u8> data) override;

    void reset() override;
    void state(StateArchive& archive) override;

  private:
    // Wires by number: GSIs, then what legacy replacement drives.
    static constexpr u8 kFirstLegacyWire = 32, kNoWire = 0xFF;

    struct Comparator {
        u64 config = 0;
        u64 value = ~u64{0};
        u64 period = 0;
        u8 driven = kNoWire;  // the wire a level interrupt holds

        void state(StateArchive& archive);
    };

    u64 read_register(u64 offset) const;
    void write_register(u64 offset, unsigned first_byte, std::span<const u8> data);
    void write_config(Comparator& timer, unsigned first_byte, std::span<const u8> data);
    void write_comparator(Comparator& timer, unsigned first_byte, std::span<const u8> data);
    void write_general_config(u64 value);

    bool running() const;
    bool legacy() const;
    u64 counter() const;
    // Ticks from settled_counter_ to the next match of `timer`; 1 at least.
    u64 distance(const Comparator& timer) const;
    // Lets every comparator match that the counter has reached since the last call.
    void settle();
    void match(unsigned index, u64 passed);
    u8 route(unsigned index) const;
    void drive(u8 wire, bool asserted);
    void update_levels();
    void schedule();

    std::array<MmioRange, 1> ranges_;
    EventQueue& events_;
    std::array<IrqLine*, 2> legacy_lines_;
    Gsis gsis_;
    u64 route_capability_ = 0;
    Timer next_match_;
    InputPins<Hpet, 2> legacy_pins_;
    std::array<bool, 2> legacy_inputs_{};

    u64 config_ = 0;
    u32 status_ = 0;
    u64 stopped_counter_ = 0;  // while halted; else the value at started_ns_
    u64 started_ns_ = 0;
    u64 settled_counter_ = 0;
    std::array<Comparator, kTimers> timers_{};
};

}  // namespace droste
