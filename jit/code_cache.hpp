#pragma once
// The translations of a machine, their code, and the jumps between them.
//
// A translation hangs on every decoded block it was made of: when a byte of one changes, the block
// dies (cpu/x86/interp/block_cache.hpp) and the translation with it. Nobody may enter it any more:
// the exits linked to it lead to the engine again, and its entries are overwritten with a jump
// there, for whoever still has their address (jump tables, an interpreted instruction in its
// midst). Its code stays where it is until its region is evicted.
//
// The memory for it is bounded: a share for code, one for what the engine must know about it
// (translations, exits, sites), one for jump tables. The first two are divided into regions, which
// are filled one after the other. When all are full, the one that the engines have not entered for
// the longest time is evicted, between two translations, when nobody executes any: what is run often
// is entered now and then, and stays. When no more jump tables are granted, engines take one from
// another address space.
//
// Rejected: dropping all code (a guest a little larger than the memory translates for ever);
// eviction in order of age (the same, for the code that is run most); a count in each translation
// of how often it runs (a store each, in code that is measured in instructions).
//
// The vCPUs of a machine share one: code finds everything by RSP.

#include "core/error.hpp"
#include "core/types.hpp"
#include "cpu/x86/interp/block_cache.hpp"
#include "cpu/x86/model/native_features.hpp"
#include "cpu/x86/vcpu.hpp"
#include "jit/code_memory.hpp"
#include "jit/emitter.hpp"
#include "jit/layout.hpp"
#include "jit/listener.hpp"
#include "jit/native_choices.hpp"
#include "jit/page_slots.hpp"
#include "jit/statistics.hpp"
#include "jit/trampolines.hpp"
#include "jit/translation.hpp"

#include <array>
#include <deque>
#include <memory>
#include <unordered_set>
#include <vector>

namespace droste::jit {

class CodeCache final : public BlockCache::Listener {
  public:
    // Code for one translation takes at most so many bytes for each instruction, and for two more.
    static constexpr std::size_t kMostCodeOfInsn = std::size_t{1} << 10;
    // Regions are so many, but not smaller.
    static constexpr unsigned kMostRegions = 8;
    static constexpr std::size_t kLeastRegion = std::size_t{128} << 10;

    // `blocks` tells it about blocks that die, and must outlive it.
    static Expected<std::unique_ptr<CodeCache>> create(BlockCache& blocks,
                                                       std::size_t bytes,
                                                       const NativeFeatures& native,
                                                       InterpretFn interpret,
                                                       MachineLock* lock);
    ~CodeCache() override;

    static Translation* find(const Block& block, u64 rip, u32 key);

    // --- the translator's ---
    // Makes room for another translation, by evicting others if need be. Requires: no other vCPU is
    // within translated code if lacks_room().
    void reserve(std::size_t instructions);
    bool lacks_room(std::size_t instructions) const {
        return full(regions_[current_], instructions);
    }
    // The machine's, if its vCPUs have threads of their own; else null.
    MachineLock* lock() const { return lock_; }
    Emitter emitter() const {
        const Region& region = regions_[current_];
        return {memory_.writable() + region.first + region.used, region_bytes_ - region.used};
    }
    void commit(const Emitter& emitter);
    const u8* executable(const u8* written) const { return memory_.executable(written); }
    Translation& new_translation();
    void use(Block& block, Translation& translation);
    u32 add(const Exit& exit);
    u32 add(const Site& site);
    // Keeps the instructions of a translation for its sites; returns the number of the first.
    u32 add_insns(const std::vector<const Insn*>& insns);
    const Insn& insn(u32 number) const {
        return *regions_[region_of(number)].insns[index_of(number)];
    }
    const Trampolines& trampolines() const { return trampolines_; }
    // What code may be made of.
    const NativeFeatures& native() const { return native_; }
    const NativeChoices& native_choices() const { return native_choices_; }

    // Kernel code that takes its time: translations at this address have page slots from now on.
    void with_slots(u64 rip) { insert(with_slots_, rip); }
    bool wants_slots(u64 rip) const { return with_slots_.contains(rip); }
    // An instruction whose slot missed too often has none from now on: translations of it that are
    // made later look into the TLB.
    void without_slot(u64 rip) { insert(without_slot_, rip); }
    bool has_slot(u64 rip) const { return !without_slot_.contains(rip); }
    // A number in PageSlots for an access of so many bytes. Numbers outlive the code that has them:
    // when all are taken accesses of the same kind share them.
    unsigned new_slot(unsigned bytes, bool write) { return slot_numbers_.next(bytes, write); }

    Exit& exit(u32 number) { return regions_[region_of(number)].exits[index_of(number)]; }
    Site& site(u32 number) { return regions_[region_of(number)].sites[index_of(number)]; }
    // The exit of that number leads to the translation from now on.
    void link(u32 number, Translation& to);
    // An engine enters it.
    void entered(const Translation& translation) {
        regions_[translation.region].last_entered = ++entries_;
    }
    // Nobody enters the translation any more.
    void kill(Translation& translation);
    // Addresses of code remembered under another epoch are void.
    u64 epoch() const { return epoch_; }

    void block_dropped(Block& block, BlockDeath death) override;

    // Null: nobody listens. Borrowed.
    void set_listener(jit::Listener* listener) { listener_ = listener; }
    jit::Listener* listener() const { return listener_; }
    // An engine's numbers are counted with the cache's as long as it lives.
    void enroll(const EngineStatistics& engine) { engines_.push_back(&engine); }
    void leave(const EngineStatistics& engine) { std::erase(engines_, &engine); }
    // For the translator to add to what it made.
    CacheStatistics& counted() { return counted_; }
    Statistics statistics() const;
    // Whether an engine may make another jump table, of so many bytes.
    bool grants_jump_table(std::size_t bytes);

  private:
    CodeCache(BlockCache& blocks,
              CodeMemory&& memory,
              std::size_t bytes,
              const NativeFeatures& native,
              MachineLock* lock);

    void stop_others() {
        if (lock_ != nullptr) {
            lock_->stop_others();
        }
    }

    // What belongs together: translations, their code, and what they are known by.
    struct Region {
        std::size_t first = 0;  // offset of its code
        std::size_t used = 0;   // bytes of code
        u64 last_entered = 0;   // by the count of entries
        std::deque<Translation> translations;
        std::deque<Use> uses;
        std::vector<Exit> exits;
        std::vector<Site> sites;
        std::vector<const Insn*> insns;
        std::vector<Block*> blocks;  // that are used by its translations, perhaps dead

        std::size_t table_bytes() const;
    };
    // Exits, sites and instructions are numbered by region and place in it.
    static constexpr unsigned kRegionShift = 24;
    static unsigned region_of(u32 number) { return number >> kRegionShift; }
    static u32 index_of(u32 number) { return number & ((1U << kRegionShift) - 1); }
    u32 number_of(std::size_t index) const {
        return current_ << kRegionShift | static_cast<u32>(index);
    }
    bool full(const Region& region, std::size_t instructions) const;
    void evict(unsigned number);
    void unlink(Translation& translation);

    void jump_at(const u8* place, const u8* target);

    // What is forgotten is found out again.
    static void insert(std::unordered_set<u64>& set, u64 rip) {
        constexpr std::size_t kMost = 32768;
        if (set.size() >= kMost) {
            set.clear();
        }
        set.insert(rip);
    }

    BlockCache& block_cache_;
    MachineLock* const lock_;
    const NativeFeatures native_;
    const NativeChoices native_choices_;
    CodeMemory memory_;
    Trampolines trampolines_;
    std::size_t fixed_ = 0;  // bytes of trampolines
    std::size_t region_bytes_ = 0;
    std::array<Region, kMostRegions> regions_;  // region_count_ of them
    unsigned region_count_ = 0;
    unsigned current_ = 0;  // the region that is being filled
    u64 entries_ = 0;
    SlotNumbers slot_numbers_;
    // Linear addresses.
    std::unordered_set<u64> with_slots_;
    std::unordered_set<u64> without_slot_;
    u64 epoch_ = 1;
    std::size_t most_tables_;       // bytes, without jump tables
    std::size_t most_jump_tables_;  // bytes
    std::size_t jump_tables_ = 0;   // bytes granted
    CacheStatistics counted_;
    jit::Listener* listener_ = nullptr;
    std::vector<const EngineStatistics*> engines_;
};

}  // namespace droste::jit
