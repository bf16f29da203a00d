#include "cpu/vmx/instructions/field_access.hpp"

#include "cpu/vmx/capabilities.hpp"
#include "cpu/vmx/entry/entry_checks.hpp"

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

namespace {

constexpr bool accesses_stay_inside() {
    return true
#define DROSTE_VMCS_FIELD(encoding, name, width, access, group, member, needs) \
    &&offsetof(Vmcs, member) + sizeof(u64) <= sizeof(Vmcs)
#include "cpu/vmx/vmcs/vmcs_fields.inc"
#undef DROSTE_VMCS_FIELD
        ;
}
static_assert(accesses_stay_inside(), "a field is accessed as 64 bits whatever its width");

}  // namespace

FieldAccessTable::FieldAccessTable(const VmxCapabilities& caps) {
    for (unsigned number = 0; number < kVmcsFieldCount; ++number) {
        const auto field = static_cast<VmcsField>(number);
        const VmcsFieldRow& row = row_of(field);
        if (!caps.supports(row)) {
            continue;
        }
        FieldAccess& access = rows_[number + 1];
        access.mask = ~u64{0} >> (64 - 8 * row.bytes);
        access.stale = stale_by_writing(field);
        access.offset = row.offset;
        access.writable = row.access == VmcsAccess::RW || caps.has(VmxFeature::VmwriteAnyField);
    }
}

}  // namespace droste
