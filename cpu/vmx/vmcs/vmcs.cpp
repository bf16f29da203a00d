#include "cpu/vmx/vmcs/vmcs.hpp"

#include <cstring>

namespace droste {

namespace {

using enum VmcsAccess;

constexpr std::array<VmcsFieldRow, kVmcsFieldCount> make_rows() {
    return {{
#define DROSTE_VMCS_FIELD(encoding, name, width, access, group, member, needs) \
    VmcsFieldRow{encoding,                                                     \
                 name,                                                         \
                 #member,                                                      \
                 sizeof(width),                                                \
                 offsetof(Vmcs, member),                                       \
                 VmcsAccess::access,                                           \
                 VmcsGroup::group,                                             \
                 VmxFeature::needs},
#include "cpu/vmx/vmcs/vmcs_fields.inc"
#undef DROSTE_VMCS_FIELD
    }};
}

// SDM Vol. 3C, "Field-Encoding Components": bit 0 access type, 9:1 index, 11:10 type, 14:13 width.
constexpr unsigned kIndexBits = 6;  // no index above 3Fh exists
constexpr unsigned kSlots = 4U * 4U << kIndexBits;
constexpr u8 kNoRow = 0xFF;

constexpr unsigned slot_of(u64 encoding) {
    const auto index = static_cast<unsigned>((encoding >> 1) & 0x1FF);
    const auto type = static_cast<unsigned>((encoding >> 10) & 3);
    const auto width = static_cast<unsigned>((encoding >> 13) & 3);
    if (index >= 1U << kIndexBits || (encoding & ~u64{0x6FFF}) != 0) {
        return kSlots;
    }
    return (width << (kIndexBits + 2)) | (type << kIndexBits) | index;
}

constexpr std::array<u8, kSlots> make_slots() {
    std::array<u8, kSlots> slots{};
    slots.fill(kNoRow);
    u8 number = 0;
#define DROSTE_VMCS_FIELD(encoding, name, width, access, group, member, needs) \
    slots[slot_of(encoding)] = number++;
#include "cpu/vmx/vmcs/vmcs_fields.inc"
#undef DROSTE_VMCS_FIELD
    return slots;
}
constexpr auto kSlotTable = make_slots();

constexpr bool rows_agree_with_encodings() {
    u32 last = 0;
    for (const VmcsFieldRow& row : make_rows()) {
        constexpr std::array<u8, 4> kBytes = {2, 8, 4, 8};
        const bool width_ok = kBytes[(row.encoding >> 13) & 3] == row.bytes;
        const bool read_only = ((row.encoding >> 10) & 3) == 1;
        const bool sorted = row.encoding >= last;
        if (!width_ok || !sorted || read_only != (row.access == RO) ||
            slot_of(row.encoding) == kSlots) {
            return false;
        }
        last = row.encoding;
    }
    return true;
}
static_assert(rows_agree_with_encodings(),
              "a row's width, access or order contradicts its encoding");
static_assert(kVmcsFieldCount < kNoRow);

}  // namespace

constinit const std::array<VmcsFieldRow, kVmcsFieldCount> kVmcsFields = make_rows();

const VmcsFieldRow* find_vmcs_field(u64 encoding) {
    const unsigned slot = slot_of(encoding & ~u64{1});
    if (slot >= kSlots || kSlotTable[slot] == kNoRow) {
        return nullptr;
    }
    const VmcsFieldRow& row = kVmcsFields[kSlotTable[slot]];
    const bool is_64_bit = ((row.encoding >> 13) & 3) == 1;
    return encoding_is_high(encoding) && !is_64_bit ? nullptr : &row;
}

u64 read_field(const Vmcs& vmcs, const VmcsFieldRow& row) {
    u64 value = 0;
    const auto* base = reinterpret_cast<const u8*>(&vmcs) + row.offset;
    switch (row.bytes) {
    case 2: {
        u16 narrow = 0;
        std::memcpy(&narrow, base, 2);
        return narrow;
    }
    case 4: {
        u32 narrow = 0;
        std::memcpy(&narrow, base, 4);
        return narrow;
    }
    default: std::memcpy(&value, base, 8); return value;
    }
}

void write_field(Vmcs& vmcs, const VmcsFieldRow& row, u64 value) {
    std::memcpy(reinterpret_cast<u8*>(&vmcs) + row.offset, &value, row.bytes);
}

std::string_view name_of(VmcsGroup group) {
    switch (group) {
    case VmcsGroup::Guest: return "Guest-state area";
    case VmcsGroup::Host: return "Host-state area";
    case VmcsGroup::Execution: return "VM-execution control fields";
    case VmcsGroup::Exit: return "VM-exit control fields";
    case VmcsGroup::Entry: return "VM-entry control fields";
    default: return "VM-exit information fields";
    }
}

}  // namespace droste
