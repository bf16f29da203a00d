// What VM entries and VM exits do to cached translations: with a VPID nothing, without one what the
// manual demands; and what INVVPID drops. SDM Vol. 3C, "Caching Translation Information".

#include "tests/unit/vmx/vmx_machine.hpp"

#include <catch2/catch.hpp>

using namespace droste;
using namespace droste::test;

namespace {

using M = VmxMachine;
constexpr u64 kArea = 0x4000'0000, kPages = 40, kFrames = 0x48'0000;
constexpr u64 kCode = M::kGuestCode;

struct Counts {
    u64 misses, code_misses, flushes, ept_walks;
    bool operator==(const Counts&) const = default;
};
Counts counts(M& m) {
    const VcpuCounters& c = m.cpu().counters;
    return {c.tlb_misses, c.code_tlb_misses, c.tlb_flushes, m.vmx().ept.walks};
}

// A guest that reads and writes one byte of each of kPages pages, then CPUID, again and again.
void prepare_toucher(M& m, u32 secondary) {
    m.prepare();
    for (u64 i = 0; i < kPages; ++i) {
        m.machine().map(kArea + i * kPageBytes, kFrames + i * kPageBytes);
    }
    Vmcs& v = m.vmcs();
    v.proc_controls |= proc::kActivateSecondary;
    v.proc2_controls = secondary;
    v.vpid = (secondary & proc2::kEnableVpid) != 0 ? 5 : 0;
    v.ept_pointer = m.make_identity_ept(7, true);
    // mov ecx, 40; l: inc byte [rbx]; add rbx, 1000h; loop l; cpuid; jmp start
    m.guest_code({0xB9, kPages, 0, 0, 0, 0xFE, 0x03, 0x48, 0x81, 0xC3, 0, 0x10, 0, 0, 0xE2, 0xF5,
                  0x0F, 0xA2});
    m.vmx().current->stale_checks = ~0U;
}

void round_trip(M& m) {
    m.state().gpr[RBX] = kArea;
    m.set(&Vmcs::guest_rip, kCode);
    REQUIRE(m.run_guest(1000));
    REQUIRE(m.exited_with(ExitReason::CPUID));
    // The host uses its memory, too.
    Insn vmptrst;
    vmptrst.op = Op::VMPTRST;
    vmptrst.flags = kInsnMem;
    vmptrst.disp = static_cast<i64>(M::kScratch);
    vmptrst.addrsize = vmptrst.opsize = 8;
    vmptrst.length = 4;
    REQUIRE(m.execute(vmptrst) == Status::Next);
}

// The guest's leaf entry for `linear`.
u64 leaf_address(M& m, u64 linear) {
    u64 table = m.vmcs().guest_cr3;
    for (unsigned shift = 39; shift > 12; shift -= 9) {
        table = m.machine().peek_value<u64>(table + ((linear >> shift) & 511) * 8) & kPageMask;
    }
    return table + ((linear >> 12) & 511) * 8;
}

// A guest under VPID 1 or 2 that reads a byte at RBX; what it saw is in AL.
class Reader : public M {
  public:
    Reader() {
        prepare();
        machine().map(kArea, kFrames);
        machine().map(kArea + kPageBytes, kFrames);
        machine().poke_value<u8>(kFrames, 0x11);
        machine().poke_value<u8>(kFrames + kPageBytes, 0x22);
        guest_code({0x8A, 0x03, 0x0F, 0xA2});  // mov al, byte [rbx]; cpuid
        vmcs().proc_controls |= proc::kActivateSecondary;
        vmcs().proc2_controls = proc2::kEnableVpid;
    }
    u64 read(u16 vpid, u64 linear) {
        vmcs().vpid = vpid;
        vmcs().proc2_controls = vpid != 0 ? proc2::kEnableVpid : 0;
        state().gpr[RBX] = linear;
        set(&Vmcs::guest_rip, kCode);
        REQUIRE(run_guest());
        return state().gpr[RAX] & 0xFF;
    }
    void remap(u64 linear, u64 frame) {
        machine().poke_value<u64>(leaf_address(*this, linear), frame | 7);
    }
};

}  // namespace

TEST_CASE("with VPID and EPT thousands of exits miss no translation and flush nothing",
          "[vmx][tlb]") {
    for (const u32 secondary : {proc2::kEnableVpid, proc2::kEnableVpid | proc2::kEnableEpt}) {
        CAPTURE(secondary);
        M m;
        prepare_toucher(m, secondary);
        round_trip(m);
        round_trip(m);  // the first one set accessed and dirty flags
        const Counts warm = counts(m);
        constexpr u64 kTrips = 3000;
        for (u64 i = 0; i < kTrips; ++i) {
            round_trip(m);
        }
        CHECK(counts(m) == warm);
        CHECK(m.cpu().counters.vm_exits == kTrips + 2);
        CHECK(m.machine().peek_value<u8>(kFrames) == static_cast<u8>(kTrips + 2));
    }
}

TEST_CASE("without a VPID every VM entry and VM exit flushes the mappings of VPID 0",
          "[vmx][tlb]") {
    for (const u32 secondary : {0U, proc2::kEnableEpt}) {
        CAPTURE(secondary);
        M m;
        prepare_toucher(m, secondary);
        round_trip(m);
        round_trip(m);
        const Counts before = counts(m);
        round_trip(m);
        const Counts after = counts(m);
        CHECK(after.flushes == before.flushes + 2);
        CHECK(after.misses >= before.misses + kPages);
        // Guest-physical mappings have no VPID: they stay.
        CHECK(after.ept_walks == before.ept_walks);
    }
}

TEST_CASE("a guest without a VPID sees its changed page tables after a VM entry", "[vmx][tlb]") {
    Reader m;
    CHECK(m.read(0, kArea) == 0x11);
    m.remap(kArea, kFrames + kPageBytes);
    CHECK(m.read(0, kArea) == 0x22);
    // With one, the old translation may stay, and does.
    CHECK(m.read(1, kArea) == 0x22);
    m.remap(kArea, kFrames);
    CHECK(m.read(1, kArea) == 0x22);
}

TEST_CASE("guests of two VPIDs and the host stay warm side by side", "[vmx][tlb]") {
    Reader m;
    (void)m.read(1, kArea);
    (void)m.read(2, kArea);
    const Counts warm = counts(m);
    for (unsigned i = 0; i < 500; ++i) {
        CHECK(m.read(1, kArea) == 0x11);
        CHECK(m.read(2, kArea) == 0x11);
    }
    CHECK(counts(m) == warm);
}

TEST_CASE("INVVPID drops what its type says, and only that VPID's", "[vmx][tlb]") {
    constexpr u64 kOther = kArea + kPageBytes;
    struct Row {
        u64 type;
        bool drops_other_page;
        bool drops_other_vpid;
    };
    for (const auto& [type, drops_other_page, drops_other_vpid] :
         {Row{0, false, false}, Row{1, true, false}, Row{2, true, true}, Row{3, true, false}}) {
        CAPTURE(type);
        Reader m;
        for (const u16 vpid : {u16{1}, u16{2}}) {
            CHECK(m.read(vpid, kArea) == 0x11);
            CHECK(m.read(vpid, kOther) == 0x11);
        }
        m.remap(kArea, kFrames + kPageBytes);
        m.remap(kOther, kFrames + kPageBytes);
        CHECK(m.read(1, kArea) == 0x11);
        (void)m.invvpid(type, type == 2 ? 0 : 1, type == 0 ? kArea : 0);
        CHECK(m.succeeded());
        CHECK(m.read(1, kArea) == 0x22);
        CHECK(m.read(1, kOther) == (drops_other_page ? 0x22 : 0x11));
        CHECK(m.read(2, kArea) == (drops_other_vpid ? 0x22 : 0x11));
    }
}
