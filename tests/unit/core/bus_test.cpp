// Finding devices, and splitting an access whose width a device does not decode into halves at
// consecutive addresses.

#include "core/bus.hpp"

#include <catch2/catch.hpp>

#include <array>
#include <string>
#include <vector>

using namespace droste;

namespace {

struct Seen {
    u64 address;
    std::size_t bytes;
    u64 value;
    bool operator==(const Seen&) const = default;
};

// Answers one width at most; each byte reads as the low byte of its address.
class Chip final : public PioDevice, public MmioDevice {
  public:
    Chip(std::string name, u64 first, u16 count, std::size_t widest)
        : name_(std::move(name))
        , widest_(widest)
        , ports_{PortRange{static_cast<u16>(first), count}}
        , memory_{MmioRange{first, count}} {}

    std::string_view name() const override { return name_; }
    std::span<const PortRange> pio_ranges() const override { return ports_; }
    std::span<const MmioRange> mmio_ranges() const override { return memory_; }
    IoStatus pio_read(u16 port, std::span<u8> data) override { return answer(port, data); }
    IoStatus mmio_read(PhysAddr address, std::span<u8> data) override {
        return answer(address, data);
    }
    IoStatus pio_write(u16 port, std::span<const u8> data) override { return take(port, data); }
    IoStatus mmio_write(PhysAddr address, std::span<const u8> data) override {
        return take(address, data);
    }

    std::vector<Seen> written;

  private:
    IoStatus answer(u64 address, std::span<u8> data) const {
        if (data.size() > widest_) {
            return IoStatus::BadSize;
        }
        for (std::size_t i = 0; i < data.size(); ++i) {
            data[i] = static_cast<u8>(address + i);
        }
        return IoStatus::Done;
    }
    IoStatus take(u64 address, std::span<const u8> data) {
        if (data.size() > widest_) {
            return IoStatus::BadSize;
        }
        u64 value = 0;
        for (std::size_t i = data.size(); i-- > 0;) {
            value = value << 8 | data[i];
        }
        written.push_back({address, data.size(), value});
        return IoStatus::Done;
    }

    std::string name_;
    std::size_t widest_;
    std::array<PortRange, 1> ports_;
    std::array<MmioRange, 1> memory_;
};

}  // namespace

TEST_CASE("a port write too wide for its device arrives in halves, low half first", "[core][bus]") {
    Log log;
    Bus bus(log);
    Chip bytes("bytes", 0x60, 8, 1);
    Chip words("words", 0x80, 8, 2);
    REQUIRE(bus.attach_pio(bytes).has_value());
    REQUIRE(bus.attach_pio(words).has_value());
    bus.pio_write(0x60, 4, 0x4433'2211);
    CHECK(bytes.written ==
          std::vector<Seen>{{0x60, 1, 0x11}, {0x61, 1, 0x22}, {0x62, 1, 0x33}, {0x63, 1, 0x44}});
    bus.pio_write(0x81, 4, 0x4433'2211);
    CHECK(words.written == std::vector<Seen>{{0x81, 2, 0x2211}, {0x83, 2, 0x4433}});
    bytes.written.clear();
    bus.pio_write(0x64, 2, 0xBEEF);
    CHECK(bytes.written == std::vector<Seen>{{0x64, 1, 0xEF}, {0x65, 1, 0xBE}});
    CHECK(bus.unclaimed_accesses() == 0);
}

TEST_CASE("a port read too wide for its device is put together from halves", "[core][bus]") {
    Log log;
    Bus bus(log);
    Chip bytes("bytes", 0x60, 8, 1);
    REQUIRE(bus.attach_pio(bytes).has_value());
    CHECK(bus.pio_read(0x61, 1) == 0x61);
    CHECK(bus.pio_read(0x61, 2) == 0x6261);
    CHECK(bus.pio_read(0x60, 4) == 0x6362'6160);
}

TEST_CASE("an access over the end of a device: the rest floats or is the neighbor's",
          "[core][bus]") {
    Log log;
    Bus bus(log);
    Chip left("left", 0x70, 2, 1);
    Chip right("right", 0x73, 1, 1);
    REQUIRE(bus.attach_pio(left).has_value());
    REQUIRE(bus.attach_pio(right).has_value());
    CHECK(bus.pio_read(0x70, 4) == 0x73FF'7170);
    CHECK(bus.unclaimed_accesses() == 1);
    bus.pio_write(0x70, 4, 0x4433'2211);
    CHECK(left.written == std::vector<Seen>{{0x70, 1, 0x11}, {0x71, 1, 0x22}});
    CHECK(right.written == std::vector<Seen>{{0x73, 1, 0x44}});
    CHECK(bus.unclaimed_accesses() == 2);
}

TEST_CASE("nobody answers: reads float, writes vanish, both are counted byte by byte",
          "[core][bus]") {
    Log log;
    Bus bus(log);
    CHECK(bus.pio_read(0x1234, 4) == 0xFFFF'FFFF);
    CHECK(bus.unclaimed_accesses() == 4);
    bus.mmio_write(0xE000'0000, 8, 1);
    CHECK(bus.unclaimed_accesses() == 12);
    CHECK(bus.mmio_read(0xE000'0000, 2) == 0xFFFF);
    CHECK(log.count(LogCategory::GuestErrors) == 14);
}

TEST_CASE("memory-mapped accesses split the same way", "[core][bus]") {
    Log log;
    Bus bus(log);
    Chip words("words", 0xFED0'0000, 0x100, 4);
    REQUIRE(bus.attach_mmio(words).has_value());
    bus.mmio_write(0xFED0'0010, 8, 0x8877'6655'4433'2211);
    CHECK(words.written ==
          std::vector<Seen>{{0xFED0'0010, 4, 0x4433'2211}, {0xFED0'0014, 4, 0x8877'6655}});
    CHECK(bus.mmio_read(0xFED0'0020, 8) == 0x2726'2524'2322'2120);
    CHECK(bus.mmio_read(0xFED0'00FF, 1) == 0xFF);
    CHECK(bus.mmio_read(0xFED0'0100, 1) == 0xFF);
    CHECK(bus.unclaimed_accesses() == 1);  // the last one, behind the end
}

TEST_CASE("ranges that collide are refused, and the message names both devices", "[core][bus]") {
    Log log;
    Bus bus(log);
    Chip first("first", 0x60, 8, 4);
    Chip second("second", 0x67, 1, 4);
    REQUIRE(bus.attach_pio(first).has_value());
    const auto ports = bus.attach_pio(second);
    REQUIRE_FALSE(ports.has_value());
    CHECK(ports.error().message.find("first") != std::string::npos);
    CHECK(ports.error().message.find("second") != std::string::npos);
    REQUIRE(bus.attach_mmio(first).has_value());
    CHECK_FALSE(bus.attach_mmio(second).has_value());
    bus.detach_pio(first);
    CHECK(bus.attach_pio(second).has_value());
    CHECK(bus.pio_read(0x60, 1) == 0xFF);
    CHECK(bus.pio_read(0x67, 1) == 0x67);
    Chip beyond("beyond", 0xFFFF, 2, 4);
    CHECK_FALSE(bus.attach_pio(beyond).has_value());
}
