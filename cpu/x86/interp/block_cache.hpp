#pragma once
// Decoded blocks, by physical address and decode mode.
//
// A block is a straight run of instructions inside one page; an instruction that reaches into the
// next page is a block of its own, which has a part in each page and remembers which physical page
// the second one was. Physical keys share blocks between processes, address spaces and VMX levels,
// and make MOV CR3 and VM exits free on the code side. Blocks with one key that go on in different
// pages (one frame mapped twice, before different neighbors) live side by side: recall() finds the
// one whose second page is mapped now.
//
// Every part is in the list of its page, by its own first and last byte, whether the two pages are
// two frames or the same one: a store kills the blocks a byte of which it changes, and no other. The
// 64-byte lines that hold code filter the stores to data beside it. A block that dies leaves all
// lists at once, and its memory is taken up by the next block of its length, but not before: a
// block that kills itself (or everything, by changing the memory layout) finishes its present
// instruction out of it. So insert() must never be called while a block is being executed.
//
// Rejected: keys by linear address (every address space would decode the kernel anew, and INVLPG
// and MOV CR3 would have to look here); killing by line (a counter beside a loop kills the loop);
// dead blocks that stay listed until a flush (a store loop over code got slower with each round).

#include "core/code_pages.hpp"
#include "core/types.hpp"
#include "cpu/x86/decode/insn.hpp"

#include <array>
#include <deque>
#include <memory>
#include <vector>

namespace droste {

class GuestMemory;
struct Block;

// The bytes of a block that lie in one page.
struct BlockPart {
    Block* block = nullptr;
    PhysAddr page = 0;
    u16 first = 0, last = 0;  // offsets in the page, both inclusive
    BlockPart* next = nullptr;
    BlockPart* previous = nullptr;
};

inline constexpr unsigned kMaxBlockInsns = 64;

struct Block {
    PhysAddr start = kInvalid;        // kInvalid: dead
    PhysAddr second_page = kInvalid;  // physical page the last instruction reaches into
    u32 mode = 0;                     // decode mode key
    u16 count = 0;                    // instructions
    u16 bytes = 0;
    Insn* insns = nullptr;
    Block* next_in_slot = nullptr;
    std::array<BlockPart, 2> parts;  // the second is used if there is a second page
    // A translator's: what it has made of the block, and how often it was interpreted before.
    void* translations = nullptr;
    u32 heat = 0;
    // How much checks are not to be shared by accesses (jit/windows.hpp): it did not pay.
    u8 windows_dropped = 0;

    static constexpr PhysAddr kInvalid = ~PhysAddr{0};
};

// Why a block died.
enum class BlockDeath : u8 {
    Written,  // a byte of it changed
    Layout,   // physical addresses came to mean something else
    Room,     // the cache was full
    kCount,
};

class BlockCache final : public CodePages::Keeper {
  public:
    explicit BlockCache(GuestMemory& memory);
    ~BlockCache() override;

    // Told when a block dies of which it has made something (Block::translations).
    class Listener {
      public:
        Listener() = default;
        Listener(const Listener&) = delete;
        Listener& operator=(const Listener&) = delete;
        virtual ~Listener() = default;
        virtual void block_dropped(Block& block, BlockDeath death) = 0;
    };
    void set_listener(Listener* listener) { listener_ = listener; }

    // vCPUs that may be executing a block when it dies.
    void attach(Vcpu& cpu) { vcpus_.push_back(&cpu); }

    Block* find(PhysAddr start, u32 mode) const {
        Block* block = table_[slot(start, mode)];
        return block != nullptr && block->start == start && block->mode == mode ? block : nullptr;
    }
    // When find() found nothing: the block that others pushed from the front of its slot, to the
    // front again; null if there is none.
    Block* recall(PhysAddr start, u32 mode);
    // The same where find() found a block that goes on in another page than `second_page`.
    Block* recall(PhysAddr start, u32 mode, PhysAddr second_page);
    // Copies the instructions. `second_page` as in Block. Returns the block to execute.
    Block* insert(PhysAddr start,
                  u32 mode,
                  const Insn* insns,
                  unsigned count,
                  unsigned bytes,
                  PhysAddr second_page);
    // Drops every block.
    void flush(BlockDeath death = BlockDeath::Room);

    void written(PhysAddr address, unsigned bytes) override;
    void layout_changing() override { flush(BlockDeath::Layout); }

    u64 invalidated() const { return invalidated_; }  // blocks that died because of written()
    u64 flushes() const { return flushes_; }
    std::size_t live() const { return live_; }

  private:
    static constexpr unsigned kSlotBits = 17;
    static constexpr std::size_t kSlots = 1U << kSlotBits;
    static constexpr std::size_t kChunkInsns = 1U << 14;  // 1 MiB of Insn
    static constexpr std::size_t kMaxChunks = 96;
    static constexpr std::size_t kPagesInLeaf = 512;

    struct PageCode {
        u64 lines = 0;  // 64-byte lines that may hold bytes of a part
        BlockPart* parts = nullptr;
    };
    using PageLeaf = std::array<PageCode, kPagesInLeaf>;

    static std::size_t slot(PhysAddr start, u32 mode) {
        // Fibonacci hashing: kernels of several levels lie at like offsets in like sequences.
        constexpr u64 kGolden = 0x9E37'79B9'7F4A'7C15;
        return static_cast<std::size_t>(((start ^ (u64{mode} << 40)) * kGolden) >>
                                        (64 - kSlotBits));
    }
    template <typename Wanted>
    Block* to_front(PhysAddr start, u32 mode, Wanted wanted);
    Insn* allocate(unsigned count);
    Block& new_block(unsigned count);
    PageCode* find_page(PhysAddr page);
    void link(BlockPart& part, PhysAddr page, unsigned first, unsigned last);
    void unlink(BlockPart& part);
    void drop(Block& block, BlockDeath death);

    GuestMemory& memory_;
    u8 mark_;
    std::vector<Block*> table_;  // heads of the slots' chains: the latest used first
    std::vector<std::unique_ptr<std::array<Insn, kChunkInsns>>> chunks_;
    std::size_t current_chunk_ = 0;
    std::size_t used_in_chunk_ = 0;
    std::deque<Block> blocks_;  // never moved nor freed before the cache is
    std::size_t used_blocks_ = 0;
    std::array<Block*, kMaxBlockInsns + 1>
        dead_{};  // chains of dead blocks by count, ready for reuse
    std::vector<std::unique_ptr<PageLeaf>> pages_;  // by page number
    std::vector<Vcpu*> vcpus_;
    Listener* listener_ = nullptr;
    std::size_t live_ = 0;
    u64 invalidated_ = 0;
    u64 flushes_ = 0;
};

}  // namespace droste
