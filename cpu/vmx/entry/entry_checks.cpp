#include "cpu/vmx/entry/entry_checks.hpp"

#include "core/bits.hpp"
#include "cpu/vmx/vmcs/controls.hpp"
#include "cpu/x86/state/regs.hpp"

namespace droste {

namespace {

// In the manual's order. Bit numbers of stale_checks are positions here.
enum GroupNumber : unsigned {
    kExecution,
    kExecutionMemory,
    kExit,
    kEntry,
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

struct Tables {
    std::array<CheckGroup, kGroupCount> groups;
    std::array<u32, kVmcsFieldCount> readers{};  // by field: groups that read it

    Tables()
        : groups{{
              {"VM-Execution Control Fields", EntryFailure::Controls, execution_control_checks()},
              {"VM-Execution Control Fields", EntryFailure::Controls,
               execution_control_memory_checks(), true},
              {"VM-Exit Control Fields", EntryFailure::Controls, exit_control_checks()},
              {"VM-Entry Control Fields", EntryFailure::Controls, entry_control_checks()},
              {"Checks on Host Control Registers, MSRs, and SSP", EntryFailure::HostState,
               host_register_checks()},
              {"Checks on Host Segment and Descriptor-Table Registers", EntryFailure::HostState,
               host_segment_checks()},
              {"Checks Related to Address-Space Size", EntryFailure::HostState,
               host_address_space_checks(), true},
              {"Checks on Guest Control Registers, Debug Registers, and MSRs",
               EntryFailure::GuestState, guest_register_checks()},
              {"Checks on Guest Segment Registers", EntryFailure::GuestState,
               guest_segment_checks()},
              {"Checks on Guest Descriptor-Table Registers", EntryFailure::GuestState,
               guest_descriptor_table_checks()},
              {"Checks on Guest RIP, RFLAGS, and SSP", EntryFailure::GuestState,
               guest_rip_rflags_checks()},
              {"Checks on Guest Non-Register State", EntryFailure::GuestState,
               guest_non_register_checks()},
              {"Checks on Guest Non-Register State", EntryFailure::GuestState,
               guest_link_pointer_checks(), true},
              {"Checks on Guest Page-Directory-Pointer-Table Entries", EntryFailure::GuestState,
               guest_pdpte_checks(), true},
          }} {
        for (unsigned number = 0; number < kGroupCount; ++number) {
            for (const EntryCheck& row : groups[number].rows) {
                for (const VmcsField field : row.fields) {
                    readers[static_cast<std::size_t>(field)] |= 1U << number;
                }
            }
        }
    }
};

const Tables& tables() {
    static const Tables kTables;
    return kTables;
}

}  // namespace

EntryContext::EntryContext(VmxState& state)
    : vmx(state)
    , caps(state.caps)
    , vmcs(state.vmcs())
    , controls(active_controls(state.vmcs()))
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

u32 checks_reading(VmcsField field) {
    return tables().readers[static_cast<std::size_t>(field)];
}

u32 checks_stale_after_exit(const ActiveControls& controls) {
    const u32 registers = controls.has_exit(vm_exit_control::kSaveEfer) ? 0 : 1U << kGuestRegisters;
    return 1U << kEntry | registers | 1U << kGuestRipRflags | 1U << kGuestNonRegister;
}

FailedCheck
first_failed_check(const EntryContext& context, EntryFailure failure, u32& stale_checks) {
    u32 number = 0;
    for (const CheckGroup& group : tables().groups) {
        const u32 mask = 1U << number++;
        if (group.failure != failure || (!group.always && (stale_checks & mask) == 0)) {
            continue;
        }
        for (const EntryCheck& row : group.rows) {
            if (!row.holds(context)) {
                stale_checks |= mask;
                return {&group, &row};
            }
        }
        stale_checks &= ~mask;
    }
    return {};
}

}  // namespace droste
