#include "cpu/vmx/instructions/field_access.hpp"

#include "cpu/vmx/capabilities.hpp"
#include "cpu/vmx/entry/entry_checks.hpp"
#include "cpu/vmx/vmcs/vmcs_cache.hpp"

#include <cstddef>

namespace droste {

consteval FieldAccessTable::RowNumbers FieldAccessTable::row_numbers() {
    RowNumbers numbers{};
    u8 number = 0;
#define DROSTE_VMCS_FIELD(encoding, name, width, access, group, member, needs) \
    numbers.at((encoding) / 2) = ++number;
#include "cpu/vmx/vmcs/vmcs_fields.inc"
#undef DROSTE_VMCS_FIELD
    return numbers;
}

constexpr FieldAccessTable::RowNumbers FieldAccessTable::kRowNumbers = row_numbers();

#define DROSTE_VMCS_FIELD(encoding, name, width, access, group, member, needs) \
    static_assert(offsetof(Vmcs, member) + sizeof(u64) <= sizeof(Vmcs),        \
                  "a field is accessed as 64 bits whatever its width");
#include "cpu/vmx/vmcs/vmcs_fields.inc"
#undef DROSTE_VMCS_FIELD

static_assert(offsetof(BoundVmcs, fields) - offsetof(BoundVmcs, stale_checks) ==
              VmcsView::kStaleBefore);

FieldAccessTable::FieldAccessTable(const VmxCapabilities& caps) {
    read_closed_.fill(0xFF);
    write_closed_.fill(0xFF);
    for (unsigned number = 0; number < kVmcsFieldCount; ++number) {
        const auto field = static_cast<VmcsField>(number);
        const VmcsFieldRow& row = row_of(field);
        if (!caps.supports(row)) {
            continue;
        }
        VmcsFieldPlace& place = places_[number + 1];
        place.offset = row.offset;
        place.bytes = row.bytes;
        place.writable = row.access == VmcsAccess::RW || caps.has(VmxFeature::VmwriteAnyField);
        place.stale = stale_by_writing(field);
        const auto bit = static_cast<u8>(1U << row.encoding % 8);
        read_closed_.at(row.encoding / 8) &= static_cast<u8>(~bit);
        if (place.writable) {
            write_closed_.at(row.encoding / 8) &= static_cast<u8>(~bit);
        }
    }
}

}  // namespace droste
