// Page walks. SDM Vol. 3A, "Paging".
//
// The problem: five ways of paging that differ in levels, widths and reserved bits, but agree on
// what a right is; tables that other processors and devices change while they are read, and which
// may themselves lie behind EPT; and a fault must leave them as they were.
//
// The choice: one loop serves all modes; a mode is its number of levels, entry size and index width.
// Rights are collected on the way down and checked once, at the leaf. Accessed and dirty bits are
// set last, from the root down, by compare-exchange: if an entry is no longer what was read, the
// walk starts over. Every access to an entry goes through SecondStage when EPT is on. What an
// access would be answered, without doing anything (a debugger, verify.hpp), is the same walk with
// `set_accessed_dirty` off, so the two cannot disagree.
//
// Rejected: a function for each mode (the rules of rights, protection keys and error codes four
// times over); setting accessed bits on the way down (a walk that faults or starts over has then
// written pages, and under EPT logged them, for nothing); plain stores of the bits (they would undo
// what another processor has just written there).
//
// What a walk found is kept for the next ones (walk_cache.hpp); a walk that changes nothing, for the
// debugger or verify(), always reads memory.

#include "cpu/x86/mmu/paging.hpp"

#include "core/bits.hpp"
#include "core/guest_memory.hpp"
#include "core/log.hpp"

#include <array>
#include <bit>
#include <cstring>

namespace droste {

namespace {

// Paging-structure entry bits. SDM Vol. 3A, Tables "Format of a Page-Table Entry that Maps a
// 4-KByte Page" etc.
constexpr u64 kPresent = 1U << 0, kWritable = 1U << 1, kUser = 1U << 2, kAccessed = 1U << 5,
              kDirty = 1U << 6, kLargePage = 1U << 7, kGlobal = 1U << 8;
constexpr u64 kNoExecute = u64{1} << 63;

// #PF error code. SDM Vol. 3A, "Page-Fault Exceptions".
constexpr u32 kErrorPresent = 1U << 0, kErrorWrite = 1U << 1, kErrorUser = 1U << 2,
              kErrorReserved = 1U << 3, kErrorFetch = 1U << 4, kErrorProtectionKey = 1U << 5,
              kErrorShadowStack = 1U << 6;

struct Visited {
    PhysAddr address = 0;
    u64 value = 0;
    u64 to_set = 0;
    GuestPhysAddr guest = 0;  // of `address`
    CachedTable led_to;       // unless it is the leaf
};

// The entries of a walk, from the root.
struct Path {
    std::array<Visited, 5> entries;
    unsigned count = 0;
};

enum class Outcome : u8 { Done, Retry, Fault };

class Walker {
  public:
    // `by_known_tables`: not from the root if a walk went there before.
    Walker(Vcpu& cpu, const WalkRequest& request, bool by_known_tables)
        : cpu_(cpu)
        , request_(request)
        , by_known_tables_(by_known_tables) {}

    Outcome run(Translation& out);
    // Answers by a walk made before; false if that would not do.
    bool recall(Translation& out);

  private:
    Outcome run_paged(Translation& out);
    void skip_levels(unsigned& level, GuestPhysAddr& table, WalkRights& rights);
    void keep_tables(Path& path, unsigned leaf_level);
    void keep(const Translation& found, const StageTwoResult& stage_two, const WalkRights& rights);
    void describe(const WalkRights& rights,
                  u64 page_bytes,
                  const StageTwoResult& stage_two,
                  Translation& out);
    Outcome page_fault(u32 extra);
    void forget_address();
    Outcome second_stage(GuestPhysAddr guest, const StageTwoAccess& access, StageTwoResult& result);
    Outcome read_entry(GuestPhysAddr table, unsigned index, Visited& visited);
    Outcome check_rights(const WalkRights& rights, u64 leaf);
    bool allowed(const WalkRights& rights, u64 leaf) const;
    u32 protection_key_violation(const WalkRights& rights, u64 leaf);
    bool shadow_stack_allowed(const WalkRights& rights, u64 leaf) const;
    bool ordinarily_allowed(const WalkRights& rights) const;
    Exchange set_bits(const Visited& entry);
    void note_link(PhysAddr address, u64 value);
    Outcome set_accessed_dirty(const Path& path);
    u64 reserved_mask(unsigned level, bool leaf_large) const;
    Outcome finish(GuestPhysAddr guest, u64 page_bytes, const WalkRights& rights, Translation& out);
    Outcome start_level(unsigned& level, GuestPhysAddr& table);

    bool pae() const { return (cpu_.state.cr4 & cr4::kPae) != 0; }
    unsigned index_bits() const { return pae() ? 9 : 10; }
    // The linear address without what the table of `level` and those below translate.
    u64 prefix(unsigned level) const { return request_.linear >> (12 + level * index_bits()); }
    bool long_mode() const { return (cpu_.state.efer & efer::kLma) != 0; }
    bool nx_enabled() const { return (cpu_.state.efer & efer::kNxe) != 0; }

    Vcpu& cpu_;
    const WalkRequest& request_;
    const bool by_known_tables_;
    bool skipped_levels_ = false;
    u32 chain_ = 0;
    u64 leaf_ = 0;
    bool key_forbids_write_ = false;
};

// A table that is known may be out of date: before a fault the walk is made from the root. And
// "page faults invalidate entries in the TLBs and paging-structure caches" for their address (SDM
// Vol. 3A, "Operations that Invalidate TLBs and Paging-Structure Caches").
Outcome Walker::page_fault(u32 extra) {
    if (skipped_levels_) {
        return Outcome::Retry;
    }
    u32 code = extra;
    if (request_.access == Access::Write) {
        code |= kErrorWrite;
    }
    if (request_.user()) {
        code |= kErrorUser;
    }
    if (request_.shadow_stack) {
        code |= kErrorShadowStack;
    }
    const bool fetch_reported = (pae() && nx_enabled()) || (cpu_.state.cr4 & cr4::kSmep) != 0;
    if (request_.access == Access::Execute && fetch_reported) {
        code |= kErrorFetch;
    }
    if (request_.set_accessed_dirty) {
        forget_address();
        (void)raise(cpu_, Exception::PF, code);
        cpu_.fault.payload = request_.linear;
        ++cpu_.counters.page_faults;
        cpu_.log.write(LogCategory::Mmu,
                       "vCPU {}: page fault at {:#x}, error code {:#x}, rip {:#x}", cpu_.index,
                       request_.linear, code, cpu_.state.rip());
    }
    return Outcome::Fault;
}

Outcome
Walker::second_stage(GuestPhysAddr guest, const StageTwoAccess& access, StageTwoResult& result) {
    if (cpu_.non_root.second_stage == nullptr) {
        result.address = cpu_.a20_enabled ? guest : guest & ~kA20Bit;
        result.readable = result.writable = result.executable = true;
        result.page_bytes = ~u64{0};
        return Outcome::Done;
    }
    if (!request_.set_accessed_dirty) {
        // A debugger's walk must not exit; it follows only what is already there.
        return cpu_.non_root.second_stage->translate_for_debug(cpu_, guest, result)
                   ? Outcome::Done
                   : Outcome::Fault;
    }
    if (cpu_.non_root.second_stage->translate(cpu_, guest, access, result)) {
        return Outcome::Done;
    }
    cpu_.fault_is_vm_exit = true;
    return Outcome::Fault;
}

Outcome Walker::read_entry(GuestPhysAddr table, unsigned index, Visited& visited) {
    const bool wide = pae();
    const GuestPhysAddr guest = table + index * (wide ? 8U : 4U);
    StageTwoAccess access;
    access.access = Access::Read;
    access.paging_structure = true;
    access.linear = request_.linear;
    access.user_linear = request_.user();
    StageTwoResult result;
    if (second_stage(guest, access, result) != Outcome::Done) {
        return Outcome::Fault;
    }
    visited.address = result.address;
    const NativePage page = cpu_.memory.lookup(result.address & kPageMask);
    if (page.native != nullptr) [[likely]] {
        const u8* source = page.native + result.address % kPageBytes;
        if (wide) {
            std::memcpy(&visited.value, source, 8);
        } else {
            u32 narrow = 0;
            std::memcpy(&narrow, source, 4);
            visited.value = narrow;
        }
    } else {
        visited.value = read_physical(cpu_, result.address, wide ? 8 : 4);
    }
    return Outcome::Done;
}

// Adds an entry to the chain: where it lies and what it says.
void Walker::note_link(PhysAddr address, u64 value) {
    if constexpr (kTlbKeepsChains) {
        constexpr u64 kOddFactor = 0x9E37'79B9'7F4A'7C15;
        chain_ = static_cast<u32>(((value ^ std::rotl(address, 17) ^ chain_) * kOddFactor) >> 32);
    }
}

u64 Walker::reserved_mask(unsigned level, bool leaf_large) const {
    const unsigned physical_bits = cpu_.features.physical_address_bits;
    if (!pae()) {
        if (!leaf_large) {
            return 0;
        }
        // PSE-36: bits 20:13 hold address bits 39:32; what exceeds MAXPHYADDR, and bit 21, are
        // reserved.
        const unsigned wide_bits = physical_bits < 40 ? physical_bits : 40;
        u64 mask = bit(21);
        for (unsigned b = wide_bits; b < 40; ++b) {
            mask |= bit(b - 32 + 13);
        }
        return mask;
    }
    u64 mask = 0;
    if (physical_bits < 52) {
        mask |= bits(~u64{0}, 0, 51 - physical_bits) << physical_bits;
    }
    if (!long_mode()) {
        mask |= bits(~u64{0}, 0, 10) << 52;  // PAE: 62:52 are reserved
    }
    if (!nx_enabled()) {
        mask |= kNoExecute;
    }
    if (leaf_large) {
        mask |= level == 2 ? bits(~u64{0}, 0, 7) << 13 : bits(~u64{0}, 0, 16) << 13;
    } else if (level >= 4 || (level == 3 && !cpu_.features.has(Feature::PDPE1GB))) {
        mask |= kLargePage;
    }
    return mask;
}

// PK of the error code, if the page's key forbids the access. Keys guard user-mode addresses
// against data accesses of every privilege. SDM Vol. 3A, "Protection Keys".
u32 Walker::protection_key_violation(const WalkRights& rights, u64 leaf) {
    const CpuState& s = cpu_.state;
    const bool guarded = (s.cr4 & cr4::kPke) != 0 && long_mode() && rights.user;
    if (!guarded || request_.access == Access::Execute) {
        return 0;
    }
    const auto key = static_cast<unsigned>(bits(leaf, 59, 62));
    const bool access_disabled = test_bit(s.pkru, key * 2);
    const bool write_disabled = test_bit(s.pkru, key * 2 + 1);
    key_forbids_write_ = write_disabled && (request_.user() || (s.cr0 & cr0::kWp) != 0);
    const bool forbidden =
        access_disabled || (request_.access == Access::Write && key_forbids_write_);
    return forbidden ? kErrorProtectionKey : 0;
}

// A shadow-stack page is one that is dirty but not writable, below writable tables; user accesses
// stay in user pages and supervisor accesses in supervisor pages. SDM Vol. 3A, "Determination of
// Access Rights".
bool Walker::shadow_stack_allowed(const WalkRights& rights, u64 leaf) const {
    const bool shadow_page =
        rights.tables_writable && (leaf & kWritable) == 0 && (leaf & kDirty) != 0;
    return shadow_page && rights.user == request_.user();
}

// U/S, R/W and XD, CR0.WP, SMEP and SMAP. SDM Vol. 3A, "Determination of Access Rights".
bool Walker::ordinarily_allowed(const WalkRights& rights) const {
    const CpuState& s = cpu_.state;
    const bool user = request_.user();
    if (user && !rights.user) {
        return false;
    }
    if (request_.access == Access::Execute) {
        const bool smep = !user && rights.user && (s.cr4 & cr4::kSmep) != 0;
        return !(rights.no_execute && nx_enabled()) && !smep;
    }
    const bool needs_writable = user || (s.cr0 & cr0::kWp) != 0;
    if (request_.access == Access::Write && !rights.writable && needs_writable) {
        return false;
    }
    const bool smap = rights.user && (s.cr4 & cr4::kSmap) != 0 &&
                      request_.privilege == PrivilegeClass::Supervisor;
    return !smap;
}

// The error code's PK says what the key says of the access, whether or not something else forbids
// it, too. SDM Vol. 3A, "Page-Fault Exceptions".
Outcome Walker::check_rights(const WalkRights& rights, u64 leaf) {
    const u32 key_violation = protection_key_violation(rights, leaf);
    return allowed(rights, leaf) && key_violation == 0 ? Outcome::Done
                                                       : page_fault(kErrorPresent | key_violation);
}

bool Walker::allowed(const WalkRights& rights, u64 leaf) const {
    return request_.shadow_stack ? shadow_stack_allowed(rights, leaf) : ordinarily_allowed(rights);
}

Exchange Walker::set_bits(const Visited& entry) {
    if (pae()) {
        u64 expected = entry.value;
        return cpu_.memory.compare_exchange(entry.address, expected, entry.value | entry.to_set);
    }
    auto expected = static_cast<u32>(entry.value);
    return cpu_.memory.compare_exchange(entry.address, expected,
                                        static_cast<u32>(entry.value | entry.to_set));
}

Outcome Walker::set_accessed_dirty(const Path& path) {
    for (unsigned i = 0; i < path.count; ++i) {
        const Visited& entry = path.entries[i];
        if (entry.to_set == 0) {
            continue;
        }
        if (cpu_.non_root.second_stage != nullptr) {
            StageTwoAccess access;
            access.access = Access::Write;
            access.paging_structure = true;
            access.paging_structure_write = true;
            access.linear = request_.linear;
            access.user_linear = request_.user();
            StageTwoResult result;
            if (second_stage(entry.guest, access, result) != Outcome::Done) {
                return Outcome::Fault;
            }
        }
        switch (set_bits(entry)) {
        case Exchange::Done: break;
        case Exchange::Changed: return Outcome::Retry;
        case Exchange::NotRam:
            // Paging structures in ROM or MMIO: the write goes to the bus (and is usually lost).
            write_physical(cpu_, entry.address, pae() ? 8 : 4, entry.value | entry.to_set);
            break;
        }
    }
    return Outcome::Done;
}

Outcome
Walker::finish(GuestPhysAddr guest, u64 page_bytes, const WalkRights& rights, Translation& out) {
    StageTwoAccess access;
    access.access = request_.access;
    access.linear = request_.linear;
    access.user_linear = rights.user;
    access.writable_linear = rights.writable;
    access.nx_linear = rights.no_execute;
    access.shadow_stack = request_.shadow_stack;
    StageTwoResult result;
    if (second_stage(guest, access, result) != Outcome::Done) {
        return Outcome::Fault;
    }
    out.guest = guest;
    describe(rights, page_bytes, result, out);
    if (request_.set_accessed_dirty && (cpu_.state.cr0 & cr0::kPg) != 0) {
        keep(out, result, rights);
    }
    return Outcome::Done;
}

void Walker::describe(const WalkRights& rights,
                      u64 page_bytes,
                      const StageTwoResult& stage_two,
                      Translation& out) {
    const bool write_ignores_rw = !request_.user() && (cpu_.state.cr0 & cr0::kWp) == 0;
    out.address = stage_two.address;
    // INVLPG must drop all of the guest's large page, however small EPT cut it
    out.page_bytes = page_bytes;
    out.user = rights.user;
    out.protection_key = static_cast<u8>(long_mode() ? bits(leaf_, 59, 62) : 0);
    out.writable = (rights.writable || write_ignores_rw) && (leaf_ & kDirty) != 0 &&
                   !key_forbids_write_ && stage_two.writable;
    if (request_.shadow_stack) {
        out.writable = !key_forbids_write_ && stage_two.writable;
    }
    out.readable = stage_two.readable;
}

void Walker::keep(const Translation& found,
                  const StageTwoResult& stage_two,
                  const WalkRights& rights) {
    TlbContext& context = cpu_.tlb.current();
    CachedTranslation entry;
    entry.owner = found.global ? context.walks.global : context.walks.local;
    entry.page = request_.linear & kPageMask;
    entry.guest = found.guest & kPageMask;
    entry.address = found.address & kPageMask;
    entry.leaf = leaf_;
    entry.page_bytes = found.page_bytes;
    entry.chain = found.chain;
    entry.rights = rights;
    entry.stage_two_readable = stage_two.readable;
    entry.stage_two_writable = stage_two.writable;
    entry.stage_two_executable = stage_two.executable;
    cpu_.tlb.walks.keep(context.walks, entry);
    if (found.page_bytes > kPageBytes) {
        note_large_page(context, request_.linear, found.page_bytes);
    }
}

bool Walker::recall(Translation& out) {
    if ((cpu_.state.cr0 & cr0::kPg) == 0) {
        return false;
    }
    const CachedTranslation* found = cpu_.tlb.walks.find(cpu_.tlb.current().walks, request_.linear);
    if (found == nullptr) {
        return false;
    }
    const bool write = request_.access == Access::Write;
    const bool execute = request_.access == Access::Execute;
    const bool stage_two_allows = write     ? found->stage_two_writable
                                  : execute ? found->stage_two_executable
                                            : found->stage_two_readable;
    leaf_ = found->leaf;
    if (!stage_two_allows || (write && (leaf_ & kDirty) == 0) || !allowed(found->rights, leaf_) ||
        protection_key_violation(found->rights, leaf_) != 0) {
        return false;
    }
    out.guest = found->guest | request_.linear % kPageBytes;
    out.global = (leaf_ & kGlobal) != 0 && (cpu_.state.cr4 & cr4::kPge) != 0;
    out.chain = found->chain;
    StageTwoResult stage_two;
    stage_two.address = found->address | request_.linear % kPageBytes;
    stage_two.readable = found->stage_two_readable;
    stage_two.writable = found->stage_two_writable;
    describe(found->rights, found->page_bytes, stage_two, out);
    return true;
}

// The first level and its table. PAE starts at the page directory its PDPTE register names.
Outcome Walker::start_level(unsigned& level, GuestPhysAddr& table) {
    const CpuState& s = cpu_.state;
    if (long_mode()) {
        level = (s.cr4 & cr4::kLa57) != 0 ? 5 : 4;
        table = s.cr3 & bits(~u64{0}, 0, 51) & kPageMask;
        return Outcome::Done;
    }
    level = 2;
    if (!pae()) {
        table = s.cr3 & 0xFFFFF000;
        return Outcome::Done;
    }
    const u64 pdpte = s.pdpte[bits(request_.linear, 30, 31)];
    if ((pdpte & kPresent) == 0) {
        return page_fault(0);
    }
    table = pdpte & bits(~u64{0}, 0, 51) & kPageMask;
    return Outcome::Done;
}

// On to the deepest table that is known.
void Walker::skip_levels(unsigned& level, GuestPhysAddr& table, WalkRights& rights) {
    const WalkOwner& owner = cpu_.tlb.current().walks;
    for (unsigned below = 1; below < level; ++below) {
        if (const CachedTable* found = cpu_.tlb.walks.find_table(owner, below, prefix(below))) {
            level = below;
            table = found->table;
            rights = found->rights;
            chain_ = found->chain;
            skipped_levels_ = true;
            return;
        }
    }
}

void Walker::forget_address() {
    TlbContext& context = cpu_.tlb.current();
    const LinearAddr page = request_.linear & kPageMask;
    bool evicted = false;
    context.for_each_data_table([&](auto& table) {
        const unsigned entry = table.index(page);
        if (table.read_tag(entry) == page) {
            table.drop(entry);
            context.data_page_changed(page);
        }
        evicted = evicted || table.has_evicted(entry);
    });
    if (evicted) {  // perhaps of this page
        context.data_pages_changed();
        context.for_each_data_table([](auto& table) { table.forget_evictions(); });
    }
    if (context.may_execute_page(page)) {
        context.code_pages_changed();
    }
    for (CodeTlb& table : context.code) {
        if (CodeTlbEntry& entry = table.at(page); entry.tag == page) {
            entry.tag = kNoTag;
        }
    }
    cpu_.tlb.walks.drop(context.walks, page, false);
    for (unsigned level = 1; level <= WalkCache::kLevels; ++level) {
        CachedTable nothing;
        nothing.prefix = prefix(level);
        cpu_.tlb.walks.keep_table(context.walks, level, nothing);
    }
}

// The tables that the entries visited led to, from the leaf's up. Their accessed flags are set.
void Walker::keep_tables(Path& path, unsigned leaf_level) {
    const WalkOwner& owner = cpu_.tlb.current().walks;
    for (unsigned i = 0; i + 1 < path.count; ++i) {
        CachedTable& table = path.entries[i].led_to;
        table.owner = owner.structures;
        cpu_.tlb.walks.keep_table(owner, leaf_level + path.count - 2 - i, table);
    }
}

Outcome Walker::run_paged(Translation& out) {
    unsigned level = 0;
    GuestPhysAddr table = 0;
    if (start_level(level, table) != Outcome::Done) {
        return Outcome::Fault;
    }
    Path path;
    WalkRights rights;
    if (by_known_tables_) {
        skip_levels(level, table, rights);
    }
    while (true) {
        const unsigned shift = 12 + (level - 1) * index_bits();
        const auto index =
            static_cast<unsigned>(bits(request_.linear, shift, shift + index_bits() - 1));
        Visited& entry = path.entries[path.count++];
        if (read_entry(table, index, entry) != Outcome::Done) {
            return Outcome::Fault;
        }
        entry.guest = table + index * (pae() ? 8U : 4U);
        const u64 value = entry.value;
        if ((value & kPresent) == 0) {
            return page_fault(0);
        }
        const bool large_possible =
            level == 2 ? (pae() || (cpu_.state.cr4 & cr4::kPse) != 0)
                       : (level == 3 && long_mode() && cpu_.features.has(Feature::PDPE1GB));
        const bool large = large_possible && (value & kLargePage) != 0;
        const bool leaf = large || level == 1;
        const u64 becomes = leaf && request_.access == Access::Write ? value | kDirty : value;
        note_link(entry.address, becomes & ~(leaf ? kAccessed : kAccessed | kDirty));
        out.chain = chain_;
        if ((value & reserved_mask(level, large)) != 0) {
            return page_fault(kErrorPresent | kErrorReserved);
        }
        rights.tables_writable = rights.writable;
        rights.user = rights.user && (value & kUser) != 0;
        rights.writable = rights.writable && (value & kWritable) != 0;
        rights.no_execute = rights.no_execute || (pae() && (value & kNoExecute) != 0);
        entry.to_set = kAccessed & ~value;
        if (!leaf) {
            table = value & (pae() ? bits(~u64{0}, 0, 51) & kPageMask : u64{0xFFFFF000});
            --level;
            entry.led_to = {0, prefix(level), table, chain_, rights};
            continue;
        }
        if (const Outcome outcome = check_rights(rights, value); outcome != Outcome::Done) {
            return outcome;
        }
        if (request_.access == Access::Write) {
            entry.to_set |= kDirty & ~value;
        }
        leaf_ = value | entry.to_set;
        const u64 page_bytes = u64{1} << shift;
        u64 base = value & bits(~u64{0}, 0, 51) & ~(page_bytes - 1);
        if (!pae()) {
            base = value & 0xFFFFFFFF & ~(page_bytes - 1);
            if (large) {
                base |= bits(value, 13, 20) << 32;
            }
        }
        out.global = (value & kGlobal) != 0 && (cpu_.state.cr4 & cr4::kPge) != 0;
        if (request_.set_accessed_dirty) {
            if (const Outcome outcome = set_accessed_dirty(path); outcome != Outcome::Done) {
                return outcome;
            }
            keep_tables(path, level);
        }
        return finish(base | (request_.linear & (page_bytes - 1)), page_bytes, rights, out);
    }
}

Outcome Walker::run(Translation& out) {
    if ((cpu_.state.cr0 & cr0::kPg) == 0) {
        leaf_ = kDirty;
        out.global = false;
        const Outcome outcome = finish(request_.linear, ~u64{0}, WalkRights{}, out);
        out.user = false;
        return outcome;
    }
    return run_paged(out);
}

}  // namespace

namespace {

Status walk(Vcpu& cpu, const WalkRequest& request, Translation& out) {
    if (Walker(cpu, request, true).recall(out)) {
        return Status::Next;  // not a walk
    }
    ++cpu.counters.page_walks;
    for (bool by_known_tables = true;; by_known_tables = false) {
        Walker walker(cpu, request, by_known_tables);
        switch (walker.run(out)) {
        case Outcome::Done: return Status::Next;
        case Outcome::Fault: return Status::Fault;
        case Outcome::Retry: break;
        }
    }
}

}  // namespace

Status
walk(Vcpu& cpu, LinearAddr linear, Access access, PrivilegeClass privilege, Translation& out) {
    return walk(cpu, WalkRequest{linear, access, privilege}, out);
}

Status walk_shadow_stack(Vcpu& cpu, LinearAddr linear, bool write, bool user, Translation& out) {
    return walk(cpu,
                WalkRequest{linear, write ? Access::Write : Access::Read,
                            user ? PrivilegeClass::User : PrivilegeClass::Supervisor, true, true},
                out);
}

bool inspect(Vcpu& cpu, WalkRequest request, Translation& out) {
    request.set_accessed_dirty = false;
    Walker walker(cpu, request, false);
    return walker.run(out) == Outcome::Done;
}

bool translate_for_debug(Vcpu& cpu, LinearAddr linear, PhysAddr& out) {
    Translation translation;
    if (!inspect(cpu, {linear, Access::Read, PrivilegeClass::SupervisorAc}, translation)) {
        return false;
    }
    out = translation.address;
    return true;
}

}  // namespace droste
