// What page walks leave for the next ones, and what each invalidation takes of it. SDM Vol. 3A,
// "Caching Paging-Structure Information", "Operations that Invalidate TLBs and Paging-Structure
// Caches"; cpu/x86/mmu/walk_cache.hpp.

#include "cpu/x86/system/control_regs.hpp"
#include "tests/unit/mmu/tlb_guest.hpp"

namespace droste::test {

namespace {

constexpr u64 kPage = TlbGuest::kPage, kA = TlbGuest::kA, kB = TlbGuest::kB,
              kLegal = TlbGuest::kLegal, kGlobal = TlbGuest::kGlobal;
// In one page table with kPage, not read before.
constexpr u64 kFresh = kPage + 7 * kPageBytes;
constexpr u64 kOtherTable = 0x2F'0000;

// Two page tables for the 2 MiB at kPage: the one in force maps frame A, the other frame B. A walk
// has gone through the first; then the tables lead to the second.
void cache_table_then_replace(TlbGuest& t) {
    for (u64 i = 0; i < 512; ++i) {
        t.map(kPage + i * kPageBytes, kA | kLegal);
        t.g.machine().poke_value<u64>(kOtherTable + i * 8, kB | kLegal);
    }
    REQUIRE(t.read(kPage) == 'A');
    t.g.machine().poke_value<u64>(t.entry_address(kPage, 2), kOtherTable | kLegal);
}

u64 walks(TlbGuest& t) {
    return t.cpu().counters.page_walks;
}

}  // namespace

TEST_CASE("a walk begins at the table that another walk went through", "[mmu][walk-cache]") {
    TlbGuest t;
    cache_table_then_replace(t);
    CHECK(t.read(kFresh) == 'A');  // allowed until something invalidates
    CHECK(t.fetch(kFresh) == 'A');
}

TEST_CASE("INVLPG of any address forgets the paging structures of its PCID", "[mmu][walk-cache]") {
    TlbGuest t;
    t.pcid(1);
    cache_table_then_replace(t);
    t.pcid(2);
    t.invlpg(0x123'4000);
    t.pcid(1);
    CHECK(t.read(kFresh) == 'A');  // of PCID 2 only
    t.invlpg(0x123'4000);
    CHECK(t.read(kFresh + kPageBytes) == 'B');
    CHECK(t.read(kPage) == 'A');  // a translation of another page: INVLPG does not reach it
}

TEST_CASE("MOV to CR3 forgets the paging structures of the PCID, unless it says not to",
          "[mmu][walk-cache]") {
    TlbGuest t;
    t.pcid(1);
    cache_table_then_replace(t);
    t.pcid(1);  // bit 63
    CHECK(t.read(kFresh) == 'A');
    t.mov_cr3(TestMachine::kTables | 2);
    t.pcid(1);
    CHECK(t.read(kFresh + kPageBytes) == 'A');
    t.mov_cr3(TestMachine::kTables | 1);
    CHECK(t.read(kFresh + 2 * kPageBytes) == 'B');
}

TEST_CASE("INVPCID: each type forgets the paging structures it names", "[mmu][walk-cache]") {
    enum : u64 { kIndividualAddress, kSingleContext, kAllIncludingGlobals, kAllRetainingGlobals };
    struct Case {
        u64 type;
        u64 named_pcid;
        bool forgotten;
    };
    constexpr std::array kCases = std::to_array<Case>({
        {kIndividualAddress, 1, true},
        {kIndividualAddress, 2, false},
        {kSingleContext, 1, true},
        {kSingleContext, 2, false},
        {kAllIncludingGlobals, 0, true},
        {kAllRetainingGlobals, 0, true},
    });
    for (const Case& c : kCases) {
        TlbGuest t;
        t.pcid(1);
        cache_table_then_replace(t);
        t.pcid(3);
        t.invpcid(c.type, c.named_pcid, c.type == kIndividualAddress ? kFresh : 0);
        t.pcid(1);
        CAPTURE(c.type, c.named_pcid);
        CHECK((t.read(kFresh) == 'B') == c.forgotten);
    }
}

TEST_CASE("MOV to CR4 that changes PGE, PAE's neighbors or SMEP forgets all paging structures",
          "[mmu][walk-cache]") {
    for (const u64 bit : {cr4::kPge, cr4::kPcide, cr4::kSmep, cr4::kSmap, cr4::kPse}) {
        TlbGuest t;
        for (u64 i = 0; i < 512; ++i) {
            t.map(kPage + i * kPageBytes, kA | (kLegal & ~u64{4}));
            t.g.machine().poke_value<u64>(kOtherTable + i * 8, kB | (kLegal & ~u64{4}));
        }
        REQUIRE(t.read(kPage) == 'A');
        t.g.machine().poke_value<u64>(t.entry_address(kPage, 2), kOtherTable | kLegal);
        const u64 cr4 = t.cpu().state.cr4;
        t.mov_cr4(cr4 ^ bit);
        t.mov_cr4(cr4);
        CAPTURE(bit);
        CHECK(t.read(kFresh) == 'B');
    }
}

TEST_CASE("MOV to CR0 that changes PG forgets all paging structures", "[mmu][walk-cache]") {
    // Outside IA-32e mode, where paging can be turned off: 4-KByte pages of 32-bit paging.
    Guest g;
    g.protected_mode();
    constexpr u32 kDirectory = 0x3'0000, kTable = 0x3'1000, kOther = 0x3'2000;
    for (u32 i = 0; i < 1024; ++i) {
        g.machine().poke_value<u32>(kDirectory + i * 4, kTable | 7);
        g.machine().poke_value<u32>(kTable + i * 4, i << 12 | 7);
        g.machine().poke_value<u32>(kOther + i * 4, (i ^ 1) << 12 | 7);
    }
    CpuState& s = g.cpu().state;
    const auto paging = [&](bool on) {
        s.cr3 = kDirectory;
        REQUIRE(write_cr0(g.cpu(), on ? s.cr0 | cr0::kPg : s.cr0 & ~cr0::kPg) == Status::Next);
    };
    const auto frame = [&](LinearAddr linear) {
        Translation found;
        REQUIRE(walk(g.cpu(), linear, Access::Read, PrivilegeClass::Supervisor, found) ==
                Status::Next);
        return found.address >> 12;
    };
    paging(true);
    REQUIRE(frame(0x5000) == 5);
    g.machine().poke_value<u32>(kDirectory, kOther | 7);
    CHECK(frame(0x7000) == 7);  // by the table it knows
    paging(false);
    paging(true);
    CHECK(frame(0x7000) == 6);
}

TEST_CASE("flushes by VPID and by EP4TA reach contexts that are not current", "[mmu][walk-cache]") {
    struct Case {
        const char* what;
        void (*flush)(Tlb&);
        bool forgotten;
    };
    const auto cases = std::to_array<Case>({
        {"VPID 7", [](Tlb& tlb) { tlb.flush_vpid(7); }, true},
        {"VPID 8", [](Tlb& tlb) { tlb.flush_vpid(8); }, false},
        {"all VPIDs", [](Tlb& tlb) { tlb.flush_all_vpids(); }, true},
        {"a page of VPID 7", [](Tlb& tlb) { tlb.flush_page_of_vpid(7, kPage); }, true},
        {"a page of VPID 8", [](Tlb& tlb) { tlb.flush_page_of_vpid(8, kPage); }, false},
        {"EP4TA 1000H", [](Tlb& tlb) { tlb.flush_ep4ta(0x1000); }, true},
        {"EP4TA 2000H", [](Tlb& tlb) { tlb.flush_ep4ta(0x2000); }, false},
        {"all EP4TAs", [](Tlb& tlb) { tlb.flush_all_ep4tas(); }, true},
        {"VPID 0", [](Tlb& tlb) { tlb.flush_vpid(0); }, false},
    });
    for (const Case& c : cases) {
        TlbGuest t;
        const auto be_guest = [&t](bool guest) {
            t.cpu().non_root.vpid = guest ? 7 : 0;
            t.cpu().non_root.ept_root = guest ? 0x1001 : 0;  // the tag of EP4TA 1000H
            t.cpu().tlb.activate(t.cpu());
        };
        be_guest(true);
        cache_table_then_replace(t);
        t.map(kPage, kB | kLegal);  // in the new table; kPage itself is cached
        be_guest(false);
        c.flush(t.cpu().tlb);
        be_guest(true);
        CAPTURE(c.what);
        CHECK((t.read(kFresh) == 'B') == c.forgotten);
        CHECK((t.read(kPage) == 'B') == c.forgotten);
    }
}

TEST_CASE("one walk serves every class of access to a page", "[mmu][walk-cache]") {
    TlbGuest t;
    t.map(kPage, kA | kLegal);
    Translation found;
    Vcpu& cpu = t.cpu();
    REQUIRE(walk(cpu, kPage, Access::Write, PrivilegeClass::Supervisor, found) == Status::Next);
    const u64 before = walks(t);
    for (const PrivilegeClass by :
         {PrivilegeClass::Supervisor, PrivilegeClass::SupervisorAc, PrivilegeClass::User}) {
        for (const Access access : {Access::Read, Access::Write, Access::Execute}) {
            Translation again;
            REQUIRE(walk(cpu, kPage + 0x123, access, by, again) == Status::Next);
            CHECK(again.address == kA + 0x123);
            CHECK(again.writable);
            CHECK(again.user);
            CHECK(again.page_bytes == kPageBytes);
        }
    }
    CHECK(walks(t) == before);
}

TEST_CASE("a kept walk never denies and never sets a flag: memory is asked again",
          "[mmu][walk-cache]") {
    TlbGuest t;
    Vcpu& cpu = t.cpu();
    // Read-only at first; made writable in memory, which needs no invalidation (SDM Vol. 3A,
    // "Optional Invalidation").
    t.map(kPage, kA | 0x25);
    Translation found;
    REQUIRE(walk(cpu, kPage, Access::Read, PrivilegeClass::User, found) == Status::Next);
    CHECK_FALSE(found.writable);
    t.map(kPage, kA | 0x27);
    REQUIRE(walk(cpu, kPage, Access::Write, PrivilegeClass::User, found) == Status::Next);
    const PhysAddr entry = t.entry_address(kPage, 1);
    CHECK((t.g.machine().peek_value<u64>(entry) & 0x40) != 0);  // the dirty flag was set
    // A right taken away is noticed by who lacks it in the kept walk, too, not by who has it.
    REQUIRE(walk(cpu, kPage, Access::Write, PrivilegeClass::User, found) == Status::Next);
    t.map(kPage, kA | 0x63);  // supervisor
    t.invlpg(kPage);
    CHECK(walk(cpu, kPage, Access::Read, PrivilegeClass::User, found) == Status::Fault);
}

TEST_CASE("kept walks of large pages go with INVLPG anywhere in the page", "[mmu][walk-cache]") {
    TlbGuest t;
    t.map_large(kPage, kA | kLegal);
    Translation found;
    for (const u64 offset : {0x0ULL, 0x1F'F000ULL, 0x5000ULL}) {
        REQUIRE(walk(t.cpu(), kPage + offset, Access::Read, PrivilegeClass::Supervisor, found) ==
                Status::Next);
    }
    t.map_large(kPage, kB | kLegal);
    t.invlpg(kPage + 0x1F'0000);
    for (const u64 offset : {0x0ULL, 0x1F'F000ULL, 0x5000ULL}) {
        REQUIRE(walk(t.cpu(), kPage + offset, Access::Read, PrivilegeClass::Supervisor, found) ==
                Status::Next);
        CHECK(found.address == kB + offset);
    }
}

TEST_CASE("global translations outlive MOV to CR3 in the second level, too, others do not",
          "[mmu][walk-cache]") {
    for (const bool global : {false, true}) {
        TlbGuest t;
        t.map(kPage, kA | kLegal | (global ? kGlobal : 0));
        Translation found;
        const auto frame = [&] {
            REQUIRE(walk(t.cpu(), kPage, Access::Read, PrivilegeClass::Supervisor, found) ==
                    Status::Next);
            return found.address;
        };
        REQUIRE(frame() == kA);
        t.map(kPage, kB | kLegal | (global ? kGlobal : 0));
        t.mov_cr3(TestMachine::kTables);
        CHECK(frame() == (global ? kA : kB));
        t.mov_cr4(t.cpu().state.cr4 ^ cr4::kPge);
        CHECK(frame() == kB);
    }
}

TEST_CASE("a walk that changes nothing reads memory", "[mmu][walk-cache]") {
    TlbGuest t;
    t.map(kPage, kA | kLegal);
    REQUIRE(t.read(kPage) == 'A');
    t.map(kPage, kB | kLegal);
    Translation now;
    REQUIRE(inspect(t.cpu(), {kPage, Access::Read, PrivilegeClass::Supervisor}, now));
    CHECK(now.address == kB);
}

}  // namespace droste::test
