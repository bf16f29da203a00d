// What the native CPU can run, and how DROSTE_NATIVE_WITHOUT hides it.

#include "cpu/x86/model/native_features.hpp"

#include <catch2/catch.hpp>

#include <cstdlib>

using namespace droste;

TEST_CASE("native features: hidden ones are gone, and with AVX all that needs its state",
          "[model]") {
    unsetenv("DROSTE_NATIVE_WITHOUT");
    const CpuFeatures all = native_vector_features();
    CHECK(all.has(Feature::SSE2));
    CHECK_FALSE(native_masked("avx"));
    setenv("DROSTE_NATIVE_WITHOUT", "sse4.2,avx", 1);
    CHECK(native_masked("sse4.2"));
    CHECK(native_masked("avx"));
    CHECK_FALSE(native_masked("sse4.1"));
    CHECK_FALSE(native_masked("av"));
    CHECK_FALSE(native_masked("avx2"));
    const CpuFeatures masked = native_vector_features();
    CHECK_FALSE(masked.has(Feature::SSE4_2));
    CHECK(masked.has(Feature::SSE4_1) == all.has(Feature::SSE4_1));
    CHECK(masked.has(Feature::AES) == all.has(Feature::AES));
    for (const Feature ymm : {Feature::AVX, Feature::AVX2, Feature::FMA, Feature::F16C,
                              Feature::VAES, Feature::VPCLMULQDQ}) {
        CHECK_FALSE(masked.has(ymm));
    }
    CHECK_FALSE(native_cpuid_features().has(Feature::SSE4_2));
    unsetenv("DROSTE_NATIVE_WITHOUT");
}

TEST_CASE("native features: what runs on the native unit and what is emulated", "[model]") {
    CHECK(needs_native_unit(Feature::AVX2));
    CHECK(needs_native_unit(Feature::FPU));
    CHECK_FALSE(needs_native_unit(Feature::XSAVE));
    CHECK_FALSE(needs_native_unit(Feature::BMI2));
}
