// The 16550: registers, interrupts by priority, FIFOs, loopback, modem lines.

#include "devices/char/uart16550.hpp"
#include "tests/unit/devices/device_test_support.hpp"

#include <catch2/catch.hpp>

using namespace droste;
using namespace droste::test;

namespace {

constexpr u16 kBase = 0x3F8;
enum : u16 {
    kThr = kBase,
    kRbr = kBase,
    kIer = kBase + 1,
    kIir = kBase + 2,
    kFcr = kBase + 2,
    kLcr = kBase + 3,
    kMcr = kBase + 4,
    kLsr = kBase + 5,
    kMsr = kBase + 6,
    kScr = kBase + 7
};
constexpr unsigned kOut2 = 0x08;
constexpr unsigned kLoop = 0x10;

struct Com1 {
    FakeTime time;
    RecordingLine irq;
    RecordingBackend backend;
    Log log;
    Uart16550 uart{time.events(), irq, backend, kBase, log};
};

}  // namespace

TEST_CASE("16550A: a byte written to THR is in the backend at once and LSR stays empty",
          "[devices][uart16550]") {
    Com1 com;
    out8(com.uart, kThr, 'A');
    CHECK(com.backend.text == "A");
    CHECK(in8(com.uart, kLsr) == 0x60);
}

TEST_CASE("16550A: DLAB maps the divisor latch over RBR/THR and IER", "[devices][uart16550]") {
    Com1 com;
    out8(com.uart, kLcr, 0x83);
    out8(com.uart, kThr, 0x34);
    out8(com.uart, kIer, 0x12);
    CHECK(in8(com.uart, kRbr) == 0x34);
    CHECK(in8(com.uart, kIer) == 0x12);
    out8(com.uart, kLcr, 0x03);
    CHECK(in8(com.uart, kIer) == 0);
    CHECK(com.backend.text.empty());
}

TEST_CASE("16550A: IIR bits 7:6 read 1 only with the FIFOs enabled, and the scratch register holds "
          "a byte",
          "[devices][uart16550]") {
    Com1 com;
    CHECK(in8(com.uart, kIir) == 0x01);
    out8(com.uart, kFcr, 0x01);
    CHECK(in8(com.uart, kIir) == 0xC1);
    out8(com.uart, kScr, 0x5A);
    CHECK(in8(com.uart, kScr) == 0x5A);
}

TEST_CASE("16550A: enabling the THRE interrupt raises it, reading IIR clears it",
          "[devices][uart16550]") {
    Com1 com;
    out8(com.uart, kMcr, kOut2);
    out8(com.uart, kIer, 0x02);
    CHECK(com.irq.level);
    CHECK(in8(com.uart, kIir) == 0x02);
    CHECK_FALSE(com.irq.level);
    CHECK(in8(com.uart, kIir) == 0x01);
}

TEST_CASE("16550A: reading IIR clears the THRE interrupt only when it is the one shown",
          "[devices][uart16550]") {
    Com1 com;
    out8(com.uart, kMcr, kOut2);
    out8(com.uart, kIer, 0x03);
    com.backend.type("a");
    CHECK(in8(com.uart, kIir) == 0x04);  // data available comes first
    CHECK(in8(com.uart, kRbr) == 'a');
    CHECK(com.irq.level);
    CHECK(in8(com.uart, kIir) == 0x02);
    CHECK(in8(com.uart, kIir) == 0x01);
}

TEST_CASE("16550A: an interrupt that MCR.OUT2 holds back is a line in the log, one a reset",
          "[devices][uart16550]") {
    Com1 com;
    const auto lines = [&] { return com.log.count(LogCategory::GuestErrors); };
    out8(com.uart, kIer, 0x02);
    CHECK_FALSE(com.irq.level);
    CHECK(lines() == 1);
    out8(com.uart, kThr, 'A');
    CHECK(lines() == 1);
    com.uart.reset();
    out8(com.uart, kMcr, kOut2);
    out8(com.uart, kIer, 0x02);
    CHECK(com.irq.level);
    out8(com.uart, kMcr, kOut2 | kLoop);  // holds it back, too, as it should
    CHECK(lines() == 1);
    out8(com.uart, kMcr, 0);
    CHECK(lines() == 2);
}

TEST_CASE("16550A: each transmitted byte gives the edge-triggered PIC a new THRE edge",
          "[devices][uart16550]") {
    Com1 com;
    out8(com.uart, kMcr, kOut2);
    out8(com.uart, kIer, 0x02);
    const unsigned before = com.irq.rises;
    out8(com.uart, kThr, 'x');
    out8(com.uart, kThr, 'y');
    CHECK(com.irq.rises == before + 2);
}

TEST_CASE("16550A: MCR.OUT2 gates the interrupt line", "[devices][uart16550]") {
    Com1 com;
    out8(com.uart, kIer, 0x02);
    CHECK_FALSE(com.irq.level);
    out8(com.uart, kMcr, kOut2);
    CHECK(com.irq.level);
    out8(com.uart, kMcr, kOut2 | kLoop);
    CHECK_FALSE(com.irq.level);
}

TEST_CASE("16550A: without FIFOs one character is data available and the room is gone",
          "[devices][uart16550]") {
    Com1 com;
    out8(com.uart, kMcr, kOut2);
    out8(com.uart, kIer, 0x01);
    CHECK(com.uart.receive_room() == 1);
    com.backend.type("a");
    CHECK(com.uart.receive_room() == 0);
    CHECK(com.irq.level);
    CHECK(in8(com.uart, kIir) == 0x04);
    CHECK((in8(com.uart, kLsr) & 1) == 1);
    CHECK(in8(com.uart, kRbr) == 'a');
    CHECK_FALSE(com.irq.level);
    CHECK(com.backend.ready_calls == 1);
}

TEST_CASE("16550A: the FIFO interrupts at its trigger level and not below",
          "[devices][uart16550]") {
    Com1 com;
    out8(com.uart, kMcr, kOut2);
    out8(com.uart, kFcr, 0x81);  // trigger at 8
    out8(com.uart, kIer, 0x01);
    com.backend.type("1234567");
    CHECK_FALSE(com.irq.level);
    com.backend.type("8");
    CHECK(in8(com.uart, kIir) == 0xC4);
    CHECK(com.uart.receive_room() == 8);
    CHECK(in8(com.uart, kRbr) == '1');
    CHECK_FALSE(com.irq.level);
}

TEST_CASE("16550A: four silent character times below the trigger level give the timeout interrupt",
          "[devices][uart16550]") {
    Com1 com;
    out8(com.uart, kLcr, 0x83);
    out8(com.uart, kThr, 1);  // 115200 baud
    out8(com.uart, kIer, 0);
    out8(com.uart, kLcr, 0x03);
    out8(com.uart, kMcr, kOut2);
    out8(com.uart, kFcr, 0xC1);
    out8(com.uart, kIer, 0x01);
    com.backend.type("z");
    com.time.advance(340'000);  // 4 x 10 bits at 115200 baud are 347 us
    CHECK_FALSE(com.irq.level);
    com.time.advance(10'000);
    CHECK(com.irq.level);
    CHECK(in8(com.uart, kIir) == 0xCC);
    CHECK(in8(com.uart, kRbr) == 'z');
    CHECK_FALSE(com.irq.level);
}

TEST_CASE("16550A: an overrun is a line-status interrupt until LSR is read",
          "[devices][uart16550]") {
    Com1 com;
    out8(com.uart, kMcr, kOut2);
    out8(com.uart, kIer, 0x04);
    com.backend.type("ab");  // a backend that ignores the room
    CHECK(in8(com.uart, kIir) == 0x06);
    CHECK((in8(com.uart, kLsr) & 0x02) != 0);
    CHECK(in8(com.uart, kIir) == 0x01);
    CHECK(in8(com.uart, kRbr) == 'b');
}

TEST_CASE("16550A: loopback returns written bytes and keeps them from the backend",
          "[devices][uart16550]") {
    Com1 com;
    out8(com.uart, kMcr, kLoop);
    CHECK(com.uart.receive_room() == 0);
    out8(com.uart, kThr, 0xAE);
    CHECK(in8(com.uart, kRbr) == 0xAE);
    CHECK(com.backend.text.empty());
}

TEST_CASE("16550A: loopback wires MCR outputs to MSR inputs with deltas", "[devices][uart16550]") {
    Com1 com;
    out8(com.uart, kMcr, kLoop);
    in8(com.uart, kMsr);
    out8(com.uart, kMcr, kLoop | 0x0A);  // RTS, OUT2
    CHECK(in8(com.uart, kMsr) == (0x90 | 0x09));
    CHECK(in8(com.uart, kMsr) == 0x90);
    out8(com.uart, kMcr, kLoop | 0x04);  // OUT1: RI rises, which is no TERI
    CHECK((in8(com.uart, kMsr) & 0x44) == 0x40);
    out8(com.uart, kMcr, kLoop);
    CHECK((in8(com.uart, kMsr) & 0x44) == 0x04);
}

TEST_CASE("16550A: word accesses are for the bus to split", "[devices][uart16550]") {
    Com1 com;
    std::array<u8, 2> word{};
    CHECK(com.uart.pio_read(kThr, word) == IoStatus::BadSize);
    CHECK(com.uart.pio_write(kThr, word) == IoStatus::BadSize);
}

TEST_CASE("16550A: survives any access sequence and still works after reset",
          "[devices][uart16550][storm]") {
    Com1 com;
    port_storm(com.uart, com.time, [&](u32 random) {
        if (com.uart.receive_room() != 0 && random % 4 == 0) {
            com.backend.type("q");
        }
    });
    com.uart.reset();
    com.backend.text.clear();
    out8(com.uart, kThr, 'k');
    CHECK(com.backend.text == "k");
    CHECK_FALSE(com.irq.level);
}
