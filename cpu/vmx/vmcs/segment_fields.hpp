#pragma once
// Which VMCS fields hold which segment register: VM entry and VM exit walk the same table.

#include "cpu/vmx/vmcs/vmcs.hpp"
#include "cpu/x86/state/cpu_state.hpp"
#include "cpu/x86/system/segment.hpp"

#include <array>
#include <utility>

namespace droste {

struct SegmentFields {
    int number;  // SegReg, or kLdtr / kTr
    u16 Vmcs::*selector;
    Natural Vmcs::*base;
    u32 Vmcs::*limit;
    u32 Vmcs::*access_rights;

    static constexpr int kLdtr = 6, kTr = 7;
    Segment& register_in(CpuState& s) const {
        return number == kLdtr ? s.ldtr
               : number == kTr ? s.tr
                               : s.seg[static_cast<std::size_t>(number)];
    }
};

#define DROSTE_SEGMENT_FIELDS(number, reg)                                 \
    SegmentFields {                                                        \
        number, &Vmcs::guest_##reg##_selector, &Vmcs::guest_##reg##_base,  \
            &Vmcs::guest_##reg##_limit, &Vmcs::guest_##reg##_access_rights \
    }
inline constexpr std::array<SegmentFields, 8> kSegmentFields = {
    DROSTE_SEGMENT_FIELDS(ES, es),
    DROSTE_SEGMENT_FIELDS(CS, cs),
    DROSTE_SEGMENT_FIELDS(SS, ss),
    DROSTE_SEGMENT_FIELDS(DS, ds),
    DROSTE_SEGMENT_FIELDS(FS, fs),
    DROSTE_SEGMENT_FIELDS(GS, gs),
    DROSTE_SEGMENT_FIELDS(SegmentFields::kLdtr, ldtr),
    DROSTE_SEGMENT_FIELDS(SegmentFields::kTr, tr),
};
#undef DROSTE_SEGMENT_FIELDS

// Visits all eight, unrolled: every VM entry and VM exit copies them.
template <typename Visit>
void for_each_segment(Visit&& visit) {
    [&]<std::size_t... Number>(std::index_sequence<Number...>) {
        (visit(kSegmentFields[Number]), ...);
    }
    (std::make_index_sequence<kSegmentFields.size()>{});
}

// "Bits 31:17 and bits 11:8 of the access-rights fields are always cleared" by a VM exit.
inline constexpr u32 kSavedRights = 0x1'F0FF;

// Rights seldom differ from those of the side left, and the checks follow from the rights.
inline void set_segment_rights(Segment& segment, u32 rights) {
    if (segment.rights != rights) {
        segment.rights = rights;
        refresh_segment_checks(segment);
    }
}

}  // namespace droste
