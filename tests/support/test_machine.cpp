#include "tests/support/test_machine.hpp"

#include "cpu/x86/model/native_features.hpp"
#include "cpu/x86/model/xstate.hpp"

#include <utility>

namespace droste::test {

namespace {

constexpr u32 kCode64 = 0xA09B;  // type 11, S, P, L, G
constexpr u32 kCode32 = 0xC09B;  // D instead of L
constexpr u32 kData = 0xC093;
constexpr u32 kDpl3 = 3U << 5;

std::unique_ptr<GuestMemory> make_memory(u64 bytes) {
    auto memory = GuestMemory::create(bytes);
    DROSTE_ASSERT(memory.has_value());
    return std::move(memory).value();
}

}  // namespace

CpuFeatures all_features() {
    CpuFeatures features;
    features.set.set();
    features.enable(Feature::VMX, false);
    features.enable(Feature::HYPERVISOR, false);
    const CpuFeatures native = NativeFeatures{}.units();
    for (const Feature vector :
         {Feature::SSE3, Feature::SSSE3, Feature::SSE4_1, Feature::SSE4_2, Feature::AES,
          Feature::PCLMULQDQ, Feature::SHA, Feature::GFNI, Feature::F16C, Feature::FMA,
          Feature::AVX, Feature::AVX2, Feature::VAES, Feature::VPCLMULQDQ}) {
        features.enable(vector, native.has(vector));
    }
    return features;
}

Segment flat_segment(u16 selector, u32 rights) {
    Segment segment;
    segment.selector = selector;
    segment.rights = rights;
    segment.limit = 0xFFFF'FFFF;
    segment.base = 0;
    refresh_segment_checks(segment);
    return segment;
}

TestMachine::TestMachine(const CpuFeatures& cpu_features)
    : memory_(make_memory(kRamBytes))
    , features_(cpu_features) {
    cpu_ =
        std::make_unique<Vcpu>(0, Vcpu::Wiring{*memory_, bus_, clock_, events_, log_}, features_);
    const auto owned = own_code(*cpu_);
    DROSTE_ASSERT(owned.has_value());
    drive_clock(*cpu_);
    reset_power_on(*cpu_);
}

void TestMachine::poke(PhysAddr address, std::span<const u8> bytes) {
    const bool written = memory().write(address, bytes);
    DROSTE_ASSERT(written);
}

u64 TestMachine::table_entry(u64 table, unsigned index) {
    const u64 slot = table + index * 8U;
    u64 entry = peek_value<u64>(slot);
    if (entry == 0) {
        entry = next_table_ | 7;
        next_table_ += kPageBytes;
        poke_value(slot, entry);
    }
    return entry & kPageMask;
}

void TestMachine::map(u64 linear, u64 physical, bool writable) {
    map_leaf(linear, (physical & kPageMask) | 5 | (writable ? 2U : 0U));
}

void TestMachine::map_leaf(u64 linear, u64 entry) {
    u64 table = kTables;
    for (unsigned level = 4; level > 1; --level) {
        table = table_entry(table, static_cast<unsigned>((linear >> (12 + (level - 1) * 9)) & 511));
    }
    poke_value(table + ((linear >> 12) & 511) * 8, entry);
}

void TestMachine::enter_long_mode(unsigned cpl) {
    CpuState& s = cpu().state;
    next_table_ = kTables + kPageBytes;
    s.cr0 = cr0::kPe | cr0::kMp | cr0::kEt | cr0::kNe | cr0::kWp | cr0::kAm | cr0::kPg;
    s.cr4 = cr4::kPae | cr4::kOsfxsr | cr4::kOsxmmexcpt | cr4::kOsxsave | cr4::kFsgsbase;
    s.efer = efer::kSce | efer::kLme | efer::kLma | efer::kNxe;
    s.cr3 = kTables;
    s.xcr0 = xcr0_supported(cpu().features) & (xstate::kX87 | xstate::kSse | xstate::kAvx);
    const u32 dpl = cpl == 3 ? kDpl3 : 0;
    const u16 rpl = static_cast<u16>(cpl);
    s.seg[CS] = flat_segment(static_cast<u16>(0x10 | rpl), kCode64 | dpl);
    for (const SegReg reg : {SS, DS, ES, FS, GS}) {
        s.seg[reg] = flat_segment(static_cast<u16>(0x18 | rpl), kData | dpl);
    }
    // A TSS without an I/O permission bitmap: port I/O at CPL 3 is #GP.
    s.tr = flat_segment(0x20, 0x8B);
    s.tr.limit = 0x50;
    s.set_rflags(rflags::kFixed1);
    cpu().tlb.activate(cpu());
    mode_changed(cpu());
    update_attention(cpu());
}

void TestMachine::enter_protected_mode() {
    CpuState& s = cpu().state;
    s.cr0 = cr0::kPe | cr0::kEt | cr0::kNe;
    s.cr4 = cr4::kOsfxsr | cr4::kOsxmmexcpt;
    s.efer = 0;
    s.seg[CS] = flat_segment(0x10, kCode32);
    for (const SegReg reg : {SS, DS, ES, FS, GS}) {
        s.seg[reg] = flat_segment(0x18, kData);
    }
    s.set_rflags(rflags::kFixed1);
    cpu().tlb.activate(cpu());
    mode_changed(cpu());
    update_attention(cpu());
}

}  // namespace droste::test
