#include "cpu/x86/interp/block_cache.hpp"

#include "core/bits.hpp"
#include "core/guest_memory.hpp"
#include "cpu/x86/vcpu.hpp"

#include <algorithm>

namespace droste {

BlockCache::BlockCache(GuestMemory& memory) : memory_(memory), table_(kSlots, nullptr) {
    memory_.set_code_observer([this](PhysAddr page) { page_written(page); });
}

BlockCache::~BlockCache() {
    memory_.set_code_observer(nullptr);
}

Insn* BlockCache::allocate(unsigned count) {
    if (chunks_.empty() || used_in_chunk_ + count > kChunkInsns) {
        if (!chunks_.empty() && current_chunk_ + 1 >= kMaxChunks) {
            flush();
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

void BlockCache::enroll(PhysAddr page, Block* block, unsigned first_byte, unsigned last_byte) {
    PageBlocks& entry = pages_[page];
    const bool was_code = !entry.blocks.empty();
    entry.blocks.push_back(block);
    entry.lines |= bits(~u64{0}, 0, last_byte / 64 - first_byte / 64) << (first_byte / 64);
    if (!was_code) {
        if (const HostPage host = memory_.lookup(page); host.flags != nullptr) {
            *host.flags |= kPageHasCode;
        }
        for (Vcpu* cpu : vcpus_) {
            cpu->tlb.page_became_code(page);
        }
    }
}

Block* BlockCache::recall(PhysAddr start, u32 mode) {
    const auto found = pages_.find(start & kPageMask);
    if (found == pages_.end()) {
        return nullptr;
    }
    for (Block* block : found->second.blocks) {
        if (block->start == start && block->mode == mode) {
            return table_[slot(start, mode)] = block;
        }
    }
    return nullptr;
}

Block* BlockCache::insert(PhysAddr start,
                          u32 mode,
                          const Insn* insns,
                          unsigned count,
                          unsigned bytes,
                          PhysAddr second_page) {
    Insn* storage = allocate(count);
    std::copy_n(insns, count, storage);
    blocks_.push_back(std::make_unique<Block>());
    Block* block = blocks_.back().get();
    *block = {start, second_page, mode, static_cast<u16>(count), static_cast<u16>(bytes), storage};
    const auto first = static_cast<unsigned>(start % kPageBytes);
    const unsigned last = std::min<unsigned>(first + bytes - 1, kPageBytes - 1);
    enroll(start & kPageMask, block, first, last);
    if (second_page != Block::kInvalid) {
        enroll(second_page, block, 0, first + bytes - 1 - static_cast<unsigned>(kPageBytes));
    }
    table_[slot(start, mode)] = block;
    return block;
}

void BlockCache::kill(Block* block) {
    if (block->start == Block::kInvalid) {
        return;
    }
    Block*& entry = table_[slot(block->start, block->mode)];
    if (entry == block) {
        entry = nullptr;
    }
    for (Vcpu* cpu : vcpus_) {
        if (cpu->block_end == block->insns + block->count) {
            cpu->block_end = nullptr;
        }
    }
    block->start = Block::kInvalid;
    ++invalidated_;
}

void BlockCache::written(PhysAddr address, unsigned bytes) {
    const auto found = pages_.find(address & kPageMask);
    if (found == pages_.end()) {
        return;
    }
    PageBlocks& page = found->second;
    const auto first = static_cast<unsigned>(address % kPageBytes);
    const unsigned last = first + bytes - 1;
    const u64 touched = bits(~u64{0}, 0, last / 64 - first / 64) << (first / 64);
    if ((page.lines & touched) == 0) {
        return;
    }
    u64 lines = 0;
    const PhysAddr base = address & kPageMask;
    auto keep = page.blocks.begin();
    for (Block* block : page.blocks) {
        if (block->start == Block::kInvalid) {
            continue;
        }
        const bool second = (block->start & kPageMask) != base;
        const unsigned offset = static_cast<unsigned>(block->start % kPageBytes);
        const unsigned block_first = second ? 0 : offset;
        const unsigned block_last =
            second ? offset + block->bytes - 1U - static_cast<unsigned>(kPageBytes)
                   : std::min<unsigned>(offset + block->bytes - 1U, kPageBytes - 1);
        const u64 block_lines = bits(~u64{0}, 0, block_last / 64 - block_first / 64)
                                << (block_first / 64);
        if ((block_lines & touched) != 0) {
            kill(block);
        } else {
            lines |= block_lines;
            *keep++ = block;
        }
    }
    page.blocks.erase(keep, page.blocks.end());
    page.lines = lines;
    if (page.blocks.empty()) {
        pages_.erase(found);
        if (const HostPage host = memory_.lookup(base); host.flags != nullptr) {
            *host.flags = static_cast<u8>(*host.flags & ~kPageHasCode);
        }
    }
}

void BlockCache::flush() {
    for (const auto& block : blocks_) {
        if (block->start != Block::kInvalid) {
            kill(block.get());
        }
    }
    for (const auto& [page, entry] : pages_) {
        if (const HostPage host = memory_.lookup(page); host.flags != nullptr) {
            *host.flags = static_cast<u8>(*host.flags & ~kPageHasCode);
        }
    }
    pages_.clear();
    blocks_.clear();
    current_chunk_ = 0;
    used_in_chunk_ = 0;
    ++flushes_;
}

}  // namespace droste
