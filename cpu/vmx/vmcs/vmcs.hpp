#pragma once
// The VMCS as a struct, and the table that maps encodings to its members.
//
// A VMCS that VMPTRLD bound lives here, not in guest memory; VMREAD and VMWRITE are one table
// look-up and one load or store. VMCLEAR (and eviction from the small cache of bound VMCSs) writes
// it back to its region as an opaque image: the manual leaves the format to the processor (SDM Vol.
// 3C, "Format of the VMCS Region"), software may only copy it as a whole. Several images of one
// VMCS in the caches of several logical processors are software's mistake there, too.

#include "core/types.hpp"
#include "cpu/vmx/features.hpp"

#include <array>
#include <cstddef>
#include <string_view>

namespace droste {

using Natural = u64;  // natural-width: 64 bits on processors that support Intel 64 architecture

struct Vmcs {
#define DROSTE_VMCS_FIELD(encoding, name, width, access, group, member, needs) width member = 0;
#include "cpu/vmx/vmcs/vmcs_fields.inc"
#undef DROSTE_VMCS_FIELD
};

// Row numbers of the field table.
enum class VmcsField : u8 {
#define DROSTE_VMCS_FIELD(encoding, name, width, access, group, member, needs) member,
#include "cpu/vmx/vmcs/vmcs_fields.inc"
#undef DROSTE_VMCS_FIELD
    kCount,
};
inline constexpr unsigned kVmcsFieldCount = static_cast<unsigned>(VmcsField::kCount);

// SDM Vol. 3C, "Organization of VMCS Data".
enum class VmcsGroup : u8 { Guest, Host, Execution, Exit, Entry, Information };
enum class VmcsAccess : u8 { RW, RO };

struct VmcsFieldRow {
    u16 encoding;
    std::string_view name;
    std::string_view member;
    u8 bytes;
    u16 offset;  // in Vmcs
    VmcsAccess access;
    VmcsGroup group;
    VmxFeature needs;

    bool natural() const { return ((encoding >> 13) & 3) == 3; }
};

extern const std::array<VmcsFieldRow, kVmcsFieldCount> kVmcsFields;

inline const VmcsFieldRow& row_of(VmcsField field) {
    return kVmcsFields[static_cast<std::size_t>(field)];
}

// The row of an encoding as VMREAD takes it (bit 0, "access type", cleared), or nullptr if there is
// none. Whether the processor supports the field is another question: VmxCapabilities::supports().
const VmcsFieldRow* find_vmcs_field(u64 encoding);
// Whether bit 0 ("high") is legal: only for 64-bit fields.
inline bool encoding_is_high(u64 encoding) {
    return (encoding & 1) != 0;
}

u64 read_field(const Vmcs& vmcs, const VmcsFieldRow& row);
void write_field(Vmcs& vmcs, const VmcsFieldRow& row, u64 value);  // truncates to the field's width

std::string_view name_of(VmcsGroup group);

// --- the region in guest memory ------------------------------------------------------------------

// SDM Vol. 3C, "Format of the VMCS Region".
inline constexpr u32 kVmcsRevision = 0x44524F02;  // bits 30:0; changes when the image below changes
inline constexpr u32 kShadowVmcsIndicator = 1U << 31;
inline constexpr u64 kVmcsRegionBytes = 4096;
inline constexpr u64 kNoVmcs = ~u64{0};

enum class LaunchState : u32 { Clear = 0, Launched = 1 };

// What follows the revision identifier (offset 0) and the VMX-abort indicator (offset 4).
struct VmcsImage {
    // "VMCS": a region never cleared before holds no image
    static constexpr u32 kMagic = 0x53434D56;
    u32 magic = kMagic;
    LaunchState launch_state = LaunchState::Clear;
    Vmcs fields;
};
inline constexpr u64 kVmcsImageOffset = 8;
static_assert(kVmcsImageOffset + sizeof(VmcsImage) <= kVmcsRegionBytes);

}  // namespace droste
