#pragma once
// Software TLB: address-space contexts that are switched, never flushed, on a switch.
//
// A context belongs to {VPID, PCID (or CR3 without CR4.PCIDE), EPT root, paging-mode bits}. Each
// holds data tables for three privilege classes and a code table. One tag compare answers: present,
// permitted, accessed and dirty already set, plain RAM, not page-crossing, holds no decoded code
// (write tag), no watchpoint. Anything special simply has no tag and takes the slow path, which
// decides from scratch.

#include "core/code_pages.hpp"
#include "core/types.hpp"

#include <array>
#include <memory>
#include <vector>

namespace droste {

class Vcpu;

inline constexpr unsigned kTlbEntries = 2048;
inline constexpr u64 kNoTag = ~u64{0};  // never equals a page-aligned address

struct TlbEntry {
    u64 read_tag = kNoTag;   // linear page address if reads may go straight to RAM
    u64 write_tag = kNoTag;  // the same for writes
    u64 addend = 0;          // host address = linear address + addend
    u64 page = 0;            // physical page address; bit 0: global; bit 1: from a large page
};

struct CodeTlbEntry {
    u64 tag = kNoTag;  // linear page address
    u64 page = 0;      // physical page address; bit 0: global
    u8* host = nullptr;
};

enum class PrivilegeClass : u8 {
    Supervisor = 0,
    SupervisorAc = 1 /* SMAP lifted by RFLAGS.AC */,
    User = 2
};

struct AddressSpaceKey {
    u64 root = 0;      // CR3 page bits when PCIDE = 0 or paging is on without PCID; 0 with PCID
    u64 ept_root = 0;  // EP4TA, 0 without EPT
    u32 mode = 0;      // paging-mode bits
    u16 pcid = 0;
    u16 vpid = 0;
    bool operator==(const AddressSpaceKey&) const = default;
};

struct TlbContext {
    static constexpr unsigned kCodeEntries = 1024;
    static constexpr unsigned kShadowEntries = 64;
    AddressSpaceKey key;
    bool used = false;
    u64 last_use = 0;
    u64 code_generation = 0;  // Tlb::code_generation() its write tags were made under
    // range of linear addresses that came from large pages: INVLPG there drops it all
    u64 large_first = ~u64{0};
    u64 large_last = 0;
    std::array<std::array<TlbEntry, kTlbEntries>, 3> data;
    std::array<std::array<CodeTlbEntry, kCodeEntries>, 2> code;  // [0] supervisor, [1] user
    // Of shadow-stack accesses, which have rights of their own: [0] supervisor, [1] user.
    std::array<std::array<TlbEntry, kShadowEntries>, 2> shadow;
    // Which entries may hold a tag, a bit each: what a flush has to look at.
    std::array<std::array<u64, kTlbEntries / 64>, 3> data_filled{};
    std::array<std::array<u64, kCodeEntries / 64>, 2> code_filled{};
    std::array<std::array<u64, kShadowEntries / 64>, 2> shadow_filled{};
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
    // SDM Vol. 3A, "Operations that Invalidate TLBs and Paging-Structure Caches".
    void flush_all(Vcpu& cpu);
    void flush_current(bool keep_global);    // MOV to CR3 without bit 63
    void flush_page(Vcpu& cpu, u64 linear);  // INVLPG: this PCID, and global entries of all PCIDs
    void flush_pcid(Vcpu& cpu, u16 pcid, bool keep_global);
    void flush_page_of_pcid(Vcpu& cpu, u16 pcid, u64 linear);
    // For INVVPID / INVEPT: `match` is asked for every context in use.
    template <typename Match>
    void flush_matching(Match&& match) {
        for (const auto& context : contexts_) {
            if (context->used && match(context->key)) {
                flush_context(*context, false);
            }
        }
        ++generation_;
    }
    void flush_page_of_vpid(u16 vpid, u64 linear);
    // A page just became code: no context may keep a write tag for it.
    void page_became_code(PhysAddr page) override;
    void layout_changed() override;
    // Bumped by anything that may change what a code address maps to; the engine compares it.
    u64 generation() const { return generation_; }
    // A table that never hits: alignment checking and other all-slow modes point data_tlb at it.
    TlbEntry* empty_table() { return empty_.data(); }

    void flush_context(TlbContext& context, bool keep_global);
    static void drop_page(TlbContext& context, u64 linear, bool only_global);

  private:
    void drop_stale_write_tags(TlbContext& context);

    static constexpr unsigned kMaxContexts = 64;
    std::vector<std::unique_ptr<TlbContext>> contexts_;
    TlbContext* current_;
    std::array<TlbEntry, kTlbEntries> empty_{};
    std::vector<PhysAddr>
        code_log_;  // pages that became code, newest last; contexts catch up on activation
    u64 code_generation_ = 0;
    u64 generation_ = 1;
    u64 use_counter_ = 0;
};

}  // namespace droste
