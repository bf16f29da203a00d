// The native CPU's features by CPUID, with the rows of features.inc saying where each bit is.

#include "cpu/x86/model/native_features.hpp"

#include <algorithm>
#include <array>
#include <cstdlib>

#include <cpuid.h>

namespace droste {
namespace {

enum class CpuidReg : u8 { EAX, EBX, ECX, EDX };

struct FeatureRow {
    Feature feature;
    std::string_view name;
    u32 leaf;
    u32 subleaf;
    CpuidReg reg;
    u8 bit;
};

constexpr auto kFeatureRows = std::to_array<FeatureRow>({
#define DROSTE_FEATURE(id, name, leaf, subleaf, reg, bit) \
    {Feature::id, name, leaf, subleaf, CpuidReg::reg, bit},
#include "cpu/x86/state/features.inc"
#undef DROSTE_FEATURE
});

struct NativeFeature {
    Feature feature;
    bool ymm;  // its VEX forms need the native OS to save YMM state
};

constexpr auto kNativeFeatures = std::to_array<NativeFeature>({
    {Feature::FPU, false},
    {Feature::MMX, false},
    {Feature::SSE, false},
    {Feature::SSE2, false},
    {Feature::SSE3, false},
    {Feature::SSSE3, false},
    {Feature::SSE4_1, false},
    {Feature::SSE4_2, false},
    {Feature::AES, false},
    {Feature::PCLMULQDQ, false},
    {Feature::SHA, false},
    {Feature::GFNI, false},
    {Feature::AVX, true},
    {Feature::F16C, true},
    {Feature::FMA, true},
    {Feature::AVX2, true},
    {Feature::VAES, true},
    {Feature::VPCLMULQDQ, true},
});

bool native_cpuid_bit(const FeatureRow& row) {
    std::array<u32, 4> regs{};
    if (native_masked(row.name)) {
        return false;
    }
    if (__get_cpuid_count(row.leaf, row.subleaf, regs.data(), &regs[1], &regs[2], &regs[3]) == 0) {
        return false;
    }
    return ((regs[static_cast<unsigned>(row.reg)] >> row.bit) & 1) != 0;
}

bool native_ymm_enabled() {
    constexpr u32 kOsxsaveBit = 1U << 27;
    constexpr u32 kSseAndAvx = 6;
    u32 eax = 0;
    u32 ebx = 0;
    u32 ecx = 0;
    u32 edx = 0;
    if (__get_cpuid(1, &eax, &ebx, &ecx, &edx) == 0 || (ecx & kOsxsaveBit) == 0) {
        return false;
    }
    u32 low = 0;
    u32 high = 0;
    asm volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (low & kSseAndAvx) == kSseAndAvx;
}

}  // namespace

bool native_masked(std::string_view name) {
    const char* variable = std::getenv("DROSTE_NATIVE_WITHOUT");
    std::string_view rest = variable == nullptr ? "" : variable;
    while (!rest.empty()) {
        const std::size_t comma = std::min(rest.find(','), rest.size());
        if (rest.substr(0, comma) == name) {
            return true;
        }
        rest.remove_prefix(std::min(comma + 1, rest.size()));
    }
    return false;
}

bool needs_native_unit(Feature feature) {
    return std::any_of(kNativeFeatures.begin(), kNativeFeatures.end(),
                       [&](const NativeFeature& row) { return row.feature == feature; });
}

CpuFeatures native_cpuid_features() {
    CpuFeatures features;
    for (const FeatureRow& row : kFeatureRows) {
        features.enable(row.feature, native_cpuid_bit(row));
    }
    return features;
}

CpuFeatures native_vector_features() {
    CpuFeatures features;
    const bool ymm = native_ymm_enabled() && !native_masked("avx");
    for (const NativeFeature& native : kNativeFeatures) {
        const auto row =
            std::find_if(kFeatureRows.begin(), kFeatureRows.end(),
                         [&](const FeatureRow& r) { return r.feature == native.feature; });
        features.enable(native.feature, native_cpuid_bit(*row) && (!native.ymm || ymm));
    }
    return features;
}

}  // namespace droste
