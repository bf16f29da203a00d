// Each device lists its fields once (Device::state). Whether the list is whole shows in three ways,
// over all devices of a board at once: after a reset every field is what it was at power-on, a copy
// made by saving and loading answers every access as the original does, and what was overwritten
// with noise is back after loading.

#include "cpu/x86/apic/apic_bus_x86.hpp"
#include "cpu/x86/apic/local_apic.hpp"
#include "cpu/x86/interp/engine.hpp"
#include "cpu/x86/model/cpu_models.hpp"
#include "devices/char/debug_console_e9.hpp"
#include "frontends/machine/bios_shadow.hpp"
#include "frontends/machine/device_registry.hpp"
#include "frontends/machine/pc_chips.hpp"

#include <catch2/catch.hpp>

#include <algorithm>
#include <array>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <vector>

namespace droste {
namespace {

class Silent final : public CharBackend {
  public:
    void write(std::span<const u8> /*bytes*/) override {}
    void set_receiver(CharReceiver* receiver) override { receiver_ = receiver; }
    // As much as the port takes.
    void type(u8 byte) {
        if (receiver_ != nullptr && receiver_->receive_room() != 0) {
            receiver_->receive({&byte, 1});
        }
    }

  private:
    CharReceiver* receiver_ = nullptr;
};

constexpr u64 kRam = u64{4} << 20;

// A board with every device there is, on a bus, with time that moves when told.
struct TestBoard {
    Log log;
    RunControl control;
    Clock clock{Clock::Mode::Counting};
    EventQueue events{clock};
    std::unique_ptr<GuestMemory> memory = std::move(GuestMemory::create(kRam)).value();
    Bus bus{log};
    LocalApicBus apics{log};
    std::vector<std::unique_ptr<Vcpu>> vcpus;
    std::vector<u8> rom;
    std::unique_ptr<BiosShadow> shadow;
    std::array<Silent, kMaxSerialPorts> serial;
    Silent console;
    std::unique_ptr<PcChips> chips;

    TestBoard() {
        MachineConfig config;
        config.ram_bytes = kRam;
        config.cpu = parse_cpu_model(kDefaultCpuModel).value();
        for (std::size_t i = 0; i < serial.size(); ++i) {
            config.serial[i] = &serial[i];
        }
        config.devices = {debug_exit_request(0x501, 2), debug_console_request(0x402, console),
                          test_device_request()};
        vcpus.push_back(
            std::make_unique<Vcpu>(0, Vcpu::Wiring{*memory, bus, clock, events, log}, config.cpu));
        REQUIRE(own_code(*vcpus.front()));
        apics.attach(*vcpus.front()->apic);
        clock.set_counter(&vcpus.front()->icount);
        shadow = std::make_unique<BiosShadow>(*memory, rom);
        const PcChips::Board board = {log, events, *memory, bus, apics, vcpus, *shadow, control};
        chips = std::make_unique<PcChips>(config, board);
        REQUIRE(chips->attach());
    }
    ~TestBoard() { clock.set_counter(nullptr); }
    TestBoard(const TestBoard&) = delete;
    TestBoard& operator=(const TestBoard&) = delete;

    DeviceRegistry& devices() { return chips->devices(); }
    void advance_to(u64 target_ns) {
        while (events.next_deadline_ns() <= target_ns) {
            clock.advance_to(events.next_deadline_ns());
            events.run_due();
        }
        clock.advance_to(target_ns);
    }
};

struct Access {
    bool memory, write;
    PhysAddr address;
    unsigned size;
    u64 value;
    u64 pass_ns;
    std::optional<u8> typed;
};

// Accesses to all ranges of all devices, half of them in PCI configuration cycles' two steps.
std::vector<Access> storm(const DeviceRegistry& devices, u32 seed, unsigned count) {
    std::vector<Access> ports;
    std::vector<Access> memory;
    for (const DeviceRegistry::Entry& entry : devices.entries()) {
        if (entry.ports != nullptr) {
            for (const PortRange& range : entry.ports->pio_ranges()) {
                ports.push_back({false, false, range.first, range.count, 0, 0, {}});
            }
        }
        if (entry.memory != nullptr) {
            for (const MmioRange& range : entry.memory->mmio_ranges()) {
                const u64 bytes = std::min<u64>(range.count, 0x180);
                memory.push_back(
                    {true, false, range.first, static_cast<unsigned>(bytes), 0, 0, {}});
            }
        }
    }
    std::mt19937 random(seed);
    std::vector<Access> accesses;
    while (accesses.size() < count) {
        const bool mmio = random() % 4 == 0;
        const std::vector<Access>& ranges = mmio ? memory : ports;
        Access access = ranges[random() % ranges.size()];
        access.address += random() % access.size;
        access.size = 1U << (random() % 3);
        access.write = random() % 3 != 0;
        access.value = random();
        access.pass_ns = random() % 8 == 0 ? random() % 3'000'000 : 0;
        if (random() % 16 == 0) {
            access.typed = static_cast<u8>(random());
        }
        accesses.push_back(access);
        if (random() % 8 == 0) {
            // A register of one of the functions that exist: 00.0, 01.0, 01.3.
            constexpr std::array<u32, 3> kFunctions = {0, 1U << 11, 1U << 11 | 3U << 8};
            const u32 address = 1U << 31 | kFunctions[random() % 3] | (random() & 0xFC);
            accesses.push_back({false, true, 0xCF8, 4, address, 0, {}});
            accesses.push_back({false, random() % 2 == 0, 0xCFC, 4, random(), 0, {}});
        }
    }
    return accesses;
}

// What the guest sees of the accesses: the values read, and the vectors the 8259s deliver.
std::vector<u64> carry_out(TestBoard& board, const std::vector<Access>& accesses) {
    std::vector<u64> seen;
    for (const Access& access : accesses) {
        board.advance_to(board.clock.now_ns() + access.pass_ns);
        if (access.typed) {
            for (Silent& port : board.serial) {
                port.type(*access.typed);
            }
        }
        const auto port = static_cast<u16>(access.address);
        if (access.memory && access.write) {
            board.bus.mmio_write(access.address, access.size, access.value);
        } else if (access.memory) {
            seen.push_back(board.bus.mmio_read(access.address, access.size));
        } else if (access.write) {
            board.bus.pio_write(port, access.size, static_cast<u32>(access.value));
        } else {
            seen.push_back(board.bus.pio_read(port, access.size));
        }
    }
    return seen;
}

// The fields in which two states differ, by name; those that a reset leaves are left out.
std::string differences(const SavedDevices& a, const SavedDevices& b, bool with_over_reset) {
    std::string text;
    for (const auto& [id, fields] : a) {
        const SavedState& others = b.at(id);
        REQUIRE(fields.size() == others.size());
        for (std::size_t i = 0; i < fields.size(); ++i) {
            if (fields[i].bytes != others[i].bytes && (with_over_reset || !fields[i].over_reset)) {
                text += id + "." + fields[i].path + " ";
            }
        }
    }
    return text;
}

constexpr unsigned kAccesses = 20'000;

TEST_CASE("Device state: after a reset every field is what it was at power-on", "[state]") {
    TestBoard board;
    const SavedDevices power_on = board.devices().save();
    board.devices().reset();
    CHECK(differences(power_on, board.devices().save(), false) == "");
    for (u32 seed = 1; seed <= 5; ++seed) {
        carry_out(board, storm(board.devices(), seed, kAccesses));
        CHECK(differences(power_on, board.devices().save(), false) != "");
        board.devices().reset();
        CHECK(differences(power_on, board.devices().save(), false) == "");
    }
}

TEST_CASE("Device state: a loaded copy answers every access as the original does", "[state]") {
    for (u32 seed = 1; seed <= 5; ++seed) {
        CAPTURE(seed);
        TestBoard original;
        TestBoard copy;
        carry_out(original, storm(original.devices(), seed, kAccesses));
        std::vector<u8> ram(0xA'0000);
        REQUIRE(original.memory->read(0, ram));
        REQUIRE(copy.memory->write(0, ram));
        ram.resize(kRam - 0x10'0000);
        REQUIRE(original.memory->read(0x10'0000, ram));
        REQUIRE(copy.memory->write(0x10'0000, ram));
        copy.clock.advance_to(original.clock.now_ns());
        const auto loaded = copy.devices().load(original.devices().save());
        INFO((loaded ? "" : loaded.error().message));
        REQUIRE(loaded);
        CHECK(differences(original.devices().save(), copy.devices().save(), true) == "");
        const auto accesses = storm(original.devices(), seed + 100, kAccesses);
        CHECK(carry_out(original, accesses) == carry_out(copy, accesses));
        CHECK(differences(original.devices().save(), copy.devices().save(), true) == "");
    }
}

// Sets every field to noise.
class Scribbler final : public StateArchive {
  protected:
    void number(const std::string& /*path*/, u64& value, unsigned bits) override {
        // Below the end of time, where all deadlines of timers are one.
        const u64 mask = (u64{1} << std::min(bits, 60U)) - 1;
        value = (value ^ (u64{random_()} << 32 | random_() | 1)) & mask;
    }
    void bytes(const std::string& /*path*/, std::span<u8> contents) override {
        for (u8& byte : contents) {
            byte = static_cast<u8>(byte ^ (random_() | 1));
        }
    }

  private:
    std::mt19937 random_{8042};
};

TEST_CASE("Device state: what was overwritten with noise is back after loading", "[state]") {
    TestBoard board;
    carry_out(board, storm(board.devices(), 7, kAccesses));
    const SavedDevices saved = board.devices().save();
    std::size_t fields = 0;
    Scribbler noise;
    for (const DeviceRegistry::Entry& entry : board.devices().entries()) {
        entry.device->state(noise);
        fields += saved.at(entry.id).size();
    }
    const std::string changed = differences(saved, board.devices().save(), true);
    CHECK(static_cast<std::size_t>(std::count(changed.begin(), changed.end(), ' ')) == fields);
    REQUIRE(board.devices().load(saved));
    CHECK(differences(saved, board.devices().save(), true) == "");
}

TEST_CASE("Device state: a state of another machine is refused by the name of what does not fit",
          "[state]") {
    TestBoard board;
    const SavedDevices good = board.devices().save();
    const auto failure = [&](const SavedDevices& saved) {
        const auto loaded = board.devices().load(saved);
        return loaded ? std::string() : loaded.error().message;
    };
    using Catch::Contains;
    CHECK(failure(good).empty());
    SavedDevices saved = good;
    saved.erase("com1");
    CHECK_THAT(failure(saved), Contains("no device 'com1'"));
    saved = good;
    saved["com5"] = {};
    CHECK_THAT(failure(saved), Contains("'com5'"));
    saved = good;
    saved["com1"].pop_back();
    CHECK_THAT(failure(saved), Contains("com1") && Contains("no field 'timeout'"));
    saved = good;
    saved["com1"].push_back({"colour", {1}});
    CHECK_THAT(failure(saved), Contains("'colour' that is unknown"));
    saved = good;
    saved["rtc"].back().bytes.pop_back();
    CHECK_THAT(failure(saved), Contains("no field 'ram' of this size"));
}

TEST_CASE("Device registry: ids are unique, and the monitor can name each device", "[state]") {
    TestBoard board;
    DeviceRegistry& devices = board.devices();
    CHECK_THAT(devices.describe(), Catch::Contains("com1") && Catch::Contains("16550A") &&
                                       Catch::Contains("0x03f8..0x03ff") &&
                                       Catch::Contains("0xfec00000"));
    CHECK_THAT(devices.describe("com1"), Catch::Contains("lcr") && Catch::Contains("0x00"));
    CHECK_THAT(devices.describe("pit"), Catch::Contains("channels[2].gate"));
    CHECK_THAT(devices.describe("com9"), Catch::Contains("no device 'com9'"));
    Silent silent;
    devices.add<DebugConsoleE9>("com1", silent, u16{0x777});
    CHECK(devices.find("com1.2") != nullptr);
}

}  // namespace
}  // namespace droste
