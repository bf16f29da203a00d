#include "frontends/machine/pc_chips.hpp"

#include "core/bits.hpp"
#include "frontends/machine/memory_map.hpp"

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
    , a20_gate_(a20_line_)
    , lint0_(*board.vcpus.front()->apic)
    , pic_(lint0_)
    , ioapic_(board.events, board.apic_bus)
    , isa_(pic_, ioapic_)
    , irq4_(isa_[4])
    , irq3_(isa_[3])
    , hpet_(board.events, isa_[kIrqPit], isa_[kIrqRtc], gsis())
    , pit_(board.events, hpet_.pit_input())
    , rtc_(board.events, hpet_.rtc_input(), config.rtc_start_seconds)
    , port61_(board.events, pit_)
    // QUIRK(whole-reset): what pulses the processor's INIT# on a board resets the machine here.
    , port92_(a20_gate_.input(0), system_reset_)
    , i8042_({isa_[kIrqKeyboard], isa_[kIrqMouse], a20_gate_.input(1), system_reset_},
             keyboard_,
             mouse_)
    , pm_(board.events,
          isa_[kIrqSci],
          [&control = board.control] { control.guest_power_event(PowerEvent::Off); })
    , pci_pm_(board.bus, pm_)
    , piix3_(pirq_outputs())
    , pci_([&shadow = board.shadow](const PamSegment& segment) { shadow.arrange(segment); })
    , cf9_(system_reset_)
    , fw_cfg_(board.memory) {
    EventQueue& events = board.events;
    RunControl& control = board.control;
    for (std::size_t i = 0; i < kMaxSerialPorts; ++i) {
        if (config.serial[i] != nullptr) {
            IrqLine& irq = (i % 2 == 0 ? irq4_ : irq3_).input(i / 2);
            uarts_.push_back(std::make_unique<Uart16550>(events, irq, *config.serial[i],
                                                         kSerialBases[i], board.log));
        }
    }
    for (const DebugConsoleConfig& console : config.debug_consoles) {
        debug_consoles_.push_back(std::make_unique<DebugConsoleE9>(*console.backend, console.port));
    }
    for (const DebugExitConfig& debug_exit : config.debug_exits) {
        debug_exits_.push_back(std::make_unique<DebugExit>(
            debug_exit.iobase, debug_exit.iosize,
            [&control](u32 value) { control.end(EndReason::DebugExit, value); }));
    }
    if (config.pc_testdev) {
        testdev_ = std::make_unique<TestDevice>(testdev_irqs());
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
    for (PioDevice* device : port_devices()) {
        if (auto attached = bus_.attach_pio(*device); !attached) {
            return attached;
        }
    }
    for (MmioDevice* device : memory_devices()) {
        if (auto attached = bus_.attach_mmio(*device); !attached) {
            return attached;
        }
    }
    resettable_ = {&pic_,   &ioapic_, &hpet_, &pit_, &rtc_, &port61_, &port92_, &keyboard_,
                   &mouse_, &i8042_,  &pm_,   &pci_, &cf9_, &post_,   &fw_cfg_};
    for (const auto& uart : uarts_) {
        resettable_.push_back(uart.get());
    }
    if (testdev_) {
        resettable_.push_back(testdev_.get());
    }
    return {};
}

// The ACPI block is not here: the PIIX4 function puts it on the bus where its base register says.
std::vector<PioDevice*> PcChips::port_devices() {
    std::vector<PioDevice*> devices = {&pic_,   &pit_, &rtc_, &port61_, &port92_,
                                       &i8042_, &pci_, &cf9_, &post_,   &fw_cfg_};
    for (const auto& uart : uarts_) {
        devices.push_back(uart.get());
    }
    for (const auto& console : debug_consoles_) {
        devices.push_back(console.get());
    }
    for (const auto& debug_exit : debug_exits_) {
        devices.push_back(debug_exit.get());
    }
    if (testdev_) {
        devices.push_back(testdev_.get());
    }
    return devices;
}

std::vector<MmioDevice*> PcChips::memory_devices() {
    std::vector<MmioDevice*> devices = {&ioapic_, &hpet_};
    if (testdev_) {
        devices.push_back(testdev_.get());
    }
    return devices;
}

// The test device's wires reach what an ISA card's would, and above them the I/O APIC alone.
TestDevice::Irqs PcChips::testdev_irqs() {
    TestDevice::Irqs lines{};
    for (unsigned n = 0; n < TestDevice::kIrqs; ++n) {
        lines[n] = n < IsaInterrupts::kCount ? &isa_[n] : &ioapic_.input(n);
    }
    return lines;
}

void PcChips::reset() {
    for (Resettable* chip : resettable_) {
        chip->reset();
    }
}

}  // namespace droste
