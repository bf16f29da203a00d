// What the engine counts, where run() ends and when an event is taken: functions of the instruction
// stream, whatever the length of blocks and wherever the run is cut into budgets.
// docs/x86/events.md, "What counts".

#include "cpu/x86/apic/local_apic.hpp"
#include "cpu/x86/interp/engine.hpp"
#include "cpu/x86/system/boundary.hpp"
#include "tests/support/engines.hpp"
#include "tests/unit/system/guest.hpp"

#include <catch2/catch.hpp>

#include <algorithm>
#include <array>
#include <vector>

using namespace droste;
using namespace droste::test;

namespace {

constexpr u64 kNsPerInsn = Clock::kCountingNsPerInsn;
constexpr std::array<unsigned, 3> kBlockLengths = {1, 8, 64};
constexpr PhysAddr kDeviceBase = 0x1000'0000;  // above RAM
constexpr u16 kDevicePort = 0x300;

// A device that notes when each of its registers was touched, and can raise an NMI for it.
class Watcher final : public MmioDevice, public PioDevice {
  public:
    explicit Watcher(Vcpu& cpu) : cpu_(cpu) {}
    std::string_view name() const override { return "watcher"; }
    std::span<const MmioRange> mmio_ranges() const override { return mmio_; }
    std::span<const PortRange> pio_ranges() const override { return pio_; }
    IoStatus mmio_read(PhysAddr /*address*/, std::span<u8> data) override { return touched(data); }
    IoStatus mmio_write(PhysAddr /*address*/, std::span<const u8> /*data*/) override {
        return touched({});
    }
    IoStatus pio_read(u16 /*port*/, std::span<u8> data) override { return touched(data); }
    IoStatus pio_write(u16 /*port*/, std::span<const u8> /*data*/) override { return touched({}); }

    std::vector<u64> times;  // in instructions
    u64 copies = 0;          // bytes, for each access
    std::size_t nmi_at = ~std::size_t{0};

  private:
    IoStatus touched(std::span<u8> data) {
        if (times.size() == nmi_at) {
            cpu_.request(attention::kNmi);
        }
        times.push_back(cpu_.clock.now_ns() / kNsPerInsn);
        cpu_.memory.note_dma(copies);
        std::fill(data.begin(), data.end(), static_cast<u8>(times.size()));
        return IoStatus::Done;
    }

    Vcpu& cpu_;
    std::array<MmioRange, 1> mmio_ = {MmioRange{kDeviceBase, 0x1000}};
    std::array<PortRange, 1> pio_ = {PortRange{kDevicePort, 4}};
};

// Code at Guest::kCode in flat 32-bit protected mode; handlers are HLT.
struct Machine {
    explicit Machine(unsigned block_insns)
        : engine(chosen_engine() == EngineKind::Interpreter ? make_interpreter({block_insns})
                                                            : make_engine(guest.cpu())) {
        guest.protected_mode();
        guest.set_all_gates();
        for (unsigned vector = 0; vector < 64; ++vector) {
            guest.machine().poke(Guest::handler(vector), {0xF4});  // HLT
        }
        REQUIRE(guest.machine().bus().attach_mmio(watcher).has_value());
        REQUIRE(guest.machine().bus().attach_pio(watcher).has_value());
    }
    void code(std::initializer_list<u8> bytes) { guest.machine().poke(Guest::kCode, bytes); }
    // Runs in budgets of `budget` until the CPU idles; returns the instructions counted.
    u64 run_to_halt(u64 budget, u64 most = 100'000) {
        const u64 start = cpu().icount;
        while (cpu().icount - start < most) {
            const u64 before = cpu().icount;
            const RunResult result = engine->run(cpu(), budget);
            if (result == RunResult::Idle) {
                break;
            }
            REQUIRE(cpu().icount - before <= budget);
            if (result == RunResult::BudgetSpent) {
                REQUIRE(cpu().icount - before == budget);
            }
        }
        return cpu().icount - start;
    }
    Vcpu& cpu() { return guest.cpu(); }

    Guest guest;
    Watcher watcher{guest.cpu()};
    std::unique_ptr<ExecutionEngine> engine;
};

}  // namespace

TEST_CASE("run() ends exactly at its budget, in the midst of a block too", "[interp][engine]") {
    for (const unsigned length : kBlockLengths) {
        Machine m(length);
        for (u64 i = 0; i < 100; ++i) {
            m.guest.machine().poke(Guest::kCode + i, {0x40});  // INC EAX
        }
        for (const u64 budget : {1U, 37U, 2U, 40U}) {
            const u64 before = m.cpu().icount;
            CHECK(m.engine->run(m.cpu(), budget) == RunResult::BudgetSpent);
            CHECK(m.cpu().icount - before == budget);
        }
        CHECK(m.guest.rip() == Guest::kCode + 80);
        CHECK(m.guest.reg(RAX) == 80);
    }
}

TEST_CASE("two reads of a device in one block differ by the instructions between",
          "[interp][engine]") {
    for (const unsigned length : kBlockLengths) {
        Machine m(length);
        m.guest.reg(RBX) = kDeviceBase;
        m.code({0x90, 0x90,        // NOP, NOP
                0x8B, 0x03,        // MOV EAX, [EBX]
                0x90, 0x90, 0x90,  // NOP, NOP, NOP
                0x03, 0x0B,        // ADD ECX, [EBX]
                0x01, 0x0B,        // ADD [EBX], ECX: reads and writes
                0xF4});            // HLT
        const u64 start = m.cpu().icount;
        CHECK(m.run_to_halt(1000) == 9);
        REQUIRE(m.watcher.times.size() == 4);
        CHECK(m.watcher.times[0] == start + 2);
        CHECK(m.watcher.times[1] == start + 6);
        CHECK(m.watcher.times[2] == start + 7);
        CHECK(m.watcher.times[3] == start + 7);
    }
}

TEST_CASE("RDTSC reads its own position, wherever it lies in a block", "[interp][engine]") {
    for (const unsigned length : kBlockLengths) {
        Machine m(length);
        m.code({0x90, 0x90, 0x90,  // three NOPs
                0x0F, 0x31,        // RDTSC
                0x89, 0xC3,        // MOV EBX, EAX
                0x90, 0x90,        // two NOPs
                0x0F, 0x31,        // RDTSC
                0xF4});            // HLT
        CHECK(m.run_to_halt(1000) == 9);
        CHECK(static_cast<u32>(m.guest.reg(RAX)) - static_cast<u32>(m.guest.reg(RBX)) ==
              4 * kNsPerInsn);
    }
}

TEST_CASE("an interrupt that a device raises for an access comes behind that instruction",
          "[interp][engine]") {
    for (const unsigned length : kBlockLengths) {
        Machine m(length);
        m.watcher.nmi_at = 0;
        m.guest.reg(RBX) = kDeviceBase;
        m.code({0x90,                     // NOP
                0x89, 0x03,               // MOV [EBX], EAX
                0x41, 0x41, 0x41,         // INC ECX three times
                0xF4});                   // HLT
        CHECK(m.run_to_halt(1000) == 4);  // NOP, MOV, the delivery, the handler's HLT
        CHECK(m.guest.reg(RCX) == 0);
        CHECK(m.guest.stack<u32>(0) == Guest::kCode + 3);
    }
}

TEST_CASE("REP counts its elements by eights, however the run is cut", "[interp][engine]") {
    for (const unsigned length : kBlockLengths) {
        for (const u64 budget : {1U, 2U, 3U, 7U, 500U, 100'000U}) {
            for (const u64 elements : {0U, 1U, 8U, 9U, 4096U, 10'001U}) {
                Machine m(length);
                m.guest.reg(RDI) = 0x2'0000;
                m.guest.reg(RCX) = elements;
                m.code({0x90, 0xF3, 0xAA, 0xF4});  // NOP; REP STOSB; HLT
                CHECK(m.run_to_halt(budget) == 2 + std::max<u64>(1, (elements + 7) / 8));
                CHECK(m.guest.reg(RDI) == 0x2'0000 + elements);
                CHECK(m.guest.reg(RCX) == 0);
            }
        }
    }
}

TEST_CASE("a repetition that meets a device pauses behind each access", "[interp][engine]") {
    for (const unsigned length : kBlockLengths) {
        Machine m(length);
        m.watcher.nmi_at = 2;
        m.guest.reg(RDI) = kDeviceBase;
        m.guest.reg(RCX) = 5;
        m.code({0xF3, 0xAA, 0xF4});  // REP STOSB; HLT
        const u64 start = m.cpu().icount;
        m.run_to_halt(1000);
        CHECK(m.guest.reg(RCX) == 2);
        CHECK(m.guest.stack<u32>(0) == Guest::kCode);
        REQUIRE(m.watcher.times.size() == 3);
        CHECK(m.watcher.times[2] == start + 2);
    }
}

TEST_CASE("each element of INS and OUTS is an instruction, and a device may interrupt between",
          "[interp][engine]") {
    for (const unsigned length : kBlockLengths) {
        for (const u64 budget : {1U, 3U, 1000U}) {
            Machine m(length);
            m.watcher.nmi_at = 20;
            m.guest.reg(RDI) = 0x2'0000;
            m.guest.reg(RCX) = 30;
            m.guest.reg(RDX) = kDevicePort;
            m.code({0xF3, 0x6C, 0xF4});  // REP INSB; HLT
            const u64 start = m.cpu().icount;
            CHECK(m.run_to_halt(budget) == 21 + 1 + 1);  // elements, the NMI, its handler's HLT
            CHECK(m.guest.reg(RCX) == 9);
            REQUIRE(m.watcher.times.size() == 21);
            for (u64 i = 0; i < 21; ++i) {
                CHECK(m.watcher.times[i] == start + i);
            }
        }
    }
}

TEST_CASE("an access for which a device copied memory takes an instruction for each 8 bytes",
          "[interp][engine]") {
    for (const unsigned length : kBlockLengths) {
        Machine m(length);
        m.watcher.copies = 80'000;
        m.guest.reg(RBX) = kDeviceBase;
        m.guest.reg(RDX) = kDevicePort;
        m.code({0x8B, 0x03,    // MOV EAX, [EBX]
                0x89, 0x03,    // MOV [EBX], EAX
                0xEC, 0xEE,    // IN AL, DX; OUT DX, AL
                0x90, 0xF4});  // NOP; HLT
        CHECK(m.engine->run(m.cpu(), 3) == RunResult::BudgetSpent);
        CHECK(m.cpu().icount == 10'001);  // beyond the budget, but no instruction more
        CHECK(m.guest.rip() == Guest::kCode + 2);
        CHECK(m.run_to_halt(100'000) == 5 + 30'000);
    }
}

TEST_CASE("code that rewrites itself in the same block runs as written", "[interp][engine]") {
    for (const unsigned length : kBlockLengths) {
        Machine m(length);
        m.code({0xC6, 0x05, 0x08, 0x50, 0x00, 0x00, 0x41,  // MOV byte [5008h], 41h: INC ECX
                0x90, 0x90,                                // NOP; (5008h:) NOP
                0xF4});                                    // HLT
        CHECK(m.run_to_halt(1000) == 4);
        CHECK(m.guest.reg(RCX) == 1);
    }
}

TEST_CASE("EIP is 0 behind an instruction that ends at 4 GiB", "[interp][engine]") {
    constexpr auto kEndings = std::to_array<u8>({0x40, 0xFB});  // INC EAX; STI, which ends a block
    for (const unsigned length : kBlockLengths) {
        for (const u8 ending : kEndings) {
            Machine m(length);
            m.cpu().state.seg[CS].base = Guest::kCode + 0x1000;
            mode_changed(m.cpu());
            m.cpu().state.rip() = 0xFFFF'FFFE;
            m.guest.reg(RDX) = 0;
            m.guest.machine().poke(Guest::kCode + 0xFFE, {0x41, ending});  // INC ECX
            m.guest.machine().poke(Guest::kCode + 0x1000, {0x42, 0xF4});   // INC EDX; HLT
            CHECK(m.run_to_halt(1000) == 4);
            CHECK(m.guest.reg(RCX) == 1);
            CHECK(m.guest.reg(RDX) == 1);
            CHECK(m.guest.rip() == 2);
        }
    }
}

TEST_CASE("a fault counts as one instruction", "[interp][engine]") {
    for (const unsigned length : kBlockLengths) {
        Machine m(length);
        m.code({0x90, 0x90, 0x0F, 0x0B});  // NOP, NOP, UD2
        CHECK(m.run_to_halt(1000) == 4);   // ... and the handler's HLT
        CHECK(m.guest.stack<u32>(0) == Guest::kCode + 2);
    }
}

TEST_CASE("a stop request ends run() before the next instruction", "[interp][engine]") {
    Machine m(64);
    m.code({0xEB, 0xFE});  // JMP $
    m.cpu().request(attention::kStop);
    CHECK(m.engine->run(m.cpu(), ~u64{0}) == RunResult::Stopped);
    CHECK(m.cpu().icount == 0);
}

// --- Events without end: each is an instruction, so the budget ends them. ------------------------

// #AC at CPL 3 whose handler is at CPL 3 too: its frame meets #AC again, and two benign exceptions
// are handled one after the other. SDM Vol. 3A, "Interrupt 8—Double Fault Exception (#DF)".
TEST_CASE("#AC in the delivery of #AC ends with the budget", "[interp][engine][deaf]") {
    for (const u64 budget : {1U, 2U, 1000U}) {
        Machine m(64);
        m.guest.protected_mode(3);
        m.guest.state().cr0 |= cr0::kAm;
        m.guest.state().set_rflags(rflags::kFixed1 | rflags::kAc);
        m.guest.set_gate(17, gate(Guest::kCode3, static_cast<u32>(Guest::handler(17)),
                                  access::kTrapGate | access::kDpl3));
        m.guest.reg(RSP) = Guest::kStack3 - 1;
        mode_changed(m.cpu());
        m.code({0x50});  // PUSH EAX
        for (unsigned run = 0; run < 5; ++run) {
            const u64 before = m.cpu().icount;
            CHECK(m.engine->run(m.cpu(), budget) == RunResult::BudgetSpent);
            CHECK(m.cpu().icount - before == budget);
            CHECK(m.guest.rip() == Guest::kCode);
        }
        // What was put off goes on: with an even stack the handler is entered at last.
        CHECK((m.cpu().attention.load() & attention::kUndelivered) != 0);
        m.guest.reg(RSP) = Guest::kStack3;
        CHECK(m.engine->run(m.cpu(), 1) == RunResult::BudgetSpent);
        CHECK(m.guest.rip() == Guest::handler(17));
        CHECK((m.cpu().attention.load() & attention::kUndelivered) == 0);
        // A stop request is looked at between two of them, however large the budget.
        m.guest.reg(RSP) = Guest::kStack3 - 1;
        m.cpu().icount_limit = ~u64{0};
        m.cpu().request(attention::kStop);
        m.guest.raise_and_deliver(Exception::AC);
        CHECK((m.cpu().attention.load() & attention::kUndelivered) != 0);
    }
}

TEST_CASE("an NMI whose delivery is put off blocks the next one at once",
          "[interp][engine][deaf]") {
    Machine m(64);
    m.guest.set_gate(2, 0);  // no gate: #GP instead
    m.code({0x90});          // NOP
    m.cpu().request(attention::kNmi);
    CHECK(m.engine->run(m.cpu(), 1) == RunResult::BudgetSpent);
    CHECK((m.cpu().attention.load() & attention::kUndelivered) != 0);
    CHECK((m.cpu().attention_mask & attention::kNmi) == 0);
    CHECK(attention_is_current(m.cpu()));
    CHECK(m.engine->run(m.cpu(), 1) == RunResult::BudgetSpent);
    CHECK(m.guest.rip() == Guest::handler(13));
}

// The stack of #DB lies under a write breakpoint: pushing the frame raises the next #DB.
TEST_CASE("#DB in the delivery of #DB ends with the budget", "[interp][engine][deaf]") {
    for (const u64 budget : {1U, 1000U}) {
        Machine m(64);
        m.guest.long_mode();
        m.guest.set_all_gates();
        constexpr u8 kIst1 = 1;
        m.guest.machine().poke_value<u64>(Guest::kTss + 0x24, Guest::kStack1);
        m.guest.set_gate64(1, Guest::kCode0, Guest::handler(1), access::kInterruptGate, kIst1);
        CpuState& s = m.guest.state();
        s.dr[0] = Guest::kStack1 - 8;
        s.dr7 = 0x400 | 2 | (0x9U << 16);  // G0; R/W0 = 01B, write; LEN0 = 10B, 8 bytes
        debug_registers_changed(m.cpu());
        m.code({0xF1});  // INT1
        for (unsigned run = 0; run < 3; ++run) {
            const u64 before = m.cpu().icount;
            CHECK(m.engine->run(m.cpu(), budget) == RunResult::BudgetSpent);
            CHECK(m.cpu().icount - before == budget);
        }
        CHECK(m.cpu().counters.exceptions == 3 * budget - 1);  // INT1 itself is none
    }
}

// A trap gate leaves IF set, and an 8259 with automatic EOI offers the interrupt again at once.
TEST_CASE("an interrupt storm ends with the budget", "[interp][engine][deaf]") {
    class AlwaysVector32 final : public ExtIntSource {
      public:
        u8 acknowledge() override { return 32; }
    };
    Machine m(64);
    AlwaysVector32 source;
    m.cpu().apic->set_ext_int_source(&source);
    m.cpu().apic->enable_virtual_wire();
    m.guest.set_gate(32,
                     gate(Guest::kCode0, static_cast<u32>(Guest::handler(32)), access::kTrapGate));
    m.guest.state().set_rflags(rflags::kFixed1 | rflags::kIf);
    update_attention(m.cpu());
    m.cpu().apic->set_lint(0, true);
    m.code({0x90});
    CHECK(m.engine->run(m.cpu(), 500) == RunResult::BudgetSpent);
    CHECK(m.cpu().icount == 500);
    CHECK(m.cpu().counters.interrupts == 500);
}
