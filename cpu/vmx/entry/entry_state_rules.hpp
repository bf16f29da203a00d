#pragma once
// Rules on register values that the host-state and guest-state checks share.

#include "core/bits.hpp"
#include "core/types.hpp"
#include "cpu/x86/state/regs.hpp"

namespace droste {

inline constexpr u64 kEferDefined = efer::kSce | efer::kLme | efer::kLma | efer::kNxe;

// IA32_PAT: memory types 0 UC, 1 WC, 4 WT, 5 WP, 6 WB, 7 UC-. SDM Vol. 3A, "IA32_PAT MSR".
constexpr bool pat_ok(u64 pat) {
    for (unsigned i = 0; i < 8; ++i) {
        const u64 type = (pat >> (i * 8)) & 0xFF;
        if (type > 7 || type == 2 || type == 3) {
            return false;
        }
    }
    return true;
}

// IA32_PERF_GLOBAL_CTRL: four general-purpose and three fixed counters at most.
constexpr bool perf_global_ctrl_ok(u64 value) {
    return (value & ~u64{0x7'0000'000F}) == 0;
}

// "bit 23 in the CR4 field (corresponding to CET)" asks for CR0.WP.
constexpr bool cet_has_write_protection(u64 cr0, u64 cr4) {
    return (cr4 & cr4::kCet) == 0 || (cr0 & cr0::kWp) != 0;
}

// "The VM-entry interruption-information field": error codes go with these vectors. #CP is not one
// of them, CET or not; IA32_VMX_BASIC[56] is what lets it be injected with its code.
constexpr bool vector_has_error_code(unsigned vector) {
    constexpr u32 kVectors =
        1U << 8 | 1U << 10 | 1U << 11 | 1U << 12 | 1U << 13 | 1U << 14 | 1U << 17;
    return vector < 32 && ((kVectors >> vector) & 1) != 0;
}

// SSP is a multiple of 4.
constexpr bool ssp_aligned(u64 ssp) {
    return (ssp & 3) == 0;
}

}  // namespace droste
