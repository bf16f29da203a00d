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

constexpr bool in_order() {
    for (std::size_t i = 0; i < kFeatureRows.size(); ++i) {
        if (kFeatureRows[i].feature != static_cast<Feature>(i)) {
            return false;
        }
    }
    return true;
}
static_assert(in_order());

constexpr std::string_view name_of(Feature feature) {
    return kFeatureRows[static_cast<std::size_t>(feature)].name;
}

// Who uses it.
enum class User : u8 {
    Unit,        // guest instructions that execute on the native unit,
    UnitYmm,     // ... in forms that need the native OS to save YMM state
    Translated,  // translated code alone
};

struct NativeFeature {
    Feature feature;
    u8 level;  // of x86-64 that asks for it; 3: v3 or none
    User user;
};

constexpr u8 kV2 = 2;

// What is asked of the native CPU anywhere.
constexpr auto kNativeFeatures = std::to_array<NativeFeature>({
    {Feature::FPU, 1, User::Unit},
    {Feature::MMX, 1, User::Unit},
    {Feature::SSE, 1, User::Unit},
    {Feature::SSE2, 1, User::Unit},
    {Feature::SSE3, kV2, User::Unit},
    {Feature::SSSE3, kV2, User::Unit},
    {Feature::SSE4_1, kV2, User::Unit},
    {Feature::SSE4_2, kV2, User::Unit},
    {Feature::CX16, kV2, User::Translated},
    {Feature::LAHF_LM, kV2, User::Translated},
    {Feature::POPCNT, kV2, User::Translated},
    {Feature::AES, 3, User::Unit},
    {Feature::PCLMULQDQ, 3, User::Unit},
    {Feature::SHA, 3, User::Unit},
    {Feature::GFNI, 3, User::Unit},
    {Feature::AVX, 3, User::UnitYmm},
    {Feature::F16C, 3, User::UnitYmm},
    {Feature::FMA, 3, User::UnitYmm},
    {Feature::AVX2, 3, User::UnitYmm},
    {Feature::VAES, 3, User::UnitYmm},
    {Feature::VPCLMULQDQ, 3, User::UnitYmm},
    {Feature::BMI1, 3, User::Translated},
    {Feature::BMI2, 3, User::Translated},
    {Feature::LZCNT, 3, User::Translated},
    {Feature::ADX, 3, User::Translated},
});

constexpr std::array<std::string_view, static_cast<std::size_t>(NativeFeatures::Trait::kCount)>
    kTraitNames = {"random", "undefined-flags", "undefined-results"};

const NativeFeature* find(Feature feature) {
    const auto* row =
        std::find_if(kNativeFeatures.begin(), kNativeFeatures.end(),
                     [&](const NativeFeature& known) { return known.feature == feature; });
    return row == kNativeFeatures.end() ? nullptr : row;
}

const NativeFeature* find(std::string_view name) {
    const auto* row =
        std::find_if(kNativeFeatures.begin(), kNativeFeatures.end(),
                     [&](const NativeFeature& known) { return name_of(known.feature) == name; });
    return row == kNativeFeatures.end() ? nullptr : row;
}

bool cpuid_bit(const FeatureRow& row) {
    std::array<u32, 4> regs{};
    if (__get_cpuid_count(row.leaf, row.subleaf, regs.data(), &regs[1], &regs[2], &regs[3]) == 0) {
        return false;
    }
    return ((regs[static_cast<unsigned>(row.reg)] >> row.bit) & 1) != 0;
}

bool ymm_enabled() {
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

// What there is, whatever is hidden.
struct Native {
    CpuFeatures cpuid;
    bool ymm = ymm_enabled();

    Native() {
        for (const FeatureRow& row : kFeatureRows) {
            cpuid.enable(row.feature, cpuid_bit(row));
        }
    }
};

const Native& native() {
    static const Native kNative;
    return kNative;
}

template <typename Take>
void for_each_hidden(const Take& take) {
    const char* variable = std::getenv("DROSTE_NATIVE_WITHOUT");
    std::string_view rest = variable == nullptr ? "" : variable;
    while (!rest.empty()) {
        const std::size_t comma = std::min(rest.find(','), rest.size());
        take(rest.substr(0, comma));
        rest.remove_prefix(std::min(comma + 1, rest.size()));
    }
}

}  // namespace

bool native_masked(std::string_view name) {
    bool masked = false;
    for_each_hidden([&](std::string_view hidden) { masked = masked || hidden == name; });
    return masked;
}

bool needs_native_unit(Feature feature) {
    const NativeFeature* row = find(feature);
    return row != nullptr && row->user != User::Translated;
}

CpuFeatures native_cpuid_features() {
    CpuFeatures features = native().cpuid;
    for (const FeatureRow& row : kFeatureRows) {
        if (native_masked(row.name)) {
            features.enable(row.feature, false);
        }
    }
    return features;
}

NativeFeatures::NativeFeatures() {
    // Names that only tests know are theirs.
    for_each_hidden([this](std::string_view name) { (void)hide(name); });
}

bool NativeFeatures::has(Feature feature) const {
    const auto shown = [this](Feature f) {
        return native().cpuid.has(f) && !hidden_[static_cast<std::size_t>(f)];
    };
    const NativeFeature* row = find(feature);
    const bool needs_ymm = row != nullptr && row->user == User::UnitYmm;
    return shown(feature) && (!needs_ymm || (native().ymm && shown(Feature::AVX)));
}

CpuFeatures NativeFeatures::units() const {
    CpuFeatures features;
    for (const NativeFeature& row : kNativeFeatures) {
        features.enable(row.feature, row.user != User::Translated && has(row.feature));
    }
    return features;
}

std::string NativeFeatures::lacking_of_v2() const {
    std::string names;
    for (const NativeFeature& row : kNativeFeatures) {
        if (row.level <= kV2 && !has(row.feature)) {
            names += (names.empty() ? "'" : ", '") + std::string(name_of(row.feature)) + "'";
        }
    }
    return names;
}

NativeFeatures::Change NativeFeatures::hide(std::string_view name) {
    if (const NativeFeature* row = find(name); row != nullptr) {
        hidden_.set(static_cast<std::size_t>(row->feature));
        return Change::Done;
    }
    const auto* trait = std::find(kTraitNames.begin(), kTraitNames.end(), name);
    if (trait == kTraitNames.end()) {
        return Change::Unknown;
    }
    hidden_traits_.set(static_cast<std::size_t>(trait - kTraitNames.begin()));
    return Change::Done;
}

NativeFeatures::Change NativeFeatures::show(std::string_view name) {
    if (const NativeFeature* row = find(name); row != nullptr) {
        hidden_.reset(static_cast<std::size_t>(row->feature));
        return has(row->feature) ? Change::Done : Change::Lacking;
    }
    const auto* trait = std::find(kTraitNames.begin(), kTraitNames.end(), name);
    if (trait == kTraitNames.end()) {
        return Change::Unknown;
    }
    hidden_traits_.reset(static_cast<std::size_t>(trait - kTraitNames.begin()));
    return Change::Done;
}

void NativeFeatures::hide_beyond_v2() {
    for (const NativeFeature& row : kNativeFeatures) {
        if (row.level > kV2) {
            hidden_.set(static_cast<std::size_t>(row.feature));
        }
    }
}

std::vector<std::string_view> NativeFeatures::names() {
    std::vector<std::string_view> names;
    names.reserve(kNativeFeatures.size() + kTraitNames.size());
    for (const NativeFeature& row : kNativeFeatures) {
        names.push_back(name_of(row.feature));
    }
    names.insert(names.end(), kTraitNames.begin(), kTraitNames.end());
    return names;
}

}  // namespace droste
