#pragma once
// The chips on the board and the wires between them. A chip takes its outputs in the constructor, so the
// order of the members is the order of the wiring: who is driven comes before who drives.

#include "core/bus.hpp"
#include "core/error.hpp"
#include "core/event_queue.hpp"
#include "devices/acpi_pm.hpp"
#include "devices/debug_console_e9.hpp"
#include "devices/debug_exit.hpp"
#include "devices/hpet.hpp"
#include "devices/i8042.hpp"
#include "devices/ioapic.hpp"
#include "devices/pic8259.hpp"
#include "devices/pit8254.hpp"
#include "devices/port61.hpp"
#include "devices/port92.hpp"
#include "devices/post_port80.hpp"
#include "devices/ps2_keyboard.hpp"
#include "devices/ps2_mouse.hpp"
#include "devices/reset_cf9.hpp"
#include "devices/rtc_mc146818.hpp"
#include "devices/uart16550.hpp"
#include "devices/wired_or.hpp"
#include "frontends/machine/config.hpp"
#include "frontends/machine/irq_routing.hpp"
#include "frontends/machine/run_control.hpp"

#include <array>
#include <memory>
#include <span>
#include <vector>

namespace droste {

class PcChips {
  public:
    PcChips(const MachineConfig& config, EventQueue& events, std::span<const std::unique_ptr<Vcpu>> vcpus,
            ApicBus& apic_bus, RunControl& control);

    // Puts every chip on the bus; an Error if two want the same port.
    Expected<void> attach(Bus& bus);
    void reset();

    Pic8259Pair& pic() { return pic_; }
    IoApic& ioapic() { return ioapic_; }
    IrqLine& isa_irq(unsigned irq) { return isa_[irq]; }
    AcpiPm& pm() { return pm_; }
    RtcMc146818& rtc() { return rtc_; }

  private:
    Hpet::Gsis gsis();

    RequestLine system_reset_;
    A20Line a20_line_;
    WiredOr<2> a20_gate_;
    Lint0Line lint0_;
    Pic8259Pair pic_;
    IoApic ioapic_;
    IsaInterrupts isa_;
    WiredOr<2> irq4_;  // COM1 and COM3
    WiredOr<2> irq3_;  // COM2 and COM4
    Hpet hpet_;
    Pit8254 pit_;
    RtcMc146818 rtc_;
    Port61 port61_;
    Port92 port92_;
    Ps2Keyboard keyboard_;
    Ps2Mouse mouse_;
    I8042 i8042_;
    AcpiPm pm_;
    ResetCf9 cf9_;
    PostPort80 post_;
    std::vector<std::unique_ptr<Uart16550>> uarts_;
    std::vector<std::unique_ptr<DebugConsoleE9>> debug_consoles_;
    std::vector<std::unique_ptr<DebugExit>> debug_exits_;

    std::vector<Resettable*> resettable_;
};

}  // namespace droste
