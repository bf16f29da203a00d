// FXSAVE and the XSAVE family: layouts against the CPU's own images, header checks, init handling,
// privileges.

#include "cpu/x86/fpu/x87_state.hpp"
#include "cpu/x86/model/xstate.hpp"
#include "cpu/x86/seams/intercept.hpp"
#include "tests/differential/state_pair.hpp"
#include "tests/unit/fpu/fpu_test_support.hpp"

#include <catch2/catch.hpp>

#include <algorithm>

namespace droste::test {
namespace {

using differential::Rng;
using Area = std::array<u8, 2752>;

constexpr u64 kX87Sse = 3, kX87SseAvx = 7, kPkru = 1U << 9;
constexpr u64 kHeader = 512;
constexpr std::initializer_list<u8> kXsave64 = {0x48, 0x0F, 0xAE, 0x27},
                                    kXrstor64 = {0x48, 0x0F, 0xAE, 0x2F},
                                    kXsaveopt64 = {0x48, 0x0F, 0xAE, 0x37},
                                    kXsavec64 = {0x48, 0x0F, 0xC7, 0x27},
                                    kXsaves64 = {0x48, 0x0F, 0xC7, 0x2F},
                                    kXrstors64 = {0x48, 0x0F, 0xC7, 0x1F};

class XsaveGuest : public FpuGuest {
  public:
    explicit XsaveGuest(unsigned cpl = 0) : FpuGuest(cpl) {
        state().xcr0 = kX87SseAvx | kPkru;
        refresh();
    }
    void mask(u64 bits) {
        state().gpr[RAX] = static_cast<u32>(bits);
        state().gpr[RDX] = bits >> 32;
    }
    int run_masked(u64 bits, std::initializer_list<u8> bytes) {
        mask(bits);
        return fault(bytes);
    }
    Area area() { return peek<Area>(kData); }
    void randomize(u64 seed) {
        Rng rng(seed);
        X87State& fpu = state().x87;
        fpu.control = 0x27F;
        fpu.status = static_cast<u16>(rng.next() & (x87::kTopMask | x87::kConditions));
        fpu.tag_valid = static_cast<u8>(rng.next());
        for (X87State::Register& value : fpu.st) {
            value = {rng.next(), static_cast<u16>(rng.next())};
        }
        state().mxcsr = 0x1FA5;
        for (Ymm& ymm : state().ymm) {
            std::generate(ymm.bytes.begin(), ymm.bytes.end(),
                          [&] { return static_cast<u8>(rng.next()); });
        }
        state().pkru = static_cast<u32>(rng.next());
    }
};

bool native_xsave() {
    return all_features().has(Feature::AVX);
}

struct alignas(64) NativeArea {
    Area bytes{};
};

// The CPU's own image of the state in `from`, by `save` after XRSTOR.
template <typename Save>
NativeArea native_image(const Area& from, Save&& save) {
    NativeArea in{from};
    NativeArea out;
    alignas(64) static std::array<u8, 4096> before;
    asm volatile("xsave64 (%0)" ::"r"(before.data()), "a"(7), "d"(0) : "memory");
    asm volatile("xrstor64 (%0)" ::"r"(in.bytes.data()), "a"(7), "d"(0) : "memory");
    save(out.bytes.data());
    asm volatile("xrstor64 (%0)" ::"r"(before.data()), "a"(7), "d"(0) : "memory");
    return out;
}

// FOP, FIP and FDP are the software's here; the CPU may not save them without a pending exception.
void clear_pointers(Area& area) {
    std::fill(area.begin() + 6, area.begin() + 24, u8{0});
    std::fill(area.begin() + 28, area.begin() + 32,
              u8{0});  // MXCSR_MASK: the CPU may have one bit more
}

TEST_CASE("XSAVE64 writes what the CPU writes", "[fpu][xsave]") {
    if (!native_xsave()) {
        WARN("skipped: no XSAVE with AVX state here");
        return;
    }
    for (u64 seed = 1; seed < 20; ++seed) {
        XsaveGuest guest;
        guest.randomize(seed);
        REQUIRE(guest.run_masked(kX87SseAvx, kXsave64) == kNone);
        Area ours = guest.area();
        NativeArea native = native_image(ours, [](u8* out) {
            asm volatile("xsave64 (%0)" ::"r"(out), "a"(7), "d"(0) : "memory");
        });
        clear_pointers(ours);
        clear_pointers(native.bytes);
        CHECK(std::equal(ours.begin(), ours.begin() + 832, native.bytes.begin()));
    }
}

TEST_CASE("XSAVEC64 writes what the CPU writes", "[fpu][xsave]") {
    u32 eax = 0, ebx = 0, ecx = 1, edx = 0;
    eax = 0xD;
    asm volatile("cpuid" : "+a"(eax), "=b"(ebx), "+c"(ecx), "=d"(edx));
    if (!native_xsave() || (eax & 2) == 0) {
        WARN("skipped: no XSAVEC with AVX state here");
        return;
    }
    for (u64 seed = 1; seed < 20; ++seed) {
        XsaveGuest guest;
        guest.randomize(seed);
        REQUIRE(guest.run_masked(kX87SseAvx, kXsave64) == kNone);
        const Area standard = guest.area();
        guest.poke(FpuGuest::kData, Area{});
        REQUIRE(guest.run_masked(kX87SseAvx, kXsavec64) == kNone);
        Area ours = guest.area();
        NativeArea native = native_image(standard, [](u8* out) {
            asm volatile("xsavec64 (%0)" ::"r"(out), "a"(7), "d"(0) : "memory");
        });
        clear_pointers(ours);
        clear_pointers(native.bytes);
        CHECK(std::equal(ours.begin(), ours.begin() + 832, native.bytes.begin()));
    }
}

TEST_CASE("FXSAVE64 writes what the CPU writes, and FXRSTOR64 reads it back", "[fpu][xsave]") {
    for (u64 seed = 1; seed < 20; ++seed) {
        XsaveGuest guest;
        guest.randomize(seed);
        const X87State x87 = guest.state().x87;
        const auto ymm = guest.state().ymm;
        REQUIRE(guest.fault({0x48, 0x0F, 0xAE, 0x07}) == kNone);  // fxsave64 [rdi]
        Area ours = guest.area();
        NativeArea in{ours};
        NativeArea out;
        asm volatile("fxrstor64 (%0); fxsave64 (%1); fninit; ldmxcsr %2" ::"r"(in.bytes.data()),
                     "r"(out.bytes.data()), "m"(*std::array<u32, 1>{0x1F80}.data())
                     : "memory", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7",
                       "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15", "st",
                       "st(1)", "st(2)", "st(3)", "st(4)", "st(5)", "st(6)", "st(7)");
        clear_pointers(ours);
        clear_pointers(out.bytes);
        CHECK(std::equal(ours.begin(), ours.begin() + 416, out.bytes.begin()));

        guest.randomize(seed + 100);
        REQUIRE(guest.fault({0x48, 0x0F, 0xAE, 0x0F}) == kNone);  // fxrstor64 [rdi]
        CHECK(guest.state().x87.status == x87.status);
        CHECK(guest.state().x87.tag_valid == x87.tag_valid);
        CHECK(guest.state().x87.st[5].significand == x87.st[5].significand);
        CHECK(std::equal(ymm[9].bytes.begin(), ymm[9].bytes.begin() + 16,
                         guest.state().ymm[9].bytes.begin()));
        CHECK(guest.state().mxcsr == 0x1FA5);
    }
}

TEST_CASE("FXSAVE needs 16-byte alignment, XSAVE 64", "[fpu][xsave]") {
    XsaveGuest guest;
    guest.state().gpr[RDI] = FpuGuest::kData + 8;
    CHECK(guest.fault({0x0F, 0xAE, 0x07}) == kGp);  // fxsave [rdi]
    CHECK(guest.fault({0x0F, 0xAE, 0x0F}) == kGp);  // fxrstor [rdi]
    guest.state().gpr[RDI] = FpuGuest::kData + 16;
    CHECK(guest.fault({0x0F, 0xAE, 0x07}) == kNone);  // fxsave [rdi]
    CHECK(guest.run_masked(7, kXsave64) == kGp);
    CHECK(guest.run_masked(7, kXrstor64) == kGp);
    CHECK(guest.run_masked(7, kXsavec64) == kGp);
}

TEST_CASE("without REX.W the pointers are 32 bits and selectors", "[fpu][xsave]") {
    CpuFeatures features = all_features();
    features.enable(Feature::ZERO_FCS_FDS, false);
    FpuGuest guest(0, features);
    guest.state().x87.instruction_pointer = 0x1111'2222'3333'4444;
    guest.state().x87.instruction_selector = 0x5555;
    guest.state().x87.data_pointer = 0x6666'7777'8888'9999;
    guest.state().x87.data_selector = 0xAAAA;
    REQUIRE(guest.fault({0x0F, 0xAE, 0x07}) == kNone);  // fxsave [rdi]
    CHECK(guest.peek<u64>(FpuGuest::kData + 8) == 0x0000'5555'3333'4444);
    CHECK(guest.peek<u64>(FpuGuest::kData + 16) == 0x0000'AAAA'8888'9999);
    REQUIRE(guest.fault({0x48, 0x0F, 0xAE, 0x07}) == kNone);  // fxsave64 [rdi]
    CHECK(guest.peek<u64>(FpuGuest::kData + 8) == 0x1111'2222'3333'4444);
    CHECK(guest.peek<u64>(FpuGuest::kData + 16) == 0x6666'7777'8888'9999);
}

TEST_CASE("outside 64-bit mode XMM8 to XMM15 are not stored", "[fpu][xsave]") {
    FpuGuest guest;
    guest.machine().enter_protected_mode();
    guest.set_xmm<u64>(7, {0x77, 0x77});
    guest.set_xmm<u64>(8, {0x88, 0x88});
    guest.poke<u64>(FpuGuest::kData + 160 + 8 * 16, 0x1234);
    REQUIRE(guest.fault({0x0F, 0xAE, 0x07}) == kNone);  // fxsave [rdi]
    CHECK(guest.peek<u64>(FpuGuest::kData + 160 + 7 * 16) == 0x77);
    CHECK(guest.peek<u64>(FpuGuest::kData + 160 + 8 * 16) == 0x1234);
}

TEST_CASE("XSAVE stores only what EDX:EAX and XCR0 ask for", "[fpu][xsave]") {
    XsaveGuest guest;
    guest.randomize(3);
    guest.state().xcr0 = kX87Sse;
    guest.refresh();
    Area filled;
    filled.fill(0xEE);
    std::fill(filled.begin() + kHeader, filled.begin() + kHeader + 64, u8{0});
    guest.poke(FpuGuest::kData, filled);
    REQUIRE(guest.run_masked(2 | 4, kXsave64) == kNone);  // AVX is not in XCR0
    const Area area = guest.area();
    CHECK(area[0] == 0xEE);  // x87 not asked for
    CHECK(guest.peek<u32>(FpuGuest::kData + 24) == 0x1FA5);
    CHECK(std::equal(area.begin() + 160, area.begin() + 176, guest.state().ymm[0].bytes.begin()));
    CHECK(guest.peek<u64>(FpuGuest::kData + kHeader) == 2);
    CHECK(area[576] == 0xEE);
}

TEST_CASE("XSAVE keeps the XSTATE_BV bits it was not asked about", "[fpu][xsave]") {
    XsaveGuest guest;
    guest.poke<u64>(FpuGuest::kData + kHeader, 4);
    REQUIRE(guest.run_masked(1, kXsave64) == kNone);
    CHECK(guest.peek<u64>(FpuGuest::kData + kHeader) == 4);  // x87 is in its initial configuration
}

TEST_CASE("XSAVEOPT does not write components in their initial configuration", "[fpu][xsave]") {
    XsaveGuest guest;
    guest.set_xmm<u64>(3, {1, 0, 0, 0});
    Area filled;
    filled.fill(0xEE);
    guest.poke(FpuGuest::kData, filled);
    guest.poke<u64>(FpuGuest::kData + kHeader, 7);
    REQUIRE(guest.run_masked(7, kXsaveopt64) == kNone);
    CHECK(guest.peek<u64>(FpuGuest::kData + kHeader) == 2);
    CHECK(guest.peek<u8>(FpuGuest::kData) == 0xEE);
    CHECK(guest.peek<u8>(FpuGuest::kData + 160 + 48) == 1);
    CHECK(guest.peek<u8>(FpuGuest::kData + 576) == 0xEE);
}

TEST_CASE("XSAVEC packs the components of RFBM, PKRU behind AVX", "[fpu][xsave]") {
    XsaveGuest guest;
    guest.randomize(5);
    REQUIRE(guest.run_masked(kX87SseAvx | kPkru, kXsavec64) == kNone);
    CHECK(guest.peek<u64>(FpuGuest::kData + kHeader) == (kX87SseAvx | kPkru));
    CHECK(guest.peek<u64>(FpuGuest::kData + kHeader + 8) == (kX87SseAvx | kPkru | (u64{1} << 63)));
    CHECK(guest.peek<u64>(FpuGuest::kData + 832) == guest.state().pkru);
    REQUIRE(guest.run_masked(kPkru, kXsavec64) == kNone);
    CHECK(guest.peek<u64>(FpuGuest::kData + 576) == guest.state().pkru);
}

TEST_CASE("XRSTOR undoes each of the saving instructions", "[fpu][xsave]") {
    for (const std::initializer_list<u8> save : {kXsave64, kXsaveopt64, kXsavec64, kXsaves64}) {
        XsaveGuest guest;
        guest.randomize(11);
        const CpuState before = guest.state();
        REQUIRE(guest.run_masked(~u64{0}, save) == kNone);
        guest.randomize(12);
        REQUIRE(guest.run_masked(~u64{0}, kXrstor64) == kNone);
        const CpuState& after = guest.state();
        CHECK(after.mxcsr == before.mxcsr);
        CHECK(after.pkru == before.pkru);
        CHECK(after.x87.status == before.x87.status);
        CHECK(after.x87.st[2].significand == before.x87.st[2].significand);
        for (unsigned i = 0; i < 16; ++i) {
            CHECK(after.ymm[i].bytes == before.ymm[i].bytes);
        }
    }
}

TEST_CASE("XRSTOR initializes what XSTATE_BV leaves out", "[fpu][xsave]") {
    XsaveGuest guest;
    guest.randomize(7);
    guest.poke<u32>(FpuGuest::kData + 24, 0x1F00);
    REQUIRE(guest.run_masked(~u64{0}, kXrstor64) == kNone);  // an area of zeros but for MXCSR
    CHECK(guest.state().x87.control == 0x37F);
    CHECK(guest.state().x87.tag_valid == 0);
    CHECK(guest.state().x87.st[0].significand == 0);
    CHECK(guest.xmm<u64>(4, 0) == 0);
    CHECK(guest.xmm<u64>(4, 3) == 0);
    CHECK(guest.state().pkru == 0);
    CHECK(guest.state().mxcsr == 0x1F00);  // standard format: from memory all the same
}

TEST_CASE("compacted XRSTOR initializes MXCSR with SSE", "[fpu][xsave]") {
    XsaveGuest guest;
    guest.randomize(7);
    guest.poke<u32>(FpuGuest::kData + 24, 0x1F00);
    guest.poke<u64>(FpuGuest::kData + kHeader + 8, (u64{1} << 63) | 7);
    REQUIRE(guest.run_masked(6, kXrstor64) == kNone);
    CHECK(guest.state().mxcsr == 0x1F80);
    CHECK(guest.xmm<u64>(4, 0) == 0);
    CHECK(guest.state().x87.control == 0x27F);  // not asked for
}

TEST_CASE("XRSTOR checks the header", "[fpu][xsave]") {
    struct Row {
        const char* name;
        u64 offset, value;
        u64 offset2, value2;
        int expected;
    };
    constexpr u64 kCompacted = u64{1} << 63;
    const Row rows[] = {
        {"standard: XSTATE_BV beyond XCR0", kHeader, 8, kHeader, 8, kGp},
        {"standard: XCOMP_BV not zero", kHeader + 8, 1, kHeader, 0, kGp},
        {"standard: bytes 23:16 not zero", kHeader + 16, 1, kHeader, 0, kGp},
        {"standard: later bytes are ignored", kHeader + 24, 1, kHeader, 0, kNone},
        {"compacted: XCOMP_BV beyond XCR0", kHeader + 8, kCompacted | 8, kHeader, 0, kGp},
        {"compacted: XSTATE_BV beyond XCOMP_BV", kHeader + 8, kCompacted | 1, kHeader, 2, kGp},
        {"compacted: reserved bytes", kHeader + 8, kCompacted | 1, kHeader + 56, 1, kGp},
        {"compacted", kHeader + 8, kCompacted | 1, kHeader, 1, kNone},
        {"reserved MXCSR bits", 24, 0x1'0000, kHeader, 2, kGp},
        {"reserved MXCSR bits though SSE is initial", 24, 0x1'0000, kHeader, 0, kGp},
    };
    for (const Row& row : rows) {
        CAPTURE(row.name);
        XsaveGuest guest;
        guest.randomize(9);
        const u64 before = guest.xmm<u64>(0);
        guest.poke<u64>(FpuGuest::kData + row.offset, row.value);
        guest.poke<u64>(FpuGuest::kData + row.offset2, row.value2);
        CHECK(guest.run_masked(7, kXrstor64) == row.expected);
        CHECK((row.expected == kNone || guest.xmm<u64>(0) == before));
    }
}

TEST_CASE("an XSAVE that page-faults writes nothing", "[fpu][xsave]") {
    XsaveGuest guest;
    guest.randomize(1);
    guest.state().gpr[RDI] = FpuGuest::kData + 2 * kPageBytes - 576;
    CHECK(guest.run_masked(7, kXsave64) == kPf);
    CHECK(guest.cpu().fault.payload == FpuGuest::kData + 2 * kPageBytes);
    CHECK(guest.peek<u64>(guest.state().gpr[RDI]) == 0);
    CHECK(guest.run_masked(3, kXsave64) == kNone);
}

TEST_CASE("XSAVES, XRSTORS and XSETBV need CPL 0; XRSTORS needs the compacted format",
          "[fpu][xsave]") {
    XsaveGuest user(3);
    CHECK(user.run_masked(7, kXsaves64) == kGp);
    CHECK(user.run_masked(7, kXrstors64) == kGp);
    CHECK(user.fault({0x0F, 0x01, 0xD1}) == kGp);  // xsetbv
    XsaveGuest guest;
    CHECK(guest.run_masked(7, kXsaves64) == kNone);
    CHECK(guest.run_masked(7, kXrstors64) == kNone);
    guest.poke<u64>(FpuGuest::kData + kHeader + 8, 0);
    CHECK(guest.run_masked(7, kXrstors64) == kGp);
}

TEST_CASE("XGETBV and XSETBV", "[fpu][xsave]") {
    XsaveGuest guest;
    guest.state().gpr[RCX] = 0;
    CHECK(guest.fault({0x0F, 0x01, 0xD0}) == kNone);  // xgetbv
    CHECK(guest.state().gpr[RAX] == (kX87SseAvx | kPkru));
    CHECK(guest.state().gpr[RDX] == 0);
    guest.state().gpr[RCX] = 1;
    CHECK(guest.fault({0x0F, 0x01, 0xD0}) == kNone);  // xgetbv
    CHECK(guest.state().gpr[RAX] == 0);
    guest.set_xmm<u64>(1, {0, 0, 1, 0});
    CHECK(guest.fault({0x0F, 0x01, 0xD0}) == kNone);  // xgetbv
    CHECK(guest.state().gpr[RAX] == 4);
    guest.state().gpr[RCX] = 2;
    CHECK(guest.fault({0x0F, 0x01, 0xD0}) == kGp);  // xgetbv

    guest.state().gpr[RCX] = 0;
    CHECK(guest.run_masked(5, {0x0F, 0x01, 0xD1}) == kGp);    // AVX without SSE
    CHECK(guest.run_masked(3, {0x0F, 0x01, 0xD1}) == kNone);  // xsetbv
    CHECK(guest.state().xcr0 == 3);
    CHECK(guest.fault({0xC5, 0xF8, 0x77}) == kUd);  // vzeroupper
    guest.state().cr4 &= ~cr4::kOsxsave;
    guest.refresh();
    CHECK(guest.fault({0x0F, 0x01, 0xD0}) == kUd);          // xgetbv
    CHECK(guest.run_masked(3, {0x0F, 0x01, 0xD1}) == kUd);  // xsetbv
}

// VMX non-root operation, as far as these instructions ask.
class NonRoot final : public Intercepts {
  public:
    bool enabled = true;
    bool exits = false;
    u64 operand = 0;

    bool
    instruction(Vcpu& /*cpu*/, const Insn& /*insn*/, Interceptable /*kind*/, u64 value) override {
        operand = value;
        return exits;
    }
    bool instruction_enabled(const Vcpu& /*cpu*/, Interceptable /*kind*/) const override {
        return enabled;
    }

    bool cr_access(Vcpu&, const Insn&, CrAccess, u8, u64&) override { return false; }
    u64 shadowed_cr0(const Vcpu& cpu) const override { return cpu.state.cr0; }
    u64 shadowed_cr4(const Vcpu& cpu) const override { return cpu.state.cr4; }
    bool dr_access(Vcpu&, const Insn&) override { return false; }
    bool io(Vcpu&, const Insn&, u16, unsigned, IoDirection, LinearAddr) override { return false; }
    bool rdmsr(Vcpu&, const Insn&, u32) override { return false; }
    bool wrmsr(Vcpu&, const Insn&, u32, u64) override { return false; }
    bool virtual_tpr_read(Vcpu&, u64&) override { return false; }
    bool virtual_tpr_write(Vcpu&, u64, Status&) override { return false; }
    bool x2apic_read(Vcpu&, u32, u64&, Status&) override { return false; }
    bool x2apic_write(Vcpu&, u32, u64, Status&) override { return false; }
    bool apic_access(Vcpu&, PhysAddr, unsigned, Access, u64&, Status&) override { return false; }
    bool event(Vcpu&, const Event&) override { return false; }
    void delivering(Vcpu&, const Event&) override {}
    void delivered(Vcpu&) override {}
    bool task_switch(Vcpu&, const Insn*, u16, unsigned) override { return false; }
    bool triple_fault(Vcpu&) override { return false; }
    bool boundary(Vcpu&) override { return false; }
    void take_pending_exit(Vcpu&) override {}
    void iret_unblocks_nmi(Vcpu&) override {}
    u64 guest_tsc(const Vcpu&, u64 tsc) const override { return tsc; }
};

TEST_CASE("in VMX non-root operation XSAVES and XRSTORS may be off or exit, and XSETBV exits",
          "[fpu][xsave]") {
    XsaveGuest guest;
    NonRoot vmx;
    guest.cpu().non_root.intercepts = &vmx;
    vmx.enabled = false;
    CHECK(guest.run_masked(7, kXsaves64) == kUd);
    CHECK(guest.run_masked(7, kXrstors64) == kUd);
    CHECK(guest.run_masked(7, kXsavec64) == kNone);
    vmx.enabled = true;
    CHECK(guest.run_masked(7, kXsaves64) == kNone);
    vmx.exits = true;
    guest.mask(0x1'0000'0007);
    CHECK(guest.run(kXsaves64) == Status::Switched);
    CHECK(vmx.operand == 0x1'0000'0007);
    CHECK(guest.run(kXrstors64) == Status::Switched);
    CHECK(guest.run({0x0F, 0x01, 0xD1}) == Status::Switched);  // xsetbv
    CHECK(guest.state().xcr0 == (kX87SseAvx | kPkru));
}

TEST_CASE("PKRU loaded by XRSTOR takes effect at once", "[fpu][xsave]") {
    XsaveGuest guest(3);
    guest.state().cr4 |= cr4::kPke;
    guest.refresh();
    guest.cpu().tlb.activate(guest.cpu());
    CHECK(guest.fault({0x48, 0x8B, 0x07}) == kNone);  // mov rax, [rdi]: in the TLB now
    guest.poke<u64>(FpuGuest::kData + kHeader, kPkru);
    guest.poke<u64>(FpuGuest::kData + 2688, 1);  // key 0: access disabled
    CHECK(guest.run_masked(kPkru, kXrstor64) == kNone);
    CHECK(guest.fault({0x48, 0x8B, 0x07}) == kPf);  // mov rax, [rdi]
}

}  // namespace
}  // namespace droste::test
