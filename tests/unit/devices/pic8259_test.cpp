// The 8259A pair: initialization, priorities, EOI in all its forms, poll mode, ELCR.

#include "devices/irq/pic8259.hpp"
#include "tests/unit/devices/device_test_support.hpp"

#include <catch2/catch.hpp>

using namespace droste;
using namespace droste::test;

namespace {

// Initialized as a PC does: vectors 30h and 38h, everything unmasked.
struct PcPics {
    RecordingLine intr;
    Pic8259Pair pic{intr};

    explicit PcPics(unsigned icw4 = 0x01) {
        for (const u16 port : {u16{0x20}, u16{0xA0}}) {
            out8(pic, port, 0x11);
            out8(pic, static_cast<u16>(port + 1), port == 0x20 ? 0x30 : 0x38);
            out8(pic, static_cast<u16>(port + 1), port == 0x20 ? 0x04 : 0x02);
            out8(pic, static_cast<u16>(port + 1), icw4);
        }
    }
    void raise(unsigned irq) { pic.input(irq).set_level(true); }
    void lower(unsigned irq) { pic.input(irq).set_level(false); }
    u8 isr(u16 port) {
        out8(pic, port, 0x0B);
        return in8(pic, port);
    }
    u8 irr(u16 port) {
        out8(pic, port, 0x0A);
        return in8(pic, port);
    }
};

}  // namespace

TEST_CASE("8259A: an edge raises INTR and is acknowledged with base plus IR",
          "[devices][pic8259]") {
    PcPics pc;
    pc.raise(1);
    CHECK(pc.intr.level);
    CHECK(pc.irr(0x20) == 0x02);
    CHECK(pc.pic.acknowledge() == 0x31);
    CHECK_FALSE(pc.intr.level);
    CHECK(pc.isr(0x20) == 0x02);
    CHECK(pc.irr(0x20) == 0);
    out8(pc.pic, 0x20, 0x20);
    CHECK(pc.isr(0x20) == 0);
    CHECK_FALSE(pc.intr.level);  // the line is still high: no new edge
}

TEST_CASE("8259A: IMR holds a request back until it is unmasked", "[devices][pic8259]") {
    PcPics pc;
    out8(pc.pic, 0x21, 0x01);
    CHECK(in8(pc.pic, 0x21) == 0x01);
    pc.raise(0);
    CHECK_FALSE(pc.intr.level);
    out8(pc.pic, 0x21, 0x00);
    CHECK(pc.intr.level);
}

TEST_CASE("8259A: a higher priority interrupts a lower one in service, not the reverse",
          "[devices][pic8259]") {
    PcPics pc;
    pc.raise(4);
    CHECK(pc.pic.acknowledge() == 0x34);
    pc.raise(6);
    CHECK_FALSE(pc.intr.level);
    pc.raise(0);
    CHECK(pc.intr.level);
    CHECK(pc.pic.acknowledge() == 0x30);
    out8(pc.pic, 0x20, 0x20);  // ends IR0, the highest in service
    CHECK(pc.isr(0x20) == 0x10);
    out8(pc.pic, 0x20, 0x20);
    CHECK(pc.pic.acknowledge() == 0x36);
}

TEST_CASE("8259A: the slave comes through IR2 and needs two EOIs", "[devices][pic8259]") {
    PcPics pc;
    pc.raise(12);
    CHECK(pc.pic.acknowledge() == 0x3C);
    CHECK(pc.isr(0x20) == 0x04);
    CHECK(pc.isr(0xA0) == 0x10);
    pc.raise(9);  // higher on the slave, but the master's IR2 is in service
    CHECK_FALSE(pc.intr.level);
    out8(pc.pic, 0xA0, 0x20);
    out8(pc.pic, 0x20, 0x20);
    CHECK(pc.intr.level);
    CHECK(pc.pic.acknowledge() == 0x39);
}

TEST_CASE("8259A: two slave requests at once are both delivered", "[devices][pic8259]") {
    PcPics pc;
    pc.raise(8);
    pc.raise(14);
    CHECK(pc.pic.acknowledge() == 0x38);
    out8(pc.pic, 0xA0, 0x20);
    out8(pc.pic, 0x20, 0x20);
    CHECK(pc.pic.acknowledge() == 0x3E);
}

TEST_CASE("8259A: special fully nested mode lets the slave interrupt itself",
          "[devices][pic8259]") {
    PcPics pc(0x11);
    pc.raise(12);
    CHECK(pc.pic.acknowledge() == 0x3C);
    pc.raise(9);
    CHECK(pc.intr.level);
    CHECK(pc.pic.acknowledge() == 0x39);
}

TEST_CASE("8259A: a level-triggered request follows its line", "[devices][pic8259]") {
    PcPics pc;
    out8(pc.pic, 0x4D1, 0x08);  // IRQ 11
    CHECK(in8(pc.pic, 0x4D1) == 0x08);
    pc.raise(11);
    CHECK(pc.pic.acknowledge() == 0x3B);
    out8(pc.pic, 0xA0, 0x20);
    out8(pc.pic, 0x20, 0x20);
    CHECK(pc.intr.level);
    pc.lower(11);
    CHECK(pc.irr(0xA0) == 0);
}

TEST_CASE("8259A: ELCR bits of IRQ 0, 1, 2, 8 and 13 do not exist", "[devices][pic8259]") {
    PcPics pc;
    out8(pc.pic, 0x4D0, 0xFF);
    out8(pc.pic, 0x4D1, 0xFF);
    CHECK(in8(pc.pic, 0x4D0) == 0xF8);
    CHECK(in8(pc.pic, 0x4D1) == 0xDE);
}

TEST_CASE("8259A: an acknowledge without a request gives IR7 and sets no ISR bit",
          "[devices][pic8259]") {
    PcPics pc;
    CHECK(pc.pic.acknowledge() == 0x37);
    CHECK(pc.isr(0x20) == 0);
}

TEST_CASE("8259A: a slave request that vanishes gives IRQ 15 with the master's IR2 in service",
          "[devices][pic8259]") {
    PcPics pc;
    out8(pc.pic, 0x4D1, 0x08);
    pc.raise(11);
    pc.lower(11);
    CHECK(pc.intr.level);
    CHECK(pc.pic.acknowledge() == 0x3F);
    CHECK(pc.isr(0xA0) == 0);
    CHECK(pc.isr(0x20) == 0x04);
}

TEST_CASE("8259A: automatic EOI leaves nothing in service", "[devices][pic8259]") {
    PcPics pc(0x03);
    pc.raise(3);
    CHECK(pc.pic.acknowledge() == 0x33);
    CHECK(pc.isr(0x20) == 0);
}

TEST_CASE("8259A: rotate on non-specific EOI makes the served level the lowest",
          "[devices][pic8259]") {
    PcPics pc;
    pc.raise(3);
    pc.pic.acknowledge();
    out8(pc.pic, 0x20, 0xA0);
    pc.raise(0);
    pc.raise(4);
    CHECK(pc.pic.acknowledge() == 0x34);
}

TEST_CASE("8259A: set priority and specific EOI name their level", "[devices][pic8259]") {
    PcPics pc;
    out8(pc.pic, 0x20, 0xC4);  // IR4 lowest: IR5 highest
    pc.raise(1);
    pc.raise(5);
    CHECK(pc.pic.acknowledge() == 0x35);
    out8(pc.pic, 0x20, 0x65);
    CHECK(pc.isr(0x20) == 0);
    CHECK(pc.pic.acknowledge() == 0x31);
}

TEST_CASE("8259A: special mask mode lets lower levels through a masked one in service",
          "[devices][pic8259]") {
    PcPics pc;
    pc.raise(3);
    pc.pic.acknowledge();
    pc.raise(6);
    CHECK_FALSE(pc.intr.level);
    out8(pc.pic, 0x21, 0x08);
    out8(pc.pic, 0x20, 0x68);
    CHECK(pc.intr.level);
    CHECK(pc.pic.acknowledge() == 0x36);
    out8(pc.pic, 0x20, 0x20);
    CHECK(pc.isr(0x20) == 0x08);  // not cleared by a non-specific EOI
}

TEST_CASE("8259A: a poll acknowledges and names the level", "[devices][pic8259]") {
    PcPics pc;
    out8(pc.pic, 0x20, 0x0C);
    CHECK(in8(pc.pic, 0x20) == 0x00);
    pc.raise(5);
    out8(pc.pic, 0x20, 0x0C);
    CHECK(in8(pc.pic, 0x20) == 0x85);
    CHECK(pc.isr(0x20) == 0x20);
    CHECK_FALSE(pc.intr.level);
}

TEST_CASE("8259A: a request during initialization waits for its end", "[devices][pic8259]") {
    PcPics pc;
    out8(pc.pic, 0x20, 0x11);
    pc.raise(1);
    CHECK_FALSE(pc.intr.level);
    out8(pc.pic, 0x21, 0x08);
    out8(pc.pic, 0x21, 0x04);
    out8(pc.pic, 0x21, 0x01);
    CHECK(pc.intr.level);
    CHECK(pc.pic.acknowledge() == 0x09);
}

TEST_CASE("8259A: a level-triggered slave request survives the master's initialization",
          "[devices][pic8259]") {
    PcPics pc;
    out8(pc.pic, 0x4D1, 0x08);
    pc.raise(11);
    out8(pc.pic, 0x20, 0x11);
    out8(pc.pic, 0x21, 0x30);
    out8(pc.pic, 0x21, 0x04);
    out8(pc.pic, 0x21, 0x01);
    CHECK(pc.intr.level);
    CHECK(pc.pic.acknowledge() == 0x3B);
}

TEST_CASE("8259A: survives any access sequence and still works after reset",
          "[devices][pic8259][storm]") {
    PcPics pc;
    FakeTime time;
    port_storm(pc.pic, time, [&](u32 random) {
        pc.pic.input(random % 16).set_level((random & 0x100) != 0);
        if (pc.intr.level && random % 3 == 0) {
            pc.pic.acknowledge();
        }
    });
    for (unsigned irq = 0; irq < 16; ++irq) {
        pc.lower(irq);
    }
    pc.pic.reset();
    CHECK_FALSE(pc.intr.level);
    CHECK(in8(pc.pic, 0x21) == 0xFF);
}
