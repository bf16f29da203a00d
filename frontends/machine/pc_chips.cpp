#include "frontends/machine/pc_chips.hpp"

#include "devices/char/uart16550.hpp"
#include "devices/input/i8042.hpp"
#include "devices/input/ps2_keyboard.hpp"
#include "devices/input/ps2_mouse.hpp"
#include "devices/system/port61.hpp"
#include "devices/system/port92.hpp"
#include "devices/system/post_port80.hpp"
#include "devices/system/reset_cf9.hpp"
#include "frontends/machine/memory_map.hpp"

#include <algorithm>

#include <fmt/format.h>

namespace droste {

namespace {

constexpr unsigned kIrqMouse = 12, kIrqKeyboard = 1, kIrqSci = 9, kIrqFpu = 13, kIrqPit = 0,
                   kIrqRtc = 8;
constexpr std::array<u16, kMaxSerialPorts> kSerialBases = {0x3F8, 0x2F8, 0x3E8, 0x2E8};

}  // namespace

PcChips::PcChips(const MachineConfig& config, const Board& board)
    : bus_(board.bus)
    , system_reset_([&control = board.control] { control.guest_power_event(PowerEvent::Reset); })
    , a20_line_(board.vcpus)
    , lint0_(*board.vcpus.front()->apic)
    , a20_gate_(devices_.add<WiredOr<2>>("a20-gate", a20_line_))
    , pic_(devices_.add<Pic8259Pair>("pic", lint0_))
    , ioapic_(devices_.add<IoApic>("ioapic", board.events, board.apic_bus))
    , isa_(pic_, ioapic_)
    , irq4_(devices_.add<WiredOr<2>>("irq4", isa_[4]))
    , irq3_(devices_.add<WiredOr<2>>("irq3", isa_[3]))
    , hpet_(devices_.add<Hpet>("hpet", board.events, isa_[kIrqPit], isa_[kIrqRtc], gsis()))
    , pit_(devices_.add<Pit8254>("pit", board.events, hpet_.pit_input()))
    , rtc_(devices_.add<RtcMc146818>(
          "rtc", board.events, hpet_.rtc_input(), config.rtc_start_seconds))
    , pm_(devices_.add_off_bus<AcpiPm>(
          "acpi-pm",
          board.events,
          isa_[kIrqSci],
          [&control = board.control] { control.guest_power_event(PowerEvent::Off); }))
    , pci_pm_(devices_.add<PciPmPiix4>("piix4-pm", board.bus, pm_))
    , piix3_(devices_.add<PciIsaPiix3>("piix3", pirq_outputs()))
    , pci_(devices_.add<PciHostI440fx>(
          "i440fx",
          [&shadow = board.shadow](const PamSegment& segment) { shadow.arrange(segment); }))
    , fw_cfg_(devices_.add<FwCfg>("fw_cfg", board.memory)) {
    devices_.add<Port61>("port61", board.events, pit_);
    // QUIRK(whole-reset): what pulses the processor's INIT# on a board resets the machine here.
    devices_.add<Port92>("port92", a20_gate_.input(0), system_reset_);
    auto& keyboard = devices_.add<Ps2Keyboard>("keyboard");
    auto& mouse = devices_.add<Ps2Mouse>("mouse");
    devices_.add<I8042>(
        "i8042",
        I8042::Outputs{isa_[kIrqKeyboard], isa_[kIrqMouse], a20_gate_.input(1), system_reset_},
        keyboard, mouse);
    devices_.add<ResetCf9>("cf9", system_reset_);
    devices_.add<PostPort80>("post");
    for (std::size_t i = 0; i < kMaxSerialPorts; ++i) {
        if (config.serial[i] != nullptr) {
            IrqLine& irq = (i % 2 == 0 ? irq4_ : irq3_).input(i / 2);
            devices_.add<Uart16550>(fmt::format("com{}", i + 1), board.events, irq,
                                    *config.serial[i], kSerialBases[i], board.log);
        }
    }
    const DeviceSite site = {devices_, board.control, site_irqs()};
    for (const DeviceRequest& request : config.devices) {
        request.create(site, request.id);
    }
    rtc_.set_memory_size(std::min(config.ram_bytes, memory_map::kPciHole),
                         config.ram_bytes - std::min(config.ram_bytes, memory_map::kPciHole));
    for (const auto& cpu : board.vcpus) {
        cpu->apic_bus = &board.apic_bus;
        cpu->apic->set_ext_int_source(&pic_);
        cpu->apic->set_eoi_listener(&ioapic_);
    }
    board.vcpus.front()->ferr = &isa_[kIrqFpu];
}

// HPET comparators may use any I/O APIC pin that no ISA device drives.
Hpet::Gsis PcChips::gsis() {
    Hpet::Gsis lines{};
    for (unsigned pin = IsaInterrupts::kCount; pin < IoApic::kPins; ++pin) {
        lines[pin] = &ioapic_.input(pin);
    }
    return lines;
}

// The route registers drive ISA interrupts; IRQ 0, 1, 2, 8 and 13 belong to the system.
PciIsaPiix3::Outputs PcChips::pirq_outputs() {
    PciIsaPiix3::Outputs outputs;
    for (const unsigned irq : {3U, 4U, 5U, 6U, 7U, 9U, 10U, 11U, 12U, 14U, 15U}) {
        outputs.isa_irqs[irq] = &isa_[irq];
    }
    return outputs;
}

// Vectors 08h and 70h; timer, keyboard, cascade, clock and mouse unmasked: kernels that save the
// masks, move the vectors and put the masks back count on it. IBM, "PC/AT Technical Reference",
// "BIOS Listing". The timer ticks 18.2 times a second, in mode 3 as the AT's does.
void PcChips::initialize_interrupts_and_timer() {
    struct PortWrite {
        u16 port;
        u8 value;
    };
    constexpr u16 kMaster = 0x20, kSlave = 0xA0, kCounter0 = 0x40, kCounter1 = 0x41,
                  kTimerControl = 0x43;
    constexpr std::array kWrites = {
        PortWrite{kMaster, 0x11},        // ICW1: edges, cascade, ICW4 follows
        PortWrite{kMaster + 1, 0x08},    // ICW2
        PortWrite{kMaster + 1, 0x04},    // ICW3: a slave at IR2
        PortWrite{kMaster + 1, 0x01},    // ICW4: 8086 mode
        PortWrite{kMaster + 1, 0xF8},    // OCW1
        PortWrite{kSlave, 0x11},         //
        PortWrite{kSlave + 1, 0x70},     //
        PortWrite{kSlave + 1, 0x02},     //
        PortWrite{kSlave + 1, 0x01},     //
        PortWrite{kSlave + 1, 0xEE},     //
        PortWrite{kTimerControl, 0x36},  // counter 0, both bytes, mode 3
        PortWrite{kCounter0, 0},         //
        PortWrite{kCounter0, 0},         //
        PortWrite{kTimerControl, 0x54},  // counter 1, low byte, mode 2: memory refresh
        PortWrite{kCounter1, 18},        //
    };
    for (const PortWrite& write : kWrites) {
        bus_.pio_write(write.port, 1, write.value);
    }
}

void PcChips::apply_firmware_settings() {
    constexpr u16 kConfigAddress = 0xCF8, kConfigData = 0xCFC;
    constexpr u32 kEnable = 1U << 31, kPamRegisters = 0x58;
    // PAM0-PAM6 = 59h-5Fh: read and write RAM everywhere.
    bus_.pio_write(kConfigAddress, 4, kEnable | kPamRegisters);
    bus_.pio_write(kConfigData + 1, 1, 0x30);
    bus_.pio_write(kConfigData + 2, 2, 0x3333);
    bus_.pio_write(kConfigAddress, 4, kEnable | (kPamRegisters + 4));
    bus_.pio_write(kConfigData, 4, 0x3333'3333);
    initialize_interrupts_and_timer();
    // PIRQA-PIRQD of the ISA bridge (01.0, 60h-63h) to IRQ 10, 10, 11, 11, level-triggered.
    constexpr u32 kIsaBridgeRoutes = kEnable | (1U << 11) | 0x60;
    constexpr u16 kElcrHigh = 0x4D1;
    bus_.pio_write(kConfigAddress, 4, kIsaBridgeRoutes);
    bus_.pio_write(kConfigData, 4, 0x0B0B'0A0A);
    bus_.pio_write(kConfigAddress, 4, 0);
    bus_.pio_write(kElcrHigh, 1, 0x0C);
    pci_pm_.map(AcpiPm::kDefaultBase);
    pm_.enable_acpi_mode();
}

Expected<void> PcChips::attach() {
    constexpr unsigned kIsaBridge = 1, kPmFunction = 3;
    piix3_.mark_multifunction();
    if (auto attached = pci_.attach(piix3_, kIsaBridge); !attached) {
        return attached;
    }
    if (auto attached = pci_.attach(pci_pm_, kIsaBridge, kPmFunction); !attached) {
        return attached;
    }
    return devices_.attach(bus_);
}

// What an ISA card's wires would reach, and above them the I/O APIC alone.
TestDevice::Irqs PcChips::site_irqs() {
    TestDevice::Irqs lines{};
    for (unsigned n = 0; n < TestDevice::kIrqs; ++n) {
        lines[n] = n < IsaInterrupts::kCount ? &isa_[n] : &ioapic_.input(n);
    }
    return lines;
}

}  // namespace droste
