#pragma once
// What the device tests share: wires that remember, a clock that stands until moved, a byte sink,
// and the random-access storm that every chip has to survive.

#include "core/bus.hpp"
#include "core/char_backend.hpp"
#include "core/clock.hpp"
#include "core/event_queue.hpp"
#include "core/irq_line.hpp"
#include "devices/little_endian.hpp"

#include <array>
#include <random>
#include <string>
#include <vector>

namespace droste::test {

// Remembers the level and counts rising edges.
class RecordingLine final : public IrqLine {
  public:
    void set_level(bool asserted) override {
        rises += asserted && !level ? 1U : 0U;
        level = asserted;
    }

    bool level = false;
    unsigned rises = 0;
};

// Virtual time that moves only when told.
class FakeTime {
  public:
    EventQueue& events() { return events_; }
    u64 now_ns() const { return clock_.now_ns(); }
    // Stops at each deadline on the way, as the machine's idle loop does.
    void advance(u64 ns) {
        const u64 target = clock_.now_ns() + ns;
        while (events_.next_deadline_ns() <= target) {
            clock_.advance_to(events_.next_deadline_ns());
            events_.run_due();
        }
        clock_.advance_to(target);
    }
    // Jumps over deadlines in one go, as a machine does that was stopped for a while.
    void leap(u64 ns) {
        clock_.advance_to(clock_.now_ns() + ns);
        events_.run_due();
    }

  private:
    Clock clock_{Clock::Mode::Counting};
    EventQueue events_{clock_};
};

class RecordingBackend final : public CharBackend {
  public:
    void write(std::span<const u8> bytes) override {
        for (const u8 byte : bytes) {
            text.push_back(static_cast<char>(byte));
        }
    }
    void set_receiver(CharReceiver* new_receiver) override { receiver = new_receiver; }
    void receiver_ready() override { ++ready_calls; }
    void type(std::string_view line) {
        for (const char c : line) {
            const u8 byte = static_cast<u8>(c);
            receiver->receive({&byte, 1});
        }
    }

    std::string text;
    CharReceiver* receiver = nullptr;
    unsigned ready_calls = 0;
};

inline void out8(PioDevice& device, u16 port, unsigned value) {
    const u8 byte = static_cast<u8>(value);
    static_cast<void>(device.pio_write(port, {&byte, 1}));
}

inline u8 in8(PioDevice& device, u16 port) {
    u8 byte = 0xFF;
    static_cast<void>(device.pio_read(port, {&byte, 1}));
    return byte;
}

template <typename T>
void out(PioDevice& device, u16 port, T value) {
    std::array<u8, sizeof(T)> data{};
    store_le(data, value);
    static_cast<void>(device.pio_write(port, data));
}

template <typename T>
T in(PioDevice& device, u16 port) {
    std::array<u8, sizeof(T)> data{};
    data.fill(0xFF);
    static_cast<void>(device.pio_read(port, data));
    return static_cast<T>(load_le(data));
}

template <typename T>
void store(MmioDevice& device, PhysAddr address, T value) {
    std::array<u8, sizeof(T)> data{};
    store_le(data, value);
    static_cast<void>(device.mmio_write(address, data));
}

template <typename T>
T load(MmioDevice& device, PhysAddr address) {
    std::array<u8, sizeof(T)> data{};
    data.fill(0xFF);
    static_cast<void>(device.mmio_read(address, data));
    return static_cast<T>(load_le(data));
}

inline constexpr unsigned kStormAccesses = 100'000;
inline constexpr u32 kStormSeed = 8254;

// 100,000 accesses of random port, width, direction and value, with time passing now and then.
// `between` runs after each access with a random number, for inputs that are not ports.
template <typename Between>
void port_storm(PioDevice& device, FakeTime& time, Between between) {
    std::mt19937 random(kStormSeed);
    const auto ranges = device.pio_ranges();
    constexpr std::array<std::size_t, 4> kSizes = {1, 1, 2, 4};
    for (unsigned i = 0; i < kStormAccesses; ++i) {
        const PortRange& range = ranges[random() % ranges.size()];
        const auto port = static_cast<u16>(range.first + random() % range.count);
        std::array<u8, 4> bytes{};
        store_le(bytes, random());
        const auto data = std::span(bytes).first(kSizes[random() % kSizes.size()]);
        if (random() % 3 == 0) {
            static_cast<void>(device.pio_read(port, data));
        } else {
            static_cast<void>(device.pio_write(port, data));
        }
        if (random() % 16 == 0) {
            time.leap(random() % 50'000);
        }
        between(static_cast<u32>(random()));
    }
}

inline void port_storm(PioDevice& device, FakeTime& time) {
    port_storm(device, time, [](u32) {});
}

template <typename Between>
void mmio_storm(MmioDevice& device, FakeTime& time, Between between) {
    std::mt19937 random(kStormSeed);
    const auto ranges = device.mmio_ranges();
    for (unsigned i = 0; i < kStormAccesses; ++i) {
        const MmioRange& range = ranges[random() % ranges.size()];
        // Half of the accesses near the start, where the registers are.
        const u64 span = random() % 2 == 0 ? range.count : std::min<u64>(range.count, 0x180);
        const PhysAddr address = range.first + random() % span;
        std::array<u8, 8> bytes{};
        store_le(bytes, u64{random()} << 32 | random());
        const auto data = std::span(bytes).first(1 + random() % 8);
        if (random() % 3 == 0) {
            static_cast<void>(device.mmio_read(address, data));
        } else {
            static_cast<void>(device.mmio_write(address, data));
        }
        if (random() % 16 == 0) {
            time.leap(random() % 50'000);
        }
        between(static_cast<u32>(random()));
    }
}

}  // namespace droste::test
