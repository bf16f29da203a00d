// Configuration mechanism 1, the i440FX, PIIX3 and PIIX4 functions, interrupt routing.

#include "devices/pci/pci_host_i440fx.hpp"
#include "devices/pci/pci_isa_piix3.hpp"
#include "devices/pci/pci_pm_piix4.hpp"
#include "tests/unit/devices/device_test_support.hpp"

#include <catch2/catch.hpp>

using namespace droste;
using namespace droste::test;

namespace {

// A function with a memory and an I/O BAR that remembers where they are.
class Probe final : public PciDevice {
  public:
    Probe()
        : PciDevice(
              {.vendor = 0x1234, .device = 0x5678, .class_code = 0xFF0000, .interrupt_pin = 1}) {
        add_bar(0, BarKind::Memory, 0x1000);
        add_bar(1, BarKind::Io, 0x100);
    }
    std::string_view name() const override { return "probe"; }
    void interrupt(bool asserted) { set_intx(asserted); }

    std::array<std::optional<u32>, 2> bases;

  protected:
    void bar_moved(unsigned index, std::optional<u32> base) override { bases[index] = base; }
};

constexpr u32 address_of(unsigned device, unsigned function, unsigned offset) {
    return 0x8000'0000 | device << 11 | function << 8 | offset;
}

struct Board {
    std::vector<PamSegment> pam_changes;
    PciHostI440fx host{[this](const PamSegment& segment) { pam_changes.push_back(segment); }};

    template <typename T>
    T read(unsigned device, unsigned function, unsigned offset) {
        out<u32>(host, 0xCF8, address_of(device, function, offset & 0xFC));
        return in<T>(host, static_cast<u16>(0xCFC + offset % 4));
    }
    template <typename T>
    void write(unsigned device, unsigned function, unsigned offset, T value) {
        out<u32>(host, 0xCF8, address_of(device, function, offset & 0xFC));
        out<T>(host, static_cast<u16>(0xCFC + offset % 4), value);
    }
};

}  // namespace

TEST_CASE("82441FX: configuration mechanism #1 finds the bridge in all widths", "[devices][pci]") {
    Board board;
    CHECK(board.read<u32>(0, 0, 0) == 0x1237'8086);
    CHECK(board.read<u16>(0, 0, 2) == 0x1237);
    CHECK(board.read<u8>(0, 0, 1) == 0x80);
    CHECK(board.read<u32>(0, 0, 0x2C) == 0x1100'1AF4);
    CHECK(in<u32>(board.host, 0xCF8) == 0x8000'002C);
}

TEST_CASE("82441FX: absent functions, other buses and a clear enable bit read all ones",
          "[devices][pci]") {
    Board board;
    CHECK(board.read<u32>(5, 0, 0) == 0xFFFF'FFFF);
    out<u32>(board.host, 0xCF8, 0x8001'0000);
    CHECK(in<u32>(board.host, 0xCFC) == 0xFFFF'FFFF);
    out<u32>(board.host, 0xCF8, 0);
    CHECK(in<u32>(board.host, 0xCFC) == 0xFFFF'FFFF);
}

TEST_CASE("82441FX: leaves port CF9h to the reset control register", "[devices][pci]") {
    Board board;
    for (const PortRange& range : board.host.pio_ranges()) {
        CHECK((range.first > 0xCF9 || range.first + range.count <= 0xCF9));
    }
    out8(board.host, 0xCF8, 0x55);
    CHECK(in<u32>(board.host, 0xCF8) == 0);
}

TEST_CASE("82441FX: each PAM nibble reports its segment once", "[devices][pci]") {
    Board board;
    board.write<u8>(0, 0, 0x59, 0x30);
    REQUIRE(board.pam_changes.size() == 1);
    CHECK(board.pam_changes[0].first == 0xF0000);
    CHECK(board.pam_changes[0].bytes == 0x10000);
    CHECK(board.pam_changes[0].read_ram);
    CHECK(board.pam_changes[0].write_ram);
    board.write<u8>(0, 0, 0x59, 0x30);
    CHECK(board.pam_changes.size() == 1);
    board.write<u8>(0, 0, 0x5A, 0x12);
    REQUIRE(board.pam_changes.size() == 3);
    CHECK(board.pam_changes[1].first == 0xC0000);
    CHECK_FALSE(board.pam_changes[1].read_ram);
    CHECK(board.pam_changes[1].write_ram);
    CHECK(board.pam_changes[2].first == 0xC4000);
    CHECK(board.pam_changes[2].read_ram);
    board.write<u8>(0, 0, 0x5F, 0x30);
    CHECK(board.pam_changes.back().first == 0xEC000);
}

TEST_CASE("82441FX: reset turns the shadows back into ROM", "[devices][pci]") {
    Board board;
    board.write<u8>(0, 0, 0x59, 0x30);
    board.host.reset();
    REQUIRE(board.pam_changes.size() == 2);
    CHECK_FALSE(board.pam_changes[1].read_ram);
}

TEST_CASE("PCI: writing ones to a BAR tells its size, and it decodes only when enabled",
          "[devices][pci]") {
    Board board;
    Probe probe;
    REQUIRE(board.host.attach(probe, 4));
    board.write<u32>(4, 0, 0x10, 0xFFFF'FFFF);
    CHECK(board.read<u32>(4, 0, 0x10) == 0xFFFF'F000);
    board.write<u32>(4, 0, 0x14, 0xFFFF'FFFF);
    CHECK(board.read<u32>(4, 0, 0x14) == 0xFFFF'FF01);
    board.write<u32>(4, 0, 0x18, 0xFFFF'FFFF);
    CHECK(board.read<u32>(4, 0, 0x18) == 0);
    board.write<u32>(4, 0, 0x10, 0xFEB0'0000);
    board.write<u32>(4, 0, 0x14, 0xC000);
    CHECK(probe.bases[0] == std::nullopt);
    board.write<u16>(4, 0, 0x04, 0x0003);
    CHECK(probe.bases[0] == 0xFEB0'0000U);
    CHECK(probe.bases[1] == 0xC000U);
    board.write<u16>(4, 0, 0x04, 0x0001);
    CHECK(probe.bases[0] == std::nullopt);
    CHECK(probe.bases[1] == 0xC000U);
}

TEST_CASE("PCI: identity is read-only, the interrupt line is not", "[devices][pci]") {
    Board board;
    Probe probe;
    REQUIRE(board.host.attach(probe, 4));
    board.write<u32>(4, 0, 0, 0);
    CHECK(board.read<u32>(4, 0, 0) == 0x5678'1234);
    board.write<u16>(4, 0, 0x3C, 0x220B);
    CHECK(board.read<u16>(4, 0, 0x3C) == 0x010B);
}

TEST_CASE("PCI: INTx shows in the status and obeys the interrupt disable bit", "[devices][pci]") {
    Board board;
    Probe probe;
    RecordingLine line;
    probe.connect_intx(&line);
    REQUIRE(board.host.attach(probe, 4));
    probe.interrupt(true);
    CHECK(line.level);
    CHECK((board.read<u16>(4, 0, 0x06) & 0x08) != 0);
    board.write<u16>(4, 0, 0x04, 0x0400);
    CHECK_FALSE(line.level);
    CHECK((board.read<u16>(4, 0, 0x06) & 0x08) != 0);
}

TEST_CASE("PCI: a taken place and an impossible one are errors that name the address",
          "[devices][pci]") {
    Board board;
    Probe first;
    Probe second;
    REQUIRE(board.host.attach(first, 4, 2));
    const auto taken = board.host.attach(second, 4, 2);
    REQUIRE_FALSE(taken);
    CHECK(taken.error().message.find("04.2") != std::string::npos);
    CHECK_FALSE(board.host.attach(second, 32, 0));
}

TEST_CASE("PCI: function 0 says multifunction when there is another", "[devices][pci]") {
    Board board;
    Probe zero;
    Probe one;
    REQUIRE(board.host.attach(zero, 4, 0));
    CHECK(board.read<u8>(4, 0, 0x0E) == 0);
    REQUIRE(board.host.attach(one, 4, 1));
    CHECK(board.read<u8>(4, 0, 0x0E) == 0x80);
}

TEST_CASE("PIIX3: a PIRQ goes to the ISA IRQ its register names, and pins of one wire are ORed",
          "[devices][pci_isa_piix3]") {
    RecordingLine irq10;
    RecordingLine irq11;
    RecordingLine gsi;
    PciIsaPiix3::Outputs outputs;
    outputs.isa_irqs[10] = &irq10;
    outputs.isa_irqs[11] = &irq11;
    outputs.gsis[2] = &gsi;
    PciIsaPiix3 piix3(outputs);
    CHECK(PciIsaPiix3::pirq_of(3, 0) == 2);
    piix3.intx(3, 0).set_level(true);
    CHECK_FALSE(irq10.level);  // routing is disabled after reset
    CHECK(gsi.level);
    piix3.config_write(0x62, 1, 0x0A);
    CHECK(irq10.level);
    piix3.intx(4, 3).set_level(true);  // the same wire
    piix3.intx(3, 0).set_level(false);
    CHECK(irq10.level);
    piix3.config_write(0x62, 1, 0x0B);
    CHECK_FALSE(irq10.level);
    CHECK(irq11.level);
    piix3.intx(4, 3).set_level(false);
    CHECK_FALSE(irq11.level);
    CHECK_FALSE(gsi.level);
}

TEST_CASE("PIIX3: leaves an IRQ alone that an ISA device holds", "[devices][pci_isa_piix3]") {
    RecordingLine irq4;
    PciIsaPiix3::Outputs outputs;
    outputs.isa_irqs[4] = &irq4;
    PciIsaPiix3 piix3(outputs);
    irq4.set_level(true);
    piix3.config_write(0x60, 1, 0x0A);
    piix3.intx(1, 0).set_level(true);
    piix3.reset();
    CHECK(irq4.level);
}

TEST_CASE("PIIX4: the PM base register places the ACPI block on the bus",
          "[devices][pci_pm_piix4]") {
    Log log;
    Bus bus(log);
    FakeTime time;
    RecordingLine sci;
    AcpiPm acpi(time.events(), sci, [] {});
    PciPmPiix4 piix4(bus, acpi);
    piix4.reset();
    CHECK(bus.pio_read(0x604, 2) == 0xFFFF);
    CHECK(bus.pio_read(AcpiPm::kGpeBase, 2) == 0);
    piix4.map(0x600);
    CHECK(bus.pio_read(0x604, 2) == 0);
    CHECK(piix4.config_read(0x40, 4) == 0x601);
    piix4.config_write(0x40, 4, 0xB000);
    CHECK(bus.pio_read(0x604, 2) == 0xFFFF);
    CHECK(bus.pio_read(0xB004, 2) == 0);
    piix4.config_write(0x80, 1, 0);
    CHECK(bus.pio_read(0xB004, 2) == 0xFFFF);
}

TEST_CASE("PIIX4: a base on top of another device leaves that device its ports",
          "[devices][pci_pm_piix4]") {
    Log log;
    Bus bus(log);
    FakeTime time;
    RecordingLine sci;
    AcpiPm acpi(time.events(), sci, [] {});
    PciPmPiix4 piix4(bus, acpi);
    Board board;
    REQUIRE(bus.attach_pio(board.host));
    piix4.reset();
    piix4.map(0xCC0);
    CHECK(bus.pio_read(0xCF8, 4) == 0);
    CHECK(bus.pio_read(0xCC4, 2) == 0xFFFF);
    CHECK(bus.pio_read(AcpiPm::kGpeBase, 2) == 0);
}

TEST_CASE("PCI: survives any access sequence and still identifies itself after reset",
          "[devices][pci][storm]") {
    Log log;
    Bus bus(log);
    Board board;
    FakeTime time;
    RecordingLine line;
    AcpiPm acpi(time.events(), line, [] {});
    PciPmPiix4 piix4(bus, acpi);
    PciIsaPiix3::Outputs outputs;
    outputs.isa_irqs.fill(&line);
    PciIsaPiix3 piix3(outputs);
    Probe probe;
    probe.connect_intx(&piix3.intx(4, 0));
    REQUIRE(board.host.attach(piix3, 1, 0));
    REQUIRE(board.host.attach(piix4, 1, 3));
    REQUIRE(board.host.attach(probe, 4));
    board.host.reset();
    port_storm(board.host, time, [&](u32 random) {
        // Mostly functions that exist.
        const std::array<u32, 4> places = {0, 1, 1, 4};
        out<u32>(board.host, 0xCF8, address_of(places[random % 4], random / 4 % 4, random >> 24));
        board.pam_changes.clear();
        probe.interrupt((random & 0x100) != 0);
    });
    board.host.reset();
    CHECK(board.read<u32>(1, 0, 0) == 0x7000'8086);
    CHECK(board.read<u32>(1, 3, 0) == 0x7113'8086);
    CHECK(board.read<u32>(4, 0, 0) == 0x5678'1234);
}
