// The I/O APIC: redirection entries, edge and level inputs, EOI. 82093AA.

#include "devices/irq/ioapic.hpp"
#include "tests/unit/devices/device_test_support.hpp"

#include <catch2/catch.hpp>

using namespace droste;
using namespace droste::test;

namespace {

class RecordingApicBus final : public ApicBus {
  public:
    void send(const InterruptMessage& message) override { sent.push_back(message); }
    std::vector<InterruptMessage> sent;
};

constexpr u64 kLevel = 0x8000;
constexpr u64 kMasked = 0x10000;
constexpr u64 kRemoteIrr = 0x4000;

struct Board {
    FakeTime time;
    RecordingApicBus apics;
    IoApic ioapic{time.events(), apics};

    u32 read(u8 index) {
        store<u32>(ioapic, 0xFEC00000, index);
        return load<u32>(ioapic, 0xFEC00010);
    }
    void write(u8 index, u32 value) {
        store<u32>(ioapic, 0xFEC00000, index);
        store<u32>(ioapic, 0xFEC00010, value);
    }
    void route(unsigned pin, u64 entry) {
        write(static_cast<u8>(0x11 + 2 * pin), static_cast<u32>(entry >> 32));
        write(static_cast<u8>(0x10 + 2 * pin), static_cast<u32>(entry));
    }
    u64 entry(unsigned pin) {
        return u64{read(static_cast<u8>(0x11 + 2 * pin))} << 32 |
               read(static_cast<u8>(0x10 + 2 * pin));
    }
    void raise(unsigned pin) { ioapic.input(pin).set_level(true); }
    void lower(unsigned pin) { ioapic.input(pin).set_level(false); }
    std::size_t sent() const { return apics.sent.size(); }
};

}  // namespace

TEST_CASE("82093AA: version 20h with 24 pins, all masked after reset", "[devices][ioapic]") {
    Board board;
    CHECK(board.read(0x01) == 0x0017'0020);
    CHECK(board.entry(0) == kMasked);
    CHECK(board.entry(23) == kMasked);
    board.write(0x00, 0x0500'0000);
    CHECK(board.read(0x00) == 0x0500'0000);
    CHECK(board.read(0x02) == 0x0500'0000);
    CHECK(board.read(0x40) == 0);
}

TEST_CASE("82093AA: destination FFh is everybody, in physical and logical mode",
          "[devices][ioapic]") {
    for (const u64 logical : {u64{0}, u64{0x800}}) {
        Board board;
        board.route(4, u64{0xFF} << 56 | logical | 0x41);
        board.route(5, u64{0xFE} << 56 | logical | 0x42);
        board.raise(4);
        board.raise(5);
        REQUIRE(board.sent() == 2);
        CHECK(board.apics.sent[0].destination == kEverybody);
        CHECK(board.apics.sent[1].destination == 0xFE);
    }
}

TEST_CASE("82093AA: a rising edge sends the entry's message once", "[devices][ioapic]") {
    Board board;
    board.route(14, u64{3} << 56 | 0x0881 | 0x0100);
    board.raise(14);
    board.raise(14);
    REQUIRE(board.sent() == 1);
    const InterruptMessage& message = board.apics.sent[0];
    CHECK(message.destination == 3);
    CHECK(message.logical);
    CHECK(message.mode == DeliveryMode::LowestPriority);
    CHECK(message.vector == 0x81);
    CHECK_FALSE(message.level_triggered);
    board.lower(14);
    board.raise(14);
    CHECK(board.sent() == 2);
}

TEST_CASE("82093AA: an edge on a masked pin is lost", "[devices][ioapic]") {
    Board board;
    board.route(14, kMasked | 0x81);
    board.raise(14);
    board.lower(14);
    board.route(14, 0x81);
    CHECK(board.sent() == 0);
    board.raise(14);
    CHECK(board.sent() == 1);
}

TEST_CASE("82093AA: a level is sent once until its EOI, then again while asserted",
          "[devices][ioapic]") {
    Board board;
    board.route(9, kLevel | 0x61);
    board.raise(9);
    REQUIRE(board.sent() == 1);
    CHECK(board.apics.sent[0].level_triggered);
    CHECK((board.entry(9) & kRemoteIrr) != 0);
    board.lower(9);
    board.raise(9);
    CHECK(board.sent() == 1);
    board.ioapic.end_of_interrupt(0x60);
    CHECK(board.sent() == 1);
    board.ioapic.end_of_interrupt(0x61);
    board.time.advance(IoApic::kResendDelayNs);
    CHECK(board.sent() == 2);
    board.lower(9);
    board.ioapic.end_of_interrupt(0x61);
    CHECK(board.sent() == 2);
    CHECK((board.entry(9) & kRemoteIrr) == 0);
}

TEST_CASE("82093AA: a level that waits behind the mask is sent when unmasked",
          "[devices][ioapic]") {
    Board board;
    board.route(9, kMasked | kLevel | 0x61);
    board.raise(9);
    CHECK(board.sent() == 0);
    board.route(9, kLevel | 0x61);
    CHECK(board.sent() == 1);
}

TEST_CASE("82093AA: the EOI register ends a level by its vector", "[devices][ioapic]") {
    Board board;
    board.route(9, kLevel | 0x61);
    board.raise(9);
    store<u32>(board.ioapic, 0xFEC00040, 0x61);
    CHECK((board.entry(9) & kRemoteIrr) == 0);
    board.time.advance(IoApic::kResendDelayNs);
    CHECK(board.sent() == 2);
}

TEST_CASE("82093AA: a level still asserted at its EOI is sent again a bus delay later, not within "
          "the EOI",
          "[devices][ioapic]") {
    Board board;
    board.route(9, kLevel | 0x61);
    board.raise(9);
    board.ioapic.end_of_interrupt(0x61);
    CHECK(board.sent() == 1);
    CHECK((board.entry(9) & kRemoteIrr) == 0);
    board.time.advance(IoApic::kResendDelayNs - 1);
    CHECK(board.sent() == 1);
    board.time.advance(1);
    CHECK(board.sent() == 2);
    CHECK((board.entry(9) & kRemoteIrr) != 0);
}

TEST_CASE("82093AA: a source that is quiet before the bus delay is over is not sent again",
          "[devices][ioapic]") {
    Board board;
    board.route(9, kLevel | 0x61);
    board.raise(9);
    board.ioapic.end_of_interrupt(0x61);
    board.lower(9);
    board.time.advance(10 * IoApic::kResendDelayNs);
    CHECK(board.sent() == 1);
    // A new request is a new message, at once.
    board.raise(9);
    CHECK(board.sent() == 2);
}

TEST_CASE("82093AA: each pin has its own bus delay", "[devices][ioapic]") {
    Board board;
    board.route(9, kLevel | 0x61);
    board.route(10, kLevel | 0x62);
    board.raise(9);
    board.raise(10);
    board.ioapic.end_of_interrupt(0x61);
    board.time.advance(600);
    board.ioapic.end_of_interrupt(0x62);
    board.time.advance(400);
    REQUIRE(board.sent() == 3);
    CHECK(board.apics.sent[2].vector == 0x61);
    board.time.advance(600);
    REQUIRE(board.sent() == 4);
    CHECK(board.apics.sent[3].vector == 0x62);
}

TEST_CASE("82093AA: a reset forgets a message that was still to be sent again",
          "[devices][ioapic]") {
    Board board;
    board.route(9, kLevel | 0x61);
    board.raise(9);
    board.ioapic.end_of_interrupt(0x61);
    board.ioapic.reset();
    board.time.advance(10 * IoApic::kResendDelayNs);
    CHECK(board.sent() == 1);
    CHECK(board.time.events().next_deadline_ns() == kNever);
}

TEST_CASE("82093AA: switching a pin to edge clears remote IRR, which cannot be written",
          "[devices][ioapic]") {
    Board board;
    board.route(9, kLevel | kRemoteIrr | 0x61);
    CHECK((board.entry(9) & kRemoteIrr) == 0);
    board.raise(9);
    CHECK((board.entry(9) & kRemoteIrr) != 0);
    board.route(9, kMasked | 0x61);
    CHECK((board.entry(9) & kRemoteIrr) == 0);
}

TEST_CASE("82093AA: NMI and ExtINT are edges even when programmed as levels", "[devices][ioapic]") {
    Board board;
    board.route(0, kLevel | 0x700);
    board.raise(0);
    REQUIRE(board.sent() == 1);
    CHECK(board.apics.sent[0].mode == DeliveryMode::ExtINT);
    CHECK_FALSE(board.apics.sent[0].level_triggered);
    CHECK((board.entry(0) & kRemoteIrr) == 0);
}

TEST_CASE("82093AA: survives any access sequence and still works after reset",
          "[devices][ioapic][storm]") {
    Board board;
    mmio_storm(board.ioapic, board.time, [&](u32 random) {
        board.ioapic.input(random % 24).set_level((random & 0x100) != 0);
        if (random % 5 == 0) {
            board.ioapic.end_of_interrupt(static_cast<u8>(random >> 16));
        }
        board.apics.sent.clear();
    });
    board.ioapic.reset();
    board.lower(4);
    board.route(4, 0x44);
    board.raise(4);
    CHECK(board.sent() == 1);
}
