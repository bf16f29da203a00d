#pragma once
// Where linear addresses lead: what an engine remembers for jumps that are not linked.
//
//   JumpTable     what translated code itself looks at: of an address space, a privilege level and a
//                 mode. It holds as long as none of its code addresses is mapped elsewhere.
//   KnownTargets  what the engine asks when that has nothing: translations by linear and physical
//                 address and mode, for whatever address space. So a new process, or an address
//                 that lost its place to another, costs a look at the page tables instead of one at
//                 the decoded block, its translations and their uses, each of them a cache miss.
//
// Both are direct-mapped, and big: what they are asked for is spread evenly, and two hot targets in
// one place cost more than memory does, which is not touched before it is used.

#include "core/types.hpp"
#include "cpu/x86/mmu/tlb.hpp"
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

    const JumpTable* table() const { return table_.get(); }
    // Null: nothing is known.
    const u8* find(u64 rip) const {
        const JumpTable::Entry& entry = table_->entries[JumpTable::index(rip)];
        return entry.rip == rip ? entry.code : nullptr;
    }
    void fill(u64 rip, const u8* code);

  private:
    friend class JumpTables;
    void clear();

    std::unique_ptr<JumpTable, FreeMemory> table_;
    u64 execute_epoch_ = 0;  // TlbContext::execute_epoch
    u64 code_epoch_ = 0;     // CodeCache::epoch()
    u32 key_ = 0;            // no mode has this one
    std::vector<u16> filled_;
    void** owner_;  // where the address space keeps it
};

// Of an engine.
class JumpTables {
  public:
    JumpTables(CodeCache& code, u64& clears) : code_(code), clears_(clears) {}

    // The one of the present address space and privilege level, for the mode `key`.
    OwnedJumpTable& current(Vcpu& cpu, u32 key);

  private:
    OwnedJumpTable& new_table(void*& owner);

    CodeCache& code_;
    u64& clears_;
    std::vector<std::unique_ptr<OwnedJumpTable>> tables_;
    std::size_t next_taken_ = 0;  // of tables_, when no more are granted
};

class KnownTargets {
  public:
    KnownTargets();

    void note(u64 rip, PhysAddr start, u32 key, const u8* code) {
        at(rip, start) = {.rip = rip, .start = start, .code = code, .key = key};
    }
    // Null: nothing is known.
    const u8* find(u64 rip, PhysAddr start, u32 key) const {
        const Entry& entry = at(rip, start);
        return entry.rip == rip && entry.start == start && entry.key == key ? entry.code : nullptr;
    }
    void clear();

  private:
    struct Entry {
        u64 rip;
        PhysAddr start;
        const u8* code;  // null in an empty one
        u32 key;
    };
    static constexpr std::size_t kEntries = 32768;
    using Entries = std::array<Entry, kEntries>;

    Entry& at(u64 rip, PhysAddr start) const {
        const u64 name = rip ^ rip >> 13 ^ start >> kPageShift;
        return (*entries_)[name % kEntries];
    }

    std::unique_ptr<Entries, FreeMemory> entries_;
};

}  // namespace droste::jit
