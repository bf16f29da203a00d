// fw_cfg: selector and data ports, the file directory, DMA.

#include "devices/system/fw_cfg.hpp"
#include "devices/system/testdev.hpp"
#include "tests/unit/devices/device_test_support.hpp"

#include <catch2/catch.hpp>

using namespace droste;
using namespace droste::test;

namespace {

constexpr PhysAddr kRequest = 0x1000;
constexpr PhysAddr kBuffer = 0x2000;
constexpr u32 kRead = 2;
constexpr u32 kSkip = 4;
constexpr u32 kSelect = 8;
constexpr u32 kWrite = 16;

std::vector<u8> bytes_of(std::string_view text) {
    return {text.begin(), text.end()};
}

struct Board {
    std::unique_ptr<GuestMemory> memory = std::move(GuestMemory::create(4 << 20)).value();
    FwCfg fw_cfg{*memory};

    std::string read(unsigned key, std::size_t bytes) {
        out<u16>(fw_cfg, 0x510, static_cast<u16>(key));
        std::string text;
        for (std::size_t i = 0; i < bytes; ++i) {
            text.push_back(static_cast<char>(in8(fw_cfg, 0x511)));
        }
        return text;
    }
    // Runs one request; returns the control word afterwards.
    u32 dma(u32 control, u32 length, u64 buffer = kBuffer) {
        std::array<u8, 16> request{};
        const auto put = [&](std::size_t at, u64 value, std::size_t count) {
            for (std::size_t i = 0; i < count; ++i) {
                request[at + i] = static_cast<u8>(value >> (8 * (count - 1 - i)));
            }
        };
        put(0, control, 4);
        put(4, length, 4);
        put(8, buffer, 8);
        REQUIRE(memory->write(kRequest, request));
        out<u32>(fw_cfg, 0x514, 0);
        out<u32>(fw_cfg, 0x518, __builtin_bswap32(kRequest));
        std::array<u8, 4> answer{};
        REQUIRE(memory->read(kRequest, answer));
        return u32{answer[0]} << 24 | u32{answer[1]} << 16 | u32{answer[2]} << 8 | answer[3];
    }
    std::string buffer(std::size_t bytes) {
        std::vector<u8> data(bytes);
        REQUIRE(memory->read(kBuffer, data));
        return {data.begin(), data.end()};
    }
};

}  // namespace

TEST_CASE("fw_cfg: signature, features and zeros beyond the end", "[devices][fw_cfg]") {
    Board board;
    CHECK(board.read(FwCfg::Signature, 6) == std::string("QEMU\0\0", 6));
    CHECK(board.read(FwCfg::Id, 4) == std::string("\3\0\0\0", 4));
    CHECK(board.read(0x3FFF, 2) == std::string("\0\0", 2));
}

TEST_CASE("fw_cfg: numbers are little-endian and strings end in zero", "[devices][fw_cfg]") {
    Board board;
    board.fw_cfg.add_u16(FwCfg::NbCpus, 4);
    board.fw_cfg.add_u64(FwCfg::RamSize, 0x1'2345'6789);
    board.fw_cfg.add_string(FwCfg::CmdlineData, "console=ttyS0");
    CHECK(board.read(FwCfg::NbCpus, 2) == std::string("\4\0", 2));
    CHECK(board.read(FwCfg::RamSize, 8) == std::string("\x89\x67\x45\x23\x01\0\0\0", 8));
    CHECK(board.read(FwCfg::CmdlineData, 14) == std::string("console=ttyS0\0", 14));
}

TEST_CASE("fw_cfg: the directory is big-endian and sorted by name", "[devices][fw_cfg]") {
    Board board;
    REQUIRE(board.fw_cfg.add_file("etc/zoo", bytes_of("zebra")));
    REQUIRE(board.fw_cfg.add_file("etc/acpi/tables", bytes_of("DSDT")));
    const std::string directory = board.read(FwCfg::FileDir, 4 + 2 * 64);
    CHECK(directory.substr(0, 4) == std::string("\0\0\0\2", 4));
    CHECK(directory.substr(4, 8) == std::string("\0\0\0\4\0\x20\0\0", 8));
    CHECK(std::string(directory.c_str() + 12) == "etc/acpi/tables");
    CHECK(std::string(directory.c_str() + 76) == "etc/zoo");
    CHECK(board.read(FwCfg::FileFirst, 4) == "DSDT");
    CHECK(board.read(FwCfg::FileFirst + 1, 5) == "zebra");
}

TEST_CASE("fw_cfg: bad file names are errors that say so", "[devices][fw_cfg]") {
    Board board;
    const auto error_of = [&board](const std::string& name) {
        const auto added = board.fw_cfg.add_file(name, {});
        return added ? std::string() : added.error().message;
    };
    REQUIRE(error_of("twice").empty());
    CHECK(error_of("twice") == "fw_cfg: there are two files named 'twice'");
    CHECK(error_of("") == "fw_cfg: the file name '' has 0 bytes, 1 to 55 are allowed");
    const std::string longest(55, 'x');
    CHECK(error_of(longest + 'x') ==
          "fw_cfg: the file name '" + longest + "x' has 56 bytes, 1 to 55 are allowed");
    CHECK(error_of(longest).empty());
}

TEST_CASE("fw_cfg: the DMA address register reads as its signature", "[devices][fw_cfg]") {
    Board board;
    CHECK(in<u32>(board.fw_cfg, 0x514) == __builtin_bswap32(0x51454D55));
    CHECK(in<u32>(board.fw_cfg, 0x518) == __builtin_bswap32(0x20434647));
}

TEST_CASE("fw_cfg DMA: select, skip and read", "[devices][fw_cfg]") {
    Board board;
    board.fw_cfg.add_bytes(FwCfg::KernelData, bytes_of("0123456789"));
    CHECK(board.dma(u32{FwCfg::KernelData} << 16 | kSelect | kSkip, 3) == 0);
    CHECK(board.dma(kRead, 4) == 0);
    CHECK(board.buffer(4) == "3456");
    CHECK(board.dma(kRead, 6) == 0);
    CHECK(board.buffer(6) == std::string("789\0\0\0", 6));
}

TEST_CASE("fw_cfg DMA: what is copied is told, so that it can take time", "[devices][fw_cfg]") {
    Board board;
    CHECK(board.dma(kSelect | kRead | 0x19U << 16, 100'000) == 0);
    CHECK(board.memory->take_dma_bytes() == 100'000);
    CHECK(board.memory->take_dma_bytes() == 0);
    CHECK(board.dma(kSkip, 50'000) == 0);
    CHECK(board.memory->take_dma_bytes() == 0);
}

TEST_CASE("fw_cfg DMA: writes reach only files that say so, inside their size",
          "[devices][fw_cfg]") {
    Board board;
    std::string written;
    REQUIRE(board.fw_cfg.add_file("a", bytes_of("....")));
    REQUIRE(board.fw_cfg.add_file("b", bytes_of("...."), [&](std::span<const u8> bytes) {
        written.assign(bytes.begin(), bytes.end());
    }));
    REQUIRE(board.memory->write(kBuffer, bytes_of("data")));
    CHECK(board.dma(0x20U << 16 | kSelect | kWrite, 4) == 1);
    CHECK(board.dma(0x21U << 16 | kSelect | kWrite, 5) == 1);
    CHECK(board.dma(0x21U << 16 | kSelect | kWrite, 4) == 0);
    CHECK(written == "data");
    CHECK(board.read(0x21, 4) == "data");
}

TEST_CASE("fw_cfg DMA: a buffer outside RAM and an absurd length are errors", "[devices][fw_cfg]") {
    Board board;
    CHECK(board.dma(kSelect | kRead, 16, 0xF000'0000) == 1);
    CHECK(board.dma(kSelect | kRead, 0xFFFF'FFFF) == 1);
    CHECK(board.dma(kSelect | kSkip, 0xFFFF'FFFF) == 0);
    CHECK(board.dma(kRead, 1) == 0);
}

TEST_CASE("fw_cfg: survives any access sequence and still identifies itself after reset",
          "[devices][fw_cfg][storm]") {
    Board board;
    FakeTime time;
    REQUIRE(board.fw_cfg.add_file("w", std::vector<u8>(100), [](std::span<const u8>) {}));
    std::vector<u8> noise(0x4000);
    std::mt19937 random(kStormSeed);
    std::generate(noise.begin(), noise.end(), [&] { return static_cast<u8>(random()); });
    REQUIRE(board.memory->write(0, noise));
    port_storm(board.fw_cfg, time, [&](u32 value) {
        if (value % 64 == 0) {
            out<u32>(board.fw_cfg, 0x514, 0);
            out<u32>(board.fw_cfg, 0x518, __builtin_bswap32(value >> 16 & 0x3FFF));
        }
    });
    board.fw_cfg.reset();
    CHECK(board.read(FwCfg::Signature, 4) == "QEMU");
}

TEST_CASE("pc-testdev: the data register in dword, word and byte pieces", "[devices][testdev]") {
    TestDevice device({});
    out<u32>(device, 0xE0, 0x1234'5678);
    CHECK(in<u16>(device, 0xE2) == 0x1234);
    CHECK(in8(device, 0xE1) == 0x56);
    CHECK(in<u32>(device, 0xE8) == 0x1234'5678);
    out8(device, 0xE9, 0xAA);
    CHECK(in<u32>(device, 0xE0) == 0x1234'AA78);
    out<u32>(device, 0xE4, 0xFFFF'F000);
    CHECK(in<u32>(device, 0xE0) == 0x1234'AA78);
}

TEST_CASE("pc-testdev: ports 2000h on drive interrupt lines", "[devices][testdev]") {
    RecordingLine line;
    TestDevice::Irqs irqs{};
    irqs[14] = &line;
    TestDevice device(irqs);
    out8(device, 0x200E, 1);
    CHECK(line.level);
    out8(device, 0x200E, 0);
    CHECK_FALSE(line.level);
    out8(device, 0x2003, 1);  // not wired
}

TEST_CASE("pc-testdev: its memory takes all widths", "[devices][testdev]") {
    TestDevice device({});
    store<u64>(device, 0xFF00'0FFE, 0x0123'4567'89AB'CDEF);
    CHECK(load<u16>(device, 0xFF00'1000) == 0x89AB);
    CHECK(load<u8>(device, 0xFF00'1005) == 0x01);
}

TEST_CASE("pc-testdev: survives any access sequence", "[devices][testdev][storm]") {
    FakeTime time;
    RecordingLine line;
    TestDevice::Irqs irqs;
    irqs.fill(&line);
    TestDevice device(irqs);
    port_storm(device, time);
    mmio_storm(device, time, [](u32) {});
    device.reset();
    CHECK_FALSE(line.level);
    CHECK(in<u32>(device, 0xE0) == 0);
}
