#include "cpu/vmx/entry/entry_checks.hpp"

#include "core/bits.hpp"
#include "cpu/vmx/vmcs/controls.hpp"
#include "cpu/x86/state/regs.hpp"

#include <bit>

namespace droste {

namespace {

using enum VmcsField;

// In the manual's order. Bit numbers of stale_checks are positions here.
enum GroupNumber : unsigned {
    kExecution,
    kExecutionMemory,
    kExit,
    kEntry,
    kInjection,
    kEntryMsrArea,
    kHostRegisters,
    kHostSegments,
    kHostAddressSpace,
    kGuestRegisters,
    kGuestSegments,
    kGuestDescriptorTables,
    kGuestRipRflags,
    kGuestNonRegister,
    kGuestLinkPointer,
    kGuestPdptes,
    kGroupCount
};
static_assert(kAllChecks == (1U << kGroupCount) - 1);

static_assert(kStaleAfterAnyExit == (1U << kGuestRipRflags | 1U << kGuestNonRegister));
static_assert(kPlainChecks == (1U << kInjection | 1U << kGuestRipRflags | 1U << kGuestNonRegister));

// What is derived from fields besides the outcome of checks.
struct Derivation {
    u32 stale;
    std::span<const VmcsField> fields;
};
// clang-format off
constexpr auto kControlFields = std::to_array<VmcsField>({pin_controls, proc_controls, proc2_controls, exit_controls, entry_controls});
constexpr auto kGuestSideFields = std::to_array<VmcsField>({
    guest_cr0, guest_cr3, guest_cr4, guest_ia32_efer, guest_cs_access_rights, guest_ss_access_rights, entry_controls, vpid, ept_pointer,
});
constexpr auto kHostSideFields = std::to_array<VmcsField>({host_cr0, host_cr3, host_cr4, host_ia32_efer, exit_controls});
#define DROSTE_SEGMENT(reg) guest_##reg##_selector, guest_##reg##_base, guest_##reg##_limit, guest_##reg##_access_rights
constexpr auto kGuestSegmentFields = std::to_array<VmcsField>({
    DROSTE_SEGMENT(es), DROSTE_SEGMENT(cs), DROSTE_SEGMENT(ss), DROSTE_SEGMENT(ds), DROSTE_SEGMENT(fs), DROSTE_SEGMENT(gs),
    DROSTE_SEGMENT(ldtr), DROSTE_SEGMENT(tr), guest_gdtr_base, guest_gdtr_limit, guest_idtr_base, guest_idtr_limit,
});
#undef DROSTE_SEGMENT
constexpr auto kHostSegmentFields = std::to_array<VmcsField>({
    host_es_selector, host_cs_selector, host_ss_selector, host_ds_selector, host_fs_selector, host_gs_selector, host_tr_selector,
    host_fs_base, host_gs_base, host_tr_base, host_gdtr_base, host_idtr_base, exit_controls,
});
constexpr auto kDerivations = std::to_array<Derivation>({
    {kStaleControls, kControlFields},
    {kStaleGuestSide, kGuestSideFields},
    {kStaleHostSide, kHostSideFields},
    {kStaleGuestSegments, kGuestSegmentFields},
    {kStaleHostSegments, kHostSegmentFields},
});
// clang-format on

struct Tables {
    std::array<CheckGroup, kGroupCount> groups;
    std::array<u32, 3> of_failure{};                // the groups of a kind of failure
    std::array<u32, kVmcsFieldCount> written_by{};  // by field: what its write makes stale

    Tables();
    bool reads(const CheckGroup& group, VmcsField field) const;
};

// Whether the group needs the field itself: part of what it takes from some is in its inputs.
bool Tables::reads(const CheckGroup& group, VmcsField field) const {
    switch (field) {
    case proc2_controls: return false;
    case proc_controls: return group.primary;
    case guest_rflags: return (group.inputs & check_input::kVirtual8086) == 0;
    default: return true;
    }
}

Tables::Tables()
    : groups{{
          {"VM-Execution Control Fields", EntryFailure::Controls, execution_control_checks(),
           check_input::kSecondary, true},
          {"VM-Execution Control Fields", EntryFailure::Controls, execution_control_memory_checks(),
           check_input::kSecondary, true, vtpr_matters},
          {"VM-Exit Control Fields", EntryFailure::Controls, exit_control_checks()},
          {"VM-Entry Control Fields", EntryFailure::Controls, entry_control_checks()},
          {"VM-Entry Control Fields", EntryFailure::Controls, injection_checks()},
          {"VM-Entry Control Fields", EntryFailure::Controls, entry_msr_area_checks()},
          {"Checks on Host Control Registers, MSRs, and SSP", EntryFailure::HostState,
           host_register_checks()},
          {"Checks on Host Segment and Descriptor-Table Registers", EntryFailure::HostState,
           host_segment_checks()},
          {"Checks Related to Address-Space Size", EntryFailure::HostState,
           host_address_space_checks(), check_input::kIa32eMode},
          {"Checks on Guest Control Registers, Debug Registers, and MSRs", EntryFailure::GuestState,
           guest_register_checks()},
          {"Checks on Guest Segment Registers", EntryFailure::GuestState, guest_segment_checks(),
           check_input::kSecondary | check_input::kVirtual8086},
          {"Checks on Guest Descriptor-Table Registers", EntryFailure::GuestState,
           guest_descriptor_table_checks()},
          {"Checks on Guest RIP, RFLAGS, and SSP", EntryFailure::GuestState,
           guest_rip_rflags_checks()},
          {"Checks on Guest Non-Register State", EntryFailure::GuestState,
           guest_non_register_checks()},
          {"Checks on Guest Non-Register State", EntryFailure::GuestState,
           guest_link_pointer_checks(), check_input::kSecondary, false, has_link_pointer},
          {"Checks on Guest Page-Directory-Pointer-Table Entries", EntryFailure::GuestState,
           guest_pdpte_checks(), check_input::kSecondary, false, pdptes_in_memory},
      }} {
    for (unsigned number = 0; number < kGroupCount; ++number) {
        const CheckGroup& group = groups[number];
        of_failure[static_cast<std::size_t>(group.failure)] |= 1U << number;
        for (const EntryCheck& row : group.rows) {
            for (const VmcsField field : row.fields) {
                written_by[static_cast<std::size_t>(field)] |=
                    reads(group, field) ? 1U << number : 0U;
            }
        }
    }
    for (const Derivation& derivation : kDerivations) {
        for (const VmcsField field : derivation.fields) {
            written_by[static_cast<std::size_t>(field)] |= derivation.stale;
        }
    }
}

const Tables& tables() {
    static const Tables kTables;
    return kTables;
}

}  // namespace

const ActiveControls& bring_up_to_date(BoundVmcs& bound) {
    if ((bound.stale_checks & kStaleControls) != 0) {
        bound.controls = active_controls(bound.fields);
        bound.stale_checks &= ~kStaleControls;
    }
    return bound.controls;
}

EntryContext::EntryContext(VmxState& state)
    : vmx(state)
    , caps(state.caps)
    , vmcs(state.vmcs())
    , controls(bring_up_to_date(*state.current))
    , ia32e_guest(controls.has_entry(vm_entry_control::kIa32eModeGuest))
    , host_64(controls.has_exit(vm_exit_control::kHostAddressSpaceSize))
    , unrestricted(controls.has2(proc2::kUnrestrictedGuest))
    , virtual8086((vmcs.guest_rflags & rflags::kVm) != 0)
    , injects((vmcs.entry_interruption_info & interruption::kValid) != 0) {}

bool EntryContext::canonical(u64 linear) const {
    return sign_extend(linear, caps.linear_address_bits) == linear;
}

unsigned EntryContext::injected_type() const {
    return interruption::type_of(vmcs.entry_interruption_info);
}

std::span<const CheckGroup> check_groups() {
    return tables().groups;
}

u32 stale_by_writing(VmcsField field) {
    return tables().written_by[static_cast<std::size_t>(field)];
}

u32 stale_by_saving(u32 changes) {
    return ((changes & saved_change::kCr0) != 0 ? stale_by_writing(guest_cr0) : 0) |
           ((changes & saved_change::kCr4) != 0 ? stale_by_writing(guest_cr4) : 0) |
           ((changes & saved_change::kIa32eMode) != 0 ? stale_by_writing(entry_controls) : 0) |
           ((changes & saved_change::kInjection) != 0 ? stale_by_writing(entry_interruption_info)
                                                      : 0);
}

void inputs_changed(BoundVmcs& bound, u64 inputs) {
    const u64 changed = inputs ^ bound.check_inputs;
    bound.check_inputs = inputs;
    for (unsigned number = 0; number < kGroupCount; ++number) {
        bound.stale_checks |= (tables().groups[number].inputs & changed) != 0 ? 1U << number : 0;
    }
    bound.stale_checks |= (changed & check_input::kSecondary) != 0 ? kStaleGuestSide : 0;
}

FailedCheck
first_failed_check(const EntryContext& context, EntryFailure failure, u32& stale_checks) {
    const Tables& all = tables();
    u32 pending = stale_checks & all.of_failure[static_cast<std::size_t>(failure)];
    for (; pending != 0; pending &= pending - 1) {
        const CheckGroup& group = all.groups[static_cast<std::size_t>(std::countr_zero(pending))];
        for (const EntryCheck& row : group.rows) {
            if (!row.holds(context)) {
                return {&group, &row};
            }
        }
        if (group.looks_at_memory == nullptr || !group.looks_at_memory(context)) {
            stale_checks &= ~(pending & -pending);
        }
    }
    return {};
}

}  // namespace droste
