#pragma once
// Software TLB: address-space contexts that are switched, never flushed, on a switch.
//
// Problem: every memory operand needs a translation, a check of rights and to know whether plain
// memory lies behind it; guests (and guests of guests) change address spaces all the time.
//
// Choice: a context belongs to {VPID, PCID (or CR3 without CR4.PCIDE), EPT root, paging-mode bits}.
// Each holds data tables for three privilege classes and a code table. One tag compare answers:
// present, permitted, accessed and dirty already set, plain RAM, not page-crossing, holds no
// decoded code (write tag), no watchpoint. Anything special simply has no tag and takes the slow
// path, which decides from scratch. A write tag implies the read tag of the same page.
//
// A data table keeps its fields in arrays of their own: a hit reads a tag and an addend, and eight
// neighbors of either share a cache line; what only fills and flushes need lies apart. Whoever
// wants to know what an entry says asks the table.
//
// A switch seldom has to look for its context. Contexts that differ in CR3 (or PCID) alone make a
// family, with a small map from CR3 to context: MOV to CR3 asks that. Who switches to and fro (VM
// entries and VM exits) keeps the context itself, together with the epoch: as long as that is the
// TLB's, no context was given away and none has anything to catch up with.
//
// An invalidation reaches the current context at once and the others when they become current: it
// notes the epoch it was made in, by what it names (Invalidations), and a context compares. So it
// costs the same however many contexts there are. INVLPG and its like, which name one page, visit
// the contexts.
//
// Rejected: entries of 32 bytes {read tag, write tag, addend, page} (from 512 hot pages on they
// miss the native first-level cache, 4 to 5 cycles a dependent access); one table whose entries
// carry the rights as bits (two compares a hit); flushing on a switch; walking all contexts at every
// invalidation.

#include "core/code_pages.hpp"
#include "core/types.hpp"
#include "cpu/x86/mmu/walk_cache.hpp"

#include <array>
#include <bit>
#include <cstddef>
#include <memory>
#include <vector>

namespace droste {

class Vcpu;

inline constexpr unsigned kTlbEntries = 2048;
inline constexpr u64 kNoTag = ~u64{0};  // never equals a page-aligned address

// Debug builds note which paging-structure entries a translation was made from, so that verify()
// can tell a tag that is wrong from one that the guest has yet to invalidate.
#ifdef NDEBUG
inline constexpr bool kTlbKeepsChains = false;
#else
inline constexpr bool kTlbKeepsChains = true;
#endif

// What an entry's `page` word says besides the physical page address.
namespace tlb_mark {
inline constexpr u64 kGlobal = 1U << 0;
inline constexpr u64 kLarge = 1U << 1;    // a fragment of a large page
inline constexpr u64 kUser = 1U << 2;     // a user-mode address: protection keys guard it
inline constexpr unsigned kKeyShift = 8;  // bits 11:8, the protection key
}  // namespace tlb_mark

// What a fill puts into an entry.
struct TlbFill {
    u64 addend = 0;
    u64 page = 0;  // physical page address and tlb_mark bits
    bool readable = false;
    bool writable = false;  // a write needs nothing more; only where readable, too
    u32 chain = 0;
};

// Asks `visit` about each bit set in `map`, and clears those it says no to.
template <std::size_t Words, typename Visit>
void visit_bits(std::array<u64, Words>& map, Visit&& visit) {
    for (std::size_t word = 0; word < Words; ++word) {
        for (u64 pending = map[word]; pending != 0; pending &= pending - 1) {
            const auto index = static_cast<unsigned>(std::countr_zero(pending));
            if (!visit(static_cast<unsigned>(word * 64) + index)) {
                map[word] &= ~(u64{1} << index);
            }
        }
    }
}

// Direct-mapped translations of data accesses by one privilege class.
template <unsigned Entries>
class TlbTable {
  public:
    static constexpr unsigned kEntries = Entries;

    TlbTable() {
        read_tag_.fill(kNoTag);
        write_tag_.fill(kNoTag);
    }

    // Where the arrays lie, for generated code: the hit of an access is read there.
    static constexpr std::size_t kReadTagsOffset = 0;
    static constexpr std::size_t kWriteTagsOffset = Entries * sizeof(u64);
    static constexpr std::size_t kAddendsOffset = 2 * Entries * sizeof(u64);

    static constexpr unsigned index(LinearAddr linear) {
        return static_cast<unsigned>((linear >> kPageShift) % Entries);
    }

    // Whether `bytes` from `linear` on may be read (written; read and written) at native(linear).
    bool hits_read(LinearAddr linear, unsigned bytes) const {
        return ((linear + bytes - 1) & kPageMask) == read_tag_[index(linear)];
    }
    bool hits_write(LinearAddr linear, unsigned bytes) const {
        return ((linear + bytes - 1) & kPageMask) == write_tag_[index(linear)];
    }
    u8* native(LinearAddr linear) const {
        return reinterpret_cast<u8*>(linear + addend_[index(linear)]);
    }

    // By number of the entry, for whoever fills, flushes or verifies.
    u64 read_tag(unsigned entry) const { return read_tag_[entry]; }
    u64 write_tag(unsigned entry) const { return write_tag_[entry]; }
    u64 addend(unsigned entry) const { return addend_[entry]; }
    u64 page(unsigned entry) const { return page_[entry]; }
    u32 chain(unsigned entry) const {
        if constexpr (kTlbKeepsChains) {
            return chain_[entry];
        }
        return 0;
    }
    bool empty(unsigned entry) const {
        return read_tag_[entry] == kNoTag && write_tag_[entry] == kNoTag;
    }

    void fill(LinearAddr linear, const TlbFill& with) {
        const unsigned entry = index(linear);
        if (read_tag_[entry] != kNoTag && read_tag_[entry] != (linear & kPageMask)) {
            evicted_[entry / 64] |= u64{1} << entry % 64;
        }
        read_tag_[entry] = with.readable ? linear & kPageMask : kNoTag;
        write_tag_[entry] = with.readable && with.writable ? linear & kPageMask : kNoTag;
        addend_[entry] = with.addend;
        page_[entry] = with.page;
        filled_[entry / 64] |= u64{1} << entry % 64;
        if constexpr (kTlbKeepsChains) {
            chain_[entry] = with.chain;
        }
    }
    void drop(unsigned entry) {
        read_tag_[entry] = kNoTag;
        write_tag_[entry] = kNoTag;
    }
    void drop_write(unsigned entry) { write_tag_[entry] = kNoTag; }
    // Whether the entry has made room for another page since forget_evictions(): whoever remembers
    // pages by themselves may still have it.
    bool has_evicted(unsigned entry) const { return (evicted_[entry / 64] >> entry % 64 & 1) != 0; }
    void forget_evictions() { evicted_.fill(0); }

    // Visits the entries that may hold a tag. `visit(entry)` says whether the entry still may.
    template <typename Visit>
    void visit_filled(Visit&& visit) {
        visit_bits(filled_, visit);
    }

  private:
    static constexpr void check_offsets() {
        static_assert(offsetof(TlbTable, read_tag_) == kReadTagsOffset);
        static_assert(offsetof(TlbTable, write_tag_) == kWriteTagsOffset);
        static_assert(offsetof(TlbTable, addend_) == kAddendsOffset);
    }

    alignas(64) std::array<u64, Entries> read_tag_;   // linear page, or kNoTag
    alignas(64) std::array<u64, Entries> write_tag_;  // the same
    alignas(64) std::array<u64, Entries> addend_{};   // native address = linear address + addend
    std::array<u64, Entries> page_{};                 // physical page address, tlb_mark bits
    std::array<u32, kTlbKeepsChains ? Entries : 0> chain_{};  // Translation::chain
    std::array<u64, (Entries + 63) / 64> filled_{};  // which entries a flush has to look at
    std::array<u64, (Entries + 63) / 64> evicted_{};
};

using DataTlb = TlbTable<kTlbEntries>;

struct CodeTlbEntry {
    u64 tag = kNoTag;  // linear page address
    u64 page = 0;      // physical page address, tlb_mark bits
    u8* native = nullptr;
};

struct CodeTlb {
    static constexpr unsigned kEntries = 1024;
    std::array<CodeTlbEntry, kEntries> entries;
    std::array<u32, kTlbKeepsChains ? kEntries : 0> chain{};  // Translation::chain
    std::array<u64, kEntries / 64> filled{};

    CodeTlbEntry& at(LinearAddr linear) { return entries[(linear >> kPageShift) % kEntries]; }
    const CodeTlbEntry& at(LinearAddr linear) const {
        return entries[(linear >> kPageShift) % kEntries];
    }
    void fill(LinearAddr linear, u64 page, u8* native, u32 from_chain) {
        const auto index = static_cast<unsigned>((linear >> kPageShift) % kEntries);
        entries[index] = {linear & kPageMask, page, native};
        filled[index / 64] |= u64{1} << index % 64;
        if constexpr (kTlbKeepsChains) {
            chain[index] = from_chain;
        }
    }
};

enum class PrivilegeClass : u8 {
    Supervisor = 0,
    SupervisorAc = 1 /* SMAP lifted by RFLAGS.AC */,
    User = 2
};

// A set of pages that never says no to one that is in it, and seldom yes to another: only where two
// that are share a place.
class NotedPages {
  public:
    void note(LinearAddr linear) {
        const u64 page = linear & kPageMask;
        const unsigned place = place_of(linear);
        if (!test(used_, place)) {
            set(used_, place);
            page_[place] = page;
        } else if (page_[place] != page) {
            set(shared_, place);
        }
    }
    bool may_have(LinearAddr linear) const {
        const unsigned place = place_of(linear);
        return test(used_, place) && (page_[place] == (linear & kPageMask) || test(shared_, place));
    }
    void clear() {
        used_.fill(0);
        shared_.fill(0);
    }

  private:
    static constexpr unsigned kPlaces = 1024;
    using Bits = std::array<u64, kPlaces / 64>;
    static unsigned place_of(LinearAddr linear) {
        return static_cast<unsigned>((linear >> kPageShift) % kPlaces);
    }
    static bool test(const Bits& bits, unsigned place) {
        return (bits[place / 64] >> place % 64 & 1) != 0;
    }
    static void set(Bits& bits, unsigned place) { bits[place / 64] |= u64{1} << place % 64; }

    Bits used_{};
    Bits shared_{};
    std::array<u64, kPlaces> page_;
};

struct AddressSpaceKey {
    u64 root = 0;      // CR3 page bits when PCIDE = 0 or paging is on without PCID; 0 with PCID
    u64 ept_root = 0;  // EP4TA, 0 without EPT
    u32 mode = 0;      // paging-mode bits
    u16 pcid = 0;
    u16 vpid = 0;
    bool operator==(const AddressSpaceKey&) const = default;
};

// Counts what happened to addresses with bit 63 set and clear, whatever is counted.
struct HalfEpochs {
    u64 upper = 0;
    u64 lower = 0;
    bool operator==(const HalfEpochs&) const = default;
};

struct TlbContext;

// The contexts that differ in the address space alone: their VPID, EP4TA and paging mode are one.
struct TlbFamily {
    static constexpr unsigned kSlots = 64;

    AddressSpaceKey key;  // root and pcid are 0
    u64 space_mask = 0;   // the bits of CR3 that name an address space
    unsigned members = 0;
    TlbContext* first = nullptr;               // of the list of members
    std::array<TlbContext*, kSlots> at_cr3{};  // where an address space was found last, or null

    TlbContext*& slot(u64 space) { return at_cr3[(space ^ space >> kPageShift) % kSlots]; }
};

struct TlbContext {
    static constexpr unsigned kShadowEntries = 64;
    using ShadowTlb = TlbTable<kShadowEntries>;
    AddressSpaceKey key;
    u64 space = 0;  // CR3 in the bits of TlbFamily::space_mask
    TlbFamily* family = nullptr;
    TlbContext* next_in_family = nullptr;
    u64 epoch = 0;    // Tlb::epoch() up to which it has caught up
    WalkOwner walks;  // of its entries in Tlb::walks
    bool used = false;
    u16 protection_keys = 0;  // of the user pages in its data tables, a bit each
    u64 last_use = 0;         // Tlb::generation() when it last became current
    u64 code_generation = 0;  // Tlb::code_generation() its write tags were made under
    // Bumped when a data translation may have gone.
    HalfEpochs data_epochs;
    void data_pages_changed() {
        ++data_epochs.upper;
        ++data_epochs.lower;
    }
    void data_page_changed(LinearAddr linear) {
        ++(linear >> 63 != 0 ? data_epochs.upper : data_epochs.lower);
    }
    // Bumped when a code address may have come to mean another page. An engine that remembers where
    // code addresses lead notes the pages in execute_pages, so that invalidating a page of data, or
    // a fault there, does not concern it; nor does an invalidation that leaves global translations,
    // if those of the upper half are (a kernel's).
    HalfEpochs execute_epochs;
    NotedPages upper_execute_pages, lower_execute_pages;
    bool upper_execute_pages_global = true;
    std::array<void*, 2> jump_tables{};  // the engine's, made by execute_epochs; [1] for CPL 3
    // A page that was just fetched from.
    void note_execute_page(LinearAddr linear) {
        if (linear >> 63 == 0) {
            lower_execute_pages.note(linear);
            return;
        }
        upper_execute_pages.note(linear);
        upper_execute_pages_global = upper_execute_pages_global && executes_global_page(linear);
    }
    bool may_execute_page(LinearAddr linear) const {
        return (linear >> 63 != 0 ? upper_execute_pages : lower_execute_pages).may_have(linear);
    }
    void code_pages_changed() {
        ++execute_epochs.upper;
        upper_execute_pages.clear();
        upper_execute_pages_global = true;
        local_code_pages_changed();
    }
    // But for global ones.
    void local_code_pages_changed() {
        if (!upper_execute_pages_global) {
            code_pages_changed();
            return;
        }
        ++execute_epochs.lower;
        lower_execute_pages.clear();
    }
    bool executes_global_page(LinearAddr linear) const;
    // range of linear addresses that came from large pages: INVLPG there drops it all
    u64 large_first = ~u64{0};
    u64 large_last = 0;
    std::array<DataTlb, 3> data;  // by PrivilegeClass
    std::array<CodeTlb, 2> code;  // [0] supervisor, [1] user
    // Of shadow-stack accesses, which have rights of their own: [0] supervisor, [1] user.
    std::array<ShadowTlb, 2> shadow;

    template <typename Visit>
    void for_each_data_table(Visit&& visit) {
        for (DataTlb& table : data) {
            visit(table);
        }
        for (ShadowTlb& table : shadow) {
            visit(table);
        }
    }
};

// Remembers that translations around `linear` came from a large page (see TlbContext::large_first).
inline void note_large_page(TlbContext& context, u64 linear, u64 page_bytes) {
    const u64 first = linear & ~(page_bytes - 1);
    context.large_first = first < context.large_first ? first : context.large_first;
    context.large_last =
        first + page_bytes - 1 > context.large_last ? first + page_bytes - 1 : context.large_last;
}

class Tlb final : public CodePages::Watcher {
  public:
    Tlb();

    TlbContext& current() { return *current_; }
    // Switches to the context of the vCPU's present CR3/CR4/EFER/VPID/EPT; creates or recycles one
    // if needed.
    void activate(Vcpu& cpu);
    // The same if nothing but CR3 changed, and without derived state: false if the address space is
    // not known or has to catch up, for activate() to do.
    bool switch_space(u64 cr3) {
        TlbFamily& family = *current_->family;
        const u64 space = cr3 & family.space_mask;
        TlbContext* const context = family.slot(space);
        if (context == nullptr || context->space != space || context->epoch != epoch_) {
            return false;
        }
        make_current(*context);
        return true;
    }
    // Back to what was current() at that epoch(): false if that may not be so any more.
    bool return_to(TlbContext* context, u64 at_epoch) {
        if (at_epoch != epoch_) {
            return false;
        }
        make_current(*context);
        return true;
    }
    // Changes whenever a context is given to another address space, and when a context that is not
    // current has something to catch up with.
    u64 epoch() const { return epoch_; }
    // Whether activate() would stay in the current context.
    bool is_current(const Vcpu& cpu) const;
    // SDM Vol. 3A, "Operations that Invalidate TLBs and Paging-Structure Caches"; in VMX they reach
    // the current VPID's translations under every EP4TA (SDM Vol. 3C, "Operations that Invalidate
    // Cached Mappings").
    void flush_all(Vcpu& cpu);
    void flush_current(bool keep_global);    // MOV to CR3 without bit 63
    void flush_page(Vcpu& cpu, u64 linear);  // INVLPG: this PCID, and global entries of all PCIDs
    void flush_pcid(Vcpu& cpu, u16 pcid);    // but for global pages
    void flush_page_of_pcid(Vcpu& cpu, u16 pcid, u64 linear);
    // INVEPT, INVVPID, VM entries and VM exits without VPID: SDM Vol. 3C, "Operations that
    // Invalidate Cached Mappings".
    void flush_ep4ta(u64 ep4ta);  // the address bits of `ep4ta` count
    void flush_all_ep4tas();
    void flush_vpid(u16 vpid);
    void flush_all_vpids();  // but 0000H
    void flush_page_of_vpid(u16 vpid, u64 linear);
    // PKRU changes in the bits `changed`: tags of user pages with those keys hold the outcome of
    // the old check.
    void protection_keys_changed(Vcpu& cpu, u32 changed);
    // A page just became code: no context may keep a write tag for it.
    void page_became_code(PhysAddr page) override;
    void layout_changed() override;
    // Bumped by anything that may change what an address maps to, or take a right to it away; the
    // engine compares it.
    u64 generation() const { return generation_; }
    // A table that never hits: alignment checking and other all-slow modes point data_tlb at it.
    const DataTlb* empty_table() const { return &empty_; }
    std::size_t context_count() const { return contexts_.size(); }

    static constexpr unsigned kMaxContexts = 64;

    WalkCache walks;

  private:
    // The epochs of the last invalidations, by what they named. Names share slots: an invalidation
    // may reach more than it names.
    struct Invalidations {
        static constexpr unsigned kSlots = 256;
        using BySlot = std::array<u64, kSlots>;

        u64 all = 0;
        u64 all_ep4tas = 0;
        u64 all_vpids = 0;
        BySlot ep4ta{};
        BySlot vpid{};
        BySlot space{};  // leave global translations

        static u64& at(BySlot& table, u64 name) { return table[name % kSlots]; }
        static u64 space_name(const AddressSpaceKey& key);
        u64 last_complete(const AddressSpaceKey& key) const;
    };

    void flush_context(TlbContext& context, bool keep_global);
    void drop_page(TlbContext& context, u64 linear, bool only_global);
    void invalidated(u64& at_epoch);
    void drop_stale_write_tags(TlbContext& context);
    void make_current(TlbContext& context) {
        current_ = &context;
        context.last_use = ++generation_;
    }
    TlbFamily& family_of(const AddressSpaceKey& key, u64 space_mask);
    TlbContext& context_of(TlbFamily& family, const AddressSpaceKey& key, u64 space);
    TlbContext& room_for_context();
    void leave_family(TlbContext& context);
    void catch_up(TlbContext& context);

    std::vector<std::unique_ptr<TlbFamily>> families_;
    std::vector<std::unique_ptr<TlbContext>> contexts_;
    TlbContext* current_;
    u64 epoch_ = 1;
    Invalidations invalidations_;
    DataTlb empty_;
    // pages that became code, newest last; contexts catch up on activation
    std::vector<PhysAddr> code_log_;
    u64 code_generation_ = 0;
    u64 generation_ = 1;
};

}  // namespace droste
