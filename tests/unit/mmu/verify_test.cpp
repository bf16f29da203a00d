// verify() finds each kind of planted error, and nothing in a machine that works.

#include "cpu/x86/system/verify.hpp"
#include "tests/unit/mmu/tlb_guest.hpp"

#include <string>

namespace droste::test {

namespace {

constexpr u64 kPage = TlbGuest::kPage, kA = TlbGuest::kA, kB = TlbGuest::kB,
              kLegal = TlbGuest::kLegal;

std::string broken(TlbGuest& t) {
    const char* sentence = verify(t.cpu());
    return sentence != nullptr ? sentence : "";
}

// The entry of kPage as it stands, with a change.
template <typename Change>
void plant(TlbGuest& t, PrivilegeClass privilege, Change&& change) {
    DataTlb& table = t.cpu().tlb.current().data[static_cast<std::size_t>(privilege)];
    const unsigned entry = DataTlb::index(kPage);
    TlbFill fill{table.addend(entry), table.page(entry), true, table.write_tag(entry) != kNoTag,
                 table.chain(entry)};
    change(fill);
    table.fill(kPage, fill);
}

}  // namespace

TEST_CASE("verify: a machine at work has nothing broken", "[mmu][verify]") {
    TlbGuest t;
    t.map(kPage, kA | kLegal);
    t.map_large(kPage + 0x20'0000, kB | kLegal);
    CHECK(broken(t).empty());
    (void)t.read(kPage);
    (void)t.read(kPage + 0x20'1000);
    (void)t.fetch(kPage);
    REQUIRE(store_linear(t.cpu(), kPage, u8{1}) == Status::Next);
    CHECK(broken(t).empty());
    t.pcid(1);
    t.mov_cr0(t.cpu().state.cr0 & ~cr0::kWp);
    t.mov_cr4(t.cpu().state.cr4 | cr4::kSmap | cr4::kSmep);
    CHECK(broken(t).empty());
}

TEST_CASE("verify: a write tag on a clean page, a read-only one, one with code is found",
          "[mmu][verify]") {
    TlbGuest clean;
    clean.map(kPage, kA | (kLegal & ~u64{0x40}));
    (void)clean.read(kPage);
    REQUIRE(broken(clean).empty());
    plant(clean, PrivilegeClass::Supervisor, [](TlbFill& fill) { fill.writable = true; });
    CHECK(broken(clean) == "a write tag implies a dirty leaf and the right");

    TlbGuest read_only;
    read_only.map(kPage, kA | (kLegal & ~u64{2}));
    (void)read_only.read(kPage);
    plant(read_only, PrivilegeClass::Supervisor, [](TlbFill& fill) { fill.writable = true; });
    CHECK(broken(read_only) == "a write tag implies a dirty leaf and the right");

    TlbGuest code;
    code.g.machine().poke(kA, {0xF4});  // hlt
    code.map(kPage, kA | kLegal);
    code.run(kPage, 1);
    (void)code.read(kPage);
    REQUIRE(broken(code).empty());
    plant(code, PrivilegeClass::Supervisor, [](TlbFill& fill) { fill.writable = true; });
    CHECK(broken(code) == "no write tag for a page with decoded code");
}

TEST_CASE("verify: a tag that leads elsewhere is found", "[mmu][verify]") {
    TlbGuest page;
    page.map(kPage, kA | kLegal);
    (void)page.read(kPage);
    plant(page, PrivilegeClass::Supervisor, [](TlbFill& fill) { fill.page += kPageBytes; });
    CHECK(broken(page) == "a tag leads to the memory of its page");

    TlbGuest both;
    both.map(kPage, kA | kLegal);
    (void)both.read(kPage);
    plant(both, PrivilegeClass::Supervisor, [](TlbFill& fill) {
        fill.page += kPageBytes;
        fill.addend += kPageBytes;
    });
    CHECK(broken(both) == "a tag's page is the one a walk finds");

    TlbGuest marks;
    marks.map(kPage, kA | kLegal);
    (void)marks.read(kPage);
    plant(marks, PrivilegeClass::Supervisor, [](TlbFill& fill) { fill.page |= tlb_mark::kGlobal; });
    CHECK(broken(marks) == "a tag's page is the one a walk finds");
}

TEST_CASE("verify: a tag in the table of another privilege is found", "[mmu][verify]") {
    TlbGuest t;
    t.map(kPage, kA | (kLegal & ~u64{4}));
    (void)t.read(kPage);
    const DataTlb& table = t.cpu().tlb.current().data[0];
    const unsigned entry = DataTlb::index(kPage);
    const TlbFill fill{table.addend(entry), table.page(entry), true, true, table.chain(entry)};
    t.cpu().tlb.current().data[static_cast<std::size_t>(PrivilegeClass::User)].fill(kPage, fill);
    CHECK(broken(t) == "a tag implies that a walk allows the access");
}

TEST_CASE("verify: a right lost by a control register behind the TLB's back is found",
          "[mmu][verify]") {
    TlbGuest pkru;
    pkru.cpu().state.cr4 |= cr4::kPke;
    pkru.cpu().tlb.activate(pkru.cpu());
    pkru.map(kPage, kA | kLegal | u64{1} << 59);
    (void)pkru.read(kPage);
    REQUIRE(broken(pkru).empty());
    pkru.cpu().state.pkru = 4;  // not by write_pkru()
    CHECK(broken(pkru) == "a tag implies that a walk allows the access");

    TlbGuest wp;
    wp.cpu().state.cr0 &= ~cr0::kWp;
    CHECK(broken(wp) == "the context is the one the registers name");
    TlbGuest root;
    root.cpu().state.cr3 += 1;
    CHECK(broken(root) == "the context is the one the registers name");
}

TEST_CASE("verify: a stale code translation is found", "[mmu][verify]") {
    TlbGuest t;
    t.map(kPage, kA | kLegal);
    (void)t.fetch(kPage);
    CodeTlbEntry& entry = t.cpu().tlb.current().code[0].at(kPage);
    entry.page += kPageBytes;
    entry.native += kPageBytes;
    CHECK(broken(t) == "a tag's page is the one a walk finds");
}

TEST_CASE("verify: derived state that was not refreshed is found", "[mmu][verify]") {
    const std::string kDerived = "derived state is what the registers say";
    TlbGuest ac;
    ac.cpu().state.cr4 |= cr4::kSmap;
    ac.cpu().tlb.activate(ac.cpu());
    ac.cpu().state.set_rflags(rflags::kFixed1 | rflags::kAc);  // without mode_changed()
    CHECK(broken(ac) == kDerived);
    TlbGuest cpl;
    cpl.cpu().state.seg[SS].rights |= 3U << 5;
    CHECK(broken(cpl) == kDerived);
    TlbGuest ts;
    ts.cpu().state.cr0 |= cr0::kTs;
    CHECK(broken(ts) == kDerived);
    TlbGuest segment;
    segment.cpu().state.seg[DS].checks = 0;
    CHECK(broken(segment) == "a segment's checks are what its rights say");
    TlbGuest events;
    events.cpu().state.set_rflags(rflags::kFixed1 | rflags::kIf);
    mode_changed(events.cpu());
    CHECK(broken(events) == "the mask of pending events and the request to step are up to date");
}

TEST_CASE("verify: what the guest has yet to invalidate is no error", "[mmu][verify]") {
    if (!kTlbKeepsChains) {
        return;  // release builds cannot tell
    }
    TlbGuest t;
    t.map(kPage, kA | kLegal);
    (void)t.read(kPage);
    (void)t.fetch(kPage);
    for (const u64 changed :
         {kB | kLegal, u64{0}, kA | (kLegal & ~u64{2}), kA | (kLegal & ~0x40U)}) {
        t.map(kPage, changed);
        CHECK(broken(t).empty());
    }
    t.map(kPage, kA | kLegal);
    plant(t, PrivilegeClass::Supervisor, [](TlbFill& fill) { fill.page += kPageBytes; });
    CHECK_FALSE(broken(t).empty());
}

}  // namespace droste::test
