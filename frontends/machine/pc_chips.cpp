#include "frontends/machine/pc_chips.hpp"

#include "core/bits.hpp"
#include "frontends/machine/memory_map.hpp"

namespace droste {

namespace {

constexpr unsigned kIrqMouse = 12, kIrqKeyboard = 1, kIrqSci = 9, kIrqFpu = 13, kIrqPit = 0, kIrqRtc = 8;
constexpr std::array<u16, kMaxSerialPorts> kSerialBases = {0x3F8, 0x2F8, 0x3E8, 0x2E8};

}  // namespace

PcChips::PcChips(const MachineConfig& config, EventQueue& events, std::span<const std::unique_ptr<Vcpu>> vcpus,
                 ApicBus& apic_bus, RunControl& control)
    : system_reset_([&control] { control.guest_power_event(PowerEvent::Reset); })
    , a20_line_(vcpus)
    , a20_gate_(a20_line_)
    , lint0_(*vcpus.front()->apic)
    , pic_(lint0_)
    , ioapic_(apic_bus)
    , isa_(pic_, ioapic_)
    , irq4_(isa_[4])
    , irq3_(isa_[3])
    , hpet_(events, isa_[kIrqPit], isa_[kIrqRtc], gsis())
    , pit_(events, hpet_.pit_input())
    , rtc_(events, hpet_.rtc_input(), config.rtc_start_seconds)
    , port61_(events, pit_)
    , port92_(a20_gate_.input(0), system_reset_)
    , i8042_({isa_[kIrqKeyboard], isa_[kIrqMouse], a20_gate_.input(1), system_reset_}, keyboard_, mouse_)
    , pm_(events, isa_[kIrqSci], [&control] { control.guest_power_event(PowerEvent::Off); })
    , cf9_(system_reset_) {
    for (std::size_t i = 0; i < kMaxSerialPorts; ++i) {
        if (config.serial[i] != nullptr) {
            IrqLine& irq = (i % 2 == 0 ? irq4_ : irq3_).input(i / 2);
            uarts_.push_back(std::make_unique<Uart16550>(events, irq, *config.serial[i], kSerialBases[i]));
        }
    }
    for (const DebugConsoleConfig& console : config.debug_consoles) {
        debug_consoles_.push_back(std::make_unique<DebugConsoleE9>(*console.backend, console.port));
    }
    for (const DebugExitConfig& debug_exit : config.debug_exits) {
        debug_exits_.push_back(std::make_unique<DebugExit>(
            debug_exit.iobase, debug_exit.iosize, [&control](u32 value) { control.end(EndReason::DebugExit, value); }));
    }
    rtc_.set_memory_size(std::min(config.ram_bytes, memory_map::kPciHole),
                         config.ram_bytes - std::min(config.ram_bytes, memory_map::kPciHole));
    for (const auto& cpu : vcpus) {
        cpu->apic_bus = &apic_bus;
        cpu->apic->set_ext_int_source(&pic_);
        cpu->apic->set_eoi_listener(&ioapic_);
    }
    vcpus.front()->ferr = &isa_[kIrqFpu];
}

// HPET comparators may use any I/O APIC pin that no ISA device drives.
Hpet::Gsis PcChips::gsis() {
    Hpet::Gsis lines{};
    for (unsigned pin = IsaInterrupts::kCount; pin < IoApic::kPins; ++pin) {
        lines[pin] = &ioapic_.input(pin);
    }
    return lines;
}

Expected<void> PcChips::attach(Bus& bus) {
    std::vector<PioDevice*> ports = {&pic_, &pit_, &rtc_, &port61_, &port92_, &i8042_, &pm_, &cf9_, &post_};
    for (const auto& uart : uarts_) {
        ports.push_back(uart.get());
    }
    for (const auto& console : debug_consoles_) {
        ports.push_back(console.get());
    }
    for (const auto& debug_exit : debug_exits_) {
        ports.push_back(debug_exit.get());
    }
    for (PioDevice* device : ports) {
        if (auto attached = bus.attach_pio(*device); !attached) {
            return attached;
        }
    }
    for (MmioDevice* device : {static_cast<MmioDevice*>(&ioapic_), static_cast<MmioDevice*>(&hpet_)}) {
        if (auto attached = bus.attach_mmio(*device); !attached) {
            return attached;
        }
    }
    resettable_ = {&pic_, &ioapic_, &hpet_, &pit_, &rtc_, &port61_, &port92_, &keyboard_, &mouse_, &i8042_, &pm_,
                   &cf9_, &post_};
    for (const auto& uart : uarts_) {
        resettable_.push_back(uart.get());
    }
    return {};
}

void PcChips::reset() {
    for (Resettable* chip : resettable_) {
        chip->reset();
    }
}

}  // namespace droste
