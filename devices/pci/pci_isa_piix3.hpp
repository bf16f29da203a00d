#pragma once
// PIIX3 PCI-to-ISA bridge (function 0): routes the PCI interrupts. Intel, "82371SB (PIIX3)"
// (290550), "PIRQRC[A:D]—PIRQx Route Control Registers". Its reset control register is
// devices/reset_cf9.
//
// INTx# pins of all slots are swizzled onto four wired-OR PIRQ wires; each goes to the ISA IRQ its
// register names, and straight to an I/O APIC input of its own if the board has wired one.

#include "core/irq_line.hpp"
#include "devices/irq/input_pin.hpp"
#include "devices/pci/pci_device.hpp"

namespace droste {

class PciIsaPiix3 final : public PciDevice {
  public:
    static constexpr unsigned kPirqs = 4;
    static constexpr std::size_t kPins = 4;
    static constexpr std::size_t kSlots = 32;

    struct Outputs {
        std::array<IrqLine*, 16> isa_irqs{};  // nullptr where none
        std::array<IrqLine*, kPirqs> gsis{};  // nullptr: only through the ISA IRQs
    };

    explicit PciIsaPiix3(const Outputs& outputs);
    std::string_view name() const override { return "82371SB"; }
    void state(StateArchive& archive) override;

    // INTA# (pin 0) to INTD# (pin 3) of a device on bus 0. Requires: slot < 32, pin < 4.
    IrqLine& intx(unsigned slot, unsigned pin) { return pins_[slot * kPins + pin]; }
    // Which PIRQ wire that pin is on.
    static constexpr unsigned pirq_of(unsigned slot, unsigned pin) {
        return (slot + pin + 3) % kPirqs;
    }
    void set_input(unsigned index, bool asserted);

  protected:
    void config_written(unsigned offset, unsigned size) override;

  private:
    static constexpr unsigned kPirqRouteControl = 0x60;
    static constexpr u8 kRouteDisabled = 0x80;

    void drive();

    Outputs out_;
    InputPins<PciIsaPiix3, kSlots * kPins> pins_;
    std::array<bool, kSlots * kPins> inputs_{};
    u16 driven_ = 0;  // the ISA IRQs this bridge holds: ISA devices drive the same wires
};

}  // namespace droste
