// The counting of one 8254 channel: "Mode Definitions" of the data sheet as functions of the tick.
// The counting element is loaded on the clock pulse after a write or a trigger, hence `tick + 1`.

#include "devices/state_archive.hpp"
#include "devices/time/pit8254.hpp"

namespace droste {

namespace {

constexpr u64 kLoadDelay = 1;

constexpr u64 from_bcd(u64 value) {
    return (value & 0xF) + 10 * ((value >> 4) & 0xF) + 100 * ((value >> 8) & 0xF) +
           1000 * ((value >> 12) & 0xF);
}

constexpr u16 to_bcd(u64 value) {
    return static_cast<u16>(value % 10 | (value / 10 % 10) << 4 | (value / 100 % 10) << 8 |
                            (value / 1000 % 10) << 12);
}

// Modes 1 and 5 are started by the gate's rising edge.
constexpr bool is_triggered(u8 mode) {
    return mode == 1 || mode == 5;
}

constexpr bool is_periodic(u8 mode) {
    return mode == 2 || mode == 3;
}

}  // namespace

void PitChannel::write_control(u8 control, u64 tick) {
    idle_count_ = count(tick);
    const u8 mode = (control >> 1) & 7;
    mode_ = mode > 5 ? mode & 3 : mode;  // modes 6 and 7 are 2 and 3
    access_ = (control >> 4) & 3;
    bcd_ = (control & 1) != 0;
    phase_ = Phase::Idle;
    has_next_ = false;
    write_high_next_ = read_high_next_ = false;
    count_latched_ = status_latched_ = false;
}

void PitChannel::write(u8 value, u64 tick) {
    settle(tick);
    u64 written = 0;
    if (access_ == 1) {
        written = value;
    } else if (access_ == 2) {
        written = u64{value} << 8;
    } else if (!write_high_next_) {
        write_high_next_ = true;
        low_byte_ = value;
        if (mode_ == 0) {
            // "Writing the first byte disables counting. OUT is set low immediately."
            idle_count_ = count(tick);
            phase_ = Phase::Idle;
        }
        return;
    } else {
        write_high_next_ = false;
        written = u64{value} << 8 | low_byte_;
    }
    const u64 wanted = bcd_ ? from_bcd(written) : written;
    load_count(wanted == 0 ? modulus() : wanted, tick);
}

void PitChannel::load_count(u64 new_count, u64 tick) {
    if (phase_ == Phase::Running && is_periodic(mode_)) {
        // "Writing a new count while counting does not affect the current counting sequence."
        if (!has_next_) {
            switch_tick_ = end_of_cycle(tick);
        }
        next_period_ = new_count;
        has_next_ = true;
        return;
    }
    next_period_ = new_count;
    has_next_ = true;
    if (is_triggered(mode_)) {
        if (phase_ == Phase::Idle) {
            idle_count_ = count(tick);
            phase_ = Phase::Waiting;
        }
    } else {
        start(tick);
    }
}

// Loads the counting element from the count register.
void PitChannel::start(u64 tick) {
    idle_count_ = count(tick);
    period_ = next_period_;
    has_next_ = false;
    elapsed_ = 0;
    start_ = tick + kLoadDelay;
    phase_ = gate_ || is_triggered(mode_) ? Phase::Running : Phase::Paused;
}

void PitChannel::set_gate(bool level, u64 tick) {
    if (level == gate_) {
        return;
    }
    settle(tick);
    gate_ = level;
    if (phase_ == Phase::Idle) {
        return;
    }
    if (is_triggered(mode_)) {
        if (level) {
            if (!has_next_) {
                next_period_ = period_;
            }
            start(tick);
        }
    } else if (!level && phase_ == Phase::Running) {
        const i64 counted = elapsed(tick);
        elapsed_ = counted < 0 ? 0 : static_cast<u64>(counted);
        phase_ = Phase::Paused;
    } else if (level && phase_ == Phase::Paused) {
        if (is_periodic(mode_)) {
            if (!has_next_) {
                next_period_ = period_;
            }
            start(tick);
        } else {
            start_ = tick + kLoadDelay - elapsed_;
            phase_ = Phase::Running;
        }
    }
}

// Modes 2 and 3: where a new count takes over, the end of the period or of the half cycle.
u64 PitChannel::end_of_cycle(u64 tick) const {
    const i64 counted = elapsed(tick);
    if (counted < 0) {
        return start_ + (mode_ == 2 ? period_ : (period_ + 1) / 2);
    }
    const u64 position = static_cast<u64>(counted) % period_;
    const u64 period_start = start_ + static_cast<u64>(counted) - position;
    const u64 high_ticks = (period_ + 1) / 2;
    if (mode_ == 3 && position < high_ticks) {
        return period_start + high_ticks;
    }
    return period_start + period_;
}

void PitChannel::settle(u64 tick) {
    if (phase_ != Phase::Running || !is_periodic(mode_) || !has_next_ || tick < switch_tick_) {
        return;
    }
    const bool low_half_follows = mode_ == 3 && (switch_tick_ - start_) % period_ != 0;
    period_ = next_period_;
    has_next_ = false;
    start_ = switch_tick_;
    if (low_half_follows) {
        start_ -= (period_ + 1) / 2;  // as if the new period's high half had just ended
    }
}

i64 PitChannel::elapsed(u64 tick) const {
    return phase_ == Phase::Paused ? static_cast<i64>(elapsed_) : static_cast<i64>(tick - start_);
}

bool PitChannel::out(u64 tick) {
    settle(tick);
    if (phase_ == Phase::Idle || phase_ == Phase::Waiting) {
        return mode_ != 0;
    }
    const i64 signed_elapsed = elapsed(tick);
    if (signed_elapsed < 0 || (phase_ == Phase::Paused && is_periodic(mode_))) {
        return mode_ != 0;
    }
    const u64 counted = static_cast<u64>(signed_elapsed);
    switch (mode_) {
    case 0:
    case 1: return counted >= period_;
    case 2: return counted % period_ != period_ - 1;
    case 3: return counted % period_ < (period_ + 1) / 2;
    default: return counted != period_;
    }
}

u64 PitChannel::next_rise(u64 tick) {
    settle(tick);
    if (phase_ != Phase::Running) {
        return kNoTick;
    }
    if (!is_periodic(mode_)) {
        const u64 rise = start_ + period_ + (mode_ >= 4 ? 1 : 0);
        return rise > tick ? rise : kNoTick;
    }
    u64 base = start_;
    u64 period = period_;
    u64 not_before = start_ + period_;
    if (has_next_) {
        if ((switch_tick_ - start_) % period_ == 0) {
            return switch_tick_;  // the current low time still ends there
        }
        period = next_period_;
        base = switch_tick_ - (period + 1) / 2;
        not_before = base + period;
    }
    if (period < 2) {
        return kNoTick;  // "A COUNT of 1 is illegal": OUT never moves
    }
    if (tick < not_before) {
        return not_before;
    }
    return base + ((tick - base) / period + 1) * period;
}

u16 PitChannel::count(u64 tick) {
    settle(tick);
    const i64 signed_elapsed = elapsed(tick);
    if (phase_ == Phase::Idle || phase_ == Phase::Waiting || signed_elapsed < 0) {
        return idle_count_;
    }
    const u64 counted = static_cast<u64>(signed_elapsed);
    u64 value = 0;
    if (mode_ == 2) {
        value = period_ - counted % period_;
    } else if (mode_ == 3) {
        // Counts down by two, from the even part of the count, in each half.
        const u64 high_ticks = (period_ + 1) / 2;
        const u64 position = counted % period_;
        value =
            (period_ & ~u64{1}) - 2 * (position < high_ticks ? position : position - high_ticks);
    } else {
        value = period_ + modulus() - counted % modulus();
    }
    value %= modulus();
    return bcd_ ? to_bcd(value) : static_cast<u16>(value);
}

bool PitChannel::null_count(u64 tick) const {
    return phase_ == Phase::Idle || phase_ == Phase::Waiting || has_next_ || elapsed(tick) < 0;
}

void PitChannel::latch_count(u64 tick) {
    if (!count_latched_) {
        latched_count_ = count(tick);
        count_latched_ = true;
        read_high_next_ = false;
    }
}

void PitChannel::latch_status(u64 tick) {
    if (!status_latched_) {
        const bool level = out(tick);
        latched_status_ = static_cast<u8>((level ? 0x80 : 0) | (null_count(tick) ? 0x40 : 0) |
                                          access_ << 4 | mode_ << 1 | (bcd_ ? 1 : 0));
        status_latched_ = true;
    }
}

u8 PitChannel::read(u64 tick) {
    if (status_latched_) {
        status_latched_ = false;
        return latched_status_;
    }
    const u16 value = count_latched_ ? latched_count_ : count(tick);
    if (access_ == 3) {
        read_high_next_ = !read_high_next_;
        if (read_high_next_) {
            return static_cast<u8>(value);
        }
    }
    count_latched_ = false;
    return static_cast<u8>(access_ == 1 ? value : value >> 8);
}

void PitChannel::state(StateArchive& archive) {
    archive("mode", mode_);
    archive("access", access_);
    archive("bcd", bcd_);
    archive("gate", gate_);
    archive("phase", phase_);
    archive("start", start_);
    archive("elapsed", elapsed_);
    archive("period", period_);
    archive("next_period", next_period_);
    archive("has_next", has_next_);
    archive("switch_tick", switch_tick_);
    archive("idle_count", idle_count_);
    archive("write_high_next", write_high_next_);
    archive("read_high_next", read_high_next_);
    archive("low_byte", low_byte_);
    archive("count_latched", count_latched_);
    archive("status_latched", status_latched_);
    archive("latched_count", latched_count_);
    archive("latched_status", latched_status_);
}

}  // namespace droste
