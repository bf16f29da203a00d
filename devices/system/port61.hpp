#pragma once
// Port 61h, "NMI Status and Control" of the PIIX: the gate of PIT channel 2 and the speaker's data
// bit, read back with channel 2's OUT and the refresh toggle. Intel, "82371SB (PIIX3)" (290550).

#include "devices/time/pit8254.hpp"

namespace droste {

class Port61 final : public PioDevice, public Device {
  public:
    Port61(EventQueue& events, Pit8254& pit) : events_(events), pit_(pit) {}

    std::string_view name() const override { return "port 61h"; }
    std::span<const PortRange> pio_ranges() const override { return kRanges; }
    IoStatus pio_read(u16 port, std::span<u8> data) override;
    IoStatus pio_write(u16 port, std::span<const u8> data) override;

    void reset() override;
    void state(StateArchive& archive) override;

  private:
    static constexpr std::array kRanges = {PortRange{.first = 0x61, .count = 1}};
    static constexpr u8 kGate2 = 1U << 0;
    static constexpr u8 kWritable = 0x0F;  // gate, speaker data, and the two check disables
    static constexpr u8 kRefreshToggle = 1U << 4;
    static constexpr u8 kOut2 = 1U << 5;
    static constexpr u64 kRefreshNs = 15'085;  // toggles at each memory refresh

    EventQueue& events_;
    Pit8254& pit_;
    u8 control_ = 0;
};

}  // namespace droste
