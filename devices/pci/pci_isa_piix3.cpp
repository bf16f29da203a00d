#include "devices/pci/pci_isa_piix3.hpp"

#include "devices/state_archive.hpp"

namespace droste {

namespace {

constexpr PciIdentity kIdentity = {.vendor = 0x8086, .device = 0x7000, .class_code = 0x06'0100};

// IRQ 0, 1, 2, 8 and 13 are reserved: "0000 ... Reserved".
constexpr u16 kRoutableIrqs = 0xDEF8;

}  // namespace

PciIsaPiix3::PciIsaPiix3(const Outputs& outputs)
    : PciDevice(kIdentity)
    , out_(outputs)
    , pins_(*this) {
    define(kCommand, 2, 0x0007, 0x0008);  // I/O, memory and master are always on
    define(kStatus, 2, 0x0200, 0);
    define(0x4C, 1, 0x4D, 0xFF);      // I/O recovery
    define(0x4E, 2, 0x0003, 0xFFFF);  // X-bus chip select
    for (unsigned i = 0; i < kPirqs; ++i) {
        define(kPirqRouteControl + i, 1, kRouteDisabled, 0x8F);
    }
    define(0x69, 1, 0x02, 0xFE);      // top of memory
    define(0x6A, 2, 0x0000, 0x806F);  // miscellaneous status
    define(0x80, 1, 0x00, 0x7F);      // APIC base
    define(0x82, 1, 0x00, 0xFF);      // deterministic latency
    mark_multifunction();
}

void PciIsaPiix3::set_input(unsigned index, bool asserted) {
    if (inputs_[index] != asserted) {
        inputs_[index] = asserted;
        drive();
    }
}

void PciIsaPiix3::config_written(unsigned /*offset*/, unsigned /*size*/) {
    drive();
}

void PciIsaPiix3::drive() {
    std::array<bool, kPirqs> wires{};
    for (unsigned slot = 0; slot < kSlots; ++slot) {
        for (unsigned pin = 0; pin < kPins; ++pin) {
            bool& wire = wires[pirq_of(slot, pin)];
            wire = wire || inputs_[slot * kPins + pin];
        }
    }
    u16 irqs = 0;
    for (unsigned i = 0; i < kPirqs; ++i) {
        const u8 route = config(kPirqRouteControl + i);
        if ((route & kRouteDisabled) == 0 && wires[i]) {
            irqs = static_cast<u16>(irqs | 1U << (route & 0xF));
        }
        if (out_.gsis[i] != nullptr) {
            out_.gsis[i]->set_level(wires[i]);
        }
    }
    irqs &= kRoutableIrqs;
    const unsigned changed = irqs ^ driven_;
    driven_ = irqs;
    for (unsigned irq = 0; irq < out_.isa_irqs.size(); ++irq) {
        if (((changed >> irq) & 1U) != 0 && out_.isa_irqs[irq] != nullptr) {
            out_.isa_irqs[irq]->set_level(((irqs >> irq) & 1U) != 0);
        }
    }
}

void PciIsaPiix3::state(StateArchive& archive) {
    PciDevice::state(archive);
    archive("driven", driven_);
    archive.over_reset([&] { archive("inputs", inputs_); });
}

}  // namespace droste
