#pragma once
// The XSAVE area: one row a state component, shared by CPUID leaf 0DH, XSETBV and the XSAVE
// instructions, so that they cannot disagree. SDM Vol. 1, "XSAVE-Managed State" and "XSAVE Area".

#include "core/bits.hpp"
#include "core/types.hpp"
#include "cpu/x86/state/features.hpp"

#include <array>

namespace droste {

namespace xstate {
inline constexpr u64 kX87 = bit(0), kSse = bit(1), kAvx = bit(2), kPkru = bit(9),
                     kCetUser = bit(11), kCetSupervisor = bit(12);
inline constexpr u32 kLegacyBytes = 512, kHeaderBytes = 64,
                     kExtendedOffset = kLegacyBytes + kHeaderBytes;
}  // namespace xstate

struct XstateComponent {
    u8 number;  // bit of XCR0, of IA32_XSS for a supervisor component
    Feature feature;
    u32 bytes;
    u32 offset;      // in the standard format; 0: a supervisor component, which is not there
    bool aligned64;  // in the compacted format

    constexpr bool supervisor() const { return offset == 0; }
};

// Extended components (number >= 2), ascending.
inline constexpr std::array<XstateComponent, 4> kXstateComponents = {{
    {2, Feature::AVX, 256, 576, false},
    {9, Feature::PKU, 8, 2688, false},
    {11, Feature::CET_SS, 16, 0, false},  // IA32_U_CET, IA32_PL3_SSP
    {12, Feature::CET_SS, 24, 0, false},  // IA32_PL0_SSP, IA32_PL1_SSP, IA32_PL2_SSP
}};

// XCR0 bits the guest may set.
inline u64 xcr0_supported(const CpuFeatures& features) {
    u64 mask = xstate::kX87 | xstate::kSse;
    for (const XstateComponent& component : kXstateComponents) {
        mask |=
            !component.supervisor() && features.has(component.feature) ? bit(component.number) : 0;
    }
    return features.has(Feature::XSAVE) ? mask : 0;
}
// IA32_XSS bits the guest may set. Both are there with either half of CET.
inline u64 xss_supported(const CpuFeatures& features) {
    const bool cet = features.has(Feature::CET_SS) || features.has(Feature::CET_IBT);
    return cet && features.has(Feature::XSAVES) ? xstate::kCetUser | xstate::kCetSupervisor : 0;
}

// Bytes of an area holding the components in `mask`.
constexpr u32 xsave_standard_bytes(u64 mask) {
    u32 bytes = xstate::kExtendedOffset;
    for (const XstateComponent& component : kXstateComponents) {
        if (test_bit(mask, component.number) && !component.supervisor()) {
            bytes = component.offset + component.bytes;
        }
    }
    return bytes;
}
// Offset of component `number` in the compacted format under XCOMP_BV `mask`; of the end if no such
// component is left.
constexpr u32 xsave_compacted_offset(u64 mask, unsigned number) {
    u32 offset = xstate::kExtendedOffset;
    for (const XstateComponent& component : kXstateComponents) {
        if (!test_bit(mask, component.number)) {
            continue;
        }
        if (component.aligned64) {
            offset = align_up(offset, 64U);
        }
        if (component.number == number) {
            return offset;
        }
        offset += component.bytes;
    }
    return offset;
}
constexpr u32 xsave_compacted_bytes(u64 mask) {
    return xsave_compacted_offset(mask, 64);
}

}  // namespace droste
