// What invalidates which translations, and what survives. SDM Vol. 3A, "Operations that Invalidate
// TLBs and Paging-Structure Caches"; contexts and generations are our own (cpu/x86/mmu/tlb.hpp).

#include "tests/unit/mmu/tlb_guest.hpp"

namespace droste::test {

namespace {

constexpr u64 kPage = TlbGuest::kPage, kA = TlbGuest::kA, kB = TlbGuest::kB,
              kLegal = TlbGuest::kLegal, kGlobal = TlbGuest::kGlobal;

// Translates guest-physical addresses to themselves: EPT as far as the TLB cares.
class Identity final : public SecondStage {
  public:
    bool translate(Vcpu& /*cpu*/,
                   GuestPhysAddr address,
                   const StageTwoAccess& /*access*/,
                   StageTwoResult& result) override {
        result = {address, kPageBytes, true, true, true};
        return true;
    }
    bool translate_for_debug(Vcpu& cpu, GuestPhysAddr address, StageTwoResult& result) override {
        return translate(cpu, address, {}, result);
    }
};

// kPage from frame A for data and code, then in the tables from frame B.
void cache_a_then_map_b(TlbGuest& t, u64 flags) {
    t.map(kPage, kA | flags);
    REQUIRE(t.read(kPage) == 'A');
    REQUIRE(t.fetch(kPage) == 'A');
    t.map(kPage, kB | flags);
    REQUIRE(t.read(kPage) == 'A');  // cached: nothing was invalidated
    REQUIRE(t.fetch(kPage) == 'A');
}

}  // namespace

TEST_CASE("INVLPG drops the page's data and code translations, global or not", "[mmu][tlb]") {
    for (const u64 flags : {kLegal, kLegal | kGlobal}) {
        TlbGuest t;
        cache_a_then_map_b(t, flags);
        t.invlpg(kPage + 0xFFF);
        CHECK(t.read(kPage) == 'B');
        CHECK(t.fetch(kPage) == 'B');
    }
}

TEST_CASE("INVLPG leaves the pages beside it alone", "[mmu][tlb]") {
    TlbGuest t;
    for (unsigned i = 0; i < 3; ++i) {
        t.map(kPage + i * kPageBytes, kA | kLegal);
        (void)t.read(kPage + i * kPageBytes);
    }
    t.invlpg(kPage + kPageBytes);
    CHECK(t.warm(kPage));
    CHECK(t.warm(kPage + 2 * kPageBytes));
    CHECK_FALSE(t.warm(kPage + kPageBytes));
}

TEST_CASE("INVLPG drops global translations of every PCID, others of its own only", "[mmu][tlb]") {
    TlbGuest t;
    t.pcid(1);
    cache_a_then_map_b(t, kLegal | kGlobal);
    t.pcid(2);
    t.invlpg(kPage);
    t.pcid(1);
    CHECK(t.read(kPage) == 'B');
    CHECK(t.fetch(kPage) == 'B');

    TlbGuest own;
    own.pcid(1);
    cache_a_then_map_b(own, kLegal);
    own.pcid(2);
    own.invlpg(kPage);
    own.pcid(1);
    CHECK(own.read(kPage) == 'A');
    own.invlpg(kPage);
    CHECK(own.read(kPage) == 'B');
}

TEST_CASE("INVLPG anywhere in a large page drops all of it", "[mmu][tlb]") {
    TlbGuest t;
    t.map_large(kPage, kA | kLegal);
    for (const u64 offset : {0x0ULL, 0x1F'F000ULL, 0x5000ULL}) {
        REQUIRE(t.read(kPage + offset) == 'A');
        REQUIRE(t.fetch(kPage + offset) == 'A');
    }
    t.map_large(kPage, kB | kLegal);
    t.invlpg(kPage + 0x1F'0000);
    for (const u64 offset : {0x0ULL, 0x1F'F000ULL, 0x5000ULL}) {
        CHECK(t.read(kPage + offset) == 'B');
        CHECK(t.fetch(kPage + offset) == 'B');
    }
}

TEST_CASE("INVPCID: each type drops what it names", "[mmu][tlb]") {
    enum : u64 { kIndividualAddress, kSingleContext, kAllIncludingGlobals, kAllRetainingGlobals };
    struct Case {
        u64 type;
        u64 named_pcid;
        bool global;
        bool dropped;
    };
    constexpr std::array kCases = std::to_array<Case>({
        {kIndividualAddress, 1, false, true},
        {kIndividualAddress, 2, false, false},
        {kSingleContext, 1, false, true},
        {kSingleContext, 1, true, false},
        {kSingleContext, 2, false, false},
        {kAllIncludingGlobals, 0, true, true},
        {kAllIncludingGlobals, 0, false, true},
        {kAllRetainingGlobals, 0, false, true},
    });
    for (const Case& c : kCases) {
        TlbGuest t;
        t.pcid(1);
        cache_a_then_map_b(t, kLegal | (c.global ? kGlobal : 0));
        t.pcid(3);
        t.invpcid(c.type, c.named_pcid, c.type == kIndividualAddress ? kPage : 0);
        t.pcid(1);
        CAPTURE(c.type, c.named_pcid, c.global);
        CHECK((t.read(kPage) == 'B') == c.dropped);
        CHECK((t.fetch(kPage) == 'B') == c.dropped);
    }
}

TEST_CASE("MOV to CR3 drops the PCID's translations but not global ones", "[mmu][tlb]") {
    for (const bool global : {false, true}) {
        TlbGuest t;
        t.pcid(1);
        cache_a_then_map_b(t, kLegal | (global ? kGlobal : 0));
        t.mov_cr3(TestMachine::kTables | 2);
        t.pcid(1);
        CHECK(t.read(kPage) == 'A');  // another PCID was loaded
        t.mov_cr3(TestMachine::kTables | 1);
        CHECK((t.read(kPage) == 'B') == !global);
    }
}

TEST_CASE("an invalidation reaches the address space under the other CR0.WP", "[mmu][tlb]") {
    enum class By { MovCr3, Invlpg, InvpcidAddress, InvpcidContext };
    for (const By by : {By::MovCr3, By::Invlpg, By::InvpcidAddress, By::InvpcidContext}) {
        TlbGuest t;
        t.pcid(1);
        cache_a_then_map_b(t, kLegal);
        const u64 cr0 = t.cpu().state.cr0;
        t.mov_cr0(cr0 & ~cr0::kWp);
        switch (by) {
        case By::MovCr3: t.mov_cr3(TestMachine::kTables | 1); break;
        case By::Invlpg: t.invlpg(kPage); break;
        case By::InvpcidAddress: t.invpcid(0, 1, kPage); break;
        case By::InvpcidContext: t.invpcid(1, 1, 0); break;
        }
        t.mov_cr0(cr0);
        CAPTURE(static_cast<int>(by));
        CHECK(t.read(kPage) == 'B');
        CHECK(t.fetch(kPage) == 'B');
    }
}

// SDM Vol. 3C, "Operations that Invalidate Cached Mappings": "for combined mappings, all EP4TAs".
TEST_CASE("an invalidation reaches the current VPID's translations under every EP4TA",
          "[mmu][tlb][vmx]") {
    enum class By { MovCr3, Invlpg, InvpcidAddress, InvpcidContext };
    for (const By by : {By::MovCr3, By::Invlpg, By::InvpcidAddress, By::InvpcidContext}) {
        Identity ept;
        TlbGuest t;
        t.cpu().non_root.second_stage = &ept;
        t.cpu().non_root.vpid = 7;
        const auto ep4ta = [&t](u64 root) {
            t.cpu().non_root.ept_root = root;
            t.cpu().tlb.activate(t.cpu());
        };
        ep4ta(0x1000);
        t.pcid(1);
        cache_a_then_map_b(t, kLegal);
        ep4ta(0x2000);
        switch (by) {
        case By::MovCr3: t.mov_cr3(TestMachine::kTables | 1); break;
        case By::Invlpg: t.invlpg(kPage); break;
        case By::InvpcidAddress: t.invpcid(0, 1, kPage); break;
        case By::InvpcidContext: t.invpcid(1, 1, 0); break;
        }
        ep4ta(0x1000);
        CAPTURE(static_cast<int>(by));
        CHECK(t.read(kPage) == 'B');
        CHECK(t.fetch(kPage) == 'B');
    }
}

TEST_CASE("INVLPG and MOV to CR3 leave other VPIDs alone", "[mmu][tlb][vmx]") {
    TlbGuest t;
    t.cpu().non_root.vpid = 7;
    t.cpu().tlb.activate(t.cpu());
    cache_a_then_map_b(t, kLegal | kGlobal);
    t.cpu().non_root.vpid = 8;
    t.cpu().tlb.activate(t.cpu());
    t.invlpg(kPage);
    t.mov_cr3(TestMachine::kTables);
    t.cpu().non_root.vpid = 7;
    t.cpu().tlb.activate(t.cpu());
    CHECK(t.read(kPage) == 'A');
}

TEST_CASE("MOV to CR4 that changes PGE, PCIDE, SMEP, SMAP or PKE drops everything, global too",
          "[mmu][tlb]") {
    for (const u64 bit : {cr4::kPge, cr4::kPcide, cr4::kSmep, cr4::kSmap, cr4::kPke, cr4::kPse}) {
        TlbGuest t;
        cache_a_then_map_b(t, (kLegal & ~u64{4}) | kGlobal);
        const u64 cr4 = t.cpu().state.cr4;
        t.mov_cr4(cr4 ^ bit);
        t.mov_cr4(cr4);
        CAPTURE(bit);
        CHECK(t.read(kPage) == 'B');
        CHECK(t.fetch(kPage) == 'B');
    }
}

TEST_CASE("address spaces stay warm while others run", "[mmu][tlb][context]") {
    TlbGuest t;
    for (u64 pcid = 1; pcid < 40; ++pcid) {
        t.pcid(pcid);
        t.map(kPage, (pcid % 2 != 0 ? kA : kB) | kLegal);
        (void)t.read(kPage);
    }
    for (u64 pcid = 1; pcid < 40; ++pcid) {
        t.pcid(pcid);
        CAPTURE(pcid);
        CHECK(t.warm(kPage));
        CHECK(t.read(kPage) == (pcid % 2 != 0 ? 'A' : 'B'));
    }
}

TEST_CASE("a recycled context keeps nothing of the address space it served",
          "[mmu][tlb][context]") {
    TlbGuest t;
    constexpr u64 kMore = Tlb::kMaxContexts + 20;
    t.map(kPage, kA | kLegal | kGlobal);
    for (u64 pcid = 1; pcid <= kMore; ++pcid) {
        t.pcid(pcid);
        REQUIRE(t.read(kPage) == 'A');
        REQUIRE(t.fetch(kPage) == 'A');
    }
    CHECK(t.cpu().tlb.context_count() == Tlb::kMaxContexts);
    t.map(kPage, kB | kLegal | kGlobal);
    t.pcid(kMore + 1);
    CHECK(t.read(kPage) == 'B');
    CHECK(t.fetch(kPage) == 'B');
    t.pcid(kMore);  // used lately: still there
    CHECK(t.read(kPage) == 'A');
    t.pcid(2);  // recycled long ago
    CHECK(t.read(kPage) == 'B');
}

TEST_CASE("the least recently used context is the one recycled", "[mmu][tlb][context]") {
    TlbGuest t;
    t.map(kPage, kA | kLegal);
    for (u64 pcid = 1; pcid <= Tlb::kMaxContexts + 40; ++pcid) {
        t.pcid(pcid);
        (void)t.read(kPage);
        t.pcid(1);
        CAPTURE(pcid);
        CHECK(t.warm(kPage));
    }
}

TEST_CASE("a context and the epoch lead back to it until a context has something to catch up with",
          "[mmu][tlb][context]") {
    TlbGuest t;
    Tlb& tlb = t.cpu().tlb;
    t.pcid(1);
    TlbContext* const first = &tlb.current();
    u64 epoch = tlb.epoch();
    t.pcid(2);
    CHECK(tlb.return_to(first, epoch));
    CHECK(&tlb.current() == first);
    const auto refused = [&] {
        tlb.activate(t.cpu());
        const bool refuses = !tlb.return_to(first, epoch);
        t.pcid(1);
        CHECK(&tlb.current() == first);  // looked for, and found again
        epoch = tlb.epoch();
        t.pcid(2);
        return refuses;
    };
    tlb.activate(t.cpu());
    t.invpcid(1, 1, 0);
    CHECK(refused());
    tlb.flush_vpid(9);  // it may concern any context: that is for activate() to find out
    CHECK(refused());
    t.map(kPage, kA | kLegal);
    REQUIRE(store_linear(t.cpu(), kPage, u8{0xF4}) == Status::Next);
    t.run(kPage, 1);  // HLT: the page becomes code
    t.cpu().state.activity = Activity::Active;
    CHECK(refused());
    for (u64 pcid = 3; pcid < Tlb::kMaxContexts + 10; ++pcid) {
        t.pcid(pcid);
    }
    CHECK_FALSE(tlb.return_to(first, epoch));  // given away
}

TEST_CASE("address spaces with the same slot in their family's map are told apart",
          "[mmu][tlb][context]") {
    TlbGuest t;
    for (u64 pcid = 1; pcid < 50; ++pcid) {
        t.pcid(pcid * TlbFamily::kSlots % 0x1000 + pcid / 64);
        t.map(kPage, (pcid % 2 != 0 ? kA : kB) | kLegal);
        REQUIRE(t.read(kPage) == (pcid % 2 != 0 ? 'A' : 'B'));
    }
    for (u64 pcid = 49; pcid > 0; --pcid) {
        t.pcid(pcid * TlbFamily::kSlots % 0x1000 + pcid / 64);
        REQUIRE(t.cpu().tlb.is_current(t.cpu()));
        CHECK(t.read(kPage) == (pcid % 2 != 0 ? 'A' : 'B'));
    }
}

TEST_CASE("noted pages: one in the place of another is told apart until both are noted",
          "[mmu][tlb]") {
    constexpr u64 kRival = kPage + 1024 * kPageBytes;
    constexpr u64 kThird = kPage + 2048 * kPageBytes;
    NotedPages pages;
    CHECK_FALSE(pages.may_have(kPage));
    pages.note(kPage + 5);
    CHECK(pages.may_have(kPage));
    CHECK(pages.may_have(kPage + kPageBytes - 1));
    CHECK_FALSE(pages.may_have(kPage + kPageBytes));
    CHECK_FALSE(pages.may_have(kRival));
    pages.note(kRival);
    CHECK(pages.may_have(kPage));
    CHECK(pages.may_have(kRival));
    CHECK(pages.may_have(kThird));
    pages.clear();
    CHECK_FALSE(pages.may_have(kPage));
    CHECK_FALSE(pages.may_have(kRival));
    pages.note(kThird);
    CHECK_FALSE(pages.may_have(kPage));
}

TEST_CASE("a write tag exists only where the dirty flag is set", "[mmu][tlb][dirty]") {
    TlbGuest t;
    t.map(kPage, kA | 7);
    (void)t.read(kPage);
    CHECK_FALSE(t.cpu().mode.data_tlb->hits_write(kPage, 1));
    const PhysAddr entry = t.entry_address(kPage, 1);
    CHECK((t.g.machine().peek_value<u64>(entry) & 0x60) == 0x20);
    REQUIRE(store_linear(t.cpu(), kPage, u8{1}) == Status::Next);
    CHECK(t.cpu().mode.data_tlb->hits_write(kPage, 1));
    CHECK((t.g.machine().peek_value<u64>(entry) & 0x60) == 0x60);
    // The kernel clears D, invalidates, and learns of the next write.
    t.map(kPage, kA | 0x27);
    t.invlpg(kPage);
    (void)t.read(kPage);
    CHECK((t.g.machine().peek_value<u64>(entry) & 0x40) == 0);
    REQUIRE(store_linear(t.cpu(), kPage, u8{1}) == Status::Next);
    CHECK((t.g.machine().peek_value<u64>(entry) & 0x40) != 0);
}

TEST_CASE("a page that becomes code loses its write tags in every context", "[mmu][tlb][code]") {
    // 1: the current context hears at once; 33 and 40: more pages than a context catches up with
    // one by one.
    for (const unsigned pages : {1U, 33U, 40U}) {
        TlbGuest t;
        for (u64 pcid = 1; pcid <= 2; ++pcid) {
            t.pcid(pcid);
            for (unsigned i = 0; i < pages; ++i) {
                t.map(kPage + i * kPageBytes, kA + i * kPageBytes + kLegal);
                REQUIRE(store_linear(t.cpu(), kPage + i * kPageBytes, u8{0xF4}) == Status::Next);
                REQUIRE(t.cpu().mode.data_tlb->hits_write(kPage + i * kPageBytes, 1));
            }
        }
        for (unsigned i = 0; i < pages; ++i) {
            t.run(kPage + i * kPageBytes, 1);  // HLT
            t.cpu().state.activity = Activity::Active;
        }
        CAPTURE(pages);
        for (u64 pcid = 1; pcid <= 2; ++pcid) {
            t.pcid(pcid);
            for (unsigned i = 0; i < pages; ++i) {
                CAPTURE(pcid, i);
                CHECK_FALSE(t.cpu().mode.data_tlb->hits_write(kPage + i * kPageBytes, 1));
                CHECK(t.cpu().mode.data_tlb->hits_read(kPage + i * kPageBytes, 1));
            }
        }
    }
}

TEST_CASE("a change of the memory layout drops what was translated before", "[mmu][tlb]") {
    std::vector<u8> rom(kPageBytes, 'R');
    TlbGuest t;
    t.map(kPage, kA | kLegal);
    REQUIRE(t.read(kPage) == 'A');
    t.g.machine().memory().overlay(kA, kPageBytes, PageKind::Rom, rom.data());
    t.cpu().tlb.activate(t.cpu());
    CHECK(t.read(kPage) == 'R');
    t.g.machine().memory().remove_overlay(kA, kPageBytes);
    t.cpu().tlb.activate(t.cpu());
    CHECK(t.read(kPage) == 'A');
}

TEST_CASE("anything that may move code changes the generation", "[mmu][tlb][generation]") {
    TlbGuest t;
    u64 last = t.cpu().tlb.generation();
    const auto changed = [&] {
        const u64 before = last;
        last = t.cpu().tlb.generation();
        return last != before;
    };
    t.map(kPage, kA | kLegal);
    (void)t.read(kPage);
    CHECK_FALSE(changed());  // filling moves nothing
    t.invlpg(kPage);
    CHECK(changed());
    t.invpcid(0, 1, kPage);
    CHECK(changed());
    t.invpcid(1, 1, 0);
    CHECK(changed());
    t.invpcid(2, 0, 0);
    CHECK(changed());
    t.pcid(1);
    CHECK(changed());
    t.mov_cr3(TestMachine::kTables | 1);
    CHECK(changed());
    t.mov_cr4(t.cpu().state.cr4 ^ cr4::kPge);
    CHECK(changed());
    t.cpu().tlb.flush_page_of_vpid(0, kPage);
    CHECK(changed());
}

}  // namespace droste::test
