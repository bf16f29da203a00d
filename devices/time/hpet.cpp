#include "devices/time/hpet.hpp"

#include "core/bits.hpp"
#include "devices/little_endian.hpp"
#include "devices/state_archive.hpp"

#include <algorithm>

namespace droste {

namespace {

// General registers; each is 64 bits wide.
constexpr u64 kCapabilities = 0x000;
constexpr u64 kConfiguration = 0x010;
constexpr u64 kInterruptStatus = 0x020;
constexpr u64 kMainCounter = 0x0F0;
constexpr u64 kTimerBase = 0x100;
constexpr u64 kTimerStride = 0x20;

constexpr u64 kPeriodFemtoseconds = Hpet::kTickNs * 1'000'000;
static_assert(Hpet::kHardwareId >> 16 == 0x8086 &&
              ((Hpet::kHardwareId >> 8) & 0x1F) == Hpet::kTimers - 1);

// Shorter periods would leave the guest no time; their matches are taken several at once.
constexpr u64 kShortestPeriod = 1000 / Hpet::kTickNs;

constexpr u64 kEnableCnf = 1U << 0;
constexpr u64 kLegRtCnf = 1U << 1;

// Timer configuration and capability register.
constexpr u64 kLevel = 1U << 1;        // Tn_INT_TYPE_CNF
constexpr u64 kInterrupt = 1U << 2;    // Tn_INT_ENB_CNF
constexpr u64 kPeriodic = 1U << 3;     // Tn_TYPE_CNF
constexpr u64 kPeriodicCap = 1U << 4;  // Tn_PER_INT_CAP
constexpr u64 kSize64Cap = 1U << 5;    // Tn_SIZE_CAP
constexpr u64 kValueSet = 1U << 6;     // Tn_VAL_SET_CNF
constexpr u64 k32Bit = 1U << 8;        // Tn_32MODE_CNF
constexpr u64 kRoute = 0x1F << 9;      // Tn_INT_ROUTE_CNF
constexpr u64 kWritable = kLevel | kInterrupt | kPeriodic | kValueSet | k32Bit | kRoute;

constexpr u64 mask_of(u64 config) {
    return (config & k32Bit) != 0 ? 0xFFFF'FFFF : ~u64{0};
}

}  // namespace

Hpet::Hpet(EventQueue& events, IrqLine& irq0, IrqLine& irq8, const Gsis& gsis, PhysAddr base)
    : ranges_{MmioRange{.first = base, .count = kBytes}}
    , events_(events)
    , legacy_lines_{&irq0, &irq8}
    , gsis_(gsis)
    , next_match_(events,
                  [this](u64 /*deadline_ns*/) {
                      settle();
                      schedule();
                  })
    , legacy_pins_(*this) {
    for (unsigned i = 0; i < gsis_.size(); ++i) {
        route_capability_ |= gsis_[i] != nullptr ? bit(i) : 0;
    }
    for (Comparator& timer : timers_) {
        timer.config = kPeriodicCap | kSize64Cap | route_capability_ << 32;
    }
}

void Hpet::reset() {
    write_general_config(0);
    for (Comparator& timer : timers_) {
        timer.config = kPeriodicCap | kSize64Cap | route_capability_ << 32;
        timer.value = ~u64{0};
        timer.period = 0;
    }
    status_ = 0;
    stopped_counter_ = 0;
    settled_counter_ = 0;
    update_levels();
    schedule();
}

bool Hpet::running() const {
    return (config_ & kEnableCnf) != 0;
}

bool Hpet::legacy() const {
    return (config_ & (kEnableCnf | kLegRtCnf)) == (kEnableCnf | kLegRtCnf);
}

u64 Hpet::counter() const {
    return running() ? stopped_counter_ + (events_.now_ns() - started_ns_) / kTickNs
                     : stopped_counter_;
}

void Hpet::set_input(unsigned pin, bool asserted) {
    legacy_inputs_[pin] = asserted;
    if (!legacy()) {
        legacy_lines_[pin]->set_level(asserted);
    }
}

u64 Hpet::distance(const Comparator& timer) const {
    const u64 mask = mask_of(timer.config);
    const u64 ahead = (timer.value - settled_counter_) & mask;
    if (ahead != 0) {
        return ahead;
    }
    return mask == ~u64{0} ? mask : mask + 1;  // a whole turn; 2^64 ticks never come
}

void Hpet::settle() {
    if (!running()) {
        return;
    }
    const u64 now = counter();
    const u64 elapsed = now - settled_counter_;
    for (unsigned i = 0; i < kTimers; ++i) {
        const u64 needed = distance(timers_[i]);
        if (needed <= elapsed) {
            match(i, elapsed - needed);
        }
    }
    settled_counter_ = now;
    update_levels();
}

// The comparator was reached `passed` ticks ago.
void Hpet::match(unsigned index, u64 passed) {
    Comparator& timer = timers_[index];
    if ((timer.config & kPeriodic) != 0 && timer.period != 0) {
        const u64 periods = passed / timer.period + 1;
        timer.value = (timer.value + periods * timer.period) & mask_of(timer.config);
    }
    if ((timer.config & kLevel) != 0) {
        status_ |= 1U << index;
    } else if ((timer.config & kInterrupt) != 0) {
        drive(route(index), true);
        drive(route(index), false);
    }
}

u8 Hpet::route(unsigned index) const {
    if (legacy() && index < legacy_lines_.size()) {
        return static_cast<u8>(kFirstLegacyWire + index);
    }
    const auto gsi = static_cast<u8>(bits(timers_[index].config, 9, 13));
    return gsis_[gsi] != nullptr ? gsi : kNoWire;
}

void Hpet::drive(u8 wire, bool asserted) {
    if (wire != kNoWire) {
        IrqLine* line =
            wire < kFirstLegacyWire ? gsis_[wire] : legacy_lines_[wire - kFirstLegacyWire];
        line->set_level(asserted);
    }
}

void Hpet::update_levels() {
    for (unsigned i = 0; i < kTimers; ++i) {
        Comparator& timer = timers_[i];
        const bool asserted = running() && test_bit(status_, i) &&
                              (timer.config & (kLevel | kInterrupt)) == (kLevel | kInterrupt);
        const u8 wanted = asserted ? route(i) : kNoWire;
        if (timer.driven != wanted) {
            drive(timer.driven, false);
        }
        timer.driven = wanted;
        drive(wanted, true);
    }
}

// Only comparators that can interrupt need an event; the others are settled when looked at.
void Hpet::schedule() {
    u64 nearest = ~u64{0};
    for (unsigned i = 0; running() && i < kTimers; ++i) {
        const Comparator& timer = timers_[i];
        if ((timer.config & kInterrupt) == 0 || test_bit(status_, i)) {
            continue;
        }
        u64 needed = distance(timer);
        if ((timer.config & kPeriodic) != 0 && timer.period < kShortestPeriod) {
            needed = std::max(needed, kShortestPeriod);
        }
        nearest = std::min(nearest, needed);
    }
    if (nearest == ~u64{0}) {
        next_match_.disarm();
        return;
    }
    const u128 ticks = u128{settled_counter_ - stopped_counter_} + nearest;
    next_match_.arm(deadline_after(started_ns_, ticks * kTickNs));
}

IoStatus Hpet::mmio_read(PhysAddr address, std::span<u8> data) {
    settle();
    const u64 offset = address - ranges_[0].first;
    const unsigned first_byte = offset & 7;
    if (first_byte + data.size() > 8) {
        return IoStatus::BadSize;
    }
    store_le(data, read_register(offset & ~u64{7}) >> (8 * first_byte));
    schedule();
    return IoStatus::Done;
}

IoStatus Hpet::mmio_write(PhysAddr address, std::span<const u8> data) {
    settle();
    const u64 offset = address - ranges_[0].first;
    const unsigned first_byte = offset & 7;
    if (first_byte + data.size() > 8) {
        return IoStatus::BadSize;
    }
    write_register(offset & ~u64{7}, first_byte, data);
    update_levels();
    schedule();
    return IoStatus::Done;
}

u64 Hpet::read_register(u64 offset) const {
    switch (offset) {
    case kCapabilities: return kPeriodFemtoseconds << 32 | kHardwareId;
    case kConfiguration: return config_;
    case kInterruptStatus: return status_;
    case kMainCounter: return counter();
    default: break;
    }
    if (offset < kTimerBase || offset >= kTimerBase + kTimers * kTimerStride) {
        return 0;
    }
    const Comparator& timer = timers_[(offset - kTimerBase) / kTimerStride];
    switch ((offset - kTimerBase) % kTimerStride) {
    case 0: return timer.config;
    case 8: return timer.value & mask_of(timer.config);
    default: return 0;
    }
}

void Hpet::write_register(u64 offset, unsigned first_byte, std::span<const u8> data) {
    switch (offset) {
    case kConfiguration: write_general_config(merge_le(config_, first_byte, data)); return;
    case kInterruptStatus: status_ &= ~static_cast<u32>(merge_le(0, first_byte, data)); return;
    case kMainCounter:
        // "Writes to this register should only be done while the counter is halted."
        if (!running()) {
            stopped_counter_ = merge_le(stopped_counter_, first_byte, data);
            settled_counter_ = stopped_counter_;
        }
        return;
    default: break;
    }
    if (offset < kTimerBase || offset >= kTimerBase + kTimers * kTimerStride) {
        return;
    }
    Comparator& timer = timers_[(offset - kTimerBase) / kTimerStride];
    switch ((offset - kTimerBase) % kTimerStride) {
    case 0: write_config(timer, first_byte, data); return;
    case 8: write_comparator(timer, first_byte, data); return;
    default: return;
    }
}

void Hpet::write_general_config(u64 value) {
    const u64 now = counter();
    const bool was_running = running();
    const bool was_legacy = legacy();
    config_ = value & (kEnableCnf | kLegRtCnf);
    if (running() != was_running) {
        stopped_counter_ = now;
        settled_counter_ = now;
        started_ns_ = events_.now_ns();
    }
    update_levels();
    if (legacy() != was_legacy) {
        for (unsigned i = 0; i < legacy_lines_.size(); ++i) {
            legacy_lines_[i]->set_level(!legacy() && legacy_inputs_[i]);
        }
    }
}

void Hpet::write_config(Comparator& timer, unsigned first_byte, std::span<const u8> data) {
    const u64 wanted = merge_le(timer.config, first_byte, data);
    u64 writable = kWritable;
    if (!test_bit(route_capability_, static_cast<unsigned>(bits(wanted, 9, 13)))) {
        // "If the value is not supported ... the value read back will not match"
        writable &= ~kRoute;
    }
    timer.config = (timer.config & ~writable) | (wanted & writable);
    if ((timer.config & k32Bit) != 0) {
        timer.value &= 0xFFFF'FFFF;
        timer.period &= 0xFFFF'FFFF;
    }
    if ((timer.config & kLevel) == 0) {
        status_ &= ~(1U << static_cast<unsigned>(&timer - timers_.data()));
    }
}

// In periodic mode the last value written is the period; with Tn_VAL_SET_CNF it is the next match
// too.
void Hpet::write_comparator(Comparator& timer, unsigned first_byte, std::span<const u8> data) {
    const u64 mask = mask_of(timer.config);
    const bool periodic = (timer.config & kPeriodic) != 0;
    if (periodic) {
        timer.period = merge_le(timer.period, first_byte, data) & mask;
    }
    if (!periodic || (timer.config & kValueSet) != 0) {
        timer.value = merge_le(timer.value, first_byte, data) & mask;
    }
    timer.config &= ~kValueSet;
}

void Hpet::Comparator::state(StateArchive& archive) {
    archive("config", config);
    archive("value", value);
    archive("period", period);
    archive("driven", driven);
}

void Hpet::state(StateArchive& archive) {
    archive("config", config_);
    archive("status", status_);
    archive("stopped_counter", stopped_counter_);
    archive("settled_counter", settled_counter_);
    archive("timers", timers_);
    archive("next_match", next_match_);
    archive.over_reset([&] {
        archive("started_ns", started_ns_);
        archive("legacy_inputs", legacy_inputs_);
    });
}

}  // namespace droste
