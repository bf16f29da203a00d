#include "jit/native_cpu.hpp"

#include "cpu/x86/model/cpu_models.hpp"
#include "cpu/x86/model/native_features.hpp"

#include <array>
#include <string>

#include <fmt/format.h>

namespace droste::jit {

namespace {

constexpr std::array kLevel2 = {Feature::CX16,   Feature::LAHF_LM, Feature::POPCNT, Feature::SSE3,
                                Feature::SSE4_1, Feature::SSE4_2,  Feature::SSSE3};

}  // namespace

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
