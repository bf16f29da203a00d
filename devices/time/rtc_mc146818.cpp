#include "devices/time/rtc_mc146818.hpp"

#include "devices/state_archive.hpp"

#include <algorithm>
#include <chrono>

namespace droste {

namespace {

enum Register : u8 {
    kSeconds = 0x00,
    kSecondsAlarm,
    kMinutes,
    kMinutesAlarm,
    kHours,
    kHoursAlarm,
    kDayOfWeek,
    kDay,
    kMonth,
    kYear,
    kA,
    kB,
    kC,
    kD,
};

// Where each time register stands in TimeRegisters.
enum Field : std::size_t {
    kSecond,
    kMinute,
    kHour,
    kWeekday,
    kDate,
    kMonthOfYear,
    kYearOfCentury,
    kCenturyField
};

constexpr u8 kAUip = 1U << 7;
constexpr u8 kADividerReset = 0x60;  // DV = 11x
constexpr u8 kARate = 0x0F;

constexpr u8 kBSet = 1U << 7;
constexpr u8 kBPie = 1U << 6;
constexpr u8 kBAie = 1U << 5;
constexpr u8 kBUie = 1U << 4;
constexpr u8 kBSqwe = 1U << 3;
constexpr u8 kBBinary = 1U << 2;
constexpr u8 kB24Hour = 1U << 1;

constexpr u8 kCIrqf = 1U << 7;
constexpr u8 kCPf = 1U << 6;
constexpr u8 kCAf = 1U << 5;
constexpr u8 kCUf = 1U << 4;
constexpr u8 kCFlags = kCPf | kCAf | kCUf;  // the same bits as their enables in register B

constexpr u8 kDValidRam = 1U << 7;
constexpr u8 kPm = 1U << 7;  // hours register in 12-hour mode

constexpr u64 kTimeBaseHz = 32'768;
constexpr u64 kUipNs = 244'000;  // UIP is set at least this long before an update

// Index into TimeRegisters, or -1.
constexpr int time_field(u8 index) {
    switch (index) {
    case kSeconds: return kSecond;
    case kMinutes: return kMinute;
    case kHours: return kHour;
    case kDayOfWeek: return kWeekday;
    case kDay: return kDate;
    case kMonth: return kMonthOfYear;
    case kYear: return kYearOfCentury;
    case RtcMc146818::kCentury: return kCenturyField;
    default: return -1;
    }
}

constexpr i64 floor_div(i64 a, i64 b) {
    return a / b - (a % b < 0 ? 1 : 0);
}

constexpr i64 kSecondsPerDay = 86'400;
constexpr i64 kFirstSecond = -62'167'219'200;  // 0000-01-01 00:00:00
constexpr i64 kLastSecond = 253'402'300'799;   // 9999-12-31 23:59:59

// 0 = Sunday.
constexpr i64 calendar_weekday(i64 days_since_1970) {
    const i64 from_sunday = days_since_1970 + 4;  // 1970-01-01 was a Thursday
    return from_sunday - floor_div(from_sunday, 7) * 7;
}

constexpr unsigned second_of_day(i64 seconds) {
    return static_cast<unsigned>(seconds - floor_div(seconds, kSecondsPerDay) * kSecondsPerDay);
}

}  // namespace

RtcMc146818::RtcMc146818(EventQueue& events, IrqLine& irq8, i64 start_seconds)
    : events_(events)
    , irq8_(irq8)
    , timer_(events,
             [this](u64 /*deadline_ns*/) {
                 catch_up();
                 update_irq();
             })
    , base_seconds_(std::clamp(start_seconds, kFirstSecond, kLastSecond)) {}

// RESET# clears the interrupt enables and flags; "it does not affect the clock, calendar, or RAM".
void RtcMc146818::reset() {
    catch_up();
    index_ = 0;
    b_ = static_cast<u8>(b_ & ~(kBPie | kBAie | kBUie | kBSqwe));
    c_ = 0;
    update_irq();
}

void RtcMc146818::set_memory_size(u64 below_4g_bytes, u64 above_4g_bytes) {
    const auto set_word = [this](u8 index, u64 value) {
        ram_[index] = static_cast<u8>(value);
        ram_[index + 1U] = static_cast<u8>(value >> 8);
    };
    constexpr u64 kKiB = 1024;
    constexpr u64 kMiB = 1024 * kKiB;
    const u64 extended = below_4g_bytes > kMiB ? below_4g_bytes - kMiB : 0;
    const u64 above_16m = below_4g_bytes > 16 * kMiB ? below_4g_bytes - 16 * kMiB : 0;
    set_word(0x15, std::min<u64>(640, below_4g_bytes / kKiB));
    set_word(0x17, std::min<u64>(65'535, extended / kKiB));
    set_word(0x30, std::min<u64>(65'535, extended / kKiB));
    set_word(0x34, std::min<u64>(65'535, above_16m / (64 * kKiB)));
    set_word(0x5B, above_4g_bytes / (64 * kKiB));
    ram_[0x5D] = static_cast<u8>(above_4g_bytes / (64 * kKiB) >> 16);
}

IoStatus RtcMc146818::pio_read(u16 port, std::span<u8> data) {
    if (data.size() != 1) {
        return IoStatus::BadSize;
    }
    data[0] = (port & 1) != 0 ? read_register(index_) : 0xFF;  // the index is write-only
    return IoStatus::Done;
}

IoStatus RtcMc146818::pio_write(u16 port, std::span<const u8> data) {
    if (data.size() != 1) {
        return IoStatus::BadSize;
    }
    if ((port & 1) != 0) {
        write_register(index_, data[0]);
    } else {
        index_ = data[0] & 0x7F;  // bit 7 masks NMI
    }
    return IoStatus::Done;
}

u8 RtcMc146818::read_register(u8 index) {
    const u64 now = events_.now_ns();
    if (const int field = time_field(index); field >= 0) {
        const auto registers = updating() ? encode(seconds_at(second_index(now))) : held_;
        return registers[static_cast<std::size_t>(field)];
    }
    switch (index) {
    case kA: {
        const bool update_near = kSecondNs - (now + phase_ns_) % kSecondNs <= kUipNs;
        return static_cast<u8>(a_ | (updating() && update_near ? kAUip : 0));
    }
    case kB: return b_;
    case kC: {
        catch_up();
        const u8 c = static_cast<u8>(c_ | ((c_ & b_ & kCFlags) != 0 ? kCIrqf : 0));
        c_ = 0;
        update_irq();
        return c;
    }
    case kD: return kDValidRam;
    default: return ram_[index];
    }
}

void RtcMc146818::write_register(u8 index, u8 value) {
    catch_up();
    if (const int field = time_field(index); field >= 0) {
        write_time(static_cast<std::size_t>(field), value);
    } else if (index == kA) {
        write_a(value);
    } else if (index == kB) {
        write_b(value);
    } else if (index != kC && index != kD) {
        ram_[index] = value;
    }
    update_irq();
}

void RtcMc146818::write_time(std::size_t field, u8 value) {
    const bool was_updating = updating();
    if (was_updating) {
        hold_updates();
    }
    held_[field] = value;
    if (was_updating) {
        release_updates();
    }
}

void RtcMc146818::write_a(u8 value) {
    const bool was_updating = updating();
    const bool was_dividing = dividing();
    if (was_updating) {
        hold_updates();
    }
    a_ = static_cast<u8>(value & ~kAUip);
    if (!was_dividing && dividing()) {
        // "the first update cycle begins one-half second later"
        const u64 now = events_.now_ns();
        phase_ns_ = kSecondNs - now % kSecondNs + kSecondNs / 2;
        caught_up_ns_ = now;
    }
    if (updating()) {
        release_updates();
    }
}

void RtcMc146818::write_b(u8 value) {
    const bool was_updating = updating();
    const bool was_set = (b_ & kBSet) != 0;
    if (was_updating && (value & kBSet) != 0) {
        hold_updates();
    }
    b_ = value;
    if ((value & kBSet) != 0) {
        b_ = static_cast<u8>(b_ & ~kBUie);  // "UIE ... is cleared by ... the SET bit going high"
    } else if (was_set && updating()) {
        release_updates();
    }
}

bool RtcMc146818::dividing() const {
    return (a_ & kADividerReset) != kADividerReset;
}

bool RtcMc146818::updating() const {
    return (b_ & kBSet) == 0 && dividing();
}

void RtcMc146818::hold_updates() {
    held_ = encode(seconds_at(second_index(events_.now_ns())));
}

void RtcMc146818::release_updates() {
    base_index_ = second_index(events_.now_ns());
    base_seconds_ = decode(held_);
    // The day of week is a counter of its own, whatever the calendar says.
    if (const unsigned weekday = decode_field(held_[kWeekday]); weekday >= 1 && weekday <= 7) {
        weekday_bias_ =
            i64{weekday} - 1 - calendar_weekday(floor_div(base_seconds_, kSecondsPerDay));
    }
}

u64 RtcMc146818::periodic_ticks() const {
    const unsigned rate = a_ & kARate;
    if (rate == 0 || !dividing()) {
        return 0;
    }
    return u64{1} << (rate <= 2 ? rate + 6 : rate - 1);  // "Periodic Interrupt Rate" table
}

u8 RtcMc146818::encode_field(unsigned value) const {
    return static_cast<u8>((b_ & kBBinary) != 0 ? value : value / 10 << 4 | value % 10);
}

u8 RtcMc146818::encode_hour(unsigned hour) const {
    if ((b_ & kB24Hour) != 0) {
        return encode_field(hour);
    }
    const unsigned hour12 = hour % 12 == 0 ? 12 : hour % 12;
    return static_cast<u8>(encode_field(hour12) | (hour >= 12 ? kPm : 0));
}

unsigned RtcMc146818::decode_field(u8 value) const {
    return (b_ & kBBinary) != 0 ? value : (value >> 4) * 10U + (value & 0xFU);
}

RtcMc146818::TimeRegisters RtcMc146818::encode(i64 seconds) const {
    const i64 day = floor_div(seconds, kSecondsPerDay);
    const unsigned in_day = second_of_day(seconds);
    const std::chrono::year_month_day date{
        std::chrono::sys_days{std::chrono::days{static_cast<int>(day)}}};
    const int year = std::max(0, static_cast<int>(date.year()));
    return {
        encode_field(in_day % 60),
        encode_field(in_day / 60 % 60),
        encode_hour(in_day / 3600),
        encode_field(static_cast<unsigned>((calendar_weekday(day) + weekday_bias_ + 7) % 7 + 1)),
        encode_field(static_cast<unsigned>(date.day())),
        encode_field(static_cast<unsigned>(date.month())),
        encode_field(static_cast<unsigned>(year % 100)),
        encode_field(static_cast<unsigned>(year / 100 % 100)),
    };
}

// Impossible dates (a guest may write anything) become a possible one.
i64 RtcMc146818::decode(const TimeRegisters& registers) const {
    const u8 hour_register = registers[kHour];
    unsigned hour = 0;
    if ((b_ & kB24Hour) != 0) {
        hour = decode_field(hour_register);
    } else {
        const bool pm = (hour_register & kPm) != 0;
        hour = decode_field(static_cast<u8>(hour_register & ~kPm)) % 12 + (pm ? 12 : 0);
    }
    const unsigned full_year = decode_field(registers[kCenturyField]) % 100 * 100 +
                               decode_field(registers[kYearOfCentury]) % 100;
    const unsigned month_of_year = std::clamp(decode_field(registers[kMonthOfYear]), 1U, 12U);
    const unsigned day_of_month = std::clamp(decode_field(registers[kDate]), 1U, 31U);
    const std::chrono::sys_days first{std::chrono::year{static_cast<int>(full_year)} /
                                      std::chrono::month{month_of_year} / std::chrono::day{1}};
    const i64 day_count = i64{first.time_since_epoch().count()} + day_of_month - 1;
    return day_count * kSecondsPerDay + i64{hour % 24} * 3600 +
           i64{decode_field(registers[kMinute]) % 60} * 60 + decode_field(registers[kSecond]) % 60;
}

bool RtcMc146818::alarm_matches(std::size_t field, unsigned value) const {
    constexpr std::array<u8, 3> kAlarmRegisters = {kSecondsAlarm, kMinutesAlarm, kHoursAlarm};
    const u8 alarm = ram_[kAlarmRegisters[field]];
    // "An alarm byte whose two most-significant bits are set to one is a don't care."
    if ((alarm & 0xC0) == 0xC0) {
        return true;
    }
    return alarm == (field == kHour ? encode_hour(value) : encode_field(value));
}

i64 RtcMc146818::next_alarm(i64 seconds) const {
    const i64 limit = seconds + kSecondsPerDay;
    i64 candidate = seconds + 1;
    while (candidate <= limit) {
        const unsigned in_day = second_of_day(candidate);
        if (!alarm_matches(kHour, in_day / 3600)) {
            candidate += 3600 - in_day % 3600;
        } else if (!alarm_matches(kMinute, in_day / 60 % 60)) {
            candidate += 60 - in_day % 60;
        } else if (!alarm_matches(kSecond, in_day % 60)) {
            ++candidate;
        } else {
            return candidate;
        }
    }
    return -1;
}

void RtcMc146818::catch_up() {
    const u64 now = events_.now_ns();
    if (const u64 period = periodic_ticks(); period != 0) {
        const auto edges = [period](u64 ns) {
            return static_cast<u64>(u128{ns} * kTimeBaseHz / kSecondNs) / period;
        };
        if (edges(now) != edges(caught_up_ns_)) {
            c_ |= kCPf;
        }
    }
    if (updating()) {
        const u64 before = second_index(caught_up_ns_);
        const u64 after = second_index(now);
        if (after != before) {
            c_ |= kCUf;
            const i64 alarm = next_alarm(seconds_at(before));
            if (alarm >= 0 && alarm <= seconds_at(after)) {
                c_ |= kCAf;
            }
        }
    }
    caught_up_ns_ = now;
}

// Requires: catch_up() has run.
void RtcMc146818::update_irq() {
    const u8 enabled = b_ & kCFlags;
    irq8_.set_level((c_ & enabled) != 0);
    const u8 awaited = static_cast<u8>(enabled & ~c_);
    const u64 now = caught_up_ns_;
    u64 deadline = kNever;
    if (const u64 period = periodic_ticks(); (awaited & kBPie) != 0 && period != 0) {
        const u64 tick = static_cast<u64>(u128{now} * kTimeBaseHz / kSecondNs);
        const u128 next = u128{tick / period + 1} * period;
        deadline = deadline_of_tick(next, kTimeBaseHz);
    }
    if (updating()) {
        const u64 index = second_index(now);
        const auto start_of = [this](u64 second) {
            return deadline_after(0, u128{second} * kSecondNs - phase_ns_);
        };
        if ((awaited & kBUie) != 0) {
            deadline = std::min(deadline, start_of(index + 1));
        }
        if ((awaited & kBAie) != 0) {
            const i64 current = seconds_at(index);
            if (const i64 alarm = next_alarm(current); alarm >= 0) {
                deadline = std::min(deadline, start_of(index + static_cast<u64>(alarm - current)));
            }
        }
    }
    timer_.arm(deadline);
}

void RtcMc146818::state(StateArchive& archive) {
    archive("index", index_);
    archive("c", c_);
    archive("timer", timer_);
    // RESET# clears only the interrupt enables of register B.
    archive.over_reset([&] {
        archive("a", a_);
        archive("b", b_);
        archive("held", held_);
        archive("base_seconds", base_seconds_);
        archive("base_index", base_index_);
        archive("phase_ns", phase_ns_);
        archive("caught_up_ns", caught_up_ns_);
        archive("weekday_bias", weekday_bias_);
        archive("ram", ram_);
    });
}

}  // namespace droste
