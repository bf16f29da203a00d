// CPU models, their spellings, and what a feature needs or brings.

#include "cpu/x86/model/cpu_models.hpp"

#include <catch2/catch.hpp>

#include <string>
#include <vector>

using namespace droste;

namespace {

const FeatureSet kEverything = FeatureSet{}.set();

CpuFeatures features(std::string_view spec) {
    Expected<CpuFeatures> parsed = parse_cpu_model(spec, kEverything);
    INFO((parsed ? std::string{} : parsed.error().message));
    REQUIRE(parsed.has_value());
    return parsed.value();
}

std::string error(std::string_view spec, const FeatureSet& available = kEverything) {
    const Expected<CpuFeatures> parsed = parse_cpu_model(spec, available);
    REQUIRE_FALSE(parsed.has_value());
    return parsed.error().message;
}

bool mentions(const std::string& text, std::string_view part) {
    return text.find(part) != std::string::npos;
}

}  // namespace

TEST_CASE("CPU models: each holds everything the one before it has", "[model]") {
    const CpuFeatures baseline = features("baseline");
    const CpuFeatures nested = features("nested");
    const CpuFeatures max = features("max");
    CHECK((baseline.set & ~nested.set).none());
    CHECK((nested.set & ~max.set).none());
    CHECK(baseline.has(Feature::SSE4_2));
    CHECK_FALSE(baseline.has(Feature::AVX));
    CHECK(nested.has(Feature::AVX2));
    CHECK(nested.has(Feature::XSAVES));
    CHECK_FALSE(nested.has(Feature::LA57));
    CHECK(max.has(Feature::GFNI));
}

TEST_CASE("CPU models: vmx is off in nested until asked for, on in max", "[model]") {
    CHECK_FALSE(features("nested").has(Feature::VMX));
    CHECK(features("nested,+vmx").has(Feature::VMX));
    CHECK(features("nested,vmx=on").has(Feature::VMX));
    CHECK(features("max").has(Feature::VMX));
    CHECK_FALSE(features("max,-vmx").has(Feature::VMX));
}

TEST_CASE("CPU models: linear addresses have 57 bits with la57 only", "[model]") {
    CHECK(features("nested").linear_address_bits == 48);
    CHECK(features("max").linear_address_bits == 57);
    CHECK(features("max,-la57").linear_address_bits == 48);
}

TEST_CASE("CPU features: QEMU's spellings are taken", "[model]") {
    CHECK(feature_by_name("sse4_1") == Feature::SSE4_1);
    CHECK(feature_by_name("sse4.1") == Feature::SSE4_1);
    CHECK(feature_by_name("SSE4-2") == Feature::SSE4_2);
    CHECK(feature_by_name("pni") == Feature::SSE3);
    CHECK(feature_by_name("abm") == Feature::LZCNT);
    CHECK(feature_by_name("tsc_deadline") == Feature::TSC_DEADLINE);
    CHECK(feature_by_name("lahf_lm") == Feature::LAHF_LM);
    CHECK(feature_by_name("nonsense") == Feature::kNone);
    CHECK_FALSE(features("nested,avx2=off").has(Feature::AVX2));
    CHECK(features("host,migratable=no,pmu=off,check").set == features("max").set);
}

TEST_CASE("CPU features: every name in the table finds its feature", "[model]") {
    for (std::size_t i = 0; i < kEverything.size(); ++i) {
        const auto feature = static_cast<Feature>(i);
        CAPTURE(feature_name(feature));
        CHECK(feature_by_name(feature_name(feature)) == feature);
    }
}

TEST_CASE("CPU features: turning one on turns on what it needs", "[model]") {
    const CpuFeatures cpu = features("baseline,+avx2");
    CHECK(cpu.has(Feature::AVX));
    CHECK(cpu.has(Feature::XSAVE));
    CHECK_FALSE(cpu.has(Feature::FMA));
}

TEST_CASE("CPU features: turning one off takes along what needs it", "[model]") {
    const CpuFeatures cpu = features("max,-xsave");
    for (const Feature gone : {Feature::XSAVE, Feature::AVX, Feature::AVX2, Feature::XSAVES,
                               Feature::PKU, Feature::VAES}) {
        CHECK_FALSE(cpu.has(gone));
    }
    CHECK(cpu.has(Feature::SSE4_2));
}

TEST_CASE("CPU features: a contradiction is an error, the last word on one feature wins",
          "[model]") {
    CHECK(mentions(error("nested,+avx2,-avx"), "'avx2' needs 'avx'"));
    CHECK(features("nested,-avx2,+avx2").has(Feature::AVX2));
    CHECK_FALSE(features("nested,+avx2,-avx2").has(Feature::AVX2));
}

TEST_CASE(
    "CPU features: what the native CPU lacks is dropped from a model and refused when asked for",
    "[model]") {
    FeatureSet poor = kEverything;
    poor[static_cast<std::size_t>(Feature::AVX)] = false;
    const Expected<CpuFeatures> cpu = parse_cpu_model("nested", poor);
    REQUIRE(cpu.has_value());
    CHECK_FALSE(cpu.value().has(Feature::AVX));
    CHECK_FALSE(cpu.value().has(Feature::AVX2));
    CHECK(mentions(error("baseline,+avx2", poor), "lacks 'avx'"));
    CHECK(mentions(error("nested,enforce", poor), "lacks 'avx'"));
}

TEST_CASE("CPU models: what a model loses to the native CPU is told, with what needs it",
          "[model]") {
    FeatureSet poor = kEverything;
    poor[static_cast<std::size_t>(Feature::AVX)] = false;
    poor[static_cast<std::size_t>(Feature::SHA)] = false;
    CHECK(lacking_features("nested", kEverything).empty());
    CHECK(lacking_features("baseline", poor).empty());
    CHECK(lacking_features("nested", poor) ==
          std::vector<Feature>{Feature::FMA, Feature::AVX, Feature::F16C, Feature::AVX2});
    CHECK(lacking_features("max,-avx", poor) == std::vector<Feature>{Feature::SHA});
    CHECK(lacking_features("nested,-avx", poor).empty());
    CHECK(parse_cpu_model("nested,-avx,enforce", poor).has_value());
}

TEST_CASE("-cpu: errors name the nearest known word", "[model]") {
    CHECK(mentions(error("nestd"), "did you mean 'nested'"));
    CHECK(mentions(error("nested,+avx3"), "did you mean 'avx'"));
    CHECK(mentions(error("nested,+fsgsbas"), "did you mean 'fsgsbase'"));
    CHECK_FALSE(mentions(error("nested,+zzzzzzzz"), "did you mean"));
    CHECK(mentions(error(""), "baseline, nested and max"));
    CHECK(mentions(error("nested,avx=maybe"), "on or off"));
    CHECK(mentions(error("nested,+osxsave"), "cannot be chosen"));
}

TEST_CASE("-cpu: numeric options are checked against their range", "[model]") {
    CHECK(features("nested,phys-bits=40").physical_address_bits == 40);
    CHECK(features("nested,family=6,model=0x55,stepping=4").model == 0x55);
    CHECK(mentions(error("nested,phys-bits=52"), "36 to 51"));
    CHECK(mentions(error("nested,phys-bits=4x"), "36 to 51"));
    CHECK(mentions(error("nested,phys-bits="), "36 to 51"));
}

TEST_CASE("-cpu: the native CPU can run the default model's essentials", "[model]") {
    const Expected<CpuFeatures> cpu = parse_cpu_model(kDefaultCpuModel);
    REQUIRE(cpu.has_value());
    CHECK(cpu.value().has(Feature::SSE2));
}
