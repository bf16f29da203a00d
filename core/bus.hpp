#pragma once
// Port and memory-mapped I/O: devices say which ranges they answer, the bus finds them.
//
// A device answers BadSize for an access width it does not decode; the bus then splits the access
// into halves down to bytes at consecutive addresses, as the ISA bridge does; so it does with a
// memory access that reaches beyond the device's range. A byte nobody answers reads as FFh (floating
// bus); writes are dropped. Both are counted and logged as guest_errors.

#include "core/error.hpp"
#include "core/log.hpp"
#include "core/types.hpp"

#include <memory>
#include <span>
#include <string_view>
#include <vector>

namespace droste {

enum class IoStatus : u8 { Done, BadSize, Unmapped };

struct PortRange {
    u16 first;
    u16 count;
};

struct MmioRange {
    PhysAddr first;
    u64 count;
};

class PioDevice {
  public:
    PioDevice() = default;
    PioDevice(const PioDevice&) = delete;
    PioDevice& operator=(const PioDevice&) = delete;
    virtual ~PioDevice() = default;

    virtual std::string_view name() const = 0;  // the part number, for messages
    virtual std::span<const PortRange> pio_ranges() const = 0;
    // data.size() is 1, 2 or 4; little-endian.
    virtual IoStatus pio_read(u16 port, std::span<u8> data) = 0;
    virtual IoStatus pio_write(u16 port, std::span<const u8> data) = 0;
};

class MmioDevice {
  public:
    MmioDevice() = default;
    MmioDevice(const MmioDevice&) = delete;
    MmioDevice& operator=(const MmioDevice&) = delete;
    virtual ~MmioDevice() = default;

    virtual std::string_view name() const = 0;
    virtual std::span<const MmioRange> mmio_ranges() const = 0;
    // data.size() is 1, 2, 4 or 8; `address` is the full physical address.
    virtual IoStatus mmio_read(PhysAddr address, std::span<u8> data) = 0;
    virtual IoStatus mmio_write(PhysAddr address, std::span<const u8> data) = 0;
};

class Bus {
  public:
    explicit Bus(Log& log);
    Bus(const Bus&) = delete;
    Bus& operator=(const Bus&) = delete;

    // Borrow the device; an Error names both devices when ranges collide.
    Expected<void> attach_pio(PioDevice& device);
    Expected<void> attach_mmio(MmioDevice& device);
    // For devices whose base moves (PCI BARs, PM base): detach, change, attach.
    void detach_pio(PioDevice& device);
    void detach_mmio(MmioDevice& device);

    // size: 1, 2 or 4 bytes.
    u32 pio_read(u16 port, unsigned size);
    void pio_write(u16 port, unsigned size, u32 value);
    // size: 1..8 bytes (any; an access the CPU makes never crosses a page here).
    u64 mmio_read(PhysAddr address, unsigned size);
    void mmio_write(PhysAddr address, unsigned size, u64 value);

    u64 unclaimed_accesses() const { return unclaimed_; }

  private:
    struct MmioEntry {
        MmioRange range;
        MmioDevice* device;
    };
    void read_port(u16 port, std::span<u8> data);
    void write_port(u16 port, std::span<const u8> data);
    void read_memory(PhysAddr address, std::span<u8> data);
    void write_memory(PhysAddr address, std::span<const u8> data);
    MmioDevice* find_mmio(PhysAddr address, std::size_t size) const;

    Log& log_;
    std::vector<PioDevice*> ports_;  // 65536 entries
    std::vector<MmioEntry> mmio_;    // sorted by range.first
    u64 unclaimed_ = 0;
};

}  // namespace droste
