#include "jit/code_cache.hpp"

#include "core/assert.hpp"

#include <algorithm>
#include <cstring>

namespace droste::jit {

namespace {

// Of the whole: what is left is for code.
constexpr std::size_t tables_share(std::size_t bytes) {
    return bytes / 8 * 3;
}
constexpr std::size_t jump_tables_share(std::size_t bytes) {
    return bytes / 8;
}
// What one translation adds at most for each instruction: sites, exits, a use.
constexpr std::size_t kMostTablesOfInsn = 320;

}  // namespace

CodeCache::CodeCache(BlockCache& blocks,
                     CodeMemory&& memory,
                     std::size_t bytes,
                     const NativeFeatures& native,
                     MachineLock* lock)
    : block_cache_(blocks)
    , lock_(lock)
    , native_(native)
    , native_choices_(native)
    , memory_(std::move(memory))
    , most_tables_(tables_share(bytes))
    , most_jump_tables_(jump_tables_share(bytes)) {}

Expected<std::unique_ptr<CodeCache>> CodeCache::create(BlockCache& blocks,
                                                       std::size_t bytes,
                                                       const NativeFeatures& native,
                                                       InterpretFn interpret,
                                                       MachineLock* lock) {
    auto memory = CodeMemory::create(bytes - tables_share(bytes) - jump_tables_share(bytes));
    if (!memory) {
        return memory.error();
    }
    std::unique_ptr<CodeCache> cache{
        new CodeCache(blocks, std::move(memory).value(), bytes, native, lock)};
    cache->fixed_ =
        make_trampolines(cache->memory_, native.has(Feature::AVX), interpret, cache->trampolines_);
    const std::size_t room = cache->memory_.bytes() - cache->fixed_;
    cache->region_count_ = static_cast<unsigned>(
        std::clamp(room / kLeastRegion, std::size_t{2}, std::size_t{kMostRegions}));
    cache->region_bytes_ = room / cache->region_count_ & ~std::size_t{63};
    for (unsigned i = 0; i < cache->region_count_; ++i) {
        cache->regions_[i].first = cache->fixed_ + i * cache->region_bytes_;
    }
    blocks.set_listener(cache.get());
    return cache;
}

CodeCache::~CodeCache() {
    listener_ = nullptr;
    for (unsigned i = 0; i < region_count_; ++i) {
        evict(i);
    }
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

std::size_t CodeCache::Region::table_bytes() const {
    return translations.size() * sizeof(Translation) + uses.size() * sizeof(Use) +
           exits.size() * sizeof(Exit) + sites.size() * sizeof(Site) +
           (insns.size() + blocks.size()) * sizeof(void*);
}

bool CodeCache::full(const Region& region, std::size_t instructions) const {
    return region.used + (instructions + 2) * kMostCodeOfInsn > region_bytes_ ||
           region.table_bytes() + (instructions + 2) * kMostTablesOfInsn >
               most_tables_ / region_count_;
}

void CodeCache::reserve(std::size_t instructions) {
    if (!full(regions_[current_], instructions)) {
        return;
    }
    unsigned victim = current_ == 0 ? 1 : 0;
    for (unsigned i = 0; i < region_count_; ++i) {
        if (i != current_ && regions_[i].last_entered < regions_[victim].last_entered) {
            victim = i;
        }
    }
    if (regions_[victim].used != 0) {
        ++counted_.evictions;
        evict(victim);
    }
    current_ = victim;
    // So that one that is not entered soon is not the next victim.
    regions_[victim].last_entered = ++entries_;
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
    sum.cache.code_bytes = fixed_;
    sum.cache.table_bytes = jump_tables_;
    for (const Region& region : regions_) {
        sum.cache.code_bytes += region.used;
        sum.cache.table_bytes += region.table_bytes();
    }
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
    Region& region = regions_[current_];
    const std::size_t first = region.first + region.used;
    region.used = (region.used + emitter.size() + 15) & ~std::size_t{15};
    DROSTE_ASSERT(region.used <= region_bytes_);
    memory_.written(first, region.first + region.used);
}

Translation& CodeCache::new_translation() {
    ++counted_.made;
    Translation& made = regions_[current_].translations.emplace_back();
    made.region = static_cast<u8>(current_);
    return made;
}

void CodeCache::use(Block& block, Translation& translation) {
    Region& region = regions_[translation.region];
    auto* first = static_cast<Use*>(block.translations);
    if (first == nullptr || first->translation->region != translation.region) {
        region.blocks.push_back(&block);
    }
    block.translations = &region.uses.emplace_back(Use{&translation, first});
}

u32 CodeCache::add(const Exit& exit) {
    regions_[current_].exits.push_back(exit);
    return number_of(regions_[current_].exits.size() - 1);
}

u32 CodeCache::add(const Site& site) {
    regions_[current_].sites.push_back(site);
    return number_of(regions_[current_].sites.size() - 1);
}

u32 CodeCache::add_insns(const std::vector<const Insn*>& insns) {
    std::vector<const Insn*>& all = regions_[current_].insns;
    all.insert(all.end(), insns.begin(), insns.end());
    return number_of(all.size() - insns.size());
}

void CodeCache::link(u32 number, Translation& to) {
    Exit& exit = this->exit(number);
    if (exit.linked) {
        return;  // by another vCPU, since this one left by it
    }
    const u8* target = exit.native_status ? to.entry_native : to.entry_linked;
    constexpr std::uintptr_t kLine = 64;
    if (reinterpret_cast<std::uintptr_t>(exit.place) % kLine > kLine - sizeof(u32)) {
        stop_others();  // it is two stores
    }
    Emitter::patch(memory_.writable(exit.place), exit.place, target);
    exit.linked = true;
    exit.next_incoming = to.incoming;
    to.incoming = number;
    ++counted_.links;
}

// Overwrites what is at `place` with a jump.
void CodeCache::jump_at(const u8* place, const u8* target) {
    stop_others();
    u8* at = memory_.writable(place);
    *at = 0xE9;
    Emitter::patch(at + 1, place + 1, target);
}

// Whoever was linked to it leads to the engine again.
void CodeCache::unlink(Translation& translation) {
    stop_others();
    for (u32 number = translation.incoming; number != kNoExit;) {
        Exit& exit = this->exit(number);
        Emitter::patch(memory_.writable(exit.place), exit.place, exit.unlinked);
        number = exit.next_incoming;
        exit.next_incoming = kNoExit;
        exit.linked = false;
    }
    translation.incoming = kNoExit;
}

void CodeCache::kill(Translation& translation) {
    translation.dead = true;
    unlink(translation);
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

// Drops the translations of a region, and what others know of them.
void CodeCache::evict(unsigned number) {
    Region& region = regions_[number];
    for (Translation& translation : region.translations) {
        unlink(translation);
    }
    for (unsigned i = 0; i < region_count_; ++i) {
        if (i == number) {
            continue;
        }
        for (Translation& translation : regions_[i].translations) {
            for (u32* at = &translation.incoming; *at != kNoExit;) {
                u32& next = exit(*at).next_incoming;
                if (region_of(*at) == number) {
                    *at = next;
                } else {
                    at = &next;
                }
            }
        }
    }
    for (Block* block : region.blocks) {
        Use* kept = nullptr;
        for (auto* use = static_cast<Use*>(block->translations); use != nullptr;) {
            Use* next = use->next;
            if (use->translation->region != number) {
                use->next = kept;
                kept = use;
            }
            use = next;
        }
        block->translations = kept;
    }
    if (listener_ != nullptr) {
        listener_->evicted({memory_.executable() + region.first, region.used});
    }
    const std::size_t first = region.first;
    region = {};
    region.first = first;
    ++epoch_;
}

}  // namespace droste::jit
