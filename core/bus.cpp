#include "core/bus.hpp"

#include <algorithm>
#include <cstring>

namespace droste {

namespace {
constexpr std::size_t kPortCount = 65536;

u64 little_endian(std::span<const u8> bytes) {
    u64 value = 0;
    std::memcpy(&value, bytes.data(), bytes.size());
    return value;
}

}  // namespace

Bus::Bus(Log& log) : log_(log), ports_(kPortCount, nullptr) {}

Expected<void> Bus::attach_pio(PioDevice& device) {
    for (const PortRange& range : device.pio_ranges()) {
        for (std::size_t port = range.first; port < std::size_t{range.first} + range.count;
             ++port) {
            if (port >= kPortCount) {
                return Error{fmt::format("{}: port range {:#x}+{} reaches beyond port 0xffff",
                                         device.name(), range.first, range.count)};
            }
            if (ports_[port] != nullptr && ports_[port] != &device) {
                return Error{fmt::format("{}: port {:#x} is already used by {}", device.name(),
                                         port, ports_[port]->name())};
            }
        }
    }
    for (const PortRange& range : device.pio_ranges()) {
        std::fill_n(ports_.begin() + range.first, range.count, &device);
    }
    return {};
}

void Bus::detach_pio(PioDevice& device) {
    for (PioDevice*& entry : ports_) {
        if (entry == &device) {
            entry = nullptr;
        }
    }
}

Expected<void> Bus::attach_mmio(MmioDevice& device) {
    for (const MmioRange& range : device.mmio_ranges()) {
        for (const MmioEntry& entry : mmio_) {
            const bool overlap = range.first < entry.range.first + entry.range.count &&
                                 entry.range.first < range.first + range.count;
            if (overlap) {
                return Error{fmt::format("{}: address {:#x} is already used by {}", device.name(),
                                         range.first, entry.device->name())};
            }
        }
    }
    for (const MmioRange& range : device.mmio_ranges()) {
        mmio_.push_back({range, &device});
    }
    std::sort(mmio_.begin(), mmio_.end(),
              [](const MmioEntry& a, const MmioEntry& b) { return a.range.first < b.range.first; });
    return {};
}

void Bus::detach_mmio(MmioDevice& device) {
    mmio_.erase(std::remove_if(mmio_.begin(), mmio_.end(),
                               [&](const MmioEntry& entry) { return entry.device == &device; }),
                mmio_.end());
}

// Who answers all of the access; nobody if it reaches beyond a device's range.
MmioDevice* Bus::find_mmio(PhysAddr address, std::size_t size) const {
    const auto after =
        std::upper_bound(mmio_.begin(), mmio_.end(), address,
                         [](PhysAddr a, const MmioEntry& entry) { return a < entry.range.first; });
    if (after == mmio_.begin()) {
        return nullptr;
    }
    const MmioEntry& entry = *(after - 1);
    const u64 offset = address - entry.range.first;
    const bool inside = offset < entry.range.count && size <= entry.range.count - offset;
    return inside ? entry.device : nullptr;
}

void Bus::read_port(u16 port, std::span<u8> data) {
    PioDevice* device = ports_[port];
    if (device != nullptr) {
        const IoStatus status = device->pio_read(port, data);
        if (status == IoStatus::Done) {
            log_.write(LogCategory::Io, "in{} {:#06x} -> {:#x}, {}", data.size() * 8, port,
                       little_endian(data), device->name());
            return;
        }
    }
    if (data.size() > 1) {
        const std::size_t half = data.size() / 2;
        read_port(port, data.first(half));
        read_port(static_cast<u16>(port + half), data.subspan(half));
        return;
    }
    data[0] = 0xFF;
    ++unclaimed_;
    log_.write(LogCategory::GuestErrors, "read of port {:#06x}: nothing answers", port);
}

void Bus::write_port(u16 port, std::span<const u8> data) {
    PioDevice* device = ports_[port];
    if (device != nullptr) {
        const IoStatus status = device->pio_write(port, data);
        if (status == IoStatus::Done) {
            log_.write(LogCategory::Io, "out{} {:#06x} <- {:#x}, {}", data.size() * 8, port,
                       little_endian(data), device->name());
            return;
        }
    }
    if (data.size() > 1) {
        const std::size_t half = data.size() / 2;
        write_port(port, data.first(half));
        write_port(static_cast<u16>(port + half), data.subspan(half));
        return;
    }
    ++unclaimed_;
    log_.write(LogCategory::GuestErrors, "write of {:#04x} to port {:#06x}: nothing answers",
               data[0], port);
}

u32 Bus::pio_read(u16 port, unsigned size) {
    u32 value = 0;
    read_port(port, std::span(reinterpret_cast<u8*>(&value), size));
    return value;
}

void Bus::pio_write(u16 port, unsigned size, u32 value) {
    write_port(port, std::span(reinterpret_cast<const u8*>(&value), size));
}

void Bus::read_memory(PhysAddr address, std::span<u8> data) {
    MmioDevice* device = find_mmio(address, data.size());
    if (device != nullptr && device->mmio_read(address, data) == IoStatus::Done) {
        log_.write(LogCategory::Io, "load{} {:#x} -> {:#x}, {}", data.size() * 8, address,
                   little_endian(data), device->name());
        return;
    }
    if (data.size() > 1) {
        const std::size_t half = data.size() / 2;
        read_memory(address, data.first(half));
        read_memory(address + half, data.subspan(half));
        return;
    }
    data[0] = 0xFF;
    ++unclaimed_;
    log_.write(LogCategory::GuestErrors, "read of address {:#x}: nothing answers", address);
}

void Bus::write_memory(PhysAddr address, std::span<const u8> data) {
    MmioDevice* device = find_mmio(address, data.size());
    if (device != nullptr && device->mmio_write(address, data) == IoStatus::Done) {
        log_.write(LogCategory::Io, "store{} {:#x} <- {:#x}, {}", data.size() * 8, address,
                   little_endian(data), device->name());
        return;
    }
    if (data.size() > 1) {
        const std::size_t half = data.size() / 2;
        write_memory(address, data.first(half));
        write_memory(address + half, data.subspan(half));
        return;
    }
    ++unclaimed_;
    log_.write(LogCategory::GuestErrors, "write of {:#04x} to address {:#x}: nothing answers",
               data[0], address);
}

u64 Bus::mmio_read(PhysAddr address, unsigned size) {
    u64 value = 0;
    read_memory(address, std::span(reinterpret_cast<u8*>(&value), size));
    return value;
}

void Bus::mmio_write(PhysAddr address, unsigned size, u64 value) {
    write_memory(address, std::span(reinterpret_cast<const u8*>(&value), size));
}

}  // namespace droste
