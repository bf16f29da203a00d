#pragma once
// Decoded blocks, by physical address and decode mode.
//
// A block is a straight run of instructions inside one page (the last may reach into the next page;
// then the block remembers that page's physical address and the engine verifies it on entry).
// Physical keys share blocks between processes, address spaces and VMX levels, and make MOV CR3 and
// VM exits free on the code side.
//
// A page with blocks carries kPageHasCode: no TLB keeps a write tag for it, so every store there
// arrives in written(), which kills only blocks that overlap the written 64-byte lines. Dead blocks
// are unlinked at once and their memory is reclaimed when the arena is flushed, so a block that
// kills itself can finish its current instruction.

#include "core/types.hpp"
#include "cpu/x86/decode/insn.hpp"

#include <array>
#include <memory>
#include <unordered_map>
#include <vector>

namespace droste {

class GuestMemory;

struct Block {
    PhysAddr start = kInvalid;
    PhysAddr second_page = kInvalid;  // physical page the last instruction reaches into
    u32 mode = 0;                     // decode mode key
    u16 count = 0;                    // instructions
    u16 bytes = 0;
    Insn* insns = nullptr;

    static constexpr PhysAddr kInvalid = ~PhysAddr{0};
};

class BlockCache {
  public:
    static constexpr unsigned kMaxInsns = 64;

    explicit BlockCache(GuestMemory& memory);
    ~BlockCache();
    BlockCache(const BlockCache&) = delete;
    BlockCache& operator=(const BlockCache&) = delete;

    // vCPUs whose TLBs must hear that a page became code.
    void attach(Vcpu& cpu) { vcpus_.push_back(&cpu); }

    Block* find(PhysAddr start, u32 mode) const {
        Block* block = table_[slot(start, mode)];
        return block != nullptr && block->start == start && block->mode == mode ? block : nullptr;
    }
    // After find() found nothing: the block that another one pushed out of its slot, back in it;
    // null if there is none.
    Block* recall(PhysAddr start, u32 mode);
    // Copies the instructions. `second_page` as in Block. Returns the block to execute.
    Block* insert(PhysAddr start,
                  u32 mode,
                  const Insn* insns,
                  unsigned count,
                  unsigned bytes,
                  PhysAddr second_page);
    // Guest memory [address, address + bytes) inside one page is about to change.
    void written(PhysAddr address, unsigned bytes);
    void page_written(PhysAddr page) { written(page, 4096); }
    void flush();

    u64 invalidated() const { return invalidated_; }
    u64 flushes() const { return flushes_; }

  private:
    static constexpr unsigned kSlotBits = 17;
    static constexpr std::size_t kSlots = 1U << kSlotBits;
    static constexpr std::size_t kChunkInsns = 1U << 14;  // 1 MiB of Insn
    static constexpr std::size_t kMaxChunks = 96;

    struct PageBlocks {
        u64 lines = 0;  // 64-byte lines that hold decoded bytes
        std::vector<Block*> blocks;
    };

    static std::size_t slot(PhysAddr start, u32 mode) {
        // Fibonacci hashing: kernels of several levels lie at like offsets in like sequences.
        constexpr u64 kGolden = 0x9E37'79B9'7F4A'7C15;
        return static_cast<std::size_t>(((start ^ (u64{mode} << 40)) * kGolden) >>
                                        (64 - kSlotBits));
    }
    Insn* allocate(unsigned count);
    void enroll(PhysAddr page, Block* block, unsigned first_byte, unsigned last_byte);
    void kill(Block* block);

    GuestMemory& memory_;
    std::vector<Block*> table_;
    std::vector<std::unique_ptr<std::array<Insn, kChunkInsns>>> chunks_;
    std::size_t current_chunk_ = 0;
    std::size_t used_in_chunk_ = 0;
    std::vector<std::unique_ptr<Block>> blocks_;
    std::unordered_map<PhysAddr, PageBlocks> pages_;
    std::vector<Vcpu*> vcpus_;
    u64 invalidated_ = 0;
    u64 flushes_ = 0;
};

}  // namespace droste
