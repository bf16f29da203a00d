#pragma once
// Where linear addresses lead: what an engine remembers for jumps that are not linked.
//
//   JumpTable     what translated code itself looks at: of an address space, a privilege level and a
//                 mode. It holds as long as none of its code addresses is mapped elsewhere. Page
//                 slots (page_slots.hpp) lie behind it.
//   KnownTargets  what the engine asks when that has nothing: translations by linear and physical
//                 page and mode, for whatever address space. So a new process, whose kernel's jump
//                 table is empty, costs a look at the page tables for each page of code, not one at
//                 the decoded block, its translations and their uses for each target.
//
// Both are big: two hot targets in one place cost more than memory does, which is not touched before
// it is used.

#include "core/types.hpp"
#include "cpu/x86/mmu/tlb.hpp"
#include "cpu/x86/vcpu.hpp"
#include "jit/code_cache.hpp"
#include "jit/layout.hpp"

#include <array>
#include <cstdlib>
#include <memory>
#include <vector>

namespace droste::jit {

struct FreeMemory {
    void operator()(void* memory) const { std::free(memory); }
};

// A jump table, and what it was filled under.
class OwnedJumpTable {
  public:
    explicit OwnedJumpTable(void*& owner);

    JumpTable* table() const { return table_; }
    PageSlots& slots() { return table_->slots; }
    u32 key() const { return key_; }  // the mode its code was made for
    // Null: nothing is known.
    const u8* find(u64 rip) const {
        const unsigned own = JumpTable::index(rip);
        for (unsigned i = 0; i < JumpTable::kRow; ++i) {
            if (const JumpTable::Entry& entry = table_->entries[own ^ i]; entry.rip == rip) {
                return entry.code;
            }
        }
        return nullptr;
    }
    // In its own place; whose that was moves to another of the row.
    void fill(u64 rip, const u8* code);
    // Only if nobody has to go.
    void fill_if_empty(u64 rip, const u8* code);
    // True once for a page after the table was cleared.
    bool first_of_page(u64 rip) {
        const u64 page = rip / kPageBytes % kPageBits;
        const u64 bit = u64{1} << page % 64;
        const bool first = (pages_[page / 64] & bit) == 0;
        pages_[page / 64] |= bit;
        return first;
    }

  private:
    friend class JumpTables;
    static constexpr u64 kPageBits = 4096;  // pages share them
    void clear();
    void put(unsigned index, const JumpTable::Entry& entry);
    unsigned empty_in_row(unsigned index) const;

    std::unique_ptr<void, FreeMemory> memory_;
    JumpTable* table_ = nullptr;  // in it
    HalfEpochs execute_epochs_;   // TlbContext::execute_epochs
    bool has_lower_ = false;      // an address without bit 63
    u64 code_epoch_ = 0;          // CodeCache::epoch()
    u32 key_ = 0;                 // no mode has this one
    std::vector<u16> filled_;     // each once
    unsigned next_moved_ = 0;     // to which place of a full row
    std::array<u64, kPageBits / 64> pages_{};
    void** owner_;  // where the address space keeps it
};

// Of an engine.
class JumpTables {
  public:
    JumpTables(CodeCache& code, u64& clears) : code_(code), clears_(clears) {}

    // The one of the present address space and privilege level, for the mode `key`.
    OwnedJumpTable& current(Vcpu& cpu, u32 key);
    // The same; null if it has yet to be made, or what it holds is out of date.
    OwnedJumpTable* up_to_date(Vcpu& cpu, u32 key) const {
        return up_to_date(cpu.tlb.current(), cpu.mode.cpl, key);
    }
    // That of the other of levels 0 and 3 in 64-bit code, `key` being the mode of this one; null if
    // what it holds is out of date.
    OwnedJumpTable* other_level(const Vcpu& cpu, const TlbContext& context, u32 key) const;

  private:
    // Where an address space keeps that of a level.
    static std::size_t place_of(unsigned level) { return level == 3 ? 1 : 0; }
    OwnedJumpTable* up_to_date(const TlbContext& context, unsigned level, u32 key) const {
        auto* table = static_cast<OwnedJumpTable*>(context.jump_tables[place_of(level)]);
        return table != nullptr && holds(*table, context, key) ? table : nullptr;
    }
    bool holds(const OwnedJumpTable& table, const TlbContext& context, u32 key) const {
        return table.execute_epochs_.upper == context.execute_epochs.upper &&
               (table.execute_epochs_.lower == context.execute_epochs.lower || !table.has_lower_) &&
               table.code_epoch_ == code_.epoch() && table.key_ == key;
    }
    OwnedJumpTable& new_table(void*& owner);

    CodeCache& code_;
    u64& clears_;
    std::vector<std::unique_ptr<OwnedJumpTable>> tables_;
    std::size_t next_taken_ = 0;  // of tables_, when no more are granted
};

class KnownTargets {
  public:
    KnownTargets() : pages_(kPages) {}

    void note(u64 rip, PhysAddr start, u32 key, const u8* code);
    // Code for `rip`, which is executed at `start` now; null: nothing is known. The table is given
    // what is known of the whole page, if it has not been since it was cleared.
    const u8* fill(OwnedJumpTable& jumps, u64 rip, PhysAddr start, u32 key) const;
    void clear();

  private:
    struct Target {
        u16 offset;
        const u8* code;
    };
    struct Page {
        u64 linear = kNoTag;
        PhysAddr physical = 0;
        u32 key = 0;
        std::vector<Target> targets;

        bool is(u64 rip, PhysAddr start, u32 of_key) const {
            return linear == (rip & kPageMask) && physical == (start & kPageMask) && key == of_key;
        }
    };
    static constexpr std::size_t kPages = 4096;

    // Kernels lie in a row in both spaces: the one must not undo the other.
    static std::size_t index(u64 rip, PhysAddr start) {
        return ((rip >> kPageShift) + (start >> kPageShift) * 11) % kPages;
    }

    std::vector<Page> pages_;
};

}  // namespace droste::jit
