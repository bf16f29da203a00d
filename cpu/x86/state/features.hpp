#pragma once
// What a CPU model has, as one bit set. The rows are in features.inc; models are in cpu_models.cpp.

#include "core/types.hpp"

#include <bitset>
#include <initializer_list>

namespace droste {

enum class Feature : u8 {
#define DROSTE_FEATURE(id, name, leaf, subleaf, reg, bit) id,
#include "cpu/x86/state/features.inc"
#undef DROSTE_FEATURE
    kCount,
    kNone = 0xFF,  // in a decode row: always present
};

struct CpuFeatures {
    std::bitset<static_cast<std::size_t>(Feature::kCount)> set;
    u8 physical_address_bits = 46;  // MAXPHYADDR, 36..51
    u8 linear_address_bits = 48;    // 57 with LA57
    u8 family = 6;
    u8 model = 0x8F;
    u8 stepping = 8;
    u32 vcpu_count = 1;
    const char* brand = "Droste Virtual CPU";

    bool has(Feature feature) const {
        return feature == Feature::kNone || set[static_cast<std::size_t>(feature)];
    }
    void enable(Feature feature, bool on = true) { set[static_cast<std::size_t>(feature)] = on; }
};

}  // namespace droste
