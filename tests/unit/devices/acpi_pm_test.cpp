// ACPI fixed hardware: PM1 event and control, the PM timer, GPE0, the SMI command port.

#include "devices/irq/wired_or.hpp"
#include "devices/system/port92.hpp"
#include "devices/system/reset_cf9.hpp"
#include "devices/time/acpi_pm.hpp"
#include "tests/unit/devices/device_test_support.hpp"

#include <catch2/catch.hpp>

using namespace droste;
using namespace droste::test;

namespace {

constexpr u16 kStatus = 0x600;
constexpr u16 kEnable = 0x602;
constexpr u16 kControl = 0x604;
constexpr u16 kTimer = 0x608;

struct Board {
    FakeTime time;
    RecordingLine sci;
    unsigned power_offs = 0;
    AcpiPm pm;

    explicit Board(AcpiPm::TimerWidth width = AcpiPm::TimerWidth::Bits24)
        : pm(
              time.events(), sci, [this] { ++power_offs; }, width) {}
};

constexpr u64 kSecond = 1'000'000'000;

}  // namespace

TEST_CASE("ACPI PM: the timer counts 3.579545 MHz and wraps at its width", "[devices][acpi_pm]") {
    Board narrow(AcpiPm::TimerWidth::Bits24);
    Board wide(AcpiPm::TimerWidth::Bits32);
    narrow.time.advance(10 * kSecond);
    wide.time.advance(10 * kSecond);
    CHECK(in<u32>(narrow.pm, kTimer) == (35'795'450 & 0xFFFFFF));
    CHECK(in<u32>(wide.pm, kTimer) == 35'795'450);
    CHECK(in<u16>(wide.pm, kTimer + 2) == 35'795'450 >> 16);
}

TEST_CASE("ACPI PM: TMR_STS is set each time the top bit changes, and cleared by writing 1",
          "[devices][acpi_pm]") {
    Board board;
    board.time.advance(2 * kSecond);
    CHECK((in<u16>(board.pm, kStatus) & 1) == 0);
    board.time.advance(kSecond / 2);  // 2^23 ticks are 2.34 s
    CHECK((in<u16>(board.pm, kStatus) & 1) == 1);
    out<u16>(board.pm, kStatus, 1);
    CHECK((in<u16>(board.pm, kStatus) & 1) == 0);
}

TEST_CASE("ACPI PM: the timer interrupts through SCI only when enabled and in ACPI mode",
          "[devices][acpi_pm]") {
    Board board;
    CHECK(board.time.events().next_deadline_ns() == kNever);
    out<u16>(board.pm, kEnable, 1);
    board.time.advance(3 * kSecond);
    CHECK_FALSE(board.sci.level);
    out8(board.pm, AcpiPm::kSmiCommand, AcpiPm::kAcpiEnable);
    CHECK((in<u16>(board.pm, kControl) & 1) == 1);
    CHECK(board.sci.level);
    out<u16>(board.pm, kStatus, 1);
    CHECK_FALSE(board.sci.level);
    board.time.advance(3 * kSecond);
    CHECK(board.sci.rises == 2);
}

TEST_CASE("ACPI PM: the power button is an SCI", "[devices][acpi_pm]") {
    Board board;
    board.pm.enable_acpi_mode();
    out<u16>(board.pm, kEnable, 0x100);
    board.pm.press_power_button();
    CHECK(board.sci.level);
    out<u16>(board.pm, kStatus, 0x100);
    CHECK_FALSE(board.sci.level);
}

TEST_CASE("ACPI PM: SLP_EN with the S5 type powers off, without SLP_EN nothing happens",
          "[devices][acpi_pm]") {
    Board board;
    out<u16>(board.pm, kControl, AcpiPm::kSlpTypS5 << 10 | 1);
    CHECK(board.power_offs == 0);
    out<u16>(board.pm, kControl, AcpiPm::kSlpTypS5 << 10 | 1U << 13 | 1);
    CHECK(board.power_offs == 1);
    CHECK((in<u16>(board.pm, kControl) & (1U << 13)) == 0);
}

TEST_CASE("ACPI PM: an unmodelled sleep wakes at once", "[devices][acpi_pm]") {
    Board board;
    out<u16>(board.pm, kControl, 1U << 10 | 1U << 13);
    CHECK(board.power_offs == 0);
    CHECK((in<u16>(board.pm, kStatus) & 0x8000) != 0);
}

TEST_CASE("ACPI PM: a general-purpose event is an SCI when enabled", "[devices][acpi_pm]") {
    Board board;
    board.pm.enable_acpi_mode();
    board.pm.raise_gpe(2);
    CHECK_FALSE(board.sci.level);
    out<u16>(board.pm, AcpiPm::kGpeBase + 2, 4);
    CHECK(board.sci.level);
    out<u16>(board.pm, AcpiPm::kGpeBase, 4);
    CHECK_FALSE(board.sci.level);
}

TEST_CASE("ACPI PM: survives any access sequence and still works after reset",
          "[devices][acpi_pm][storm]") {
    Board board;
    port_storm(board.pm, board.time);
    board.pm.reset();
    CHECK_FALSE(board.sci.level);
    CHECK(board.time.events().next_deadline_ns() == kNever);
}

TEST_CASE("port 92h: drives A20 and pulses the CPU's reset", "[devices][port92]") {
    RecordingLine a20;
    RecordingLine reset;
    Port92 port(a20, reset);
    port.reset();
    CHECK(a20.level);
    out8(port, 0x92, 0x00);
    CHECK_FALSE(a20.level);
    CHECK(in8(port, 0x92) == 0x00);
    out8(port, 0x92, 0x03);
    CHECK(a20.level);
    CHECK(reset.rises == 1);
    CHECK(in8(port, 0x92) == 0x02);
}

TEST_CASE("reset control: the 0 to 1 transition of RCPU resets, once", "[devices][reset_cf9]") {
    RecordingLine reset;
    ResetCf9 port(reset);
    out8(port, 0xCF9, 0x02);
    CHECK(reset.rises == 0);
    out8(port, 0xCF9, 0x06);
    out8(port, 0xCF9, 0x06);
    CHECK(reset.rises == 1);
}

TEST_CASE("port 92h and reset control: survive any access sequence", "[devices][port92][storm]") {
    FakeTime time;
    RecordingLine line;
    Port92 port92(line, line);
    ResetCf9 reset(line);
    port_storm(port92, time);
    port_storm(reset, time);
    port92.reset();
    CHECK(in8(port92, 0x92) == 0x02);
}

TEST_CASE("wired OR: the wire is asserted while any input is", "[devices][wired_or]") {
    RecordingLine line;
    WiredOr<2> wire(line);
    wire.input(0).set_level(true);
    wire.input(1).set_level(true);
    wire.input(0).set_level(false);
    CHECK(line.level);
    wire.input(1).set_level(false);
    CHECK_FALSE(line.level);
}
