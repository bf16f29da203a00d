// CPUID: one row a leaf. SDM Vol. 2A, "CPUID—CPU Identification".
//
// Feature words are not written here: they are the rows of features.inc that name the leaf and
// register, plus the few bits that follow the state of the vCPU. docs/x86/cpuid.md has the table a
// reader wants.

#include "cpu/x86/model/cpuid.hpp"

#include "core/bits.hpp"
#include "core/clock.hpp"
#include "cpu/x86/apic/local_apic.hpp"
#include "cpu/x86/model/msr.hpp"
#include "cpu/x86/model/xstate.hpp"
#include "cpu/x86/seams/intercept.hpp"
#include "cpu/x86/vcpu.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <string_view>

namespace droste {

namespace {

constexpr u32 kMaxBasicLeaf = 0x1F;
constexpr u32 kMaxExtendedLeaf = 0x8000'0008;

// --- Feature words. ---

enum class Register : u8 { EAX, EBX, ECX, EDX };

struct FeatureBit {
    Feature feature;
    u32 leaf;
    u32 subleaf;
    Register reg;
    u8 bit;
};

constexpr auto kFeatureBits = std::to_array<FeatureBit>({
#define DROSTE_FEATURE(id, name, leaf, subleaf, reg, bit) \
    {Feature::id, leaf, subleaf, Register::reg, bit},
#include "cpu/x86/state/features.inc"
#undef DROSTE_FEATURE
});

u32& word_of(CpuidResult& result, Register reg) {
    switch (reg) {
    case Register::EAX: return result.eax;
    case Register::EBX: return result.ebx;
    case Register::ECX: return result.ecx;
    default: return result.edx;
    }
}

// A feature the model has may be hidden, or shown, by the state of the vCPU.
bool shows(const Vcpu& cpu, Feature feature) {
    switch (feature) {
    case Feature::OSXSAVE:
        return cpu.features.has(Feature::XSAVE) && (cpu.state.cr4 & cr4::kOsxsave) != 0;
    case Feature::OSPKE: return cpu.features.has(Feature::PKU) && (cpu.state.cr4 & cr4::kPke) != 0;
    case Feature::APIC: return cpu.features.has(feature) && cpu.apic->globally_enabled();
    case Feature::HTT: return cpu.features.vcpu_count > 1;
    case Feature::MONITOR:
        return cpu.features.has(feature) && misc_enable_bit(cpu, kMiscEnableMonitor);
    // "SYSCALL/SYSRET available in 64-bit mode": the bit reads 0 elsewhere.
    case Feature::SYSCALL: return cpu.features.has(feature) && cpu.mode.long_mode64;
    // Only where somebody executes the instructions.
    case Feature::VMX: return cpu.features.has(feature) && cpu.vmx != nullptr;
    default: return cpu.features.has(feature);
    }
}

CpuidResult feature_words(const Vcpu& cpu, u32 leaf, u32 subleaf) {
    CpuidResult result;
    for (const FeatureBit& row : kFeatureBits) {
        if (row.leaf == leaf && row.subleaf == subleaf && shows(cpu, row.feature)) {
            word_of(result, row.reg) |= 1U << row.bit;
        }
    }
    return result;
}

// --- Identity. ---

constexpr u32 letters(std::string_view four) {
    u32 word = 0;
    for (unsigned i = 0; i < 4; ++i) {
        word |= static_cast<u32>(static_cast<u8>(four[i])) << (i * 8);
    }
    return word;
}

CpuidResult vendor(const Vcpu& cpu, u32 /*subleaf*/) {
    // For systems that cannot handle more than leaf 2.
    const bool limited = misc_enable_bit(cpu, kMiscEnableLimitCpuid);
    return {limited ? 2 : kMaxBasicLeaf, letters("Genu"), letters("ntel"), letters("ineI")};
}

// Family and model above 15 spill into the extended fields.
u32 signature(const CpuFeatures& f) {
    const u32 family = std::min<u32>(f.family, 0xF);
    const u32 extended_family = f.family - family;
    return (f.stepping & 0xFU) | (f.model & 0xFU) << 4 | family << 8 | u32{f.model} >> 4 << 16 |
           extended_family << 20;
}

// Bits that number the cores of the package.
unsigned core_id_bits(const Vcpu& cpu) {
    return static_cast<unsigned>(std::bit_width(cpu.features.vcpu_count - 1));
}

u32 addressable_ids(const Vcpu& cpu) {
    return 1U << core_id_bits(cpu);
}

CpuidResult version_and_features(const Vcpu& cpu, u32 /*subleaf*/) {
    CpuidResult result = feature_words(cpu, 1, 0);
    constexpr u32 kClflushLine = 64 / 8;
    result.eax = signature(cpu.features);
    result.ebx = kClflushLine << 8 | std::min(addressable_ids(cpu), 255U) << 16 |
                 (cpu.apic->id() & 0xFF) << 24;
    return result;
}

CpuidResult brand(const Vcpu& cpu, std::size_t part) {
    std::array<char, 48> text{};
    std::strncpy(text.data(), cpu.features.brand, text.size() - 1);
    const auto word = [&](std::size_t i) {
        return letters(std::string_view(text.data() + part * 16 + i * 4, 4));
    };
    return {word(0), word(1), word(2), word(3)};
}

CpuidResult brand_0(const Vcpu& cpu, u32 /*subleaf*/) {
    return brand(cpu, 0);
}
CpuidResult brand_1(const Vcpu& cpu, u32 /*subleaf*/) {
    return brand(cpu, 1);
}
CpuidResult brand_2(const Vcpu& cpu, u32 /*subleaf*/) {
    return brand(cpu, 2);
}

// --- Caches and topology: one thread a core, all cores in one package, APIC id = index. ---

// Leaf 2 descriptors: FFH "see leaf 4", 03H, B5H, C3H: data, code and second-level TLB; F0H:
// 64-byte prefetch.
CpuidResult cache_descriptors(const Vcpu& /*cpu*/, u32 /*subleaf*/) {
    return {0x03B5'FF01, 0x0000'00F0, 0, 0x00C3'0000};
}

struct Cache {
    u8 type;  // 1 data, 2 instruction, 3 unified
    u8 level;
    u16 ways;
    u32 sets;
    bool shared;
};
constexpr std::array<Cache, 4> kCaches = {{
    {1, 1, 12, 64, false},    // 48 KB
    {2, 1, 8, 64, false},     // 32 KB
    {3, 2, 16, 2048, false},  // 2 MB
    {3, 3, 16, 32768, true},  // 32 MB
}};
constexpr u32 kLineBytes = 64;

CpuidResult cache_parameters(const Vcpu& cpu, u32 subleaf) {
    if (subleaf >= kCaches.size()) {
        return {};
    }
    const Cache& cache = kCaches[subleaf];
    const u32 sharing = cache.shared ? addressable_ids(cpu) - 1 : 0;
    const u32 cores = std::min(addressable_ids(cpu), 64U) - 1;
    constexpr u32 kSelfInitializing = 1U << 8;
    return {u32{cache.type} | u32{cache.level} << 5 | kSelfInitializing | sharing << 14 |
                cores << 26,
            (kLineBytes - 1) | (cache.ways - 1U) << 22, cache.sets - 1, 0};
}

CpuidResult l2_cache(const Vcpu& /*cpu*/, u32 /*subleaf*/) {
    constexpr const Cache& kL2 = kCaches[2];
    constexpr u32 kKilobytes = kL2.ways * kL2.sets * kLineBytes / 1024;
    constexpr u32 kSixteenWay = 8;  // encoding of the associativity field
    return {0, 0, kLineBytes | kSixteenWay << 12 | kKilobytes << 16, 0};
}

// Leaves 0BH and 1FH: level 0 is SMT, level 1 the cores.
CpuidResult extended_topology(const Vcpu& cpu, u32 subleaf) {
    constexpr u32 kSmt = 1U << 8;
    constexpr u32 kCore = 2U << 8;
    const u32 level = subleaf & 0xFF;
    switch (subleaf) {
    case 0: return {0, 1, level | kSmt, cpu.apic->id()};
    case 1: return {core_id_bits(cpu), cpu.features.vcpu_count, level | kCore, cpu.apic->id()};
    default: return {0, 0, level, cpu.apic->id()};
    }
}

// --- The rest. ---

CpuidResult monitor_mwait(const Vcpu& cpu, u32 /*subleaf*/) {
    if (!cpu.features.has(Feature::MONITOR)) {
        return {};
    }
    constexpr u32 kExtensions = 1U << 0;       // the fields below are there
    constexpr u32 kInterruptsBreak = 1U << 1;  // even with RFLAGS.IF = 0
    constexpr u32 kOneC1Substate = 1U << 4;
    return {kLineBytes, kLineBytes, kExtensions | kInterruptsBreak, kOneC1Substate};
}

CpuidResult thermal_and_power(const Vcpu& cpu, u32 subleaf) {
    return feature_words(cpu, 6, subleaf);
}

CpuidResult extended_features(const Vcpu& cpu, u32 subleaf) {
    CpuidResult result = feature_words(cpu, 7, subleaf);
    if (subleaf == 0) {
        const CpuidResult next = feature_words(cpu, 7, 1);
        const bool any = (next.eax | next.ebx | next.ecx | next.edx) != 0;
        result.eax = any ? 1 : 0;  // the highest subleaf
    }
    return result;
}

// Leaf 0DH. SDM Vol. 1, "Enumeration of CPU Support for XSAVE Instructions and XSAVE-Supported
// Features".
CpuidResult xsave_state(const Vcpu& cpu, u32 subleaf) {
    const u64 supported = xcr0_supported(cpu.features);
    if (supported == 0) {
        return {};
    }
    if (subleaf == 0) {
        return {static_cast<u32>(supported), xsave_standard_bytes(cpu.state.xcr0),
                xsave_standard_bytes(supported), static_cast<u32>(supported >> 32)};
    }
    if (subleaf == 1) {
        CpuidResult result = feature_words(cpu, 0xD, 1);
        if (cpu.features.has(Feature::XSAVEC)) {
            result.ebx = xsave_compacted_bytes(cpu.state.xcr0 | cpu.state.xss);
        }
        result.ecx = static_cast<u32>(xss_supported(cpu.features));
        return result;
    }
    constexpr u32 kSupervisor = 1, kAligned = 2;
    for (const XstateComponent& component : kXstateComponents) {
        if (component.number == subleaf &&
            test_bit(supported | xss_supported(cpu.features), subleaf)) {
            return {component.bytes, component.offset,
                    (component.supervisor() ? kSupervisor : 0) |
                        (component.aligned64 ? kAligned : 0),
                    0};
        }
    }
    return {};
}

// TSC = crystal * EBX / EAX.
CpuidResult tsc_frequency(const Vcpu& /*cpu*/, u32 /*subleaf*/) {
    static_assert(kTscHz % LocalApic::kCrystalHz == 0);
    return {1, static_cast<u32>(kTscHz / LocalApic::kCrystalHz),
            static_cast<u32>(LocalApic::kCrystalHz), 0};
}

CpuidResult processor_frequency(const Vcpu& /*cpu*/, u32 /*subleaf*/) {
    constexpr u32 kMegahertz = kTscHz / 1'000'000;
    constexpr u32 kBusMegahertz = 100;
    return {kMegahertz, kMegahertz, kBusMegahertz, 0};
}

CpuidResult max_extended(const Vcpu& /*cpu*/, u32 /*subleaf*/) {
    return {kMaxExtendedLeaf, 0, 0, 0};
}

CpuidResult extended_version(const Vcpu& cpu, u32 /*subleaf*/) {
    return feature_words(cpu, 0x8000'0001, 0);
}

CpuidResult advanced_power(const Vcpu& cpu, u32 /*subleaf*/) {
    return feature_words(cpu, 0x8000'0007, 0);
}

CpuidResult address_sizes(const Vcpu& cpu, u32 /*subleaf*/) {
    CpuidResult result = feature_words(cpu, 0x8000'0008, 0);
    result.eax = cpu.features.physical_address_bits | u32{cpu.features.linear_address_bits} << 8;
    return result;
}

// --- The table. Leaves in range without a row are reserved: all zeros. ---

struct Row {
    u32 leaf;
    CpuidResult (*answer)(const Vcpu& cpu, u32 subleaf);
};

constexpr auto kLeaves = std::to_array<Row>({
    {0x00, vendor},
    {0x01, version_and_features},
    {0x02, cache_descriptors},
    {0x04, cache_parameters},
    {0x05, monitor_mwait},
    {0x06, thermal_and_power},
    {0x07, extended_features},
    {0x0B, extended_topology},  // 0AH: performance monitoring, version 0
    {0x0D, xsave_state},
    {0x15, tsc_frequency},  // 0FH..14H: resource director, SGX, processor trace: none
    {0x16, processor_frequency},
    {0x1F, extended_topology},
    {0x8000'0000, max_extended},
    {0x8000'0001, extended_version},
    {0x8000'0002, brand_0},
    {0x8000'0003, brand_1},
    {0x8000'0004, brand_2},
    {0x8000'0006, l2_cache},
    {0x8000'0007, advanced_power},
    {0x8000'0008, address_sizes},
});

}  // namespace

CpuidResult cpuid(const Vcpu& cpu, u32 leaf, u32 subleaf) {
    const bool in_range =
        leaf <= kMaxBasicLeaf || (leaf >= 0x8000'0000 && leaf <= kMaxExtendedLeaf);
    // "... the data for the highest basic information leaf is returned."
    const u32 answered = in_range ? leaf : kMaxBasicLeaf;
    const auto row = std::find_if(kLeaves.begin(), kLeaves.end(),
                                  [answered](const Row& r) { return r.leaf == answered; });
    return row == kLeaves.end() ? CpuidResult{} : row->answer(cpu, subleaf);
}

}  // namespace droste
