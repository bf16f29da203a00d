#include "jit/native_cpu.hpp"

#include "cpu/x86/model/cpu_models.hpp"
#include "cpu/x86/model/native_features.hpp"

#include <array>
#include <string>

#include <cpuid.h>
#include <fmt/format.h>

namespace droste::jit {

namespace {

constexpr std::array kLevel2 = {Feature::CX16,   Feature::LAHF_LM, Feature::POPCNT, Feature::SSE3,
                                Feature::SSE4_1, Feature::SSE4_2,  Feature::SSSE3};

// SDM Vol. 2A, "CPUID—CPU Identification", leaves 0 and 1; AMD's are alike.
bool is_zen3_or_later() {
    u32 eax = 0;
    u32 ebx = 0;
    u32 ecx = 0;
    u32 edx = 0;
    constexpr u32 kAuth = 0x6874'7541, kEnti = 0x6974'6E65, kCamd = 0x444D'4163;
    if (__get_cpuid(0, &eax, &ebx, &ecx, &edx) == 0 || ebx != kAuth || edx != kEnti ||
        ecx != kCamd || __get_cpuid(1, &eax, &ebx, &ecx, &edx) == 0) {
        return false;
    }
    constexpr u32 kZen3 = 0x19;
    return (eax >> 8 & 0xF) + (eax >> 20 & 0xFF) >= kZen3;
}

}  // namespace

bool native_undefined_flags_are_ours() {
    static const bool kOurs = is_zen3_or_later() && !native_masked("undefined-flags");
    return kOurs;
}

Expected<void> check_native_cpu() {
    const CpuFeatures features = native_cpuid_features();
    std::string missing;
    for (const Feature feature : kLevel2) {
        if (!features.has(feature)) {
            missing += fmt::format("{}'{}'", missing.empty() ? "" : ", ", feature_name(feature));
        }
    }
    if (missing.empty()) {
        return {};
    }
    return Error{.message = fmt::format("this machine's own CPU lacks {} for translated code: "
                                        "-accel interp does without",
                                        missing),
                 .native = true};
}

}  // namespace droste::jit
