#pragma once
// QEMU's firmware configuration device: items by number, files by name, read through a data port or
// by DMA. QEMU documentation, "QEMU Firmware Configuration (fw_cfg) Device".
//
// A selected item is a byte string with a position; reads beyond its end give zeros. Guests that
// ask for absurd amounts by DMA get the error bit: no length of theirs becomes an allocation or a
// long loop.

#include "core/bus.hpp"
#include "core/guest_memory.hpp"
#include "devices/device.hpp"

#include <array>
#include <functional>
#include <map>
#include <string>
#include <vector>

namespace droste {

class FwCfg final : public PioDevice, public Device {
  public:
    enum Key : u16 {
        Signature = 0x00,
        Id = 0x01,
        Uuid = 0x02,
        RamSize = 0x03,
        NoGraphic = 0x04,
        NbCpus = 0x05,
        KernelAddr = 0x07,
        KernelSize = 0x08,
        InitrdAddr = 0x0A,
        InitrdSize = 0x0B,
        BootDevice = 0x0C,
        BootMenu = 0x0E,
        MaxCpus = 0x0F,
        KernelEntry = 0x10,
        KernelData = 0x11,
        InitrdData = 0x12,
        CmdlineAddr = 0x13,
        CmdlineSize = 0x14,
        CmdlineData = 0x15,
        SetupAddr = 0x16,
        SetupSize = 0x17,
        SetupData = 0x18,
        FileDir = 0x19,
        FileFirst = 0x20,
        IrqOverride = 0x8002,
        E820Table = 0x8003,
    };
    static constexpr std::size_t kMaxNameBytes = 55;
    static constexpr std::size_t kMaxFiles = 0x3FE0;

    explicit FwCfg(GuestMemory& memory);

    // Numbered items; a second one replaces the first.
    void add_bytes(u16 key, std::vector<u8> bytes);
    void add_u16(u16 key, u16 value);
    void add_u32(u16 key, u32 value);
    void add_u64(u16 key, u64 value);
    void add_string(u16 key, const std::string& text);  // with its terminating zero
    // A named file; keys follow the order of names. `on_write` makes it writable by DMA and hears
    // each write. An Error when the name is too long, empty or taken.
    Expected<void> add_file(const std::string& file_name,
                            std::vector<u8> bytes,
                            std::function<void(std::span<const u8>)> on_write = nullptr);

    std::string_view name() const override { return "fw_cfg"; }
    std::span<const PortRange> pio_ranges() const override { return kRanges; }
    IoStatus pio_read(u16 port, std::span<u8> data) override;
    IoStatus pio_write(u16 port, std::span<const u8> data) override;

    void reset() override;
    void state(StateArchive& archive) override;

  private:
    static constexpr u16 kSelector = 0x510;
    static constexpr u16 kData = 0x511;
    static constexpr u16 kDma = 0x514;
    static constexpr u16 kDmaBytes = 8;
    static constexpr std::array kRanges = {PortRange{.first = kSelector, .count = 2},
                                           PortRange{.first = kDma, .count = kDmaBytes}};
    static constexpr u64 kMaxZeroTail = u64{16} << 20;

    struct Item {
        std::vector<u8> bytes;
        std::function<void(std::span<const u8>)> on_write;
    };

    void select(u16 key);
    Item* selected();
    // Copies from the position on, zeros beyond the end; advances.
    void read(std::span<u8> out);
    void rebuild_directory();

    // The control structure at `address` in guest memory asks for one transfer.
    void run_dma(PhysAddr address);
    bool dma_read(PhysAddr target, u32 length);
    bool dma_write(PhysAddr source, u32 length);
    void skip(u32 length);

    GuestMemory& memory_;
    std::map<u16, Item> items_;
    std::map<std::string, Item> files_;
    std::vector<Item*> files_by_key_;
    u16 key_ = 0;
    u64 position_ = 0;
    std::array<u8, kDmaBytes> dma_address_{};  // big-endian, as written
};

}  // namespace droste
