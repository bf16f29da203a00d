#pragma once
// Which VMX capabilities exist, as one bit set. The rows are in features.inc.

#include "core/types.hpp"

#include <bitset>
#include <string_view>

namespace droste {

enum class VmxFeature : u8 {
#define DROSTE_VMX_FEATURE(id, name, word, bit, nested, max) id,
#include "cpu/vmx/features.inc"
#undef DROSTE_VMX_FEATURE
    kCount,
    Always = 0xFF,
};
inline constexpr unsigned kVmxFeatureCount = static_cast<unsigned>(VmxFeature::kCount);

// The capability word that reports a feature. SDM Vol. 3D, Appendix A.
enum class CapabilityWord : u8 {
    Pin,
    Proc,
    Proc2,
    Exit,
    Entry,
    EptVpid,
    Misc,
    VmFunc,
    Basic,
    kCount
};

class VmxFeatures {
  public:
    bool has(VmxFeature feature) const {
        return feature == VmxFeature::Always || set_[static_cast<std::size_t>(feature)];
    }
    void enable(VmxFeature feature, bool on = true) {
        set_[static_cast<std::size_t>(feature)] = on;
    }
    bool operator==(const VmxFeatures&) const = default;

  private:
    std::bitset<kVmxFeatureCount> set_;
};

struct VmxFeatureRow {
    VmxFeature feature;
    std::string_view name;
    CapabilityWord word;
    u8 bit;
    bool in_nested;
    bool in_max;
};

const VmxFeatureRow& row_of(VmxFeature feature);
// By option name; VmxFeature::kCount when unknown.
VmxFeature vmx_feature_by_name(std::string_view name);

}  // namespace droste
