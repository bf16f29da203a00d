// CPU models and the language of -cpu. docs/x86/cpuid.md explains both to users.
//
// Rules between features are one table (kNeeds): turning a feature on turns on what it needs,
// turning one off takes along what needs it, and asking for both at once is an error. So the guest
// never sees, say, AVX without XSAVE.

#include "cpu/x86/model/cpu_models.hpp"

#include "core/text.hpp"
#include "cpu/x86/model/native_features.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <vector>

#include <fmt/format.h>

namespace droste {

namespace {

using enum Feature;

// --- The models. Each holds its own rows; a model includes the one before it. ---

// x86-64-v2 as in the psABI, with the timers and identity every model shares ("not affected" by
// speculation bugs).
constexpr auto kBaselineFeatures = std::to_array<Feature>({
    FPU,     VME,     DE,           PSE,    TSC,        MSR,       PAE,
    MCE,     CX8,     APIC,         SEP,    MTRR,       PGE,       MCA,
    CMOV,    PAT,     PSE36,        CLFSH,  MMX,        FXSR,      SSE,
    SSE2,    SS,      SSE3,         SSSE3,  CX16,       SSE4_1,    SSE4_2,
    X2APIC,  POPCNT,  TSC_DEADLINE, ARAT,   TSC_ADJUST, SPEC_CTRL, ARCH_CAPABILITIES,
    LAHF_LM, SYSCALL, NX,           RDTSCP, LM,         INVTSC,
});

// What KVM, Xen and Hyper-V of today know and pass on. MONITOR is left out: idling by HLT costs an
// emulator less.
constexpr auto kNestedFeatures = std::to_array<Feature>({
    PCLMULQDQ, FMA,        PCID,   MOVBE,   AES,    XSAVE, AVX,       F16C,    RDRAND,
    FSGSBASE,  BMI1,       AVX2,   SMEP,    BMI2,   ERMS,  INVPCID,   RDSEED,  ADX,
    SMAP,      CLFLUSHOPT, CLWB,   UMIP,    RDPID,  FSRM,  MD_CLEAR,  STIBP,   L1D_FLUSH,
    SSBD,      XSAVEOPT,   XSAVEC, XGETBV1, XSAVES, LZCNT, PREFETCHW, PDPE1GB, WBNOINVD,
});

// The rest of what is implemented.
constexpr auto kMaxFeatures = std::to_array<Feature>({
    MONITOR,
    VMX,
    SHA,
    PKU,
    WAITPKG,
    GFNI,
    VAES,
    VPCLMULQDQ,
    LA57,
    CLDEMOTE,
    SERIALIZE,
    CET_SS,
    CET_IBT,
    CET_SSS,
});

constexpr auto kModels = std::to_array<CpuModel>({
    {"baseline", "x86-64-v2: SSE4.2, no AVX", kBaselineFeatures},
    {"nested", "x86-64-v3 and what today's hypervisors know; the default", kNestedFeatures},
    {"max", "everything implemented, VMX and 5-level paging included", kMaxFeatures},
});

struct ModelAlias {
    std::string_view name;
    std::string_view model;
};
constexpr auto kModelAliases = std::to_array<ModelAlias>({
    {"default", "nested"},
    {"host", "max"},
    {"qemu64", "baseline"},
    {"kvm64", "baseline"},
});

// --- Features by name. ---

constexpr std::array<std::string_view, static_cast<std::size_t>(kCount)> kFeatureNames = {
#define DROSTE_FEATURE(id, name, leaf, subleaf, reg, bit) name,
#include "cpu/x86/state/features.inc"
#undef DROSTE_FEATURE
};

struct FeatureAlias {
    std::string_view name;  // with '-' for '_'
    Feature feature;
};
constexpr auto kFeatureAliases = std::to_array<FeatureAlias>({
    {"pni", SSE3},
    {"sse4-1", SSE4_1},
    {"sse4-2", SSE4_2},
    {"pclmuldq", PCLMULQDQ},
    {"cmpxchg8b", CX8},
    {"cmpxchg16b", CX16},
    {"clfsh", CLFSH},
    {"tsc-deadline-timer", TSC_DEADLINE},
    {"i64", LM},
    {"xd", NX},
    {"abm", LZCNT},
    {"3dnowprefetch", PREFETCHW},
    {"sha", SHA},
    {"rdrnd", RDRAND},
    {"flush-l1d", L1D_FLUSH},
    {"ibrs", SPEC_CTRL},
    {"gbpages", PDPE1GB},
    {"selfsnoop", SS},
    {"shstk", CET_SS},
    {"ibt", CET_IBT},
});

// QEMU's properties that change nothing here: features are always checked, nothing migrates between
// machines, and there is no PMU to turn off.
constexpr bool is_accepted_silently(std::string_view item) {
    return item == "check" || item == "pmu=off" || item == "-pmu" ||
           item.starts_with("migratable") || item.starts_with("host-phys-bits");
}

// Bits that follow the state of the vCPU or its neighbors, not the model.
constexpr bool is_dynamic(Feature feature) {
    return feature == OSXSAVE || feature == OSPKE || feature == HTT;
}

// --- What needs what. ---

struct Need {
    Feature feature;
    Feature needs;
};
// clang-format off
constexpr auto kNeeds = std::to_array<Need>({
    {SSE, FXSR},          {SSE2, SSE},           {SSE3, SSE2},          {SSSE3, SSE3},        {SSE4_1, SSSE3},
    {SSE4_2, SSE4_1},     {SSE4_2, POPCNT},      {AES, SSE2},           {PCLMULQDQ, SSE2},    {SHA, SSE2},
    {GFNI, SSE2},         {MMX, FPU},            {FXSR, FPU},           {XSAVE, FXSR},        {XSAVE, SSE},
    {XSAVEOPT, XSAVE},    {XSAVEC, XSAVE},       {XGETBV1, XSAVE},      {XSAVES, XSAVEC},     {XSAVES, MSR},
    {AVX, XSAVE},         {AVX, SSE4_2},         {F16C, AVX},           {FMA, AVX},           {AVX2, AVX},
    {VAES, AVX},          {VAES, AES},           {VPCLMULQDQ, AVX},     {VPCLMULQDQ, PCLMULQDQ}, {PKU, XSAVE},
    {PKU, LM},            {LM, PAE},             {LM, SSE2},            {LM, MSR},            {NX, PAE},
    {NX, MSR},            {SYSCALL, LM},         {LAHF_LM, LM},         {CX16, LM},           {CX16, CX8},
    {FSGSBASE, LM},       {PCID, LM},            {LA57, LM},            {PDPE1GB, LM},        {PSE36, PSE},
    {X2APIC, APIC},       {X2APIC, MSR},         {TSC_DEADLINE, APIC},  {TSC_DEADLINE, TSC},  {TSC_DEADLINE, MSR},
    {ARAT, APIC},         {RDTSCP, TSC},         {RDTSCP, MSR},         {RDPID, RDTSCP},      {TSC_ADJUST, TSC},
    {TSC_ADJUST, MSR},    {INVTSC, TSC},         {WAITPKG, TSC},        {WAITPKG, MSR},       {MTRR, MSR},
    {PAT, MSR},           {MCA, MCE},            {MCA, MSR},            {SEP, MSR},           {PDCM, MSR},
    {SPEC_CTRL, MSR},     {STIBP, SPEC_CTRL},    {SSBD, SPEC_CTRL},     {L1D_FLUSH, MSR},     {ARCH_CAPABILITIES, MSR},
    {VMX, MSR},           {VMX, PAE},            {CLFLUSHOPT, CLFSH},   {CLWB, CLFSH},        {FSRM, ERMS},
    {CET_SS, MSR},        {CET_IBT, MSR},        {CET_SSS, CET_SS},
});
// clang-format on

// --- Spelling. ---

std::string normalized(std::string_view name) {
    std::string out(name);
    for (char& c : out) {
        if (c == '_') {
            c = '-';
        } else if (c >= 'A' && c <= 'Z') {
            c = static_cast<char>(c - 'A' + 'a');
        }
    }
    return out;
}

// " (did you mean 'x'?)", or nothing when no known name is close.
class Nearest {
  public:
    explicit Nearest(std::string_view wanted)
        : wanted_(wanted)
        , best_(std::max<std::size_t>(2, wanted.size() / 3) + 1) {}
    void consider(std::string_view candidate) {
        const std::size_t d = edit_distance(wanted_, candidate);
        if (d < best_) {
            best_ = d;
            name_ = candidate;
        }
    }
    std::string text() const {
        return name_.empty() ? "" : fmt::format(" (did you mean '{}'?)", name_);
    }

  private:
    std::string_view wanted_;
    std::string_view name_;
    std::size_t best_;
};

const CpuModel* find_model(std::string_view name) {
    for (const ModelAlias& alias : kModelAliases) {
        if (alias.name == name) {
            name = alias.model;
        }
    }
    const auto* model = std::find_if(kModels.begin(), kModels.end(),
                                     [name](const CpuModel& m) { return m.name == name; });
    return model == kModels.end() ? nullptr : model;
}

bool test(const FeatureSet& set, Feature feature) {
    return set[static_cast<std::size_t>(feature)];
}

void change(FeatureSet& set, Feature feature, bool on) {
    set[static_cast<std::size_t>(feature)] = on;
}

// --- The parser. ---

class Parser {
  public:
    explicit Parser(const FeatureSet& available) : available_(available) {}

    Expected<CpuFeatures> parse(std::string_view spec) {
        std::size_t start = 0;
        bool first = true;
        while (start <= spec.size()) {
            const std::size_t comma = std::min(spec.find(',', start), spec.size());
            const std::string item = normalized(spec.substr(start, comma - start));
            start = comma + 1;
            Expected<void> taken = first ? take_model(item) : take_option(item);
            if (!taken) {
                return taken.error();
            }
            first = false;
        }
        if (Expected<void> applied = apply(); !applied) {
            return applied.error();
        }
        result_.linear_address_bits = result_.has(LA57) ? 57 : 48;
        return result_;
    }

  private:
    Expected<void> take_model(const std::string& name) {
        const CpuModel* model = find_model(name);
        if (model == nullptr) {
            Nearest nearest(name);
            for (const CpuModel& known : kModels) {
                nearest.consider(known.name);
            }
            return Error{
                fmt::format("-cpu: no CPU model '{}'{}; the models are baseline, nested and max",
                            name, nearest.text())};
        }
        for (const CpuModel& known : kModels) {
            for (const Feature feature : known.features) {
                change(result_.set, feature, true);
            }
            if (&known == model) {
                break;
            }
        }
        return {};
    }

    Expected<void> take_option(const std::string& item) {
        if (item.empty() || is_accepted_silently(item)) {
            return {};
        }
        if (item == "enforce") {
            enforce_ = true;
            return {};
        }
        if (item[0] == '+' || item[0] == '-') {
            return request(item.substr(1), item[0] == '+');
        }
        const std::size_t equals = item.find('=');
        const std::string key = item.substr(0, equals);
        const std::string value = equals == std::string::npos ? "on" : item.substr(equals + 1);
        if (Expected<bool> number = take_number(key, value); !number || number.value()) {
            return number ? Expected<void>{} : Expected<void>{number.error()};
        }
        if (value == "on" || value == "true" || value == "yes") {
            return request(key, true);
        }
        if (value == "off" || value == "false" || value == "no") {
            return request(key, false);
        }
        return Error{fmt::format("-cpu: '{}': the value must be on or off", item)};
    }

    // True if `key` is a numeric option.
    Expected<bool> take_number(const std::string& key, const std::string& value) {
        struct Option {
            std::string_view name;
            u8 CpuFeatures::*field;
            unsigned first, last;
        };
        static constexpr auto kOptions = std::to_array<Option>({
            {"phys-bits", &CpuFeatures::physical_address_bits, 36, 51},
            {"family", &CpuFeatures::family, 6, 255},
            {"model", &CpuFeatures::model, 0, 255},
            {"stepping", &CpuFeatures::stepping, 0, 15},
        });
        const auto* option = std::find_if(kOptions.begin(), kOptions.end(),
                                          [&key](const Option& o) { return o.name == key; });
        if (option == kOptions.end()) {
            return false;
        }
        const bool hex = value.size() > 2 && value[0] == '0' && value[1] == 'x';
        const char* begin = value.data() + (hex ? 2 : 0);
        const char* end = value.data() + value.size();
        unsigned number = 0;
        const auto [parsed_to, failure] = std::from_chars(begin, end, number, hex ? 16 : 10);
        if (failure != std::errc{} || parsed_to != end || number < option->first ||
            number > option->last) {
            return Error{fmt::format("-cpu: {}={}: must be a number from {} to {}", key, value,
                                     option->first, option->last)};
        }
        result_.*option->field = static_cast<u8>(number);
        return true;
    }

    Expected<void> request(const std::string& name, bool on) {
        const Feature feature = feature_by_name(name);
        if (feature == kNone) {
            Nearest nearest(name);
            for (const std::string_view known : kFeatureNames) {
                nearest.consider(known);
            }
            return Error{
                fmt::format("-cpu: no CPU feature or option '{}'{}", name, nearest.text())};
        }
        if (is_dynamic(feature)) {
            return Error{fmt::format(
                "-cpu: '{}' follows from what the guest or -smp sets and cannot be chosen", name)};
        }
        change(wanted_, feature, on);
        change(refused_, feature, !on);
        return {};
    }

    Expected<void> apply() {
        for (std::size_t i = 0; i < kFeatureNames.size(); ++i) {
            const auto feature = static_cast<Feature>(i);
            if (test(refused_, feature)) {
                turn_off(feature);
            }
        }
        for (std::size_t i = 0; i < kFeatureNames.size(); ++i) {
            const auto feature = static_cast<Feature>(i);
            if (test(result_.set, feature) && !test(available_, feature)) {
                if (enforce_) {
                    return missing(feature);
                }
                turn_off(feature);
            }
        }
        for (std::size_t i = 0; i < kFeatureNames.size(); ++i) {
            const auto feature = static_cast<Feature>(i);
            if (test(wanted_, feature)) {
                if (Expected<void> done = turn_on(feature, feature); !done) {
                    return done;
                }
            }
        }
        return {};
    }

    static Error missing(Feature feature) {
        return Error{fmt::format(
            "-cpu: this machine's own CPU lacks '{}', and vector and x87 instructions run on it",
            feature_name(feature))};
    }

    void turn_off(Feature feature) {
        change(result_.set, feature, false);
        for (const Need& need : kNeeds) {
            if (need.needs == feature && test(result_.set, need.feature)) {
                turn_off(need.feature);
            }
        }
    }

    Expected<void> turn_on(Feature feature, Feature because) {
        if (test(refused_, feature)) {
            return Error{
                fmt::format("-cpu: '{0}' needs '{1}': '+{0}' and '-{1}' exclude each other",
                            feature_name(because), feature_name(feature))};
        }
        if (!test(available_, feature)) {
            return missing(feature);
        }
        change(result_.set, feature, true);
        for (const Need& need : kNeeds) {
            if (need.feature == feature && !test(result_.set, need.needs)) {
                if (Expected<void> done = turn_on(need.needs, because); !done) {
                    return done;
                }
            }
        }
        return {};
    }

    const FeatureSet& available_;
    CpuFeatures result_;
    FeatureSet wanted_;
    FeatureSet refused_;
    bool enforce_ = false;
};

}  // namespace

std::span<const CpuModel> cpu_models() {
    return kModels;
}

const CpuModel* cpu_model_of(std::string_view spec) {
    return find_model(normalized(spec.substr(0, spec.find(','))));
}

std::string_view feature_name(Feature feature) {
    return feature == kNone ? "none" : kFeatureNames[static_cast<std::size_t>(feature)];
}

Feature feature_by_name(std::string_view name) {
    const std::string wanted = normalized(name);
    for (std::size_t i = 0; i < kFeatureNames.size(); ++i) {
        if (kFeatureNames[i] == wanted) {
            return static_cast<Feature>(i);
        }
    }
    for (const FeatureAlias& alias : kFeatureAliases) {
        if (alias.name == wanted) {
            return alias.feature;
        }
    }
    return kNone;
}

Expected<CpuFeatures> parse_cpu_model(std::string_view spec, const FeatureSet& available) {
    return Parser(available).parse(spec);
}

namespace {

FeatureSet available_on(const NativeFeatures& native) {
    FeatureSet available;
    for (std::size_t i = 0; i < kFeatureNames.size(); ++i) {
        const auto feature = static_cast<Feature>(i);
        change(available, feature, !needs_native_unit(feature) || native.has(feature));
    }
    return available;
}

}  // namespace

Expected<CpuFeatures> parse_cpu_model(std::string_view spec, const NativeFeatures& native) {
    return parse_cpu_model(spec, available_on(native));
}

std::vector<Feature> lacking_features(std::string_view spec, const FeatureSet& available) {
    const Expected<CpuFeatures> here = parse_cpu_model(spec, available);
    const Expected<CpuFeatures> anywhere = parse_cpu_model(spec, FeatureSet{}.set());
    std::vector<Feature> lacking;
    for (std::size_t i = 0; here && anywhere && i < kFeatureNames.size(); ++i) {
        const auto feature = static_cast<Feature>(i);
        if (anywhere.value().has(feature) && !here.value().has(feature)) {
            lacking.push_back(feature);
        }
    }
    return lacking;
}

std::vector<Feature> lacking_features(std::string_view spec, const NativeFeatures& native) {
    return lacking_features(spec, available_on(native));
}

}  // namespace droste
