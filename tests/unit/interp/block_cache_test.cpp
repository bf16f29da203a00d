// BlockCache by itself: which blocks a write kills, where they are found, what is left of them.

#include "core/guest_memory.hpp"
#include "cpu/x86/interp/block_cache.hpp"
#include "tests/support/test_machine.hpp"

#include <catch2/catch.hpp>

#include <array>
#include <utility>

using namespace droste;
using namespace droste::test;

namespace {

constexpr PhysAddr kFrame = 0x5000, kOther = 0x9000, kThird = 0xB000;
constexpr u32 kMode = 32;

class Cache {
  public:
    Cache() : memory_(GuestMemory::create(u64{1} << 20)), blocks(memory()) {}

    GuestMemory& memory() { return **memory_; }

    // One instruction of `bytes` bytes.
    Block* insert(PhysAddr start, unsigned bytes, PhysAddr second_page = Block::kInvalid) {
        Insn insn;
        insn.length = static_cast<u8>(bytes);
        return blocks.insert(start, kMode, &insn, 1, bytes, second_page);
    }
    bool alive(PhysAddr start) { return blocks.recall(start, kMode) != nullptr; }
    bool marked(PhysAddr page) { return (*memory().lookup(page).flags & kPageHasCode) != 0; }

  private:
    Expected<std::unique_ptr<GuestMemory>> memory_;

  public:
    BlockCache blocks;
};

}  // namespace

TEST_CASE("A block is found by its address and its mode, and by no other", "[blocks]") {
    Cache c;
    Block* block = c.insert(kFrame + 8, 4);
    CHECK(c.blocks.find(kFrame + 8, kMode) == block);
    CHECK(c.blocks.find(kFrame + 8, 64) == nullptr);
    CHECK(c.blocks.recall(kFrame + 8, 64) == nullptr);
    CHECK(c.blocks.recall(kFrame + 9, kMode) == nullptr);
}

TEST_CASE("A write kills exactly the blocks one of whose bytes it covers", "[blocks]") {
    constexpr unsigned kFirst = 0x400, kBytes = 15;
    Cache c;
    for (unsigned width = 1; width <= 64; ++width) {
        for (int offset = -64; offset <= static_cast<int>(kBytes); ++offset) {
            c.blocks.flush();
            c.insert(kFrame + kFirst, kBytes);
            const u64 before = c.blocks.invalidated();
            const unsigned at = kFirst + static_cast<unsigned>(offset);
            c.blocks.written(kFrame + at, width);
            const bool covers = at + width > kFirst && at < kFirst + kBytes;
            CAPTURE(width, offset);
            REQUIRE(c.alive(kFrame + kFirst) != covers);
            REQUIRE(c.blocks.invalidated() - before == (covers ? 1 : 0));
            REQUIRE(c.marked(kFrame) != covers);
        }
    }
}

TEST_CASE("A write beside code leaves the code and the mark of its page", "[blocks]") {
    Cache c;
    c.insert(kFrame + 0x100, 8);
    c.insert(kFrame + 0x110, 8);
    c.blocks.written(kFrame + 0x108, 8);
    CHECK(c.alive(kFrame + 0x100));
    CHECK(c.alive(kFrame + 0x110));
    c.blocks.written(kFrame + 0x100, 1);
    CHECK_FALSE(c.alive(kFrame + 0x100));
    CHECK(c.alive(kFrame + 0x110));
    CHECK(c.marked(kFrame));
}

TEST_CASE("A straddling block dies by each byte of its half in either page", "[blocks]") {
    constexpr unsigned kBytes = 5, kInFirst = 2;
    Cache c;
    for (unsigned byte = 0; byte < 2 * 4096; ++byte) {
        c.blocks.flush();
        const PhysAddr start = kFrame + 4096 - kInFirst;
        c.insert(start, kBytes, kOther);
        REQUIRE(c.marked(kFrame));
        REQUIRE(c.marked(kOther));
        const bool second = byte >= 4096;
        c.blocks.written((second ? kOther : kFrame) + byte % 4096, 1);
        const bool covers = byte >= 4096 - kInFirst && byte < 4096 - kInFirst + kBytes;
        CAPTURE(byte);
        REQUIRE(c.alive(start) != covers);
        REQUIRE(c.marked(kFrame) != covers);
        REQUIRE(c.marked(kOther) != covers);
    }
}

TEST_CASE("A block from the end of a frame to the start of the same frame dies by both halves",
          "[blocks]") {
    for (const unsigned byte : {0xFFEU, 0xFFFU, 0U, 1U, 2U}) {
        Cache c;
        c.insert(kFrame + 0xFFE, 5, kFrame);
        c.blocks.written(kFrame + 3, 0xFFE - 3);  // all that is neither half
        REQUIRE(c.alive(kFrame + 0xFFE));
        c.blocks.written(kFrame + byte, 1);
        CAPTURE(byte);
        CHECK_FALSE(c.alive(kFrame + 0xFFE));
        CHECK_FALSE(c.marked(kFrame));
        CHECK(c.blocks.live() == 0);
    }
}

TEST_CASE("Blocks with one start and different second pages live side by side", "[blocks]") {
    Cache c;
    Block* to_other = c.insert(kFrame + 0xFFF, 2, kOther);
    Block* to_third = c.insert(kFrame + 0xFFF, 2, kThird);
    CHECK(c.blocks.recall(kFrame + 0xFFF, kMode, kOther) == to_other);
    CHECK(c.blocks.find(kFrame + 0xFFF, kMode) == to_other);
    CHECK(c.blocks.recall(kFrame + 0xFFF, kMode, kThird) == to_third);
    CHECK(c.blocks.recall(kFrame + 0xFFF, kMode, kFrame) == nullptr);
    c.blocks.written(kThird, 1);
    CHECK(c.blocks.recall(kFrame + 0xFFF, kMode, kThird) == nullptr);
    CHECK(c.blocks.recall(kFrame + 0xFFF, kMode, kOther) == to_other);
}

TEST_CASE("A block another one pushed from its slot is recalled", "[blocks]") {
    Cache c;
    // More blocks than the table has slots would need: some share one.
    std::array<Block*, 1024> blocks{};
    for (unsigned i = 0; i < blocks.size(); ++i) {
        blocks[i] = c.insert(kFrame + i * 4, 4, Block::kInvalid);
        for (u32 mode = 0; mode < 200; ++mode) {
            Insn insn;
            c.blocks.insert(kFrame + i * 4, 1000 + mode, &insn, 1, 4, Block::kInvalid);
        }
    }
    unsigned pushed = 0;
    for (unsigned i = 0; i < blocks.size(); ++i) {
        if (c.blocks.find(kFrame + i * 4, kMode) == nullptr) {
            ++pushed;
        }
        REQUIRE(c.blocks.recall(kFrame + i * 4, kMode) == blocks[i]);
        REQUIRE(c.blocks.find(kFrame + i * 4, kMode) == blocks[i]);
    }
    CHECK(pushed > 100);
}

TEST_CASE("Rewriting code without end needs no more room than the code", "[blocks]") {
    Cache c;
    c.insert(kOther + 0x80, 4);
    for (unsigned round = 0; round < 3'000'000; ++round) {
        c.insert(kFrame + 0xFFE, 5, kOther);
        c.blocks.written(kOther + 1, 1);
    }
    CHECK(c.blocks.flushes() == 0);
    CHECK(c.blocks.live() == 1);
    CHECK(c.blocks.invalidated() == 3'000'000);
    CHECK(c.alive(kOther + 0x80));
}

TEST_CASE("A flush forgets all blocks and counts none as invalidated", "[blocks]") {
    Cache c;
    c.insert(kFrame, 4);
    c.insert(kFrame + 0xFFE, 5, kOther);
    c.blocks.flush();
    CHECK_FALSE(c.alive(kFrame));
    CHECK_FALSE(c.alive(kFrame + 0xFFE));
    CHECK_FALSE(c.marked(kFrame));
    CHECK_FALSE(c.marked(kOther));
    CHECK(c.blocks.live() == 0);
    CHECK(c.blocks.invalidated() == 0);
    const Block* again = c.insert(kFrame, 4);
    CHECK(c.blocks.find(kFrame, kMode) == again);
}

TEST_CASE("A full arena starts anew with the block that did not fit", "[blocks]") {
    Cache c;
    std::array<Insn, kMaxBlockInsns> insns{};
    u64 address = 0;
    while (c.blocks.flushes() == 0) {
        c.blocks.insert(address, kMode, insns.data(), kMaxBlockInsns, 64, Block::kInvalid);
        address = (address + 64) % (u64{1} << 20);
        REQUIRE(c.blocks.live() < 200'000);
    }
    CHECK(c.blocks.live() == 1);
    CHECK(c.marked((address - 64) & kPageMask));
    CHECK_FALSE(c.marked((address - 64 - 0x2000) & kPageMask));
}

TEST_CASE("A change of the memory layout drops every block", "[blocks]") {
    Cache c;
    std::array<u8, kPageBytes> rom{};
    c.insert(kFrame, 4);
    c.memory().overlay(kFrame, kPageBytes, PageKind::Rom, rom.data());
    CHECK_FALSE(c.alive(kFrame));
    c.insert(kFrame, 4);
    CHECK(c.marked(kFrame));
    c.memory().remove_overlay(kFrame, kPageBytes);
    CHECK_FALSE(c.alive(kFrame));
    CHECK_FALSE(c.marked(kFrame));
}

TEST_CASE("A vCPU leaves a block that dies under it after the present instruction", "[blocks]") {
    TestMachine machine;
    BlockCache& blocks = *machine.cpu().blocks;
    std::array<Insn, 3> insns{};
    insns[1].length = 7;
    Block* block = blocks.insert(kFrame, kMode, insns.data(), 3, 12, Block::kInvalid);
    Block* beside = blocks.insert(kFrame + 0x40, kMode, insns.data(), 3, 12, Block::kInvalid);
    machine.cpu().block = block;
    blocks.written(beside->start, 1);
    CHECK(machine.cpu().leave == 0);
    blocks.written(kFrame + 11, 1);
    CHECK(machine.cpu().leave == leave::kCode);
    machine.cpu().block = nullptr;
    CHECK(block->insns[1].length == 7);  // the instruction is still read for its length
}
