#pragma once
// Which VMCS fields hold which segment register: VM entry and VM exit walk the same table.

#include "cpu/vmx/vmcs/vmcs.hpp"
#include "cpu/x86/state/cpu_state.hpp"

#include <array>

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

}  // namespace droste
