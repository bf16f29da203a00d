// What may be used of the native CPU, and how it is hidden.

#include "cpu/x86/model/cpu_models.hpp"
#include "cpu/x86/model/native_features.hpp"

#include <catch2/catch.hpp>

#include <cstdlib>

using namespace droste;
using Change = NativeFeatures::Change;

TEST_CASE("native features: the variable hides some from all, and with AVX what needs its state",
          "[model]") {
    unsetenv("DROSTE_NATIVE_WITHOUT");
    const CpuFeatures all = NativeFeatures{}.units();
    CHECK(all.has(Feature::SSE2));
    CHECK_FALSE(native_masked("avx"));
    setenv("DROSTE_NATIVE_WITHOUT", "sse4.2,avx,bmi2,witness", 1);
    CHECK(native_masked("sse4.2"));
    CHECK(native_masked("witness"));
    CHECK_FALSE(native_masked("sse4.1"));
    CHECK_FALSE(native_masked("av"));
    CHECK_FALSE(native_masked("avx2"));
    const NativeFeatures less;
    const CpuFeatures masked = less.units();
    CHECK_FALSE(masked.has(Feature::SSE4_2));
    CHECK(masked.has(Feature::SSE4_1) == all.has(Feature::SSE4_1));
    CHECK(masked.has(Feature::AES) == all.has(Feature::AES));
    for (const Feature ymm : {Feature::AVX, Feature::AVX2, Feature::FMA, Feature::F16C,
                              Feature::VAES, Feature::VPCLMULQDQ}) {
        CHECK_FALSE(masked.has(ymm));
        CHECK_FALSE(less.has(ymm));
    }
    CHECK_FALSE(less.has(Feature::BMI2));
    CHECK(less.has(NativeFeatures::Trait::RandomNumbers));
    CHECK(less.lacking_of_v2() == "'sse4.2'");
    CHECK_FALSE(native_cpuid_features().has(Feature::SSE4_2));
    CHECK_FALSE(native_cpuid_features().has(Feature::BMI2));
    unsetenv("DROSTE_NATIVE_WITHOUT");
}

TEST_CASE("native features: what one machine hides another has", "[model]") {
    const NativeFeatures all;
    NativeFeatures less;
    CHECK(less.hide("sse3") == Change::Done);
    CHECK(less.hide("popcnt") == Change::Done);
    CHECK(less.hide("random") == Change::Done);
    CHECK(less.hide("vmx") == Change::Unknown);  // nobody asks for it
    CHECK(less.hide("sse") == Change::Done);
    CHECK(less.hide("ss") == Change::Unknown);
    CHECK_FALSE(less.has(Feature::SSE3));
    CHECK_FALSE(less.has(NativeFeatures::Trait::RandomNumbers));
    CHECK(less.has(NativeFeatures::Trait::UndefinedFlags));
    CHECK(less.lacking_of_v2() == "'sse', 'sse3', 'popcnt'");
    CHECK(all.has(Feature::SSE3));
    CHECK(all.has(NativeFeatures::Trait::RandomNumbers));
    CHECK(all.lacking_of_v2().empty());
    CHECK_FALSE(parse_cpu_model("max", less).value().has(Feature::SSE3));
    CHECK(parse_cpu_model("max", all).value().has(Feature::SSE3));

    CHECK(less.show("random") == Change::Done);
    CHECK(less.show("sse3") == Change::Done);
    CHECK(less.show("nosuch") == Change::Unknown);
    CHECK(less.has(NativeFeatures::Trait::RandomNumbers));
    CHECK(less.has(Feature::SSE3));
}

TEST_CASE("native features: beyond x86-64-v2 nothing is needed, and all of it can be hidden",
          "[model]") {
    NativeFeatures v2;
    v2.hide_beyond_v2();
    CHECK(v2.lacking_of_v2().empty());
    for (const std::string_view name : NativeFeatures::names()) {
        const Feature feature = feature_by_name(name);
        if (feature == Feature::kNone) {
            continue;  // a trait
        }
        INFO(name);
        const bool asked_for = parse_cpu_model("baseline", FeatureSet{}.set()).value().has(feature);
        CHECK(v2.has(feature) == asked_for);
    }
    NativeFeatures less = v2;
    CHECK(less.hide("cx16") == Change::Done);
    CHECK(less.lacking_of_v2() == "'cx16'");
    CHECK(v2.show("avx2") == Change::Lacking);  // its state is AVX's
}

TEST_CASE("native features: what runs on the native unit and what is emulated", "[model]") {
    CHECK(needs_native_unit(Feature::AVX2));
    CHECK(needs_native_unit(Feature::FPU));
    CHECK_FALSE(needs_native_unit(Feature::XSAVE));
    CHECK_FALSE(needs_native_unit(Feature::BMI2));
}
