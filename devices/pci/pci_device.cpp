#include "devices/pci/pci_device.hpp"

#include "core/assert.hpp"

namespace droste {

namespace {

constexpr u8 kCommandIo = 1U << 0;
constexpr u8 kCommandMemory = 1U << 1;
constexpr u16 kCommandWritable = 0x0547;         // I/O, memory, master, parity, SERR#, INTx disable
constexpr u8 kCommandIntxDisableHigh = 1U << 2;  // bit 10
constexpr u8 kStatusInterrupt = 1U << 3;

}  // namespace

PciDevice::PciDevice(const PciIdentity& identity) {
    define(0x00, 2, identity.vendor, 0);
    define(0x02, 2, identity.device, 0);
    define(kCommand, 2, 0, kCommandWritable);
    define(0x08, 4, identity.class_code << 8 | identity.revision, 0);
    define(0x0C, 1, 0, 0xFF);  // cache line size
    define(0x0D, 1, 0, 0xFF);  // latency timer
    define(0x2C, 2, identity.subsystem_vendor, 0);
    define(0x2E, 2, identity.subsystem, 0);
    define(kInterruptLine, 1, 0, 0xFF);
    define(kInterruptPin, 1, identity.interrupt_pin, 0);
}

void PciDevice::define(unsigned offset, unsigned size, u32 value, u32 writable) {
    DROSTE_ASSERT(offset + size <= kConfigBytes);
    for (unsigned i = 0; i < size; ++i) {
        initial_[offset + i] = config_[offset + i] = static_cast<u8>(value >> (8 * i));
        writable_[offset + i] = static_cast<u8>(writable >> (8 * i));
    }
}

void PciDevice::add_bar(unsigned index, BarKind kind, u32 bytes) {
    DROSTE_ASSERT(index < kBars && bytes >= 16 && (bytes & (bytes - 1)) == 0);
    bars_[index] = Bar{.bytes = bytes, .kind = kind, .base = std::nullopt};
    define(kBar0 + 4 * index, 4, kind == BarKind::Io ? 1 : 0, ~(bytes - 1));
}

void PciDevice::restore() {
    config_ = initial_;
    intx_asserted_ = false;
    refresh();
}

void PciDevice::refresh() {
    update_bars();
    update_intx();
    config_written(0, kConfigBytes);
}

u32 PciDevice::config_read(unsigned offset, unsigned size) const {
    u32 value = 0;
    for (unsigned i = 0; i < size; ++i) {
        value |= u32{config_[(offset + i) % kConfigBytes]} << (8 * i);
    }
    return value;
}

void PciDevice::config_write(unsigned offset, unsigned size, u32 value) {
    for (unsigned i = 0; i < size; ++i) {
        const unsigned at = (offset + i) % kConfigBytes;
        const u8 byte = static_cast<u8>(value >> (8 * i));
        config_[at] = static_cast<u8>((config_[at] & ~writable_[at]) | (byte & writable_[at]));
    }
    update_bars();
    update_intx();
    config_written(offset, size);
}

void PciDevice::update_bars() {
    for (unsigned i = 0; i < kBars; ++i) {
        Bar& bar = bars_[i];
        if (bar.bytes == 0) {
            continue;
        }
        const bool io = bar.kind == BarKind::Io;
        const bool enabled = (config_[kCommand] & (io ? kCommandIo : kCommandMemory)) != 0;
        const u32 base = config_read(kBar0 + 4 * i, 4) & ~(bar.bytes - 1);
        // Zero and all ones are a BAR that is not set up or being sized.
        const bool placed = base != 0 && base != ~(bar.bytes - 1);
        const auto wanted = enabled && placed ? std::optional<u32>(base) : std::nullopt;
        if (wanted != bar.base) {
            bar.base = wanted;
            bar_moved(i, wanted);
        }
    }
}

void PciDevice::set_intx(bool asserted) {
    intx_asserted_ = asserted;
    update_intx();
}

void PciDevice::update_intx() {
    config_[kStatus] = static_cast<u8>((config_[kStatus] & ~kStatusInterrupt) |
                                       (intx_asserted_ ? kStatusInterrupt : 0));
    if (intx_ != nullptr) {
        intx_->set_level(intx_asserted_ && (config_[kCommand + 1] & kCommandIntxDisableHigh) == 0);
    }
}

}  // namespace droste
