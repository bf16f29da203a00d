#pragma once
// A 64-bit kernel with PCIDs and a few pages whose mapping the test changes. A page tells which
// frame it came from: frames A, B, C hold their letter.

#include "cpu/x86/mmu/mem_access.hpp"
#include "cpu/x86/mmu/paging.hpp"
#include "tests/support/engines.hpp"
#include "tests/unit/system/guest.hpp"

namespace droste::test {

class TlbGuest {
  public:
    static constexpr u64 kPage = 0x4000'0000;  // where tests map things: 1 GiB
    static constexpr u64 kA = 0x40'0000, kB = 0x60'0000, kC = 0x80'0000;
    static constexpr u64 kLegal = 0x67;  // P, R/W, U/S, A, D
    static constexpr u64 kGlobal = 1U << 8;
    static constexpr u64 kKeep = u64{1} << 63;  // MOV to CR3: keep the PCID's translations

    explicit TlbGuest(unsigned cpl = 0) {
        g.long_mode(cpl);
        // A 2-MiB frame each, every byte the letter.
        for (const auto& [frame, letter] : {std::pair{kA, 'A'}, {kB, 'B'}, {kC, 'C'}}) {
            const std::vector<u8> bytes(2U << 20, static_cast<u8>(letter));
            g.machine().poke(frame, bytes);
        }
        cpu().state.cr4 |= cr4::kPge | cr4::kPcide;
        cpu().tlb.flush_all(cpu());
        cpu().tlb.activate(cpu());
    }

    Vcpu& cpu() { return g.cpu(); }

    void map(u64 linear, u64 entry) { g.machine().map_leaf(linear, entry); }
    void map_large(u64 linear, u64 entry) {
        g.machine().map_leaf(linear & ~u64{0x1F'FFFF}, 0);  // makes the tables above
        g.machine().poke_value<u64>(entry_address(linear, 2), entry | 0x80);
    }
    // Of the entry of a level (4 .. 1) that `linear` goes through.
    PhysAddr entry_address(u64 linear, unsigned level) {
        PhysAddr table = TestMachine::kTables;
        for (unsigned l = 4;; --l) {
            const PhysAddr entry = table + (linear >> (12 + 9 * (l - 1)) & 511) * 8;
            if (l == level) {
                return entry;
            }
            table = g.machine().peek_value<u64>(entry) & 0xF'FFFF'FFFF'F000;
        }
    }

    char read(u64 linear) {
        u8 byte = 0;
        REQUIRE(load_linear(cpu(), linear, byte) == Status::Next);
        return static_cast<char>(byte);
    }
    // Whether a read finds its translation without a walk.
    bool warm(u64 linear) {
        const u64 walks = cpu().counters.page_walks;
        (void)read(linear);
        return cpu().counters.page_walks == walks;
    }
    char fetch(u64 linear) {
        CodePage page;
        REQUIRE(fetch_page(cpu(), linear, page) == Status::Next);
        return static_cast<char>(page.native[linear % kPageBytes]);
    }

    void mov_cr0(u64 value) { mov(value, {0x0F, 0x22, 0xC0}); }  // mov cr0, rax
    void mov_cr3(u64 value) { mov(value, {0x0F, 0x22, 0xD8}); }  // mov cr3, rax
    void mov_cr4(u64 value) { mov(value, {0x0F, 0x22, 0xE0}); }  // mov cr4, rax
    // To the same tables under another PCID.
    void pcid(u64 number) { mov_cr3(TestMachine::kTables | number | kKeep); }
    void invlpg(u64 linear) {
        g.reg(RSI) = linear;
        REQUIRE(g.exec({0x0F, 0x01, 0x3E}) == kNoFault);  // invlpg [rsi]
    }
    void invpcid(u64 type, u64 of_pcid, u64 linear) {
        g.machine().poke_value<u64>(kDescriptor, of_pcid);
        g.machine().poke_value<u64>(kDescriptor + 8, linear);
        g.reg(RDI) = kDescriptor;
        g.reg(RAX) = type;
        REQUIRE(g.exec({0x66, 0x0F, 0x38, 0x82, 0x07}) == kNoFault);  // invpcid rax, [rdi]
    }

    // Runs `count` instructions at `linear` by the engine.
    void run(u64 linear, u64 count) {
        cpu().state.rip() = linear;
        (void)engine->run(cpu(), count);
    }

    Guest g;
    std::unique_ptr<ExecutionEngine> engine = make_engine(g.cpu());

  private:
    static constexpr u64 kDescriptor = 0xB000;
    void mov(u64 value, std::initializer_list<u8> bytes) {
        g.reg(RAX) = value;
        REQUIRE(g.exec(bytes) == kNoFault);
    }
};

}  // namespace droste::test
