#include "devices/pci/pci_host_i440fx.hpp"

#include "devices/little_endian.hpp"
#include "devices/state_archive.hpp"

namespace droste {

namespace {

constexpr PciIdentity kIdentity = {
    .vendor = 0x8086, .device = 0x1237, .class_code = 0x06'0000, .revision = 0x02};

constexpr u32 kEnable = 1U << 31;
constexpr u32 kAddressWritable = 0x80FF'FFFC;

constexpr u8 kPamReadEnable = 1U << 0;
constexpr u8 kPamWriteEnable = 1U << 1;
constexpr u64 kSegmentBytes = 0x4000;

// Segment 0 is F0000h-FFFFFh (the high half of PAM0); 1 to 12 are C0000h-EFFFFh, two to a register.
constexpr PamSegment segment_of(unsigned index) {
    if (index == 0) {
        return {.first = 0xF'0000, .bytes = 4 * kSegmentBytes};
    }
    return {.first = 0xC'0000 + (index - 1) * kSegmentBytes, .bytes = kSegmentBytes};
}

}  // namespace

PciHostI440fx::Bridge::Bridge(std::function<void(const PamSegment&)> pam_changed)
    : PciDevice(kIdentity)
    , pam_changed_(std::move(pam_changed)) {
    define(0x50, 4, 0, 0xFFFF'FFFF);  // PMC configuration, DRAM row types
    define(0x57, 2, 0, 0xFFFF);       // DRAM control and timing
    define(kPam0, 1, 0, 0x30);
    for (unsigned i = 1; i < 7; ++i) {
        define(kPam0 + i, 1, 0, 0x33);
    }
    define(0x60, 4, 0, 0xFFFF'FFFF);  // DRAM row boundaries
    define(0x64, 4, 0, 0xFFFF'FFFF);
    define(0x72, 1, 0x02, 0x78);  // SMRAM control
}

void PciHostI440fx::Bridge::config_written(unsigned /*offset*/, unsigned /*size*/) {
    for (unsigned i = 0; i < kPamSegments; ++i) {
        const u8 pam = config(kPam0 + (i + 1) / 2);
        const u8 attributes = (i % 2 == 0 ? pam >> 4 : pam) & (kPamReadEnable | kPamWriteEnable);
        if (attributes == attributes_[i]) {
            continue;
        }
        attributes_[i] = attributes;
        PamSegment segment = segment_of(i);
        segment.read_ram = (attributes & kPamReadEnable) != 0;
        segment.write_ram = (attributes & kPamWriteEnable) != 0;
        pam_changed_(segment);
    }
}

PciHostI440fx::PciHostI440fx(std::function<void(const PamSegment&)> pam_changed)
    : bridge_(std::move(pam_changed)) {
    functions_[0] = &bridge_;
}

Expected<void>
PciHostI440fx::attach(PciDevice& function, unsigned device_number, unsigned function_number) {
    if (device_number >= kDevices || function_number >= kFunctions) {
        return Error{fmt::format("PCI address {:02x}.{} does not exist: devices are 00 to 1f, "
                                 "functions 0 to 7",
                                 device_number, function_number)};
    }
    PciDevice*& place = functions_[device_number * kFunctions + function_number];
    if (place != nullptr) {
        return Error{
            fmt::format("PCI address {:02x}.{} is already used", device_number, function_number)};
    }
    place = &function;
    PciDevice* first = find(device_number, 0);
    bool others = false;
    for (unsigned i = 1; i < kFunctions; ++i) {
        others = others || find(device_number, i) != nullptr;
    }
    if (first != nullptr && others) {
        first->mark_multifunction();
    }
    return {};
}

PciDevice* PciHostI440fx::find(unsigned device_number, unsigned function_number) const {
    return functions_[device_number * kFunctions + function_number];
}

void PciHostI440fx::reset() {
    address_ = 0;
    bridge_.reset();
}

PciDevice* PciHostI440fx::selected() const {
    const unsigned bus = (address_ >> 16) & 0xFF;
    if ((address_ & kEnable) == 0 || bus != 0) {
        return nullptr;
    }
    return functions_[(address_ >> 8) & 0xFF];
}

IoStatus PciHostI440fx::pio_read(u16 port, std::span<u8> data) {
    if (port < kConfigData) {
        const bool whole = port == kConfigAddress && data.size() == 4;
        store_le(data, whole ? address_ : ~u64{0});
        return IoStatus::Done;
    }
    const unsigned byte = port - kConfigData;
    if (byte + data.size() > 4) {
        return IoStatus::BadSize;
    }
    const PciDevice* function = selected();
    store_le(data, function == nullptr ? ~u64{0}
                                       : function->config_read((address_ & 0xFC) + byte,
                                                               static_cast<unsigned>(data.size())));
    return IoStatus::Done;
}

IoStatus PciHostI440fx::pio_write(u16 port, std::span<const u8> data) {
    const u32 value = static_cast<u32>(load_le(data));
    if (port < kConfigData) {
        if (port == kConfigAddress && data.size() == 4) {
            address_ = value & kAddressWritable;
        } else if (port == kConfigAddress && data.size() > 1) {
            return IoStatus::BadSize;  // its second byte is the reset control register
        }
        return IoStatus::Done;
    }
    const unsigned byte = port - kConfigData;
    if (byte + data.size() > 4) {
        return IoStatus::BadSize;
    }
    if (PciDevice* function = selected(); function != nullptr) {
        function->config_write((address_ & 0xFC) + byte, static_cast<unsigned>(data.size()), value);
    }
    return IoStatus::Done;
}

void PciHostI440fx::state(StateArchive& archive) {
    archive("address", address_);
    archive("bridge", bridge_);
}

}  // namespace droste
