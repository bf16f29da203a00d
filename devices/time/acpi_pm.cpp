#include "devices/time/acpi_pm.hpp"

#include "devices/little_endian.hpp"
#include "devices/state_archive.hpp"

namespace droste {

namespace {

constexpr u16 kTmr = 1U << 0;
constexpr u16 kPwrBtn = 1U << 8;
constexpr u16 kWak = 1U << 15;
constexpr u16 kStatusBits = 0x8731;  // TMR, BM, GBL, PWRBTN, SLPBTN, RTC, WAK
constexpr u16 kEnableBits = 0x0721;

constexpr u16 kSciEn = 1U << 0;
constexpr u16 kControlLow = 0x03;  // SCI_EN, BM_RLD; GBL_RLS reads 0
constexpr u8 kControlHigh = 0x1C;  // SLP_TYP; SLP_EN reads 0
constexpr u8 kSlpEnHigh = 1U << 5;
constexpr unsigned kSlpTypS4 = 2;

constexpr u64 kNsPerSecond = 1'000'000'000;

// Replaces byte `index` of a 16-bit register.
constexpr u16 with_byte(u16 word, unsigned index, u8 value) {
    return static_cast<u16>((word & ~(0xFFU << (8 * index))) | unsigned{value} << (8 * index));
}

}  // namespace

AcpiPm::AcpiPm(EventQueue& events, IrqLine& sci, std::function<void()> power_off, TimerWidth width)
    : ranges_{PortRange{.first = kDefaultBase, .count = kPmBytes},
              PortRange{.first = kGpeBase, .count = kGpeBytes},
              PortRange{.first = kSmiCommand, .count = 2}}
    , events_(events)
    , sci_(sci)
    , power_off_(std::move(power_off))
    , overflow_(events,
                [this](u64 /*ns*/) {
                    settle();
                    update_sci();
                })
    , timer_bits_(static_cast<unsigned>(width)) {}

void AcpiPm::reset() {
    settled_half_ = ticks() >> (timer_bits_ - 1);
    pm1_status_ = pm1_enable_ = pm1_control_ = 0;
    gpe_status_ = gpe_enable_ = 0;
    apm_ = {};
    update_sci();
}

void AcpiPm::enable_acpi_mode() {
    pm1_control_ |= kSciEn;
    update_sci();
}

void AcpiPm::press_power_button() {
    pm1_status_ |= kPwrBtn;
    update_sci();
}

void AcpiPm::raise_gpe(unsigned n) {
    gpe_status_ = static_cast<u16>(gpe_status_ | 1U << n);
    update_sci();
}

u64 AcpiPm::ticks() const {
    return static_cast<u64>(u128{events_.now_ns()} * kTimerHz / kNsPerSecond);
}

// "TMR_STS ... gets set any time the most significant bit of a 24/32-bit counter changes".
void AcpiPm::settle() {
    const u64 half = ticks() >> (timer_bits_ - 1);
    if (half != settled_half_) {
        settled_half_ = half;
        pm1_status_ |= kTmr;
    }
}

void AcpiPm::update_sci() {
    const bool pending = (pm1_status_ & pm1_enable_) != 0 || (gpe_status_ & gpe_enable_) != 0;
    sci_.set_level(pending && (pm1_control_ & kSciEn) != 0);
    if ((pm1_enable_ & kTmr) != 0 && (pm1_status_ & kTmr) == 0) {
        const u64 tick = ((ticks() >> (timer_bits_ - 1)) + 1) << (timer_bits_ - 1);
        overflow_.arm(deadline_of_tick(tick, kTimerHz));
    } else {
        overflow_.disarm();
    }
}

IoStatus AcpiPm::pio_read(u16 port, std::span<u8> data) {
    settle();
    for (std::size_t i = 0; i < data.size(); ++i) {
        const unsigned at = port + static_cast<unsigned>(i);
        if (const unsigned offset = at - ranges_[0].first; offset < ranges_[0].count) {
            data[i] = read_pm(offset);
        } else if (at - kGpeBase < kGpeBytes) {
            const unsigned offset_in_gpe = at - kGpeBase;
            const u16 word = offset_in_gpe < 2 ? gpe_status_ : gpe_enable_;
            data[i] = static_cast<u8>(word >> (8 * (offset_in_gpe % 2)));
        } else if (at - kSmiCommand < 2) {
            data[i] = apm_[at - kSmiCommand];
        } else {
            data[i] = 0xFF;
        }
    }
    return IoStatus::Done;
}

IoStatus AcpiPm::pio_write(u16 port, std::span<const u8> data) {
    settle();
    for (std::size_t i = 0; i < data.size(); ++i) {
        const unsigned at = port + static_cast<unsigned>(i);
        if (const unsigned offset = at - ranges_[0].first; offset < ranges_[0].count) {
            write_pm(offset, data[i]);
        } else if (at - kGpeBase < kGpeBytes) {
            write_gpe(at - kGpeBase, data[i]);
        } else if (at == kSmiCommand) {
            write_smi_command(data[i]);
        } else if (at == kSmiCommand + 1) {
            apm_[1] = data[i];
        }
    }
    update_sci();
    return IoStatus::Done;
}

u8 AcpiPm::read_pm(unsigned offset) const {
    const std::array<u16, 3> words = {pm1_status_, pm1_enable_, pm1_control_};
    if (offset < 2 * words.size()) {
        return static_cast<u8>(words[offset / 2] >> (8 * (offset % 2)));
    }
    if (offset >= kTimerOffset && offset < kTimerOffset + 4) {
        const u64 value = ticks() & ((u64{1} << timer_bits_) - 1);
        return static_cast<u8>(value >> (8 * (offset - kTimerOffset)));
    }
    return 0;
}

void AcpiPm::write_pm(unsigned offset, u8 value) {
    const unsigned byte = offset % 2;
    switch (offset) {
    case 0:
    case 1:  // write 1 to clear
        pm1_status_ =
            static_cast<u16>(pm1_status_ & ~(unsigned{value} << (8 * byte)) & kStatusBits);
        break;
    case 2:
    case 3: pm1_enable_ = with_byte(pm1_enable_, byte, value) & kEnableBits; break;
    case kControlOffset: pm1_control_ = with_byte(pm1_control_, 0, value & kControlLow); break;
    case kControlOffset + 1: write_control_high(value); break;
    default: break;
    }
}

void AcpiPm::write_control_high(u8 value) {
    pm1_control_ = with_byte(pm1_control_, 1, value & kControlHigh);
    if ((value & kSlpEnHigh) == 0) {
        return;
    }
    const unsigned slp_typ = (value & kControlHigh) >> 2;
    if (slp_typ == kSlpTypS5 || slp_typ == kSlpTypS4) {
        power_off_();
    } else {
        pm1_status_ |= kWak;  // S1 to S3 are not modelled: awake again at once
    }
}

void AcpiPm::write_smi_command(u8 value) {
    apm_[0] = value;
    if (value == kAcpiEnable) {
        pm1_control_ |= kSciEn;
    } else if (value == kAcpiDisable) {
        pm1_control_ = static_cast<u16>(pm1_control_ & ~kSciEn);
    }
}

void AcpiPm::write_gpe(unsigned offset, u8 value) {
    const unsigned byte = offset % 2;
    if (offset < 2) {
        gpe_status_ = static_cast<u16>(gpe_status_ & ~(unsigned{value} << (8 * byte)));
    } else {
        gpe_enable_ = with_byte(gpe_enable_, byte, value);
    }
}

void AcpiPm::state(StateArchive& archive) {
    archive("pm1_status", pm1_status_);
    archive("pm1_enable", pm1_enable_);
    archive("pm1_control", pm1_control_);
    archive("gpe_status", gpe_status_);
    archive("gpe_enable", gpe_enable_);
    archive("apm", apm_);
    archive("overflow", overflow_);
    archive.over_reset([&] { archive("settled_half", settled_half_); });
}

}  // namespace droste
