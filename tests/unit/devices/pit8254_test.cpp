// The 8254: six modes, latches, BCD, the gate, the edges of channel 0; port 61h.

#include "devices/system/port61.hpp"
#include "devices/time/pit8254.hpp"
#include "tests/unit/devices/device_test_support.hpp"

#include <catch2/catch.hpp>

using namespace droste;
using namespace droste::test;

namespace {

constexpr u64 ns_of(u64 ticks) {
    return (ticks * 1'000'000'000 + Pit8254::kHz - 1) / Pit8254::kHz;
}

struct Pit {
    FakeTime time;
    RecordingLine irq0;
    Pit8254 pit{time.events(), irq0};
    Port61 port61{time.events(), pit};

    void program(unsigned channel, unsigned mode, unsigned count, bool bcd = false) {
        out8(pit, 0x43, channel << 6 | 0x30 | mode << 1 | (bcd ? 1 : 0));
        out8(pit, static_cast<u16>(0x40 + channel), count & 0xFF);
        out8(pit, static_cast<u16>(0x40 + channel), count >> 8);
    }
    unsigned count(unsigned channel) {
        out8(pit, 0x43, channel << 6);
        const unsigned low = in8(pit, static_cast<u16>(0x40 + channel));
        return low | unsigned{in8(pit, static_cast<u16>(0x40 + channel))} << 8;
    }
    void run_to_tick(u64 tick) { time.advance(ns_of(tick) - time.now_ns()); }
};

void load(PitChannel& channel, unsigned mode, unsigned count, u64 tick) {
    channel.write_control(static_cast<u8>(0x30 | mode << 1), tick);
    channel.write(static_cast<u8>(count), tick);
    channel.write(static_cast<u8>(count >> 8), tick);
}

u16 latched(PitChannel& channel, u64 tick) {
    channel.latch_count(tick);
    const u8 low = channel.read(tick);
    return static_cast<u16>(low | channel.read(tick) << 8);
}

// OUT from `first` on, one character a tick.
std::string waveform(PitChannel& channel, u64 first, u64 ticks) {
    std::string wave;
    for (u64 tick = first; tick < first + ticks; ++tick) {
        wave += channel.out(tick) ? '-' : '_';
    }
    return wave;
}

}  // namespace

// The waveforms are those of the data sheet's figures 16 to 21; the write happens at tick 0.

TEST_CASE("8254 mode 0: OUT rises N+1 clocks after the count is written", "[devices][pit8254]") {
    PitChannel channel(true);
    load(channel, 0, 4, 0);
    CHECK(waveform(channel, 0, 8) == "_____---");
    CHECK(channel.next_rise(0) == 5);
    CHECK(channel.next_rise(5) == PitChannel::kNoTick);
}

TEST_CASE("8254 mode 0: the count goes on below zero", "[devices][pit8254]") {
    PitChannel channel(true);
    load(channel, 0, 4, 0);
    CHECK(latched(channel, 1) == 4);
    CHECK(latched(channel, 5) == 0);
    CHECK(latched(channel, 6) == 0xFFFF);
}

TEST_CASE("8254 mode 0: the first byte of a new count stops counting and lowers OUT",
          "[devices][pit8254]") {
    PitChannel channel(true);
    load(channel, 0, 4, 0);
    CHECK(channel.out(10));
    channel.write(3, 10);
    CHECK_FALSE(channel.out(10));
    CHECK_FALSE(channel.out(100));
    channel.write(0, 100);
    CHECK(channel.next_rise(100) == 104);
}

TEST_CASE("8254 mode 0: a low gate suspends the count", "[devices][pit8254]") {
    PitChannel channel(true);
    load(channel, 0, 10, 0);
    channel.set_gate(false, 4);
    CHECK(latched(channel, 4) == 7);
    CHECK(latched(channel, 50) == 7);
    CHECK(channel.next_rise(50) == PitChannel::kNoTick);
    channel.set_gate(true, 50);
    CHECK(channel.next_rise(50) == 58);
}

TEST_CASE("8254 mode 1: the gate's rising edge makes a low pulse of N clocks, again and again",
          "[devices][pit8254]") {
    PitChannel channel(false);
    load(channel, 1, 3, 0);
    CHECK(waveform(channel, 0, 3) == "---");
    channel.set_gate(true, 3);
    CHECK(waveform(channel, 3, 6) == "-___--");
    channel.set_gate(false, 10);
    channel.set_gate(true, 11);
    CHECK(waveform(channel, 11, 3) == "-__");
    channel.set_gate(false, 13);
    channel.set_gate(true, 13);  // retriggered inside the pulse
    CHECK(waveform(channel, 14, 4) == "___-");
}

TEST_CASE("8254 mode 2: OUT is low for the last clock of each period", "[devices][pit8254]") {
    PitChannel channel(true);
    load(channel, 2, 4, 0);
    CHECK(waveform(channel, 0, 13) == "----_---_---_");
    CHECK(latched(channel, 1) == 4);
    CHECK(latched(channel, 4) == 1);
    CHECK(latched(channel, 5) == 4);
}

TEST_CASE("8254 mode 2: a new count waits for the end of the period", "[devices][pit8254]") {
    PitChannel channel(true);
    load(channel, 2, 4, 0);
    channel.write(3, 2);
    channel.write(0, 2);
    CHECK(waveform(channel, 2, 9) == "--_--_--_");
}

TEST_CASE("8254 mode 2: a low gate holds OUT high and its edge reloads", "[devices][pit8254]") {
    PitChannel channel(true);
    load(channel, 2, 3, 0);
    channel.set_gate(false, 3);
    CHECK(waveform(channel, 3, 5) == "-----");
    channel.set_gate(true, 8);
    CHECK(waveform(channel, 8, 7) == "---_--_");
}

TEST_CASE("8254 mode 3: a square wave, with the longer half high for odd counts",
          "[devices][pit8254]") {
    PitChannel channel(true);
    load(channel, 3, 4, 0);
    CHECK(waveform(channel, 1, 8) == "--__--__");
    CHECK(latched(channel, 1) == 4);
    CHECK(latched(channel, 2) == 2);
    CHECK(latched(channel, 3) == 4);
    load(channel, 3, 5, 20);
    CHECK(waveform(channel, 21, 10) == "---__---__");
    CHECK(latched(channel, 21) == 4);
    CHECK(latched(channel, 23) == 0);
    CHECK(latched(channel, 24) == 4);
    CHECK(latched(channel, 25) == 2);
}

TEST_CASE("8254 mode 3: a new count takes over after the half cycle", "[devices][pit8254]") {
    PitChannel channel(true);
    load(channel, 3, 8, 0);
    channel.write(4, 2);  // in the high half, which ends at tick 5
    channel.write(0, 2);
    CHECK(waveform(channel, 1, 12) == "----__--__--");
}

TEST_CASE("8254 mode 4: one low clock when the count expires", "[devices][pit8254]") {
    PitChannel channel(true);
    load(channel, 4, 3, 0);
    CHECK(waveform(channel, 0, 7) == "----_--");
    CHECK(channel.next_rise(0) == 5);
}

TEST_CASE("8254 mode 5: the strobe follows the gate's edge", "[devices][pit8254]") {
    PitChannel channel(false);
    load(channel, 5, 3, 0);
    CHECK(waveform(channel, 0, 6) == "------");
    channel.set_gate(true, 6);
    CHECK(waveform(channel, 6, 7) == "----_--");
}

TEST_CASE("8254: BCD counts down in decimal, and 0 means 10000", "[devices][pit8254]") {
    Pit pc;
    pc.program(2, 0, 0x0100, true);
    out8(pc.port61, 0x61, 1);
    pc.run_to_tick(2);
    CHECK(pc.count(2) == 0x0099);
    PitChannel channel(true);
    channel.write_control(0x31, 0);
    channel.write(0, 0);
    channel.write(0, 0);
    CHECK(channel.next_rise(0) == 10'001);
}

TEST_CASE("8254: a count of 0 means 65536", "[devices][pit8254]") {
    PitChannel channel(true);
    load(channel, 0, 0, 0);
    CHECK(channel.next_rise(0) == 65'537);
}

TEST_CASE("8254: a latched count stands until read, in the programmed byte order",
          "[devices][pit8254]") {
    Pit pc;
    pc.program(0, 2, 0x1234);
    pc.run_to_tick(5);
    out8(pc.pit, 0x43, 0x00);
    pc.run_to_tick(500);
    out8(pc.pit, 0x43, 0x00);  // ignored: the first latch was not read
    CHECK(in8(pc.pit, 0x40) == 0x30);
    CHECK(in8(pc.pit, 0x40) == 0x12);
    CHECK(in8(pc.pit, 0x40) == static_cast<u8>(0x1235 - 500));
}

TEST_CASE("8254: read-back gives status, with null count until the count is loaded",
          "[devices][pit8254]") {
    Pit pc;
    out8(pc.pit, 0x43, 0x34);
    out8(pc.pit, 0x43, 0xE2);
    CHECK(in8(pc.pit, 0x40) == 0xF4);
    out8(pc.pit, 0x40, 0x10);
    out8(pc.pit, 0x40, 0x00);
    pc.run_to_tick(3);
    out8(pc.pit, 0x43, 0xC2);  // status and count together: status is read first
    CHECK(in8(pc.pit, 0x40) == 0xB4);
    CHECK(in8(pc.pit, 0x40) == 0x0E);
    CHECK(in8(pc.pit, 0x40) == 0x00);
}

TEST_CASE("8254: read-back latches what its bits ask for, and nothing else", "[devices][pit8254]") {
    Pit pc;
    pc.program(0, 2, 0x1234);
    pc.run_to_tick(5);
    out8(pc.pit, 0x43, 0xD2);  // count of channel 0
    CHECK(in8(pc.pit, 0x40) == 0x30);
    CHECK(in8(pc.pit, 0x40) == 0x12);
    out8(pc.pit, 0x43, 0xE2);  // status of channel 0
    CHECK(in8(pc.pit, 0x40) == 0xB4);
    pc.run_to_tick(6);
    CHECK(in8(pc.pit, 0x40) == 0x2F);  // the count as it is now
}

TEST_CASE("8254 channel 0: 100 Hz gives exactly the edges of its rate over ten seconds",
          "[devices][pit8254]") {
    Pit pc;
    pc.program(0, 2, 11932);
    const unsigned before = pc.irq0.rises;
    pc.run_to_tick(Pit8254::kHz * 10 + 2);
    CHECK(pc.irq0.rises - before == Pit8254::kHz * 10 / 11932);
}

TEST_CASE("8254 channel 0: edges that a leap passes over are one edge, and the grid holds",
          "[devices][pit8254]") {
    Pit pc;
    pc.program(0, 2, 1000);
    const unsigned before = pc.irq0.rises;
    pc.time.leap(ns_of(5500));
    CHECK(pc.irq0.rises == before + 1);
    CHECK(pc.time.events().next_deadline_ns() == ns_of(6001));
}

TEST_CASE("8254 channel 0: an edge that is due is not lost to a write that comes first",
          "[devices][pit8254]") {
    FakeTime time;
    RecordingLine irq0;
    Pit8254 pit(time.events(), irq0);
    out8(pit, 0x43, 0x30);
    out8(pit, 0x40, 10);
    out8(pit, 0x40, 0);
    Clock& clock = time.events().clock();
    clock.advance_to(ns_of(50));  // the queue has not run yet
    out8(pit, 0x43, 0x30);
    CHECK(irq0.rises == 1);
    CHECK_FALSE(irq0.level);
}

TEST_CASE("port 61h: gates channel 2 and shows its OUT", "[devices][port61]") {
    Pit pc;
    CHECK((in8(pc.port61, 0x61) & 0x01) == 0);
    pc.program(2, 0, 100);
    pc.run_to_tick(1000);
    CHECK((in8(pc.port61, 0x61) & 0x20) == 0);
    out8(pc.port61, 0x61, 0x01);
    pc.run_to_tick(1100);
    CHECK((in8(pc.port61, 0x61) & 0x21) == 0x01);
    pc.run_to_tick(1103);
    CHECK((in8(pc.port61, 0x61) & 0x21) == 0x21);
}

TEST_CASE("port 61h: the refresh bit toggles every 15 microseconds", "[devices][port61]") {
    Pit pc;
    unsigned toggles = 0;
    u8 last = in8(pc.port61, 0x61) & 0x10;
    for (int i = 0; i < 1000; ++i) {
        pc.time.advance(1'000);
        const u8 bit = in8(pc.port61, 0x61) & 0x10;
        toggles += bit != last ? 1 : 0;
        last = bit;
    }
    CHECK(toggles == 66);
}

TEST_CASE("8254: next_rise is the next tick at which OUT is seen to rise, whatever was programmed",
          "[devices][pit8254]") {
    std::mt19937 random(kStormSeed);
    PitChannel channel(true);
    channel.write_control(0x10, 0);  // low byte only: short counts
    u64 tick = 0;
    for (int step = 0; step < 3000; ++step) {
        CAPTURE(step, tick);
        switch (random() % 4) {
        case 0: channel.set_gate(random() % 4 != 0, tick); break;
        case 1: channel.write_control(static_cast<u8>(0x10 | (random() % 6) << 1), tick); break;
        default: channel.write(static_cast<u8>(2 + random() % 12), tick); break;
        }
        PitChannel scan = channel;
        const u64 predicted = channel.next_rise(tick);
        u64 seen = PitChannel::kNoTick;
        bool level = scan.out(tick);
        for (u64 t = tick + 1; t < tick + 600 && seen == PitChannel::kNoTick; ++t) {
            const bool next = scan.out(t);
            seen = next && !level ? t : seen;
            level = next;
        }
        REQUIRE(predicted == seen);
        tick += random() % 10;
    }
}

TEST_CASE("8254 and port 61h: survive any access sequence and still work after reset",
          "[devices][pit8254][storm]") {
    Pit pc;
    port_storm(pc.pit, pc.time, [&](u32 random) { out8(pc.port61, 0x61, random); });
    pc.pit.reset();
    pc.port61.reset();
    CHECK(pc.time.events().next_deadline_ns() == kNever);
    pc.program(0, 2, 1000);
    const unsigned before = pc.irq0.rises;
    pc.time.advance(ns_of(1002));
    CHECK(pc.irq0.rises == before + 1);
}
