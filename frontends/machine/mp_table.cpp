#include "frontends/machine/mp_table.hpp"

#include "frontends/machine/boot_plan.hpp"
#include "frontends/machine/memory_map.hpp"

#include <array>
#include <numeric>
#include <string_view>

namespace droste {

namespace {

// Table 4-3, "Base MP Configuration Table Entry Types".
constexpr u8 kProcessor = 0, kBus = 1, kIoApic = 2, kIoInterrupt = 3, kLocalInterrupt = 4;
// Table 4-10, "I/O Interrupt Entry Fields": interrupt types, and flags (polarity, trigger mode).
constexpr u8 kInt = 0, kNmi = 1, kExtInt = 3;
constexpr u16 kAsTheBus = 0, kActiveHighLevel = 0x0D;

constexpr u8 kPciBus = 0, kIsaBus = 1;
constexpr u8 kIoApicId = 0, kIoApicVersion = 0x20, kLocalApicVersion = 0x14;
constexpr u8 kAllLocalApics = 0xFF;
// The PIIX3's route registers as firmware sets them (PcChips::apply_firmware_settings).
constexpr std::array<u8, 4> kPirqs = {10, 10, 11, 11};
constexpr unsigned kSlots = 32, kPins = 4;

class Table {
  public:
    Table() : record_(0) {
        record_.append("PCMP");
        record_.append(2, 0);  // length, set by finish
        record_.append(1, 4);  // version 1.4
        record_.append(1, 0);  // checksum
        record_.append("DROSTE  ");
        record_.append("PC          ");
        record_.append(4, 0);  // no OEM table
        record_.append(2, 0);
        record_.append(2, 0);  // entries, set by finish
        record_.append(4, memory_map::kLocalApic);
        record_.append(4, 0);  // no extended table
    }
    Record& entry(u8 type) {
        ++entries_;
        record_.append(1, type);
        return record_;
    }
    void bus(u8 id, std::string_view name) {
        entry(kBus).append(1, id);
        record_.append(name);
    }
    void interrupt(u8 entry_type, u8 kind, u16 flags, u8 bus, u8 source, u8 target, u8 pin) {
        entry(entry_type).append(1, kind);
        record_.append(2, flags);
        record_.append(1, bus);
        record_.append(1, source);
        record_.append(1, target);
        record_.append(1, pin);
    }
    std::vector<u8> finish() {
        record_.put(4, 2, record_.size());
        record_.put(34, 2, entries_);
        return std::move(record_.bytes());
    }

  private:
    Record record_;
    unsigned entries_ = 0;
};

void set_checksum(std::vector<u8>& bytes, std::size_t at) {
    bytes[at] = static_cast<u8>(-std::accumulate(bytes.begin(), bytes.end(), 0));
}

std::vector<u8> make_configuration(const MpConfig& config) {
    Table table;
    for (u32 id = 0; id < config.vcpu_count; ++id) {
        constexpr u8 kEnabled = 1U << 0, kBootstrap = 1U << 1;
        Record& processor = table.entry(kProcessor);
        processor.append(1, id);
        processor.append(1, kLocalApicVersion);
        processor.append(1, id == 0 ? kEnabled | kBootstrap : kEnabled);
        processor.append(4, config.signature);
        processor.append(4, config.features);
        processor.append(8, 0);
    }
    table.bus(kPciBus, "PCI   ");
    table.bus(kIsaBus, "ISA   ");
    Record& ioapic = table.entry(kIoApic);
    ioapic.append(1, kIoApicId);
    ioapic.append(1, kIoApicVersion);
    ioapic.append(1, 1);  // usable
    ioapic.append(4, memory_map::kIoApic);
    for (u8 irq = 0; irq < 16; ++irq) {
        constexpr u8 kCascade = 2;
        if (irq == kCascade) {
            continue;
        }
        // The SCI and what PCI interrupts may share are levels, as the MADT says.
        const bool level = irq == 5 || irq == 9 || irq == 10 || irq == 11;
        table.interrupt(kIoInterrupt, kInt, level ? kActiveHighLevel : kAsTheBus, kIsaBus, irq,
                        kIoApicId, irq == 0 ? u8{2} : irq);
    }
    for (unsigned slot = 0; slot < kSlots; ++slot) {
        for (unsigned pin = 0; pin < kPins; ++pin) {
            const u8 irq = kPirqs[(slot + pin + kPins - 1) % kPins];
            table.interrupt(kIoInterrupt, kInt, kActiveHighLevel, kPciBus,
                            static_cast<u8>(slot << 2 | pin), kIoApicId, irq);
        }
    }
    table.interrupt(kLocalInterrupt, kExtInt, kAsTheBus, kIsaBus, 0, 0, 0);
    table.interrupt(kLocalInterrupt, kNmi, kAsTheBus, kIsaBus, 0, kAllLocalApics, 1);
    return table.finish();
}

}  // namespace

std::vector<u8> make_mp_table(const MpConfig& config, PhysAddr address) {
    constexpr std::size_t kPointerBytes = 16;
    Record pointer(0);
    pointer.append("_MP_");
    pointer.append(4, address + kPointerBytes);
    pointer.append(1, kPointerBytes / 16);
    pointer.append(1, 4);  // version 1.4
    pointer.append(1, 0);  // checksum
    pointer.append(1, 0);  // no default configuration: the table counts
    pointer.append(4, 0);  // virtual wire mode
    set_checksum(pointer.bytes(), 10);
    std::vector<u8> configuration = make_configuration(config);
    set_checksum(configuration, 7);
    pointer.append(configuration);
    return std::move(pointer.bytes());
}

}  // namespace droste
