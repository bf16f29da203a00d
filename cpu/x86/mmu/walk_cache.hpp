#pragma once
// What page walks found, kept for the next ones: a second-level TLB and paging-structure caches.
// SDM Vol. 3A, "Caching Translation Information".
//
// Problem: a walk under nested paging reads four entries and translates each through the second
// stage, and most walks repeat one made before: for another privilege class, for code, for a device
// page, which no TLB table holds, or behind a collision in a table; or they differ from one in the
// last entry alone.
//
// Choice: one direct-mapped table of translations for all contexts, asked before a walk. An entry
// holds what the walk collected, not what it concluded, so it serves every class and kind of access;
// where it would not do (a right is missing, a dirty flag has to be set) the walk is made: no fault
// ever comes from here. And for each level a table of where the next one lies with the rights so
// far: a walk starts at the deepest it finds.
//
// Entries name their owner, a number that a context has until it is flushed. A flush takes another
// number and leaves the entries to themselves. A context has three: for global translations, for the
// others, and for paging structures, which INVLPG of any address forgets ("Operations that
// Invalidate TLBs and Paging-Structure Caches").
//
// Rejected: tables for each context (most stay empty); rights already judged, as the first-level
// tables have them (three classes, three entries and three walks).

#include "core/types.hpp"

#include <array>
#include <vector>

namespace droste {

// What the levels above and including the leaf said.
struct WalkRights {
    bool user = true;
    bool writable = true;
    bool tables_writable = true;  // the levels above the leaf alone
    bool no_execute = false;
};

// The numbers under which a context's entries are found.
struct WalkOwner {
    u64 local = 0;
    u64 global = 0;
    u64 structures = 0;
    u64 spread = 0;  // keeps contexts apart in the tables
};

struct CachedTranslation {
    u64 owner = 0;  // 0: empty
    LinearAddr page = 0;
    GuestPhysAddr guest = 0;  // page
    PhysAddr address = 0;     // page
    u64 leaf = 0;             // the last entry, accessed and dirty flags as the walk left them
    u64 page_bytes = 0;       // of the guest's page
    u32 chain = 0;            // Translation::chain
    WalkRights rights;
    // Second stage: what it allows without another look.
    bool stage_two_readable = false, stage_two_writable = false, stage_two_executable = false;
};

struct CachedTable {
    u64 owner = 0;   // 0: empty
    u64 prefix = 0;  // the linear address without the bits that the table and those below translate
    GuestPhysAddr table = 0;
    u32 chain = 0;
    WalkRights rights;
};

class WalkCache {
  public:
    static constexpr unsigned kTranslations = 4096;
    static constexpr unsigned kTables = 256;  // a level
    static constexpr unsigned kLevels = 4;    // tables of levels 1 (of PTEs) to 4

    WalkCache() : translations_(kTranslations), tables_(std::size_t{kTables} * kLevels) {}

    const CachedTranslation* find(const WalkOwner& owner, LinearAddr linear) const {
        const CachedTranslation& entry = translations_[slot(owner, linear)];
        const bool owned = entry.owner == owner.local || entry.owner == owner.global;
        return owned && entry.page == (linear & kPageMask) ? &entry : nullptr;
    }
    void keep(const WalkOwner& owner, const CachedTranslation& translation) {
        translations_[slot(owner, translation.page)] = translation;
    }
    void drop(const WalkOwner& owner, LinearAddr linear, bool only_global) {
        CachedTranslation& entry = translations_[slot(owner, linear)];
        const bool owned =
            entry.owner == owner.global || (!only_global && entry.owner == owner.local);
        if (owned && entry.page == (linear & kPageMask)) {
            entry = {};
        }
    }

    // `level` of the table: 1 to kLevels.
    const CachedTable* find_table(const WalkOwner& owner, unsigned level, u64 prefix) const {
        const CachedTable& entry = tables_[table_slot(owner, level, prefix)];
        return entry.owner == owner.structures && entry.prefix == prefix ? &entry : nullptr;
    }
    void keep_table(const WalkOwner& owner, unsigned level, const CachedTable& table) {
        tables_[table_slot(owner, level, table.prefix)] = table;
    }

    // Numbers that no entry has.
    void renew_structures(WalkOwner& owner) { owner.structures = ++last_owner_; }
    void renew(WalkOwner& owner, bool keep_global) {
        owner.local = ++last_owner_;
        owner.structures = ++last_owner_;
        if (!keep_global) {
            owner.global = ++last_owner_;
        }
    }

  private:
    static std::size_t slot(const WalkOwner& owner, LinearAddr linear) {
        return ((linear >> kPageShift) + owner.spread * 67) % kTranslations;
    }
    static std::size_t table_slot(const WalkOwner& owner, unsigned level, u64 prefix) {
        return (level - 1) * std::size_t{kTables} + (prefix + owner.spread * 37) % kTables;
    }

    std::vector<CachedTranslation> translations_;
    std::vector<CachedTable> tables_;
    u64 last_owner_ = 0;
};

}  // namespace droste
