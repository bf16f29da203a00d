#include "devices/pci/pci_pm_piix4.hpp"

namespace droste {

namespace {

constexpr PciIdentity kIdentity = {.vendor = 0x8086,
                                   .device = 0x7113,
                                   .class_code = 0x06'8000,
                                   .revision = 0x03,
                                   .interrupt_pin = 1};

constexpr u8 kPmIoEnable = 1U << 0;
constexpr u32 kBaseBits = 0xFFC0;
constexpr u32 kSmiOnApmEnabled = 1U << 25;  // DEVACTB.APMC_EN

}  // namespace

PciPmPiix4::PciPmPiix4(Bus& bus, AcpiPm& acpi) : PciDevice(kIdentity), bus_(bus), acpi_(acpi) {
    define(kStatus, 2, 0x0280, 0);
    define(kInterruptLine, 1, 9, 0xFF);
    define(kPmBase, 4, 0x0001, kBaseBits);
    // Set: firmware takes it as "SMM is set up already" and leaves it alone.
    define(kDevActB, 4, kSmiOnApmEnabled, 0xFFFF'FFFF);
    define(0x5C, 4, 0, 0xFFFF'FFFF);  // device resources
    define(kPmRegMisc, 1, 0, kPmIoEnable);
    define(0x90, 4, 0x0001, 0xFFF0);  // SMBus base: stored, nothing answers there
    define(0xD2, 1, 0, 0x0F);         // SMBus host configuration
}

void PciPmPiix4::map(u16 base) {
    config_write(kPmBase, 4, base);
    config_write(kPmRegMisc, 1, kPmIoEnable);
}

void PciPmPiix4::config_written(unsigned /*offset*/, unsigned /*size*/) {
    const bool enabled = (config(kPmRegMisc) & kPmIoEnable) != 0;
    const u32 base = enabled ? config_read(kPmBase, 4) & kBaseBits : 0;
    if (base == current_) {
        return;
    }
    current_ = base;
    bus_.detach_pio(acpi_);
    acpi_.set_base(static_cast<u16>(base));
    if (!bus_.attach_pio(acpi_)) {
        // The guest put it on top of another device, which keeps its ports.
        acpi_.set_base(0);
        static_cast<void>(bus_.attach_pio(acpi_).has_value());
    }
}

}  // namespace droste
