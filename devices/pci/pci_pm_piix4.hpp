#pragma once
// PIIX4 power management function: places the ACPI register block. Intel, "82371AB (PIIX4)"
// (290562), "PMBA—Power Management Base Address", "PMREGMISC—Miscellaneous Power Management".

#include "core/bus.hpp"
#include "devices/pci/pci_device.hpp"
#include "devices/time/acpi_pm.hpp"

namespace droste {

class PciPmPiix4 final : public PciDevice {
  public:
    // `acpi` is attached to `bus` by this function, from its reset on.
    PciPmPiix4(Bus& bus, AcpiPm& acpi);
    std::string_view name() const override { return "82371AB power management"; }

    // What firmware does: sets and enables the base of the register block.
    void map(u16 base);

  protected:
    void config_written(unsigned offset, unsigned size) override;

  private:
    static constexpr unsigned kPmBase = 0x40;
    static constexpr unsigned kDevActB = 0x58;
    static constexpr unsigned kPmRegMisc = 0x80;

    Bus& bus_;
    AcpiPm& acpi_;
    u32 current_ = ~u32{0};  // the base last attached; 0 = unmapped
};

}  // namespace droste
