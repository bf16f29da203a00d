#pragma once
// What of the native CPU a machine may use: what it has, but for what is hidden, so that whatever
// happens on a lesser machine can be tried on any (--native-features). Nothing beyond x86-64-v2 is
// required of it. x87, MMX and vector instructions of the guest execute on the native unit
// (docs/x86/fpu.md), so what is hidden of those a CPU model cannot show the guest either; the rest
// is the translator's, which leaves to the interpreter what it may not use.
//
// What the CPU has is one thing for the process, and asked once. What is hidden is a machine's own:
// two in one process may differ.
//
// The environment variable DROSTE_NATIVE_WITHOUT=name,name... hides features from all machines of a
// process, and from the tests that run code beside them; tests add some for what they probe
// (docs/testing.md).

#include "cpu/x86/state/features.hpp"

#include <bitset>
#include <string>
#include <string_view>
#include <vector>

namespace droste {

class NativeFeatures {
  public:
    // What is no feature of CPUID and can be hidden all the same.
    enum class Trait : u8 {
        RandomNumbers,     // the native kernel gives some
        UndefinedFlags,    // what the manual leaves undefined is as we choose it: flags,
        UndefinedResults,  // ... and results, the condition codes of the x87 included
        kCount,
    };

    // All that there is, but for what DROSTE_NATIVE_WITHOUT names.
    NativeFeatures();

    // Whether code may be run that needs it. Of AVX and what needs its state: the native kernel has
    // enabled it, too.
    bool has(Feature feature) const;
    bool has(Trait trait) const { return !hidden_traits_[static_cast<std::size_t>(trait)]; }
    // Those of needs_native_unit(); nothing about XSAVE, which is emulated.
    CpuFeatures units() const;
    // "'popcnt', 'sse3'": what is missing of x86-64-v2 (x86-64 psABI, "Micro-Architecture Levels"),
    // or nothing.
    std::string lacking_of_v2() const;

    enum class Change : u8 { Done, Unknown, Lacking /* it is not there to be shown */ };
    // Names are those of features.inc, and of traits.
    Change hide(std::string_view name);
    Change show(std::string_view name);
    // Hides all features that x86-64-v2 does not ask for.
    void hide_beyond_v2();
    // All names, in the table's order.
    static std::vector<std::string_view> names();

  private:
    std::bitset<static_cast<std::size_t>(Feature::kCount)> hidden_;
    std::bitset<static_cast<std::size_t>(Trait::kCount)> hidden_traits_;
};

// True for the features whose instructions execute on the native unit, whether or not it has them.
bool needs_native_unit(Feature feature);
// Every feature of features.inc that the native CPUID shows and DROSTE_NATIVE_WITHOUT does not hide,
// whether or not the kernel enabled it: what a test may run beside the emulator.
CpuFeatures native_cpuid_features();
// True if DROSTE_NATIVE_WITHOUT hides `name`: for what only tests ask for.
bool native_masked(std::string_view name);

}  // namespace droste
