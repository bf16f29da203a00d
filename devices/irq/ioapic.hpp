#pragma once
// 82093AA I/O Advanced Programmable Interrupt Controller (290566), with the EOI register of version
// 20h (Intel, "82801 I/O Controller Hub", "EOI—EOI Register").
//
// A pin's polarity bit is stored but not applied: whoever drives an IrqLine says "asserted" and
// means it. An edge on a masked pin is lost, as the data sheet says ("ignored, i.e., not delivered
// or held pending"); a level is seen when the mask goes.
//
// A level that is still asserted at its EOI is sent again, but not within the EOI: on silicon the
// message has to cross the bus again, and until it arrives the CPU executes instructions behind the
// EOI. Some handlers count on that: they send the EOI first and quiet their source afterwards. With
// a message that arrives at once they would never leave the handler. So the message follows
// kResendDelayNs later, unless the line has fallen by then.

#include "core/apic_bus.hpp"
#include "core/bus.hpp"
#include "core/event_queue.hpp"
#include "core/irq_line.hpp"
#include "devices/device.hpp"
#include "devices/irq/input_pin.hpp"

#include <array>

namespace droste {

class IoApic final : public MmioDevice, public EoiListener, public Device {
  public:
    static constexpr PhysAddr kDefaultBase = 0xFEC0'0000;
    static constexpr unsigned kPins = 24;
    // From an EOI to the next message of a level that is still asserted.
    static constexpr u64 kResendDelayNs = 1000;

    IoApic(EventQueue& events, ApicBus& apics, u8 id = 0, PhysAddr base = kDefaultBase);

    // Requires: pin < kPins.
    IrqLine& input(unsigned pin) { return pins_[pin]; }
    void set_input(unsigned pin, bool asserted);

    // A local APIC finished a level-triggered vector.
    void end_of_interrupt(u8 vector) override;

    std::string_view name() const override { return "82093AA"; }
    std::span<const MmioRange> mmio_ranges() const override { return ranges_; }
    IoStatus mmio_read(PhysAddr address, std::span<u8> data) override;
    IoStatus mmio_write(PhysAddr address, std::span<const u8> data) override;

    void reset() override;
    void state(StateArchive& archive) override;

  private:
    u32 read_register() const;
    void write_register(u32 value);
    void send(u64 entry);
    // Level-triggered pins: sends what is asserted, unmasked and not being served.
    void serve_level(unsigned pin);
    void resend_due(u64 now_ns);

    std::array<MmioRange, 1> ranges_;
    EventQueue& events_;
    ApicBus& apics_;
    u8 initial_id_;
    u8 id_;
    u8 select_ = 0;
    std::array<u64, kPins> entries_{};
    u32 lines_ = 0;
    std::array<u64, kPins> resend_at_ns_;  // kNever: nothing to send again
    Timer resend_;
    InputPins<IoApic, kPins> pins_;
};

}  // namespace droste
