// Code and data that move while they are hot, through the engine: what runs and what is read is
// what the tables say after the invalidation.

#include "tests/unit/mmu/tlb_guest.hpp"

#include <thread>

namespace droste::test {

namespace {

constexpr u64 kPage = TlbGuest::kPage, kA = TlbGuest::kA, kB = TlbGuest::kB, kC = TlbGuest::kC,
              kLegal = TlbGuest::kLegal, kGlobal = TlbGuest::kGlobal;

// mov eax, value; jmp $-5 (to itself): hot after a few rounds.
void place_loop(TlbGuest& t, PhysAddr frame, u32 value) {
    t.g.machine().poke(frame, {0xB8, static_cast<u8>(value), 0, 0, 0, 0xEB, 0xF9});
}

u32 eax_after_running(TlbGuest& t, u64 linear) {
    t.g.reg(RAX) = 0xDEAD;
    t.run(linear, 20);
    return static_cast<u32>(t.g.reg(RAX));
}

}  // namespace

TEST_CASE("code: another page is mapped and invalidated: the new code runs", "[mmu][code]") {
    TlbGuest t;
    place_loop(t, kA, 1);
    place_loop(t, kB, 2);
    t.map(kPage, kA | kLegal);
    REQUIRE(eax_after_running(t, kPage) == 1);
    t.map(kPage, kB | kLegal);
    t.invlpg(kPage);
    CHECK(eax_after_running(t, kPage) == 2);
}

TEST_CASE("code: INVLPG inside the hot block takes effect behind it", "[mmu][code]") {
    // In page V: mov [rbx], rcx; invlpg [rdx]; mov eax, N; hlt - and V's entry is at rbx.
    TlbGuest t;
    // mov [rbx], rcx; invlpg [rdx]; mov eax, 1; hlt
    const std::vector<u8> code = {0x48, 0x89, 0x0B, 0x0F, 0x01, 0x3A, 0xB8, 1, 0, 0, 0, 0xF4};
    t.g.machine().poke(kA, code);
    t.g.machine().poke(kB, code);
    t.g.machine().poke_value<u8>(kB + 7, 2);
    constexpr u64 kEntryPage = 0x5000'0000;  // where the guest sees the page table
    t.map(kPage, kA | kLegal);
    t.map(kEntryPage, (t.entry_address(kPage, 1) & kPageMask) | kLegal);
    t.g.reg(RBX) = kEntryPage + t.entry_address(kPage, 1) % kPageBytes;
    t.g.reg(RCX) = kB | kLegal;
    t.g.reg(RDX) = kPage;
    t.run(kPage, 10);
    CHECK(static_cast<u32>(t.g.reg(RAX)) == 2);
}

TEST_CASE("code: a page that is no longer there faults on the next fetch", "[mmu][code]") {
    TlbGuest t;
    t.g.set_all_gates();
    place_loop(t, kA, 1);
    t.map(kPage, kA | kLegal);
    REQUIRE(eax_after_running(t, kPage) == 1);
    t.map(kPage, 0);
    t.invlpg(kPage);
    t.g.machine().poke(TlbGuest::kC, {0xF4});
    const u64 faults = t.cpu().counters.page_faults;
    t.run(kPage, 1);
    CHECK(t.cpu().counters.page_faults == faults + 1);
    CHECK(t.cpu().state.cr2 == kPage);
    CHECK(t.g.rip() == Guest::handler(Exception::PF));
}

TEST_CASE("code: each PCID runs its own page at the same address, both hot", "[mmu][code]") {
    TlbGuest t;
    place_loop(t, kA, 1);
    place_loop(t, kB, 2);
    for (unsigned round = 0; round < 3; ++round) {
        t.pcid(1);
        t.map(kPage, kA | kLegal);
        CHECK(eax_after_running(t, kPage) == 1);
        t.pcid(2);
        t.map(kPage, kB | kLegal);
        CHECK(eax_after_running(t, kPage) == 2);
    }
}

TEST_CASE("code: a page read before is not executable for that", "[mmu][nx]") {
    TlbGuest t;
    t.g.set_all_gates();
    place_loop(t, kA, 1);
    t.map(kPage, kA | kLegal | u64{1} << 63);
    for (unsigned round = 0; round < 3; ++round) {
        (void)t.read(kPage);
        const u64 faults = t.cpu().counters.page_faults;
        t.run(kPage, 1);
        CHECK(t.cpu().counters.page_faults == faults + 1);
    }
}

TEST_CASE("data: pages that share a slot push each other out and INVLPG finds either",
          "[mmu][tlb]") {
    TlbGuest t;
    constexpr u64 kOther = kPage + kTlbEntries * kPageBytes;
    t.map(kPage, kA | kLegal);
    t.map(kOther, kB | kLegal);
    CHECK(t.read(kPage) == 'A');
    CHECK(t.read(kOther) == 'B');  // takes the slot
    t.map(kPage, kC | kLegal);
    t.invlpg(kPage);
    CHECK(t.warm(kOther));
    CHECK(t.read(kPage) == 'C');
    t.map(kOther, kA | kLegal);
    t.invlpg(kOther);
    CHECK(t.read(kOther) == 'A');
}

TEST_CASE("data: an access across the end of the canonical range faults, whatever the register",
          "[mmu][canonical]") {
    constexpr u64 kEnd = 0x8000'0000'0000;
    TlbGuest t;
    t.map(kEnd - kPageBytes, kA | kLegal);
    (void)t.read(kEnd - 1);
    const auto check = [&t](std::initializer_list<u8> bytes, Gpr base, Exception exception) {
        CAPTURE(static_cast<int>(base));
        for (const u64 address : {kEnd - 4, kEnd, u64{0xFFFF'7FFF'FFFF'FFFC}}) {
            t.g.reg(base) = address;
            CHECK(t.g.exec(bytes) == fault(exception));
        }
        t.g.reg(base) = kEnd - 8;
        CHECK(t.g.exec(bytes) == kNoFault);
    };
    check({0x48, 0x8B, 0x00}, RAX, Exception::GP);        // mov rax, [rax]
    check({0x48, 0x8B, 0x03}, RBX, Exception::GP);        // mov rax, [rbx]
    check({0x48, 0x8B, 0x04, 0x24}, RSP, Exception::SS);  // mov rax, [rsp]
    check({0x48, 0x8B, 0x45, 0x00}, RBP, Exception::SS);  // mov rax, [rbp+0]
    check({0x48, 0x89, 0x01}, RCX, Exception::GP);        // mov [rcx], rax
    check({0x49, 0x8B, 0x45, 0x00}, R13, Exception::GP);  // mov rax, [r13+0]
}

// The walker sets A and D by compare-exchange: a flag that somebody else writes into the entry at
// the same time is not lost. SDM Vol. 3A, "Accessed and Dirty Flags".
TEST_CASE("walks and another writer of the entry lose nothing of each other", "[mmu][dirty]") {
    TlbGuest t;
    t.map(kPage, kA | 7);
    const PhysAddr address = t.entry_address(kPage, 1);
    auto* const entry = reinterpret_cast<u64*>(
        t.g.machine().memory().lookup(address & kPageMask).native + address % kPageBytes);
    constexpr u64 kOne = u64{1} << 52, kCount = u64{0x7F} << 52;  // the ignored bits 58:52
    constexpr unsigned kRounds = 20'000;
    std::thread other([entry] {
        for (unsigned i = 0; i < kRounds; ++i) {
            u64 old = __atomic_load_n(entry, __ATOMIC_SEQ_CST);
            u64 next = 0;
            do {  // adds one and clears A and D
                next = (old & ~kCount & ~u64{0x60}) | ((old + kOne) & kCount);
            } while (!__atomic_compare_exchange_n(entry, &old, next, false, __ATOMIC_SEQ_CST,
                                                  __ATOMIC_SEQ_CST));
        }
    });
    bool all_written = true;
    for (unsigned i = 0; i < kRounds; ++i) {
        t.cpu().tlb.flush_page(t.cpu(), kPage);
        all_written = all_written && store_linear(t.cpu(), kPage, u8{1}) == Status::Next;
    }
    other.join();
    CHECK(all_written);
    CHECK((*entry >> 52 & 0x7F) == kRounds % 128);
    t.cpu().tlb.flush_page(t.cpu(), kPage);
    REQUIRE(store_linear(t.cpu(), kPage, u8{1}) == Status::Next);
    CHECK((*entry & ~kCount) == (kA | 0x67));
}

}  // namespace droste::test
