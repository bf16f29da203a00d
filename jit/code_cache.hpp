#pragma once
// The translations of a machine, their code, and the jumps between them.
//
// A translation hangs on every decoded block it was made of: when a byte of one changes, the block
// dies (cpu/x86/interp/block_cache.hpp) and the translation with it. Nobody may enter it any more:
// the exits linked to it lead to the engine again, and its entries are overwritten with a jump
// there, for whoever still has their address (jump tables, an interpreted instruction in its
// midst). Its code stays where it is until all code is dropped, which happens when the memory is
// full, between two translations: then nothing refers to code any more.
//
// The memory for it is bounded: a share for code, one for what the engine must know about it
// (translations, exits, sites), one for jump tables. When one of the first two is used up, all code
// is dropped; when the third is, engines take a jump table from another address space.
//
// The vCPUs of a machine share one: code finds everything by RSP.

#include "core/error.hpp"
#include "core/types.hpp"
#include "cpu/x86/interp/block_cache.hpp"
#include "cpu/x86/vcpu.hpp"
#include "jit/code_memory.hpp"
#include "jit/emitter.hpp"
#include "jit/layout.hpp"
#include "jit/listener.hpp"
#include "jit/statistics.hpp"
#include "jit/trampolines.hpp"
#include "jit/translation.hpp"

#include <deque>
#include <memory>
#include <vector>

namespace droste::jit {

class CodeCache final : public BlockCache::Listener {
  public:
    // Code for one translation takes at most so many bytes.
    static constexpr std::size_t kMostCode = std::size_t{64} << 10;

    // `blocks` tells it about blocks that die, and must outlive it.
    static Expected<std::unique_ptr<CodeCache>>
    create(BlockCache& blocks, std::size_t bytes, InterpretFn interpret);
    ~CodeCache() override;

    static Translation* find(const Block& block, u64 rip, u32 key);

    // --- the translator's ---
    // Makes room for another translation, by dropping all if need be.
    void reserve();
    Emitter emitter() const { return {memory_.writable() + used_, kMostCode}; }
    void commit(const Emitter& emitter);
    const u8* executable(const u8* written) const { return memory_.executable(written); }
    Translation& new_translation();
    void use(Block& block, Translation& translation);
    u32 add(const Exit& exit);
    u32 add(const Site& site);
    // Keeps the instructions of a translation for its sites; returns the number of the first.
    u32 add_insns(const std::vector<const Insn*>& insns);
    const Insn& insn(u32 number) const { return *insns_[number]; }
    const Trampolines& trampolines() const { return trampolines_; }

    // A number of TranslatedCode::slots for a site of user code: odd for writes, so that sites that
    // share one when all are taken need the same rights.
    unsigned new_slot(bool write) {
        const unsigned slot = next_slot_;
        next_slot_ = slot + 2 < TranslatedCode::kSlots ? slot + 2 : kFirstSiteSlot;
        return slot + (write ? 1 : 0);
    }

    Exit& exit(u32 number) { return exits_[number]; }
    Site& site(u32 number) { return sites_[number]; }
    // The exit leads to the translation from now on.
    void link(u32 exit, Translation& to);
    void flush();
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
    CodeCache(BlockCache& blocks, CodeMemory&& memory, std::size_t bytes);
    std::size_t table_bytes() const;

    void jump_at(const u8* place, const u8* target);

    BlockCache& block_cache_;
    CodeMemory memory_;
    Trampolines trampolines_;
    std::size_t fixed_ = 0;  // bytes of trampolines
    std::size_t used_ = 0;
    std::deque<Translation> translations_;
    std::deque<Use> uses_;
    std::vector<Exit> exits_;
    std::vector<Site> sites_;
    std::vector<const Insn*> insns_;
    std::vector<Block*> blocks_;           // that are used by translations, perhaps dead
    unsigned next_slot_ = kFirstSiteSlot;  // even
    u64 epoch_ = 1;
    std::size_t most_tables_;       // bytes, without jump tables
    std::size_t most_jump_tables_;  // bytes
    std::size_t jump_tables_ = 0;   // bytes granted
    CacheStatistics counted_;
    jit::Listener* listener_ = nullptr;
    std::vector<const EngineStatistics*> engines_;
};

}  // namespace droste::jit
