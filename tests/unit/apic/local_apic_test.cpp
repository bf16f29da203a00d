// The register page, interrupts by priority, EOI, LINT pins and errors.
// SDM Vol. 3A, "Advanced Programmable Interrupt Controller (APIC)".

#include "tests/unit/apic/apic_test_support.hpp"

#include <catch2/catch.hpp>

#include <vector>

using namespace droste;
using namespace droste::test;

namespace {

class RecordedEois final : public EoiListener {
  public:
    void end_of_interrupt(u8 vector) override { vectors.push_back(vector); }
    std::vector<u8> vectors;
};

class Pic final : public ExtIntSource {
  public:
    u8 acknowledge() override {
        ++cycles;
        return 0x08;
    }
    unsigned cycles = 0;
};

}  // namespace

TEST_CASE("Local APIC: registers after power-up are the manual's", "[apic]") {
    ApicMachine machine(3);
    CHECK(machine.apic(0).base_msr() == 0xFEE0'0900);
    CHECK(machine.apic(2).base_msr() == 0xFEE0'0800);  // not the bootstrap processor
    CHECK(machine.read(reg::kId, 2) == 0x0200'0000);
    CHECK((machine.read(reg::kVersion) & 0xFF) >= 0x14);
    CHECK(((machine.read(reg::kVersion) >> 16) & 0xFF) == 5);
    CHECK(machine.read(reg::kDfr) == 0xFFFF'FFFF);
    CHECK(machine.read(reg::kLdr) == 0);
    CHECK(machine.read(reg::kSvr) == 0xFF);
    CHECK(machine.read(reg::kTpr) == 0);
    for (u32 lvt = reg::kLvtTimer; lvt <= reg::kLvtError; lvt += 0x10) {
        CHECK(machine.read(lvt) == reg::kLvtMasked);
    }
    CHECK_FALSE(machine.requested(attention::kInterrupt));
}

TEST_CASE("Local APIC: interrupts are taken by priority, and ISR holds back its class and below",
          "[apic]") {
    ApicMachine machine;
    machine.enable();
    machine.interrupt(0x31);
    machine.interrupt(0x51);
    machine.interrupt(0x55);
    CHECK(machine.requested(attention::kInterrupt));

    CHECK(machine.apic().acknowledge() == 0x55);
    CHECK(machine.read(reg::kPpr) == 0x50);
    CHECK(machine.apic().pending_vector() == -1);  // 51H is of the same class
    CHECK_FALSE(machine.requested(attention::kInterrupt));
    machine.interrupt(0x60);
    CHECK(machine.apic().acknowledge() == 0x60);
    CHECK(machine.in_isr(0x55));

    machine.write(reg::kEoi, 0);
    CHECK_FALSE(machine.in_isr(0x60));
    CHECK(machine.apic().pending_vector() == -1);
    machine.write(reg::kEoi, 0);
    CHECK(machine.requested(attention::kInterrupt));
    CHECK(machine.apic().acknowledge() == 0x51);
    machine.write(reg::kEoi, 0);
    CHECK(machine.apic().acknowledge() == 0x31);
    machine.write(reg::kEoi, 0);
    CHECK(machine.read(reg::kPpr) == 0);
}

TEST_CASE("Local APIC: TPR holds back its class and below, and CR8 is its upper half", "[apic]") {
    ApicMachine machine;
    machine.enable();
    machine.apic().set_tpr(4 << 4);
    machine.interrupt(0x4F);
    CHECK_FALSE(machine.requested(attention::kInterrupt));
    machine.interrupt(0x50);
    CHECK(machine.apic().pending_vector() == 0x50);

    machine.write(reg::kTpr, 0x5A);
    CHECK(machine.read(reg::kPpr) == 0x5A);
    CHECK_FALSE(machine.requested(attention::kInterrupt));
    machine.write(reg::kTpr, 0x30);
    CHECK(machine.requested(attention::kInterrupt));
    CHECK(machine.apic().tpr() == 0x30);
}

TEST_CASE(
    "Local APIC: an interrupt that vanished is answered with the spurious vector and no ISR bit",
    "[apic]") {
    ApicMachine machine;
    machine.write(reg::kSvr, 0x1EF);
    CHECK(machine.apic().acknowledge() == 0xEF);
    CHECK_FALSE(machine.in_isr(0xEF));
}

TEST_CASE("Local APIC: software-disabled, it refuses fixed interrupts but takes NMI and INIT",
          "[apic]") {
    ApicMachine machine;
    machine.enable();
    machine.write(reg::kLvtError, 0x40);
    machine.write(reg::kSvr, 0xFF);
    CHECK(machine.read(reg::kLvtError) == (0x40 | reg::kLvtMasked));
    machine.write(reg::kLvtError, 0x41);
    CHECK(machine.read(reg::kLvtError) == (0x41 | reg::kLvtMasked));  // the mask cannot be cleared
    machine.interrupt(0x60);
    CHECK_FALSE(machine.in_irr(0x60));
    InterruptMessage nmi;
    nmi.mode = DeliveryMode::NMI;
    machine.apic().accept(nmi);
    CHECK(machine.requested(attention::kNmi));
}

TEST_CASE("Local APIC: TMR shows how the vector arrived last", "[apic]") {
    ApicMachine machine;
    machine.enable();
    machine.interrupt(0x41, true);
    CHECK(machine.read(reg::kTmr + 0x20) == 1U << 1);
    machine.interrupt(0x41, false);
    CHECK(machine.read(reg::kTmr + 0x20) == 0);
}

TEST_CASE("Local APIC: the EOI of a level-triggered vector is broadcast unless SVR suppresses it",
          "[apic]") {
    ApicMachine machine;
    RecordedEois ioapic;
    machine.apic().set_eoi_listener(&ioapic);
    machine.enable();
    machine.interrupt(0x41, true);
    machine.interrupt(0x61, false);
    (void)machine.apic().acknowledge();
    machine.write(reg::kEoi, 0);  // 61H: edge
    (void)machine.apic().acknowledge();
    machine.write(reg::kEoi, 0);  // 41H: level
    CHECK(ioapic.vectors == std::vector<u8>{0x41});

    machine.write(reg::kSvr, 0x1FF | reg::kSvrSuppressEoiBroadcast);
    machine.interrupt(0x41, true);
    (void)machine.apic().acknowledge();
    machine.write(reg::kEoi, 0);
    CHECK(ioapic.vectors.size() == 1);
    machine.apic().set_eoi_listener(nullptr);
}

TEST_CASE(
    "Local APIC: ESR shows errors noted before it was written, and the error LVT interrupts once",
    "[apic]") {
    ApicMachine machine;
    machine.enable();
    machine.write(reg::kLvtError, 0x70);
    machine.interrupt(5);  // vectors 0..15 are illegal
    machine.interrupt(6);
    CHECK(machine.read(reg::kEsr) == 0);
    machine.write(reg::kEsr, 0);
    CHECK(machine.read(reg::kEsr) == reg::kEsrReceivedIllegalVector);
    CHECK(machine.apic().acknowledge() == 0x70);
    CHECK(machine.apic().pending_vector() == -1);
    machine.write(reg::kEsr, 0);
    CHECK(machine.read(reg::kEsr) == 0);

    machine.send(reg::kShorthandSelf | 0x0F);
    CHECK(machine.read(0x040) == 0);  // no such register
    machine.write(reg::kEsr, 0);
    CHECK(machine.read(reg::kEsr) == (reg::kEsrSendIllegalVector | reg::kEsrIllegalRegister));
}

TEST_CASE("Local APIC: no access width or offset does harm", "[apic]") {
    ApicMachine machine;
    machine.enable();
    machine.write(reg::kTpr, 0x30);
    for (u32 offset = 0; offset < 0x1000; ++offset) {
        for (const unsigned bytes : {1U, 2U, 4U, 8U}) {
            (void)machine.apic().mmio_read(offset, bytes);
        }
        machine.apic().mmio_write(offset, 1, 0xFF);
        machine.apic().mmio_write(offset | 1, 4, 0xFF);
    }
    CHECK(machine.read(reg::kTpr) == 0x30);
    CHECK((machine.apic().mmio_read(reg::kVersion + 2, 1) & 0xFF) == 5);
}

TEST_CASE("Local APIC: LINT0 in ExtINT mode passes the 8259's interrupt whatever TPR says",
          "[apic]") {
    ApicMachine machine;
    Pic pic;
    machine.apic().set_ext_int_source(&pic);
    machine.apic().set_lint(0, true);
    CHECK_FALSE(machine.apic().ext_int_pending());  // masked after reset
    machine.apic().enable_virtual_wire();
    machine.apic().set_tpr(0xFF);
    CHECK(machine.apic().ext_int_pending());
    CHECK(machine.requested(attention::kInterrupt));
    CHECK(machine.apic().acknowledge() == 0x08);
    CHECK(pic.cycles == 1);
    machine.apic().set_lint(0, false);
    CHECK_FALSE(machine.requested(attention::kInterrupt));

    machine.apic().set_lint(1, true);  // LINT1 is the NMI
    CHECK(machine.requested(attention::kNmi));
}

TEST_CASE("Local APIC: globally disabled, LINT0 and LINT1 are the INTR and NMI pins", "[apic]") {
    ApicMachine machine;
    Pic pic;
    machine.apic().set_ext_int_source(&pic);
    machine.enable();
    machine.interrupt(0x60);
    REQUIRE(machine.apic().write_base_msr(0xFEE0'0100));
    CHECK_FALSE(machine.requested(attention::kInterrupt));
    CHECK_FALSE(machine.apic().claims(0xFEE0'0000));
    machine.apic().set_lint(0, true);
    CHECK(machine.requested(attention::kInterrupt));
    CHECK(machine.apic().acknowledge() == 0x08);
    machine.apic().set_lint(1, true);
    CHECK(machine.requested(attention::kNmi));
    machine.interrupt(0x61);
    CHECK_FALSE(machine.in_irr(0x61));
}

TEST_CASE(
    "Local APIC: a level-triggered LINT0 interrupts again after its EOI while the pin is high",
    "[apic]") {
    ApicMachine machine;
    machine.enable();
    machine.write(reg::kLvtLint0, 0x80 | reg::kLvtLevel);
    machine.apic().set_lint(0, true);
    CHECK((machine.read(reg::kLvtLint0) & reg::kLvtRemoteIrr) != 0);
    CHECK(machine.apic().acknowledge() == 0x80);
    CHECK_FALSE(machine.in_irr(0x80));
    machine.write(reg::kEoi, 0);
    CHECK(machine.in_irr(0x80));
    CHECK(machine.apic().acknowledge() == 0x80);
    machine.apic().set_lint(0, false);
    machine.write(reg::kEoi, 0);
    CHECK_FALSE(machine.in_irr(0x80));
    CHECK((machine.read(reg::kLvtLint0) & reg::kLvtRemoteIrr) == 0);
}

TEST_CASE("Local APIC: an edge-triggered LINT0 interrupts once for each edge", "[apic]") {
    ApicMachine machine;
    machine.enable();
    machine.write(reg::kLvtLint0, 0x80);
    machine.apic().set_lint(0, true);
    machine.apic().set_lint(0, true);
    CHECK(machine.apic().acknowledge() == 0x80);
    machine.write(reg::kEoi, 0);
    CHECK_FALSE(machine.in_irr(0x80));
    machine.apic().set_lint(0, false);
    machine.apic().set_lint(0, true);
    CHECK(machine.in_irr(0x80));
}

TEST_CASE("IA32_APIC_BASE: only the manual's transitions are legal", "[apic]") {
    constexpr u64 kDisabled = 0xFEE0'0100;
    constexpr u64 kXapic = 0xFEE0'0900;
    constexpr u64 kX2apic = 0xFEE0'0D00;
    constexpr u64 kInvalid = 0xFEE0'0500;  // EXTD without EN
    struct Transition {
        std::vector<u64> path;  // from power-up (xAPIC) to the state in question
        u64 to;
        bool legal;
    };
    const std::vector<Transition> transitions = {
        {{}, kXapic, true},
        {{}, kX2apic, true},
        {{}, kDisabled, true},
        {{}, kInvalid, false},
        {{kDisabled}, kXapic, true},
        {{kDisabled}, kX2apic, false},
        {{kDisabled}, kInvalid, false},
        {{kX2apic}, kXapic, false},
        {{kX2apic}, kDisabled, true},
        {{kX2apic}, kX2apic, true},
        {{kX2apic}, kInvalid, false},
    };
    for (const Transition& t : transitions) {
        ApicMachine machine;
        for (const u64 step : t.path) {
            REQUIRE(machine.apic().write_base_msr(step));
        }
        const u64 before = machine.apic().base_msr();
        CAPTURE(before, t.to);
        CHECK(machine.apic().write_base_msr(t.to) == t.legal);
        CHECK(machine.apic().base_msr() == (t.legal ? t.to : before));
    }
}

TEST_CASE("IA32_APIC_BASE: reserved bits and addresses beyond MAXPHYADDR are refused", "[apic]") {
    ApicMachine machine(1, "nested,phys-bits=40");
    const u64 base = machine.apic().base_msr();
    for (unsigned i = 0; i < 64; ++i) {
        const bool reserved = i < 8 || i == 9 || i >= 40;
        if (reserved) {
            CAPTURE(i);
            CHECK_FALSE(machine.apic().write_base_msr(base | bit(i)));
        }
    }
    ApicMachine old(1, "nested,-x2apic");
    CHECK_FALSE(old.apic().write_base_msr(old.apic().base_msr() | bit(10)));
}

TEST_CASE("IA32_APIC_BASE: the register page moves, and disabling forgets the registers",
          "[apic]") {
    ApicMachine machine;
    machine.enable();
    REQUIRE(machine.apic().write_base_msr(0x1'2345'6000 | 0x900));
    CHECK(machine.apic().claims(0x1'2345'6FFC));
    CHECK_FALSE(machine.apic().claims(0xFEE0'0000));
    CHECK(machine.read(reg::kSvr) == 0x1FF);
    REQUIRE(machine.apic().write_base_msr(0xFEE0'0100));
    REQUIRE(machine.apic().write_base_msr(0xFEE0'0900));
    CHECK(machine.read(reg::kSvr) == 0xFF);
}

TEST_CASE("Local APIC: INIT resets the registers but not IA32_APIC_BASE or the id", "[apic]") {
    ApicMachine machine(2);
    REQUIRE(machine.apic(1).write_base_msr(0xFED0'0800));
    machine.enable(1);
    machine.interrupt(0x70, false, 1);
    machine.write(reg::kInitialCount, 1000, 1);
    machine.apic(1).init();
    CHECK(machine.apic(1).base_msr() == 0xFED0'0800);
    CHECK(machine.read(reg::kId, 1) == 0x0100'0000);
    CHECK(machine.read(reg::kSvr, 1) == 0xFF);
    CHECK(machine.read(reg::kCurrentCount, 1) == 0);
    CHECK_FALSE(machine.in_irr(0x70, 1));
    CHECK_FALSE(machine.requested(attention::kInterrupt, 1));
}
