#pragma once
// The chips on the board and the wires between them. A chip is one line that registers it; it takes
// its outputs in the constructor, so the order of the lines is the order of the wiring: who is
// driven comes before who drives.

#include "core/bus.hpp"
#include "core/error.hpp"
#include "core/event_queue.hpp"
#include "devices/irq/ioapic.hpp"
#include "devices/irq/pic8259.hpp"
#include "devices/irq/wired_or.hpp"
#include "devices/pci/pci_host_i440fx.hpp"
#include "devices/pci/pci_isa_piix3.hpp"
#include "devices/pci/pci_pm_piix4.hpp"
#include "devices/system/fw_cfg.hpp"
#include "devices/system/testdev.hpp"
#include "devices/time/acpi_pm.hpp"
#include "devices/time/hpet.hpp"
#include "devices/time/pit8254.hpp"
#include "devices/time/rtc_mc146818.hpp"
#include "frontends/machine/bios_shadow.hpp"
#include "frontends/machine/config.hpp"
#include "frontends/machine/device_registry.hpp"
#include "frontends/machine/irq_routing.hpp"
#include "frontends/machine/run_control.hpp"

#include <array>
#include <memory>
#include <span>

namespace droste {

class PcChips {
  public:
    struct Board {
        Log& log;
        EventQueue& events;
        GuestMemory& memory;
        Bus& bus;
        ApicBus& apic_bus;
        std::span<const std::unique_ptr<Vcpu>> vcpus;
        BiosShadow& shadow;
        RunControl& control;
    };
    PcChips(const MachineConfig& config, const Board& board);

    // Puts every chip on the bus; an Error if two want the same port.
    Expected<void> attach();
    void reset() { devices_.reset(); }
    DeviceRegistry& devices() { return devices_; }
    FwCfg& fw_cfg() { return fw_cfg_; }
    // What firmware does to the chipset before an operating system starts: RAM at C0000h-FFFFFh,
    // the 8259s and the 8254 programmed, PCI interrupts routed, ACPI registers in place and ACPI
    // mode on.
    void apply_firmware_settings();

  private:
    void initialize_interrupts_and_timer();
    Hpet::Gsis gsis();
    PciIsaPiix3::Outputs pirq_outputs();
    TestDevice::Irqs site_irqs();

    // Owns what the references below name. The wires between are members of their own.
    DeviceRegistry devices_;
    Bus& bus_;
    RequestLine system_reset_;
    A20Line a20_line_;
    Lint0Line lint0_;
    WiredOr<2>& a20_gate_;
    Pic8259Pair& pic_;
    IoApic& ioapic_;
    IsaInterrupts isa_;
    WiredOr<2>& irq4_;  // COM1 and COM3
    WiredOr<2>& irq3_;  // COM2 and COM4
    Hpet& hpet_;
    Pit8254& pit_;
    RtcMc146818& rtc_;
    AcpiPm& pm_;
    PciPmPiix4& pci_pm_;
    PciIsaPiix3& piix3_;
    PciHostI440fx& pci_;
    FwCfg& fw_cfg_;
};

}  // namespace droste
