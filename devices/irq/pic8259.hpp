#pragma once
// The two cascaded 8259A interrupt controllers of a PC, with the edge/level control registers of
// the PIIX (4D0h, 4D1h). Intel, "8259A Programmable Interrupt Controller" (231468); Intel, "82371SB
// (PIIX3)" (290550), "Interrupt Controller".
//
// The slave's INT output drives the master's IR2 as an edge: it falls in the slave's INTA cycle and
// rises again while another request waits, so no request is lost between the two chips.
//
// An edge stays latched in IRR until it is acknowledged, even if the line falls before: a pulse is
// a request. (The part would give the default IR7 then; drivers cannot tell, and a tick is not
// lost.)

#include "core/apic_bus.hpp"
#include "core/bus.hpp"
#include "core/irq_line.hpp"
#include "devices/device.hpp"
#include "devices/irq/input_pin.hpp"

#include <array>

namespace droste {

// One 8259A, without its bus interface.
class Pic8259Chip {
  public:
    // Bits of ELCR that exist; the others stay edge-triggered.
    explicit Pic8259Chip(u8 elcr_mask) : elcr_mask_(elcr_mask) { reset(); }

    void reset();
    void state(StateArchive& archive);
    void write_command(u8 value);  // A0 = 0: ICW1, OCW2, OCW3
    void write_data(u8 value);     // A0 = 1: ICW2-ICW4, OCW1
    u8 read(bool a0);
    u8 elcr() const { return elcr_; }
    void set_elcr(u8 value);

    void set_line(unsigned ir, bool asserted);
    // The highest-priority request that may interrupt now, or -1.
    int pending() const;
    // The INTA cycle for `ir`: IRR -> ISR.
    void take(unsigned ir);
    u8 vector(unsigned ir) const { return static_cast<u8>(vector_base_ | ir); }
    // A poll took a request since the last call (the cascade has to see its edge).
    bool consume_polled();
    void forget_edge(unsigned ir) { lines_ = static_cast<u8>(lines_ & ~(1U << ir)); }

  private:
    void initialize(u8 icw1);
    void end_of_interrupt(u8 ocw2);
    // 0 is the highest priority; 8 when `requests` is empty.
    unsigned priority_of(u8 requests) const;
    u8 highest(u8 requests) const;

    enum class Expect : u8 { Nothing, Icw2, Icw3, Icw4 };

    const u8 elcr_mask_;
    u8 elcr_ = 0;
    u8 lines_ = 0;  // input levels
    u8 irr_ = 0;
    u8 imr_ = 0;
    u8 isr_ = 0;
    u8 vector_base_ = 0;
    u8 lowest_ = 7;  // the IR with the lowest priority
    Expect expect_ = Expect::Nothing;
    bool single_ = false;
    bool needs_icw4_ = false;
    bool auto_eoi_ = false;
    bool rotate_on_auto_eoi_ = false;
    bool special_fully_nested_ = false;
    bool special_mask_ = false;
    bool read_isr_ = false;
    bool poll_ = false;
    bool polled_ = false;
};

class Pic8259Pair final : public PioDevice, public ExtIntSource, public Device {
  public:
    static constexpr unsigned kInputs = 16;

    // `intr` is the CPU's INTR pin, or LINT0 of the local APIC.
    explicit Pic8259Pair(IrqLine& intr);

    // Requires: irq < 16. Input 2 is the cascade and ignores its wire.
    IrqLine& input(unsigned irq) { return pins_[irq]; }
    void set_input(unsigned irq, bool asserted);

    // The two INTA cycles: gives the vector; the spurious IR7 when the request has gone.
    u8 acknowledge() override;

    std::string_view name() const override { return "8259A"; }
    std::span<const PortRange> pio_ranges() const override { return kRanges; }
    IoStatus pio_read(u16 port, std::span<u8> data) override;
    IoStatus pio_write(u16 port, std::span<const u8> data) override;

    void reset() override;
    void state(StateArchive& archive) override;
    void state_loaded() override;

  private:
    static constexpr unsigned kCascade = 2;
    static constexpr u16 kMasterPort = 0x20;
    static constexpr u16 kSlavePort = 0xA0;
    static constexpr u16 kElcrPort = 0x4D0;
    static constexpr std::array kRanges = {
        PortRange{.first = kMasterPort, .count = 2},
        PortRange{.first = kSlavePort, .count = 2},
        PortRange{.first = kElcrPort, .count = 2},
    };

    void update();

    IrqLine& intr_;
    Pic8259Chip master_{0xF8};  // IRQ 0, 1 and 2 are always edge-triggered
    Pic8259Chip slave_{0xDE};   // so are IRQ 8 and 13
    InputPins<Pic8259Pair, kInputs> pins_;
};

}  // namespace droste
