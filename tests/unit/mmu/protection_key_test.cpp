// Protection keys: the PK flag of #PF beside other reasons to fault, and which cached translations
// a change of PKRU drops. SDM Vol. 3A, "Protection Keys", "Page-Fault Exceptions".

#include "tests/unit/mmu/tlb_guest.hpp"

namespace droste::test {

namespace {

constexpr u64 kPage = TlbGuest::kPage, kA = TlbGuest::kA, kB = TlbGuest::kB;
constexpr u64 kPresent = 1, kWritable = 2, kUser = 4, kAccessed = 0x20, kDirty = 0x40;
constexpr u64 kReadOnlyUser = kPresent | kUser | kAccessed;

constexpr u64 key(u64 number) {
    return number << 59;
}
constexpr u32 access_disable(unsigned key_number) {
    return 1U << (2 * key_number);
}
constexpr u32 write_disable(unsigned key_number) {
    return 2U << (2 * key_number);
}

class KeyGuest : public TlbGuest {
  public:
    explicit KeyGuest(unsigned cpl, u64 more_cr4 = 0) : TlbGuest(cpl) {
        cpu().state.cr4 |= cr4::kPke | more_cr4;
        cpu().tlb.activate(cpu());
    }
    // The error code of a write or read, -1 without a fault.
    int write_error(u64 linear = kPage) { return error(store_linear(cpu(), linear, u8{1})); }
    int read_error(u64 linear = kPage) {
        u8 byte = 0;
        return error(load_linear(cpu(), linear, byte));
    }
    int error(Status status) const {
        return status == Status::Next ? -1 : static_cast<int>(g_fault().error_code);
    }
    const Event& g_fault() const { return const_cast<KeyGuest*>(this)->cpu().fault; }

    void wrpkru(u32 value) {
        g.reg(RAX) = value;
        g.reg(RCX) = g.reg(RDX) = 0;
        REQUIRE(g.exec({0x0F, 0x01, 0xEF}) == kNoFault);  // wrpkru
    }
};

}  // namespace

TEST_CASE("PK is set although the page is not writable either", "[mmu][pku]") {
    KeyGuest user(3);
    user.map(kPage, kA | kReadOnlyUser | key(1));
    user.wrpkru(access_disable(1));
    CHECK(user.write_error() == 0x27);
    user.wrpkru(write_disable(1));
    CHECK(user.write_error() == 0x27);
    user.wrpkru(0);
    CHECK(user.write_error() == 0x07);
    CHECK(user.read_error() == -1);

    KeyGuest supervisor(0);
    supervisor.map(kPage, kA | kReadOnlyUser | key(1));
    supervisor.wrpkru(access_disable(1));
    CHECK(supervisor.write_error() == 0x23);
    supervisor.wrpkru(write_disable(1));
    CHECK(supervisor.write_error() == 0x23);
    supervisor.wrpkru(access_disable(2));
    CHECK(supervisor.write_error() == 0x03);
}

TEST_CASE("PK is set although SMAP forbids the access, too", "[mmu][pku][smap]") {
    KeyGuest t(0, cr4::kSmap);
    t.map(kPage, kA | kReadOnlyUser | kWritable | kDirty | key(3));
    t.wrpkru(access_disable(3));
    CHECK(t.read_error() == 0x21);
    CHECK(t.write_error() == 0x23);
    t.wrpkru(write_disable(3));
    CHECK(t.read_error() == 0x01);  // the key allows it, SMAP doesn't
    CHECK(t.write_error() == 0x23);
}

TEST_CASE("PK is set beside the reasons of shadow-stack accesses", "[mmu][pku][cet]") {
    KeyGuest t(3);
    u64 slot = 0;
    const auto load_error = [&](bool user) {
        return t.error(load_shadow_stack(t.cpu(), kPage, &slot, sizeof(slot), user));
    };
    const auto store_error = [&](bool user) {
        return t.error(store_shadow_stack(t.cpu(), kPage, &slot, sizeof(slot), user));
    };
    t.map(kPage, kA | kReadOnlyUser | kDirty | key(4));  // a user shadow-stack page
    t.wrpkru(0);
    CHECK(load_error(true) == -1);
    CHECK(load_error(false) == 0x41);  // not a supervisor's
    t.wrpkru(access_disable(4));
    CHECK(load_error(true) == 0x65);
    CHECK(load_error(false) == 0x61);
    t.wrpkru(write_disable(4));
    CHECK(load_error(true) == -1);
    CHECK(store_error(true) == 0x67);
    t.map(kPage, kA | kReadOnlyUser | key(4));  // clean: no shadow-stack page
    t.cpu().tlb.flush_current(false);
    CHECK(load_error(true) == 0x45);
    CHECK(store_error(true) == 0x67);
}

TEST_CASE("PK stays clear for fetches, supervisor pages, absent pages and reserved bits",
          "[mmu][pku]") {
    KeyGuest t(0);
    t.wrpkru(~0U);
    CodePage page;
    t.map(kPage, kA | kPresent | kWritable | kAccessed | kDirty | key(2));  // supervisor page
    CHECK(t.read_error() == -1);
    CHECK(t.write_error() == -1);
    t.map(kPage + 0x1000, kA | kReadOnlyUser | key(2) | u64{1} << 50);
    CHECK(t.read_error(kPage + 0x1000) == 0x09);
    t.map(kPage + 0x2000, kA | kUser | key(2));
    CHECK(t.read_error(kPage + 0x2000) == 0x00);
    t.map(kPage + 0x3000, kA | kReadOnlyUser | key(2));
    CHECK(fetch_page(t.cpu(), kPage + 0x3000, page) == Status::Next);
}

TEST_CASE("WRPKRU takes effect on hot pages and leaves other pages' translations",
          "[mmu][pku][tlb]") {
    KeyGuest t(3);
    constexpr u64 kUserData = kReadOnlyUser | kWritable | kDirty;
    for (u64 k = 0; k < 4; ++k) {
        t.map(kPage + k * kPageBytes, kA | kUserData | key(k));
        REQUIRE(t.write_error(kPage + k * kPageBytes) == -1);
    }
    const u64 drops = t.cpu().counters.tlb_key_drops;
    t.wrpkru(access_disable(2));
    CHECK(t.cpu().counters.tlb_key_drops == drops + 1);
    for (const u64 k : {u64{0}, u64{1}, u64{3}}) {
        CAPTURE(k);
        CHECK(t.warm(kPage + k * kPageBytes));
    }
    CHECK(t.read_error(kPage + 2 * kPageBytes) == 0x25);
    t.wrpkru(write_disable(2) | write_disable(0));
    CHECK(t.read_error(kPage + 2 * kPageBytes) == -1);
    CHECK(t.write_error(kPage + 2 * kPageBytes) == 0x27);
    CHECK(t.write_error(kPage) == 0x27);
    CHECK(t.warm(kPage + kPageBytes));
    t.wrpkru(0);
    CHECK(t.write_error(kPage) == -1);
    CHECK(t.write_error(kPage + 2 * kPageBytes) == -1);
}

TEST_CASE("WRPKRU does not touch translations of supervisor pages, nor flush", "[mmu][pku][tlb]") {
    KeyGuest t(0);
    t.map(kPage, kA | kPresent | kWritable | kAccessed | kDirty | key(2));
    t.map(kPage + kPageBytes, kA | kReadOnlyUser | kWritable | kDirty | key(2));
    REQUIRE(t.read_error() == -1);
    REQUIRE(t.read_error(kPage + kPageBytes) == -1);
    const VcpuCounters before = t.cpu().counters;
    t.wrpkru(access_disable(2));
    CHECK(t.cpu().counters.tlb_flushes == before.tlb_flushes);
    CHECK(t.cpu().counters.tlb_key_drops == before.tlb_key_drops + 1);
    CHECK(t.warm(kPage));
    CHECK(t.read_error(kPage + kPageBytes) == 0x21);  // keys guard user pages from the kernel, too
}

TEST_CASE("WRPKRU reaches the contexts that are not current", "[mmu][pku][tlb]") {
    KeyGuest t(0);
    t.map(kPage, kA | kReadOnlyUser | kWritable | kDirty | key(2));
    t.pcid(1);
    REQUIRE(t.read_error() == -1);
    t.pcid(2);
    t.wrpkru(access_disable(2));
    t.pcid(1);
    CHECK(t.read_error() == 0x21);
    t.pcid(2);
    t.wrpkru(0);
    t.pcid(1);
    CHECK(t.read_error() == -1);
}

TEST_CASE("XRSTOR of PKRU drops what its keys guard, also while CR4.PKE is clear",
          "[mmu][pku][tlb]") {
    KeyGuest t(0);
    t.cpu().state.xcr0 |= 1U << 9;
    constexpr u64 kArea = 0xC000;  // XSAVE area, standard form
    const std::vector<u8> zeros(4096, 0);
    t.g.machine().poke(kArea, zeros);
    t.g.machine().poke_value<u64>(kArea + 512, 1U << 9);  // XSTATE_BV: PKRU
    const auto xrstor = [&t](u32 pkru) {
        // CPUID.(EAX=0DH,ECX=9):EBX is where the standard form keeps PKRU.
        t.g.reg(RAX) = 0xD;
        t.g.reg(RCX) = 9;
        REQUIRE(t.g.exec({0x0F, 0xA2}) == kNoFault);  // cpuid
        t.g.machine().poke_value<u32>(kArea + (t.g.reg(RBX) & 0xFFFF'FFFF), pkru);
        t.g.reg(RSI) = kArea;
        t.g.reg(RAX) = 1U << 9;
        t.g.reg(RDX) = 0;
        REQUIRE(t.g.exec({0x0F, 0xAE, 0x2E}) == kNoFault);  // xrstor [rsi]
        REQUIRE(t.cpu().state.pkru == pkru);
    };
    t.map(kPage, kA | kReadOnlyUser | kWritable | kDirty | key(2));
    t.map(kPage + kPageBytes, kB | kReadOnlyUser | kWritable | kDirty | key(1));
    REQUIRE(t.read_error() == -1);
    REQUIRE(t.read_error(kPage + kPageBytes) == -1);
    xrstor(access_disable(2));
    CHECK(t.read_error() == 0x21);
    CHECK(t.warm(kPage + kPageBytes));

    // A VM exit switches CR4 and keeps PKRU and, with VPIDs, the guest's translations.
    xrstor(0);
    t.cpu().non_root.vpid = 7;
    t.cpu().tlb.activate(t.cpu());
    REQUIRE(t.read_error() == -1);
    t.cpu().non_root.vpid = 0;
    t.cpu().state.cr4 &= ~cr4::kPke;
    t.cpu().tlb.activate(t.cpu());
    xrstor(access_disable(2));
    t.cpu().non_root.vpid = 7;
    t.cpu().state.cr4 |= cr4::kPke;
    t.cpu().tlb.activate(t.cpu());
    CHECK(t.read_error() == 0x21);
}

}  // namespace droste::test
