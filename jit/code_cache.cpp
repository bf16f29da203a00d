#include "jit/code_cache.hpp"

#include "core/assert.hpp"

#include <cstring>

namespace droste::jit {

namespace {

// Of the whole: what is left is for code.
constexpr std::size_t tables_share(std::size_t bytes) {
    return bytes / 4;
}
constexpr std::size_t jump_tables_share(std::size_t bytes) {
    return bytes / 8;
}
// What one translation adds at most: an exit or two, a site, a use for each instruction.
constexpr std::size_t kMostTables = std::size_t{32} << 10;

}  // namespace

CodeCache::CodeCache(BlockCache& blocks, CodeMemory&& memory, std::size_t bytes)
    : block_cache_(blocks)
    , memory_(std::move(memory))
    , most_tables_(tables_share(bytes))
    , most_jump_tables_(jump_tables_share(bytes)) {}

Expected<std::unique_ptr<CodeCache>>
CodeCache::create(BlockCache& blocks, std::size_t bytes, InterpretFn interpret) {
    auto memory = CodeMemory::create(bytes - tables_share(bytes) - jump_tables_share(bytes));
    if (!memory) {
        return memory.error();
    }
    std::unique_ptr<CodeCache> cache{new CodeCache(blocks, std::move(memory).value(), bytes)};
    cache->fixed_ = cache->used_ = make_trampolines(cache->memory_, interpret, cache->trampolines_);
    blocks.set_listener(cache.get());
    return cache;
}

CodeCache::~CodeCache() {
    flush();
    block_cache_.set_listener(nullptr);
}

Translation* CodeCache::find(const Block& block, u64 rip, u32 key) {
    for (const Use* use = static_cast<const Use*>(block.translations); use != nullptr;
         use = use->next) {
        Translation* t = use->translation;
        if (t->rip == rip && t->key == key && t->block == &block && !t->dead) {
            return t;
        }
    }
    return nullptr;
}

std::size_t CodeCache::table_bytes() const {
    return translations_.size() * sizeof(Translation) + uses_.size() * sizeof(Use) +
           exits_.size() * sizeof(Exit) + sites_.size() * sizeof(Site) +
           insns_.size() * sizeof(const Insn*) + blocks_.size() * sizeof(Block*);
}

void CodeCache::reserve() {
    if (used_ + kMostCode > memory_.bytes() || table_bytes() + kMostTables > most_tables_) {
        ++counted_.flushes;
        flush();
        if (listener_ != nullptr) {
            listener_->flushed();
        }
    }
}

bool CodeCache::grants_jump_table(std::size_t bytes) {
    if (jump_tables_ + bytes > most_jump_tables_) {
        return false;
    }
    jump_tables_ += bytes;
    return true;
}

Statistics CodeCache::statistics() const {
    Statistics sum{.engines = {}, .cache = counted_};
    sum.cache.code_bytes = used_;
    sum.cache.table_bytes = table_bytes() + jump_tables_;
    for (const EngineStatistics* engine : engines_) {
        sum.engines.entries += engine->entries;
        sum.engines.rejoined += engine->rejoined;
        sum.engines.cold += engine->cold;
        sum.engines.not_carried += engine->not_carried;
        sum.engines.slow += engine->slow;
        sum.engines.jump_table_clears += engine->jump_table_clears;
        for (std::size_t op = 0; op < engine->by_op.size(); ++op) {
            sum.engines.by_op[op] += engine->by_op[op];
        }
    }
    return sum;
}

void CodeCache::commit(const Emitter& emitter) {
    counted_.made_code_bytes += emitter.size();
    used_ = (used_ + emitter.size() + 15) & ~std::size_t{15};
    DROSTE_ASSERT(used_ <= memory_.bytes());
}

Translation& CodeCache::new_translation() {
    ++counted_.made;
    return translations_.emplace_back();
}

void CodeCache::use(Block& block, Translation& translation) {
    if (block.translations == nullptr) {
        blocks_.push_back(&block);
    }
    block.translations =
        &uses_.emplace_back(Use{&translation, static_cast<Use*>(block.translations)});
}

u32 CodeCache::add(const Exit& exit) {
    exits_.push_back(exit);
    return static_cast<u32>(exits_.size() - 1);
}

u32 CodeCache::add(const Site& site) {
    sites_.push_back(site);
    return static_cast<u32>(sites_.size() - 1);
}

u32 CodeCache::add_insns(const std::vector<const Insn*>& insns) {
    insns_.insert(insns_.end(), insns.begin(), insns.end());
    return static_cast<u32>(insns_.size() - insns.size());
}

void CodeCache::link(u32 number, Translation& to) {
    Exit& exit = exits_[number];
    const u8* target = exit.native_status ? to.entry_native : to.entry_linked;
    Emitter::patch(memory_.writable(exit.place), exit.place, target);
    exit.next_incoming = to.incoming;
    to.incoming = number;
    ++counted_.links;
}

// Overwrites what is at `place` with a jump.
void CodeCache::jump_at(const u8* place, const u8* target) {
    u8* at = memory_.writable(place);
    *at = 0xE9;
    Emitter::patch(at + 1, place + 1, target);
}

void CodeCache::kill(Translation& translation) {
    translation.dead = true;
    for (u32 number = translation.incoming; number != kNoExit;) {
        Exit& exit = exits_[number];
        Emitter::patch(memory_.writable(exit.place), exit.place, exit.unlinked);
        number = exit.next_incoming;
        exit.next_incoming = kNoExit;
    }
    translation.incoming = kNoExit;
    jump_at(translation.entry, translation.stale);
    if (translation.entry_tracked != nullptr) {
        jump_at(translation.entry_tracked, translation.stale_tracked);
    }
}

void CodeCache::block_dropped(Block& block, BlockDeath death) {
    for (const Use* use = static_cast<const Use*>(block.translations); use != nullptr;
         use = use->next) {
        if (!use->translation->dead) {
            kill(*use->translation);
            ++counted_.killed[static_cast<std::size_t>(death)];
        }
    }
}

void CodeCache::flush() {
    for (Block* block : blocks_) {
        block->translations = nullptr;
    }
    blocks_.clear();
    translations_.clear();
    uses_.clear();
    exits_.clear();
    sites_.clear();
    insns_.clear();
    used_ = fixed_;
    ++epoch_;
}

}  // namespace droste::jit
