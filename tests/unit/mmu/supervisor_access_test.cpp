// SMAP and SMEP around RFLAGS.AC, implicit supervisor accesses, and CR0.WP on hot pages.
// SDM Vol. 3A, "Determination of Access Rights".

#include "tests/unit/mmu/tlb_guest.hpp"

namespace droste::test {

namespace {

constexpr u64 kPage = TlbGuest::kPage, kA = TlbGuest::kA, kLegal = TlbGuest::kLegal;

void set_ac(TlbGuest& t, bool ac) {
    t.cpu().state.set_rflags(rflags::kFixed1 | (ac ? rflags::kAc : 0));
    mode_changed(t.cpu());
}

}  // namespace

TEST_CASE("with SMAP off RFLAGS.AC in ring 0 costs nothing: hits need no slow path",
          "[mmu][tlb][smap]") {
    TlbGuest t;
    t.map(kPage, kA | kLegal);
    for (const bool ac : {false, true}) {
        set_ac(t, ac);
        (void)t.read(kPage);
        CAPTURE(ac);
        CHECK(t.cpu().mode.data_tlb->hits_read(kPage, 8));
        CHECK(t.cpu().mode.data_tlb->hits_write(kPage, 8));
        CHECK(data_privilege(t.cpu()) == PrivilegeClass::Supervisor);
    }
}

TEST_CASE("what an access by the slow path fills, the next one hits", "[mmu][tlb]") {
    for (const u64 smap : {u64{0}, u64{cr4::kSmap}}) {
        for (const bool ac : {false, true}) {
            TlbGuest t;
            t.cpu().state.cr4 |= smap;
            t.cpu().tlb.activate(t.cpu());
            set_ac(t, ac);
            t.map(kPage, kA | (kLegal & ~u64{4}));
            CAPTURE(smap, ac);
            CHECK_FALSE(t.warm(kPage));
            CHECK(t.cpu().mode.data_tlb->hits_read(kPage, 8));
        }
    }
}

TEST_CASE("STAC opens user pages, CLAC closes them, both hot", "[mmu][smap]") {
    TlbGuest t;
    t.cpu().state.cr4 |= cr4::kSmap;
    t.cpu().tlb.activate(t.cpu());
    t.map(kPage, kA | kLegal);
    u8 byte = 0;
    for (unsigned round = 0; round < 3; ++round) {
        CAPTURE(round);
        REQUIRE(t.g.exec({0x0F, 0x01, 0xCB}) == kNoFault);  // stac
        CHECK(load_linear(t.cpu(), kPage, byte) == Status::Next);
        REQUIRE(t.g.exec({0x0F, 0x01, 0xCA}) == kNoFault);  // clac
        CHECK(load_linear(t.cpu(), kPage, byte) == Status::Fault);
        CHECK(t.cpu().fault.error_code == 0x01);
    }
}

TEST_CASE("AC does not lift SMAP for implicit supervisor accesses", "[mmu][smap]") {
    TlbGuest t;
    t.cpu().state.cr4 |= cr4::kSmap;
    t.cpu().tlb.activate(t.cpu());
    t.map(kPage, kA | kLegal);
    set_ac(t, true);
    u64 value = 0;
    CHECK(load_linear(t.cpu(), kPage, value) == Status::Next);
    CHECK(load_system(t.cpu(), kPage, value) == Status::Fault);
    CHECK(t.cpu().fault.error_code == 0x01);
    CHECK(store_system(t.cpu(), kPage, value) == Status::Fault);
    CHECK(t.cpu().fault.error_code == 0x03);
}

TEST_CASE("an implicit access at CPL 3 is a supervisor access", "[mmu]") {
    TlbGuest t(3);
    t.map(kPage, kA | (kLegal & ~u64{4}));
    u64 value = 0;
    CHECK(load_linear(t.cpu(), kPage, value) == Status::Fault);
    CHECK(t.cpu().fault.error_code == 0x05);
    CHECK(load_system(t.cpu(), kPage, value) == Status::Next);
    t.map(kPage + kPageBytes, 0);
    CHECK(load_system(t.cpu(), kPage + kPageBytes, value) == Status::Fault);
    CHECK(t.cpu().fault.error_code == 0x00);  // U/S clear
}

TEST_CASE("SMEP forbids fetches from user pages, hot or cold", "[mmu][smep]") {
    TlbGuest t;
    t.map(kPage, kA | kLegal);
    CodePage page;
    CHECK(fetch_page(t.cpu(), kPage, page) == Status::Next);
    t.mov_cr4(t.cpu().state.cr4 | cr4::kSmep);
    CHECK(fetch_page(t.cpu(), kPage, page) == Status::Fault);
    CHECK(t.cpu().fault.error_code == 0x11);
    t.mov_cr4(t.cpu().state.cr4 & ~cr4::kSmep);
    CHECK(fetch_page(t.cpu(), kPage, page) == Status::Next);
}

TEST_CASE("CR0.WP turned on, off and on under a hot store to a read-only page", "[mmu][wp]") {
    TlbGuest t;
    t.map(kPage, kA | (kLegal & ~u64{2}));
    const u64 cr0 = t.cpu().state.cr0;
    for (unsigned round = 0; round < 3; ++round) {
        CAPTURE(round);
        t.mov_cr0(cr0 | cr0::kWp);
        CHECK(store_linear(t.cpu(), kPage, u8{1}) == Status::Fault);
        CHECK(t.cpu().fault.error_code == 0x03);
        t.mov_cr0(cr0 & ~cr0::kWp);
        CHECK(store_linear(t.cpu(), kPage, u8{1}) == Status::Next);
        CHECK(t.cpu().mode.data_tlb->hits_write(kPage, 1));
    }
}

TEST_CASE("EFER.NXE changes what bit 63 means under a hot page", "[mmu][nx]") {
    TlbGuest t;
    t.map(kPage, kA | kLegal | u64{1} << 63);
    REQUIRE(t.read(kPage) == 'A');
    CodePage page;
    CHECK(fetch_page(t.cpu(), kPage, page) == Status::Fault);
    CHECK(t.cpu().fault.error_code == 0x11);
    const auto write_efer = [&t](u64 value) {
        t.g.reg(RCX) = 0xC000'0080;
        t.g.reg(RAX) = value;
        t.g.reg(RDX) = 0;
        REQUIRE(t.g.exec({0x0F, 0x30}) == kNoFault);  // wrmsr
    };
    const u64 efer = t.cpu().state.efer;
    write_efer(efer & ~efer::kNxe);
    u8 byte = 0;
    CHECK(load_linear(t.cpu(), kPage, byte) == Status::Fault);
    CHECK(t.cpu().fault.error_code == 0x09);  // reserved now
    CHECK(fetch_page(t.cpu(), kPage, page) == Status::Fault);
    CHECK(t.cpu().fault.error_code == 0x09);  // and no fetch is reported
    write_efer(efer);
    CHECK(load_linear(t.cpu(), kPage, byte) == Status::Next);
}

}  // namespace droste::test
