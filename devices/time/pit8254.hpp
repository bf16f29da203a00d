#pragma once
// 8254 programmable interval timer. Intel, "82C54 CHMOS Programmable Interval Timer" (231244).
//
// Nothing counts. A channel remembers at which tick of the 1.193182 MHz clock its counting element
// was loaded, and everything a guest can see (count, OUT, status) is computed from virtual time
// when it looks. Only channel 0, whose OUT is IRQ 0, has an event: its next rising edge, computed
// on the grid of absolute ticks, so it never drifts. Edges that time has passed over in one leap
// are one edge, as they are in the 8259A's request latch.

#include "core/bus.hpp"
#include "core/event_queue.hpp"
#include "core/irq_line.hpp"
#include "devices/device.hpp"

#include <array>

namespace droste {

// One counter of the 8254, in ticks of its clock; knows no time and no bus.
class PitChannel {
  public:
    static constexpr u64 kNoTick = ~u64{0};

    explicit PitChannel(bool gate) : gate_(gate) {}

    void state(StateArchive& archive);
    void write_control(u8 control, u64 tick);
    void write(u8 value, u64 tick);
    u8 read(u64 tick);
    void latch_count(u64 tick);
    void latch_status(u64 tick);
    void set_gate(bool level, u64 tick);

    bool gate() const { return gate_; }
    bool out(u64 tick);
    // The first tick after `tick` at which OUT rises, or kNoTick.
    u64 next_rise(u64 tick);

  private:
    enum class Phase : u8 {
        Idle,     // no count since the control word
        Waiting,  // modes 1 and 5: for the gate's rising edge
        Running,  // loaded at tick start_
        Paused,   // the gate is low; elapsed_ ticks have been counted
    };

    void load_count(u64 count, u64 tick);
    void start(u64 tick);
    // Makes a count that was written to a running counter the current one, if its tick has come.
    void settle(u64 tick);
    u64 end_of_cycle(u64 tick) const;
    // Ticks counted so far; negative until the counting element is loaded.
    i64 elapsed(u64 tick) const;
    u16 count(u64 tick);
    bool null_count(u64 tick) const;
    u64 modulus() const { return bcd_ ? 10'000 : 65'536; }

    u8 mode_ = 0;
    u8 access_ = 3;  // 1 = low byte, 2 = high byte, 3 = low then high
    bool bcd_ = false;
    bool gate_;
    Phase phase_ = Phase::Idle;
    u64 start_ = 0;
    u64 elapsed_ = 0;
    u64 period_ = 65'536;       // of the counting element
    u64 next_period_ = 65'536;  // the count register
    bool has_next_ = false;     // the count register is newer than the counting element
    u64 switch_tick_ = 0;       // modes 2 and 3: when it takes over
    u16 idle_count_ = 0;

    bool write_high_next_ = false;
    bool read_high_next_ = false;
    u8 low_byte_ = 0;
    bool count_latched_ = false;
    bool status_latched_ = false;
    u16 latched_count_ = 0;
    u8 latched_status_ = 0;
};

class Pit8254 final : public PioDevice, public Device {
  public:
    static constexpr u64 kHz = 1'193'182;
    static constexpr unsigned kSpeaker = 2;  // the channel whose gate and OUT are at port 61h

    Pit8254(EventQueue& events, IrqLine& irq0);

    std::string_view name() const override { return "8254"; }
    std::span<const PortRange> pio_ranges() const override { return kRanges; }
    IoStatus pio_read(u16 port, std::span<u8> data) override;
    IoStatus pio_write(u16 port, std::span<const u8> data) override;

    // Requires: channel < 3.
    void set_gate(unsigned channel, bool level);
    bool gate(unsigned channel) const { return channels_[channel].gate(); }
    bool out(unsigned channel) { return channels_[channel].out(tick()); }

    void reset() override;
    void state(StateArchive& archive) override;

  private:
    static constexpr std::array kRanges = {PortRange{.first = 0x40, .count = 4}};

    u64 tick() const;
    void write_control(u8 value);
    // Drives an edge that is due but not fired yet, before state it depends on changes.
    void catch_up();
    void rise();
    void schedule();

    EventQueue& events_;
    IrqLine& irq0_;
    Timer next_edge_;
    std::array<PitChannel, 3> channels_;
};

}  // namespace droste
