#pragma once
// Intel 440FX host bridge: PCI configuration mechanism #1 for bus 0, and the PAM registers that
// decide whether C0000h-FFFFFh is ROM or shadow RAM. Intel, "82441FX (PMC)" (290549).
//
// Shadowing is the board's: it hears each change of a segment and rearranges the guest memory.

#include "core/bus.hpp"
#include "devices/pci/pci_device.hpp"

#include <functional>

namespace droste {

// One 16 KiB (F0000h: 64 KiB) segment of the BIOS area.
struct PamSegment {
    PhysAddr first = 0;
    u64 bytes = 0;
    bool read_ram = false;   // reads go to RAM instead of the ROM
    bool write_ram = false;  // writes go to RAM instead of nowhere
};

class PciHostI440fx final : public PioDevice, public Device {
  public:
    static constexpr std::size_t kDevices = 32;
    static constexpr std::size_t kFunctions = 8;

    explicit PciHostI440fx(std::function<void(const PamSegment&)> pam_changed);

    // Borrows `function`. An Error when the place is taken.
    Expected<void>
    attach(PciDevice& function, unsigned device_number, unsigned function_number = 0);
    // The function at this place of bus 0, or nullptr.
    PciDevice* find(unsigned device_number, unsigned function_number) const;

    std::string_view name() const override { return "82441FX"; }
    std::span<const PortRange> pio_ranges() const override { return kRanges; }
    IoStatus pio_read(u16 port, std::span<u8> data) override;
    IoStatus pio_write(u16 port, std::span<const u8> data) override;

    // The bridge itself; the functions attached to its bus are devices of their own.
    void reset() override;
    void state(StateArchive& archive) override;
    void state_loaded() override { bridge_.state_loaded(); }

  private:
    // Function 00.0.
    class Bridge final : public PciDevice {
      public:
        explicit Bridge(std::function<void(const PamSegment&)> pam_changed);
        std::string_view name() const override { return "82441FX function 0"; }

      protected:
        void config_written(unsigned offset, unsigned size) override;

      private:
        static constexpr unsigned kPam0 = 0x59;
        static constexpr unsigned kPamSegments = 13;

        std::function<void(const PamSegment&)> pam_changed_;
        std::array<u8, kPamSegments> attributes_{};  // what the board was told last
    };

    static constexpr u16 kConfigAddress = 0xCF8;
    static constexpr u16 kConfigData = 0xCFC;
    // CF9h belongs to the reset control register; CF8h answers double words only.
    static constexpr std::array kRanges = {PortRange{.first = kConfigAddress, .count = 1},
                                           PortRange{.first = kConfigAddress + 2, .count = 2},
                                           PortRange{.first = kConfigData, .count = 4}};

    PciDevice* selected() const;

    Bridge bridge_;
    std::array<PciDevice*, kDevices * kFunctions> functions_{};
    u32 address_ = 0;
};

}  // namespace droste
