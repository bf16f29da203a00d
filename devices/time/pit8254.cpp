#include "devices/time/pit8254.hpp"

#include "devices/state_archive.hpp"

namespace droste {

namespace {

constexpr u64 kNsPerSecond = 1'000'000'000;

// Read-back command bits; both latch bits are active low.
constexpr u8 kNoLatchCount = 1U << 5;
constexpr u8 kNoLatchStatus = 1U << 4;

}  // namespace

Pit8254::Pit8254(EventQueue& events, IrqLine& irq0)
    : events_(events)
    , irq0_(irq0)
    , next_edge_(events,
                 [this](u64 /*deadline_ns*/) {
                     rise();
                     schedule();
                 })
    , channels_{PitChannel{true}, PitChannel{true}, PitChannel{false}} {}

void Pit8254::reset() {
    channels_ = {PitChannel{true}, PitChannel{true}, PitChannel{false}};
    next_edge_.disarm();
    irq0_.set_level(false);
}

u64 Pit8254::tick() const {
    return static_cast<u64>(u128{events_.now_ns()} * kHz / kNsPerSecond);
}

IoStatus Pit8254::pio_read(u16 port, std::span<u8> data) {
    if (data.size() != 1) {
        return IoStatus::BadSize;
    }
    const unsigned index = port & 3U;
    data[0] = index == 3 ? 0xFF : channels_[index].read(tick());
    return IoStatus::Done;
}

IoStatus Pit8254::pio_write(u16 port, std::span<const u8> data) {
    if (data.size() != 1) {
        return IoStatus::BadSize;
    }
    catch_up();
    const unsigned index = port & 3U;
    if (index == 3) {
        write_control(data[0]);
    } else {
        channels_[index].write(data[0], tick());
    }
    schedule();
    return IoStatus::Done;
}

void Pit8254::write_control(u8 value) {
    const u64 now = tick();
    const unsigned select = value >> 6;
    if (select == 3) {
        for (unsigned i = 0; i < 3; ++i) {
            if ((value & (2U << i)) == 0) {
                continue;
            }
            if ((value & kNoLatchCount) == 0) {
                channels_[i].latch_count(now);
            }
            if ((value & kNoLatchStatus) == 0) {
                channels_[i].latch_status(now);
            }
        }
    } else if ((value & 0x30) == 0) {
        channels_[select].latch_count(now);
    } else {
        channels_[select].write_control(value, now);
    }
}

void Pit8254::set_gate(unsigned channel, bool level) {
    catch_up();
    channels_[channel].set_gate(level, tick());
    schedule();
}

void Pit8254::catch_up() {
    if (next_edge_.deadline_ns() <= events_.now_ns()) {
        next_edge_.disarm();
        rise();
    }
}

// The low time before an edge may be a single tick; it is driven together with the edge.
void Pit8254::rise() {
    irq0_.set_level(false);
    irq0_.set_level(true);
}

void Pit8254::schedule() {
    const u64 now = tick();
    const u64 rise_tick = channels_[0].next_rise(now);
    irq0_.set_level(channels_[0].out(now));
    if (rise_tick == PitChannel::kNoTick) {
        next_edge_.disarm();
        return;
    }
    next_edge_.arm(deadline_of_tick(rise_tick, kHz));
}

void Pit8254::state(StateArchive& archive) {
    archive("channels", channels_);
    archive("next_edge", next_edge_);
}

}  // namespace droste
