// IN, OUT, INS, OUTS: who may, what reaches the bus, and what happens when memory says no.
// SDM Vol. 1, "Protected-Mode I/O", "I/O Permission Bit Map".

#include "core/bus.hpp"
#include "tests/unit/interp/insn_runner.hpp"

#include <vector>

using namespace droste;
using namespace droste::test;

namespace {

// Remembers what is written; reads count up.
class RecordingPort final : public PioDevice {
  public:
    std::string_view name() const override { return "recording port"; }
    std::span<const PortRange> pio_ranges() const override { return kRanges; }
    IoStatus pio_read(u16 /*port*/, std::span<u8> data) override {
        for (u8& byte : data) {
            byte = ++last_read;
        }
        ++reads;
        return IoStatus::Done;
    }
    IoStatus pio_write(u16 /*port*/, std::span<const u8> data) override {
        written.insert(written.end(), data.begin(), data.end());
        return IoStatus::Done;
    }

    static constexpr u16 kPort = 0x3F8;
    unsigned reads = 0;
    u8 last_read = 0;
    std::vector<u8> written;

  private:
    static constexpr std::array kRanges = {PortRange{kPort, 4}};
};

struct IoFixture {
    InsnRunner runner;
    RecordingPort port;

    IoFixture() { REQUIRE(runner.machine.bus().attach_pio(port).has_value()); }
    ~IoFixture() { runner.machine.bus().detach_pio(port); }
    IoFixture(const IoFixture&) = delete;
    IoFixture& operator=(const IoFixture&) = delete;

    static constexpr u64 kTss = 0x28'0000;
    static constexpr u16 kMapBase = 0x68;
    // A 32-bit TSS whose bitmap allows every port.
    void install_tss(u32 limit = kMapBase + 0x2000) {
        Segment& tr = runner.state().tr;
        tr.selector = 0x28;
        tr.base = kTss;
        tr.limit = limit;
        tr.rights = 0x8B;
        runner.machine.poke_value<u16>(kTss + 0x66, kMapBase);
    }
    void deny(u16 denied) {
        const u64 at = kTss + kMapBase + denied / 8U;
        runner.machine.poke_value<u8>(
            at, static_cast<u8>(runner.machine.peek_value<u8>(at) | (1U << (denied % 8U))));
    }
};

}  // namespace

TEST_CASE_METHOD(IoFixture, "OUT and IN move AL, AX or EAX", "[interp][io]") {
    runner.protected_mode();
    runner.gpr(RDX) = 0xFFFF'0000 | RecordingPort::kPort;
    runner.gpr(RAX) = 0x1122'3344;
    CHECK(runner.run({0xEE}) == Status::Sync);        // out dx, al
    CHECK(runner.run({0x66, 0xEF}) == Status::Sync);  // out dx, ax
    CHECK(runner.run({0xEF}) == Status::Sync);        // out dx, eax
    CHECK(port.written == std::vector<u8>{0x44, 0x44, 0x33, 0x44, 0x33, 0x22, 0x11});
    runner.gpr(RAX) = ~u64{0};
    CHECK(runner.run({0xEC}) == Status::Sync);  // in al, dx
    CHECK(runner.gpr(RAX) == 0xFFFF'FFFF'FFFF'FF01);
    CHECK(runner.run({0xED}) == Status::Sync);  // in eax, dx
    CHECK(runner.gpr(RAX) == 0x0504'0302);
    CHECK(runner.cpu().counters.pio_accesses == 5);
}

TEST_CASE_METHOD(IoFixture, "an immediate port is eight bits", "[interp][io]") {
    runner.protected_mode();
    runner.gpr(RAX) = 0;
    CHECK(runner.run({0xE4, 0xF8}) == Status::Sync);  // port F8h, not 3F8h: floating bus
    CHECK(runner.gpr(RAX) == 0xFF);
    CHECK(port.reads == 0);
}

TEST_CASE_METHOD(IoFixture, "with CPL <= IOPL no bitmap is asked", "[interp][io]") {
    runner.protected_mode(3, 3);
    runner.gpr(RDX) = RecordingPort::kPort;
    CHECK(runner.run({0xEE}) == Status::Sync);  // out dx, al
}

TEST_CASE_METHOD(IoFixture, "with CPL > IOPL the bitmap decides", "[interp][io]") {
    runner.protected_mode(3, 0);
    install_tss();
    runner.gpr(RDX) = RecordingPort::kPort;
    CHECK(runner.run({0xEF}) == Status::Sync);  // out dx, eax
    deny(RecordingPort::kPort + 3);
    CHECK(runner.run({0xEE}) == Status::Sync);   // one byte: allowed
    CHECK(runner.run({0xEF}) == Status::Fault);  // four bytes: the last is denied
    CHECK(runner.raised(Exception::GP, 0));
    CHECK(port.written.size() == 5);
}

TEST_CASE_METHOD(IoFixture, "an access across a bitmap byte needs both bytes", "[interp][io]") {
    runner.protected_mode(3, 0);
    install_tss();
    runner.gpr(RDX) = 0x3FF;
    CHECK(runner.run({0x66, 0xED}) == Status::Sync);  // in ax, dx
    deny(0x400);
    CHECK(runner.run({0x66, 0xED}) == Status::Fault);  // in ax, dx
}

TEST_CASE_METHOD(IoFixture, "a bitmap cut short by the TSS limit denies", "[interp][io]") {
    runner.protected_mode(3, 0);
    runner.gpr(RDX) = RecordingPort::kPort;
    install_tss(kMapBase + RecordingPort::kPort / 8 + 1);
    CHECK(runner.run({0xEE}) == Status::Sync);         // out dx, al
    install_tss(kMapBase + RecordingPort::kPort / 8);  // the second byte of the pair is outside
    CHECK(runner.run({0xEE}) == Status::Fault);        // out dx, al
    install_tss(0x67);
    CHECK(runner.run({0xEE}) == Status::Fault);  // out dx, al
    install_tss();
    runner.state().tr.rights = 0x83;             // a 16-bit TSS has no bitmap
    CHECK(runner.run({0xEE}) == Status::Fault);  // out dx, al
    CHECK(runner.raised(Exception::GP, 0));
}

// CS.L says nothing about where the TSS lies. The wrong one, at the address cut to 32 bits, allows
// every port, or is not mapped.
TEST_CASE_METHOD(IoFixture,
                 "compatibility mode finds the bitmap of a TSS above 4 GiB",
                 "[interp][io][compatibility]") {
    constexpr u64 kHigh = 0x12'0000'0000;
    for (const bool cut_is_mapped : {true, false}) {
        CAPTURE(cut_is_mapped);
        runner.long_mode(3);
        runner.state().seg[CS] = flat_segment(0x1B, 0xC0FB);  // D, not L
        mode_changed(runner.cpu());
        REQUIRE(runner.cpu().mode.code_bits == 32);
        install_tss();
        runner.state().tr.base = kHigh + kTss;
        for (u64 page = 0; page < 0x3000; page += kPageBytes) {
            runner.machine.map(kHigh + kTss + page, kTss + page);
            if (cut_is_mapped) {
                runner.machine.map(kTss + page, kTss + 0x1'0000 + page);
            }
        }
        runner.machine.poke_value<u16>(kTss + 0x1'0066, kMapBase);
        deny(RecordingPort::kPort + 1);
        runner.gpr(RDX) = RecordingPort::kPort;
        runner.gpr(RDI) = runner.gpr(RSI) = InsnRunner::kData;
        CHECK(runner.run({0xEC}) == Status::Sync);         // in al, dx
        CHECK(runner.run({0x66, 0xED}) == Status::Fault);  // in ax, dx
        CHECK(runner.raised(Exception::GP, 0));
        CHECK(runner.run({0x66, 0xEF}) == Status::Fault);  // out dx, ax
        CHECK(runner.raised(Exception::GP, 0));
        CHECK(runner.run({0x6C}) == Status::Sync);         // insb
        CHECK(runner.run({0x66, 0x6D}) == Status::Fault);  // insw
        CHECK(runner.raised(Exception::GP, 0));
        CHECK(runner.run({0x66, 0x6F}) == Status::Fault);  // outsw
        CHECK(runner.raised(Exception::GP, 0));
    }
}

TEST_CASE_METHOD(IoFixture,
                 "virtual-8086 mode always asks the bitmap, real mode never",
                 "[interp][io]") {
    runner.virtual8086_mode(3);
    install_tss();
    deny(RecordingPort::kPort);
    runner.gpr(RDX) = RecordingPort::kPort;
    CHECK(runner.run({0xEE}) == Status::Fault);  // out dx, al
    runner.real_mode();
    CHECK(runner.run({0xEE}) == Status::Sync);  // out dx, al
}

TEST_CASE_METHOD(IoFixture, "REP OUTS writes every element and ends with Sync", "[interp][io]") {
    runner.long_mode();
    for (u8 i = 0; i < 6; ++i) {
        runner.machine.poke_value<u8>(InsnRunner::kData + i, i);
    }
    runner.gpr(RDX) = RecordingPort::kPort;
    runner.gpr(RSI) = InsnRunner::kData;
    runner.gpr(RCX) = 3;
    CHECK(runner.run({0xF3, 0x66, 0x6F}) == Status::Sync);  // rep outsw dx, word [rsi]
    CHECK(port.written == std::vector<u8>{0, 1, 2, 3, 4, 5});
    CHECK(runner.gpr(RCX) == 0);
    CHECK(runner.gpr(RSI) == InsnRunner::kData + 6);
}

TEST_CASE_METHOD(IoFixture,
                 "INS does not read the port if the destination faults",
                 "[interp][io]") {
    runner.long_mode();
    runner.gpr(RDX) = RecordingPort::kPort;
    runner.gpr(RDI) = InsnRunner::kData + 4 * kPageBytes - 2;
    runner.gpr(RCX) = 5;
    CHECK(runner.run({0xF3, 0x6C}) == Status::Fault);  // rep insb byte [rdi], dx
    CHECK(runner.raised(Exception::PF));
    CHECK(port.reads == 2);
    CHECK(runner.gpr(RCX) == 3);
    CHECK(runner.machine.peek_value<u16>(InsnRunner::kData + 4 * kPageBytes - 2) == 0x0201);
}

TEST_CASE_METHOD(IoFixture,
                 "INS with a 64-bit operand size still moves doublewords",
                 "[interp][io]") {
    runner.long_mode();
    runner.gpr(RDX) = RecordingPort::kPort;
    runner.gpr(RDI) = InsnRunner::kData;
    CHECK(runner.run({0x48, 0x6D}) == Status::Sync);  // insd dword [rdi], dx
    CHECK(runner.gpr(RDI) == InsnRunner::kData + 4);
}

TEST_CASE_METHOD(IoFixture,
                 "an armed I/O breakpoint is noted and splits repetitions",
                 "[interp][io]") {
    runner.long_mode();
    runner.state().cr4 |= cr4::kDe;
    runner.state().dr[0] = RecordingPort::kPort;
    runner.state().dr7 = 0x400 | 1 | (2U << 16);  // R/W0 = 10b: I/O, one byte
    runner.gpr(RDX) = RecordingPort::kPort;
    runner.gpr(RSI) = InsnRunner::kData;
    runner.gpr(RCX) = 2;
    CHECK(runner.run({0xF3, 0x6E}) == Status::Branch);  // rep outsb dx, byte [rsi]
    CHECK(runner.gpr(RCX) == 1);
    CHECK((runner.state().pending_debug & 1) != 0);
}
