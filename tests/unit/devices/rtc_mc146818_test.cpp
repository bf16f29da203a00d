// The MC146818: calendar, BCD and 12-hour forms, alarm, periodic and update interrupts, CMOS RAM.

#include "devices/time/rtc_mc146818.hpp"
#include "tests/unit/devices/device_test_support.hpp"

#include <catch2/catch.hpp>

using namespace droste;
using namespace droste::test;

namespace {

constexpr u64 kSecond = 1'000'000'000;
constexpr i64 k2024FebruaryEnd = 1'709'164'798;  // 2024-02-28 23:59:58, a Wednesday

struct Board {
    FakeTime time;
    RecordingLine irq8;
    RtcMc146818 rtc;

    explicit Board(i64 start = k2024FebruaryEnd) : rtc(time.events(), irq8, start) {}
    u8 read(unsigned index) {
        out8(rtc, 0x70, index);
        return in8(rtc, 0x71);
    }
    void write(unsigned index, unsigned value) {
        out8(rtc, 0x70, index);
        out8(rtc, 0x71, value);
    }
    // Century, year, month, day, weekday, hours, minutes, seconds as hexadecimal digits.
    std::string clock() {
        std::string text;
        for (const unsigned index : {0x32U, 9U, 8U, 7U, 6U, 4U, 2U, 0U}) {
            text += fmt::format("{:02x}", read(index));
        }
        return text;
    }
};

}  // namespace

TEST_CASE("MC146818: the time advances with virtual time, through leap days and the century",
          "[devices][rtc]") {
    Board board;
    CHECK(board.clock() == "2024022804235958");
    board.time.advance(2 * kSecond);
    CHECK(board.clock() == "2024022905000000");
    board.time.advance(86'400 * kSecond);
    CHECK(board.clock() == "2024030106000000");
    Board century(4'102'444'799);  // 2099-12-31 23:59:59
    century.time.advance(kSecond);
    CHECK(century.clock() == "2100010106000000");
}

TEST_CASE("MC146818: binary and 12-hour formats", "[devices][rtc]") {
    Board board;
    board.write(0x0B, 0x06);
    CHECK(board.read(4) == 23);
    CHECK(board.read(2) == 59);
    board.write(0x0B, 0x00);
    CHECK(board.read(4) == 0x91);  // 11 pm, BCD
    board.time.advance(2 * kSecond);
    CHECK(board.read(4) == 0x12);  // midnight is 12 am
}

TEST_CASE("MC146818: SET holds the registers for the guest to write, and releases them as the time",
          "[devices][rtc]") {
    Board board;
    board.write(0x0B, 0x82);
    board.time.advance(5 * kSecond);
    CHECK(board.read(0) == 0x58);
    for (const auto& [index, value] : {std::pair{0, 0x30},
                                       {2, 0x45},
                                       {4, 0x12},
                                       {6, 3},
                                       {7, 0x31},
                                       {8, 0x12},
                                       {9, 0x99},
                                       {0x32, 0x19}}) {
        board.write(static_cast<unsigned>(index), static_cast<unsigned>(value));
    }
    board.write(0x0B, 0x02);
    board.time.advance(kSecond);
    CHECK(board.clock() == "1999123103124531");
    board.time.advance(12 * 3600 * kSecond);
    CHECK(board.clock() == "2000010104004531");
}

TEST_CASE("MC146818: a register written without SET takes effect at once", "[devices][rtc]") {
    Board board;
    board.write(2, 0x10);
    CHECK(board.read(2) == 0x10);
    board.time.advance(2 * kSecond);
    CHECK(board.read(2) == 0x11);
}

TEST_CASE("MC146818: UIP announces the update 244 microseconds ahead", "[devices][rtc]") {
    Board board;
    board.time.advance(kSecond - 300'000);
    CHECK(board.read(0x0A) == 0x26);
    board.time.advance(100'000);
    CHECK(board.read(0x0A) == 0xA6);
    CHECK(board.read(0) == 0x58);
    board.time.advance(200'000);
    CHECK(board.read(0x0A) == 0x26);
    CHECK(board.read(0) == 0x59);
}

TEST_CASE("MC146818: the first update comes half a second after the divider is released",
          "[devices][rtc]") {
    Board board;
    board.time.advance(123'456'789);
    board.write(0x0A, 0x70);
    board.time.advance(3 * kSecond);
    CHECK(board.read(0) == 0x58);
    board.write(0x0A, 0x26);
    board.time.advance(kSecond / 2 - 1'000);
    CHECK(board.read(0) == 0x58);
    board.time.advance(2'000);
    CHECK(board.read(0) == 0x59);
}

TEST_CASE("MC146818: the periodic interrupt has the programmed rate and stops until C is read",
          "[devices][rtc]") {
    Board board;
    board.write(0x0A, 0x26);  // 1,024 Hz
    board.write(0x0B, 0x42);
    unsigned interrupts = 0;
    for (int i = 0; i < 10'000; ++i) {
        board.time.advance(100'000);
        if (board.irq8.level) {
            ++interrupts;
            CHECK(board.read(0x0C) == (0xC0 | (interrupts == 1024 ? 0x10 : 0)));
        }
    }
    CHECK(interrupts == 1024);
    board.time.advance(10 * kSecond);
    CHECK(board.irq8.rises == 1025);
}

TEST_CASE("MC146818: the update-ended interrupt comes at each second", "[devices][rtc]") {
    Board board;
    board.write(0x0B, 0x12);
    board.time.advance(kSecond - 1);
    CHECK_FALSE(board.irq8.level);
    board.time.advance(1);
    CHECK(board.irq8.level);
    CHECK((board.read(0x0C) & 0x90) == 0x90);
    CHECK_FALSE(board.irq8.level);
    CHECK((board.read(0x0C) & 0x90) == 0);
}

TEST_CASE("MC146818: the alarm interrupts at its time, with don't-care fields", "[devices][rtc]") {
    Board board;
    board.write(1, 0x05);
    board.write(3, 0x00);
    board.write(5, 0xC0);  // any hour
    board.write(0x0B, 0x22);
    board.time.advance(6 * kSecond);
    CHECK_FALSE(board.irq8.level);
    board.time.advance(kSecond);
    CHECK(board.irq8.level);
    CHECK((board.read(0x0C) & 0xA0) == 0xA0);
    board.time.advance(3600 * kSecond);
    CHECK(board.irq8.level);
}

TEST_CASE("MC146818: flags are set without their interrupts, and cost no events",
          "[devices][rtc]") {
    Board board;
    board.time.advance(3 * kSecond);
    CHECK(board.time.events().next_deadline_ns() == kNever);
    CHECK((board.read(0x0C) & 0xF0) == 0x70);  // the alarm of 00:00:00 too
    CHECK_FALSE(board.irq8.level);
}

TEST_CASE("MC146818: reset clears enables and flags but keeps time and RAM", "[devices][rtc]") {
    Board board;
    board.rtc.set_byte(0x0F, 0x0A);
    board.write(0x0B, 0x72);
    board.time.advance(2 * kSecond);
    CHECK(board.irq8.level);
    board.rtc.reset();
    CHECK_FALSE(board.irq8.level);
    CHECK(board.read(0x0B) == 0x02);
    CHECK(board.read(0x0F) == 0x0A);
    CHECK(board.clock() == "2024022905000000");
}

TEST_CASE("MC146818: memory sizes stand where firmware looks for them", "[devices][rtc]") {
    Board board;
    board.rtc.set_memory_size(0xC000'0000, 0x1'4000'0000);
    CHECK(board.read(0x15) == 0x80);
    CHECK(board.read(0x16) == 0x02);
    CHECK((board.read(0x34) | board.read(0x35) << 8) == (0xC000'0000 - 0x100'0000) / 0x10000);
    CHECK((board.read(0x5B) | board.read(0x5C) << 8 | board.read(0x5D) << 16) ==
          0x1'4000'0000 / 0x10000);
}

TEST_CASE("MC146818: survives any access sequence and keeps ticking", "[devices][rtc][storm]") {
    Board board;
    port_storm(board.rtc, board.time);
    board.rtc.reset();
    board.write(0x0A, 0x26);
    board.write(0x0B, 0x02);
    board.write(0, 0x10);
    board.time.advance(kSecond);
    CHECK(board.read(0) == 0x11);
}
