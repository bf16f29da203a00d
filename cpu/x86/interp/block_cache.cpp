#include "cpu/x86/interp/block_cache.hpp"

#include "core/bits.hpp"
#include "core/guest_memory.hpp"
#include "cpu/x86/vcpu.hpp"

#include <algorithm>

namespace droste {

namespace {

// Bits of the 64-byte lines that bytes [first, last] of a page touch.
u64 lines_of(unsigned first, unsigned last) {
    return bits(~u64{0}, 0, last / 64 - first / 64) << (first / 64);
}

}  // namespace

BlockCache::BlockCache(GuestMemory& memory)
    : memory_(memory)
    , mark_(memory.code_pages().add(*this))
    , table_(kSlots, nullptr) {}

BlockCache::~BlockCache() {
    vcpus_.clear();  // they may be gone already
    flush(BlockDeath::Layout);
    memory_.code_pages().remove(*this);
}

Insn* BlockCache::allocate(unsigned count) {
    if (chunks_.empty() || used_in_chunk_ + count > kChunkInsns) {
        if (!chunks_.empty() && current_chunk_ + 1 >= kMaxChunks) {
            flush(BlockDeath::Room);
        } else if (!chunks_.empty()) {
            ++current_chunk_;
        }
        if (current_chunk_ >= chunks_.size()) {
            chunks_.push_back(std::make_unique<std::array<Insn, kChunkInsns>>());
        }
        used_in_chunk_ = 0;
    }
    Insn* first = chunks_[current_chunk_]->data() + used_in_chunk_;
    used_in_chunk_ += count;
    return first;
}

// A block with room for `count` instructions.
Block& BlockCache::new_block(unsigned count) {
    if (Block* block = dead_[count]; block != nullptr) {
        dead_[count] = block->next_in_slot;
        return *block;
    }
    Insn* insns = allocate(count);
    if (used_blocks_ == blocks_.size()) {
        blocks_.emplace_back();
    }
    Block& block = blocks_[used_blocks_++];
    block.insns = insns;
    return block;
}

BlockCache::PageCode* BlockCache::find_page(PhysAddr page) {
    const u64 number = page >> kPageShift;
    const u64 leaf = number / kPagesInLeaf;
    return leaf < pages_.size() && pages_[leaf] != nullptr ? &(*pages_[leaf])[number % kPagesInLeaf]
                                                           : nullptr;
}

void BlockCache::link(BlockPart& part, PhysAddr page, unsigned first, unsigned last) {
    PageCode* code = find_page(page);
    if (code == nullptr) {
        const u64 number = page >> kPageShift;
        const u64 leaf = number / kPagesInLeaf;
        if (leaf >= pages_.size()) {
            pages_.resize(leaf + 1);
        }
        pages_[leaf] = std::make_unique<PageLeaf>();
        code = &(*pages_[leaf])[number % kPagesInLeaf];
    }
    part.page = page;
    part.first = static_cast<u16>(first);
    part.last = static_cast<u16>(last);
    part.next = code->parts;
    part.previous = nullptr;
    if (part.next != nullptr) {
        part.next->previous = &part;
    } else {
        memory_.code_pages().became_code(page, mark_);
    }
    code->parts = &part;
    code->lines |= lines_of(first, last);
}

void BlockCache::unlink(BlockPart& part) {
    if (part.next != nullptr) {
        part.next->previous = part.previous;
    }
    if (part.previous != nullptr) {
        part.previous->next = part.next;
        return;
    }
    PageCode* code = find_page(part.page);
    code->parts = part.next;
    if (part.next == nullptr) {
        code->lines = 0;
        memory_.code_pages().no_longer_code(part.page, mark_);
    }
}

template <typename Wanted>
Block* BlockCache::to_front(PhysAddr start, u32 mode, Wanted wanted) {
    Block** head = &table_[slot(start, mode)];
    for (Block** at = head; *at != nullptr; at = &(*at)->next_in_slot) {
        Block* block = *at;
        if (block->start == start && block->mode == mode && wanted(*block)) {
            *at = block->next_in_slot;
            block->next_in_slot = *head;
            return *head = block;
        }
    }
    return nullptr;
}

Block* BlockCache::recall(PhysAddr start, u32 mode) {
    return to_front(start, mode, [](const Block&) { return true; });
}

Block* BlockCache::recall(PhysAddr start, u32 mode, PhysAddr second_page) {
    return to_front(start, mode,
                    [=](const Block& block) { return block.second_page == second_page; });
}

Block* BlockCache::insert(PhysAddr start,
                          u32 mode,
                          const Insn* insns,
                          unsigned count,
                          unsigned bytes,
                          PhysAddr second_page) {
    Block& block = new_block(count);
    std::copy_n(insns, count, block.insns);
    block.start = start;
    block.second_page = second_page;
    block.mode = mode;
    block.count = static_cast<u16>(count);
    block.bytes = static_cast<u16>(bytes);
    block.heat = 0;
    block.windows_dropped = 0;
    for (BlockPart& part : block.parts) {
        part.block = &block;
    }
    const auto first = static_cast<unsigned>(start % kPageBytes);
    const unsigned last = first + bytes - 1;
    constexpr auto kLastInPage = static_cast<unsigned>(kPageBytes - 1);
    link(block.parts[0], start & kPageMask, first, std::min(last, kLastInPage));
    if (second_page != Block::kInvalid) {
        link(block.parts[1], second_page, 0, last - kLastInPage - 1);
    }
    Block*& head = table_[slot(start, mode)];
    block.next_in_slot = head;
    ++live_;
    return head = &block;
}

// Out of the table and of the lists of its pages; whoever executes it leaves it after the present
// instruction. What that instruction may still read, its Insn, stays as it is.
void BlockCache::drop(Block& block, BlockDeath death) {
    Block** at = &table_[slot(block.start, block.mode)];
    while (*at != &block) {
        at = &(*at)->next_in_slot;
    }
    *at = block.next_in_slot;
    unlink(block.parts[0]);
    if (block.second_page != Block::kInvalid) {
        unlink(block.parts[1]);
    }
    for (Vcpu* cpu : vcpus_) {
        if (cpu->block == &block) {
            cpu->leave_block(leave::kCode);
        }
    }
    if (block.translations != nullptr) {
        listener_->block_dropped(block, death);
        block.translations = nullptr;
    }
    block.start = Block::kInvalid;
    block.next_in_slot = dead_[block.count];
    dead_[block.count] = &block;
    --live_;
}

void BlockCache::written(PhysAddr address, unsigned bytes) {
    PageCode* page = find_page(address);
    if (page == nullptr) {
        return;
    }
    const auto first = static_cast<unsigned>(address % kPageBytes);
    const unsigned last = first + bytes - 1;
    if ((page->lines & lines_of(first, last)) == 0) {
        return;
    }
    u64 lines = 0;
    for (BlockPart* part = page->parts; part != nullptr;) {
        BlockPart* next = part->next;
        if (part->first > last || part->last < first) {
            lines |= lines_of(part->first, part->last);
        } else {
            Block& block = *part->block;
            // The other part of a block may be the next one of the same page.
            if (next != nullptr && next->block == &block) {
                next = next->next;
            }
            drop(block, BlockDeath::Written);
            ++invalidated_;
        }
        part = next;
    }
    page->lines = lines;
}

void BlockCache::flush(BlockDeath death) {
    for (std::size_t i = 0; i < used_blocks_ && live_ != 0; ++i) {
        if (blocks_[i].start != Block::kInvalid) {
            drop(blocks_[i], death);
        }
    }
    dead_.fill(nullptr);
    current_chunk_ = 0;
    used_in_chunk_ = 0;
    used_blocks_ = 0;
    ++flushes_;
}

}  // namespace droste
