#pragma once
// CPU models and the `-cpu MODEL,+feature,-feature,option=value` language.

#include "core/error.hpp"
#include "core/types.hpp"
#include "cpu/x86/model/native_features.hpp"
#include "cpu/x86/state/features.hpp"

#include <bitset>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace droste {

using FeatureSet = std::bitset<static_cast<std::size_t>(Feature::kCount)>;

struct CpuModel {
    std::string_view name;
    std::string_view description;
    std::span<const Feature> features;
};

// Ascending by what they have: baseline, nested, max.
std::span<const CpuModel> cpu_models();
inline constexpr std::string_view kDefaultCpuModel = "nested";

// The model that a -cpu text starts with, aliases resolved; null if there is none of that name.
const CpuModel* cpu_model_of(std::string_view spec);

// As features.inc spells it.
std::string_view feature_name(Feature feature);
// Takes QEMU's spellings too (sse4_1, pni, abm ...); Feature::kNone if unknown.
Feature feature_by_name(std::string_view name);

// Features this machine's native unit must be able to execute, and all features of the table.
// A feature outside `available` cannot be turned on; models drop it (lacking_features() tells).
Expected<CpuFeatures> parse_cpu_model(std::string_view spec, const FeatureSet& available);
// With what of the native CPU may be used.
Expected<CpuFeatures> parse_cpu_model(std::string_view spec, const NativeFeatures& native = {});

// What a valid `spec` would have on a CPU that can run everything and does not have here, in the
// table's order: what was dropped from the model, and what needs that.
std::vector<Feature> lacking_features(std::string_view spec, const FeatureSet& available);
std::vector<Feature> lacking_features(std::string_view spec, const NativeFeatures& native);

}  // namespace droste
