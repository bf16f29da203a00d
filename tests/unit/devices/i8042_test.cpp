// The keyboard controller with keyboard and mouse.

#include "devices/input/i8042.hpp"
#include "devices/input/ps2_keyboard.hpp"
#include "devices/input/ps2_mouse.hpp"
#include "tests/unit/devices/device_test_support.hpp"

#include <catch2/catch.hpp>

using namespace droste;
using namespace droste::test;

namespace {

constexpr u8 kMouseData = 0x20;

struct Board {
    RecordingLine irq1;
    RecordingLine irq12;
    RecordingLine a20;
    RecordingLine reset;
    Ps2Keyboard keyboard;
    Ps2Mouse mouse;
    I8042 kbc{{irq1, irq12, a20, reset}, keyboard, mouse};

    void command(unsigned value) { out8(kbc, 0x64, value); }
    void data(unsigned value) { out8(kbc, 0x60, value); }
    u8 status() { return in8(kbc, 0x64); }
    // Everything that waits at port 60h.
    std::vector<unsigned> drain() {
        std::vector<unsigned> bytes;
        while ((status() & 1) != 0 && bytes.size() < 100) {
            bytes.push_back(in8(kbc, 0x60));
        }
        return bytes;
    }
    std::vector<unsigned> ask_keyboard(unsigned value) {
        data(value);
        return drain();
    }
    std::vector<unsigned> ask_mouse(unsigned value) {
        command(0xD4);
        data(value);
        return drain();
    }
    void set_mode(unsigned value) {
        command(0x60);
        data(value);
    }
};

using Bytes = std::vector<unsigned>;

}  // namespace

TEST_CASE("8042: the self-test and the port tests pass", "[devices][i8042]") {
    Board board;
    board.command(0xAA);
    CHECK(board.drain() == Bytes{0x55});
    CHECK((board.status() & 0x04) != 0);
    board.command(0xAB);
    CHECK(board.drain() == Bytes{0x00});
    board.command(0xA9);
    CHECK(board.drain() == Bytes{0x00});
}

TEST_CASE("8042: the command byte reads back, and A7h/A8h show in it", "[devices][i8042]") {
    Board board;
    board.set_mode(0x65);
    board.command(0x20);
    CHECK(board.drain() == Bytes{0x65});
    board.command(0xA8);
    board.command(0x20);
    CHECK(board.drain() == Bytes{0x45});
    board.command(0xA7);
    board.command(0x20);
    CHECK(board.drain() == Bytes{0x65});
}

TEST_CASE("8042: a byte looped through D3h comes back as mouse data with IRQ 12",
          "[devices][i8042]") {
    Board board;
    board.set_mode(0x03);
    board.command(0xD3);
    board.data(0x5A);
    CHECK(board.irq12.level);
    CHECK((board.status() & kMouseData) != 0);
    CHECK(board.drain() == Bytes{0x5A});
    CHECK_FALSE(board.irq12.level);
}

TEST_CASE("8042: A20 follows the output port and the DDh/DFh commands", "[devices][i8042]") {
    Board board;
    board.kbc.reset();
    CHECK(board.a20.level);
    board.command(0xD1);
    board.data(0x01);
    CHECK_FALSE(board.a20.level);
    board.command(0xD0);
    CHECK((board.drain().at(0) & 0x02) == 0);
    board.command(0xDF);
    CHECK(board.a20.level);
    board.command(0xDD);
    CHECK_FALSE(board.a20.level);
    CHECK(board.reset.rises == 0);
}

TEST_CASE("8042: FEh and a low bit 0 of the output port reset the CPU", "[devices][i8042]") {
    Board board;
    board.command(0xFF);
    CHECK(board.reset.rises == 0);
    board.command(0xFE);
    CHECK(board.reset.rises == 1);
    board.command(0xD1);
    board.data(0x02);
    CHECK(board.reset.rises == 2);
}

TEST_CASE("PS/2 keyboard: reset, identify, LEDs, scan code set, echo", "[devices][ps2_keyboard]") {
    Board board;
    board.set_mode(0x00);
    CHECK(board.ask_keyboard(0xFF) == Bytes{0xFA, 0xAA});
    CHECK(board.ask_keyboard(0xF2) == Bytes{0xFA, 0xAB, 0x83});
    CHECK(board.ask_keyboard(0xED) == Bytes{0xFA});
    CHECK(board.ask_keyboard(0x05) == Bytes{0xFA});
    CHECK(board.keyboard.leds() == 5);
    CHECK(board.ask_keyboard(0xF0) == Bytes{0xFA});
    CHECK(board.ask_keyboard(0x00) == Bytes{0xFA, 0x02});
    CHECK(board.ask_keyboard(0xEE) == Bytes{0xEE});
    CHECK(board.ask_keyboard(0xE0) == Bytes{0xFE});
}

TEST_CASE("8042: translation turns set 2 into set 1, with the break bit", "[devices][i8042]") {
    Board board;
    board.set_mode(0x41);
    board.keyboard.send_scan_code(std::array<u8, 1>{0x1C});  // A
    board.keyboard.send_scan_code(std::array<u8, 2>{0xF0, 0x1C});
    board.keyboard.send_scan_code(std::array<u8, 3>{0xE0, 0xF0, 0x75});  // up arrow
    CHECK(board.drain() == Bytes{0x1E, 0x9E, 0xE0, 0xC8});
}

TEST_CASE("8042: each keyboard byte is an edge on IRQ 1", "[devices][i8042]") {
    Board board;
    board.set_mode(0x01);
    board.keyboard.send_scan_code(std::array<u8, 2>{0xE0, 0x75});
    CHECK(board.irq1.rises == 1);
    in8(board.kbc, 0x60);
    CHECK(board.irq1.rises == 2);
    in8(board.kbc, 0x60);
    CHECK_FALSE(board.irq1.level);
    CHECK((board.status() & 1) == 0);
}

TEST_CASE("8042: a disabled port keeps its bytes back", "[devices][i8042]") {
    Board board;
    board.set_mode(0x10);
    board.keyboard.send_scan_code(std::array<u8, 1>{0x1C});
    CHECK(board.drain().empty());
    board.command(0xAE);
    CHECK(board.drain() == Bytes{0x1C});
}

TEST_CASE("PS/2 mouse: reset, identify, and the wheel knock", "[devices][ps2_mouse]") {
    Board board;
    board.set_mode(0x00);
    CHECK(board.ask_mouse(0xFF) == Bytes{0xFA, 0xAA, 0x00});
    CHECK(board.ask_mouse(0xF2) == Bytes{0xFA, 0x00});
    for (const unsigned rate : {200U, 100U, 80U}) {
        board.ask_mouse(0xF3);
        board.ask_mouse(rate);
    }
    CHECK(board.ask_mouse(0xF2) == Bytes{0xFA, 0x03});
    CHECK(board.ask_mouse(0xE9) == Bytes{0xFA, 0x00, 0x02, 80});
}

TEST_CASE("PS/2 mouse: reports movement only when enabled", "[devices][ps2_mouse]") {
    Board board;
    board.set_mode(0x02);
    board.mouse.move(5, -3, 0, Ps2Mouse::kLeft);
    CHECK(board.drain().empty());
    board.ask_mouse(0xF4);
    board.mouse.move(5, -3, 0, Ps2Mouse::kLeft);
    CHECK((board.status() & kMouseData) != 0);
    CHECK(board.drain() == Bytes{0x29, 10, 0xFA});
}

TEST_CASE("8042: survives any access sequence and still passes its self-test after reset",
          "[devices][i8042][storm]") {
    Board board;
    FakeTime time;
    port_storm(board.kbc, time, [&](u32 random) {
        if (random % 8 == 0) {
            board.keyboard.send_scan_code(std::array<u8, 2>{0xF0, static_cast<u8>(random >> 8)});
            board.mouse.move(static_cast<int>(random), static_cast<int>(random >> 4), 1, 7);
        }
    });
    board.keyboard.reset();
    board.mouse.reset();
    board.kbc.reset();
    board.command(0xAA);
    CHECK(board.drain() == Bytes{0x55});
}
