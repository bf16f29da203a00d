#pragma once
// VM-entry checks as rows: name, where the manual says so, what must hold, a predicate, and the
// fields it reads. SDM Vol. 3C, "VM Entries". One table a section, in the manual's order;
// entry_checks_*.cpp.
//
// The rows serve four readers: the VM entry itself, the explanation of a failed one
// (entry_explain.cpp), the test that every row has a violating case, and the memo.
//
// The memo: a group of rows runs when something it reads may have changed since it passed.
//   fields       VMWRITE of another value makes the groups stale that read the field: a row must
//                list *every* field its predicate reads
//   VM exits     save what the processor can be in, and that passes by construction. Only what they
//                save beside fields they do not, and what passes for this state alone, goes stale
//                (stale_after_exit())
//   the rest     the processor's mode, RFLAGS.VM and the secondary controls in force are compared
//                with those of the last VM entry (CheckInputs): one word
//   memory       nobody sees who writes it: a group that looks there stays stale while its fields
//                make it look (CheckGroup::looks_at_memory)
// What differs at every VM entry (RIP, RFLAGS, non-register state, injection) has one predicate
// instead of 25 rows for the states in which nearly every guest is entered: plainly_enterable()
// (entry_plain.hpp).
// Tests change every field and see the groups that read it become stale, compare memo with full
// checking, and hold the predicate against the rows; vmcs_fuzz compares all of it at random.

#include "core/types.hpp"
#include "cpu/vmx/vmcs/vmcs.hpp"
#include "cpu/vmx/vmx_state.hpp"
#include "cpu/x86/state/regs.hpp"

#include <array>
#include <initializer_list>
#include <span>
#include <string>
#include <string_view>

namespace droste {

// What the predicates look at.
struct EntryContext {
    VmxState& vmx;
    const VmxCapabilities& caps;
    const Vmcs& vmcs;
    const ActiveControls& controls;  // brought up to date
    bool ia32e_guest;
    bool host_64;
    bool unrestricted;
    bool virtual8086;
    bool injects;  // the VM-entry interruption-information field is valid

    explicit EntryContext(VmxState& state);

    bool address_fits(u64 address) const { return caps.physical_address_fits(address); }
    bool page_address_ok(u64 address) const {
        return address % kPageBytes == 0 && address_fits(address);
    }
    bool canonical(u64 linear) const;
    unsigned injected_type() const;
    unsigned injected_vector() const { return vmcs.entry_interruption_info & 0xFF; }
};

// Up to ten fields.
struct FieldList {
    std::array<VmcsField, 10> fields{};
    u8 count = 0;
    constexpr FieldList(std::initializer_list<VmcsField> list) {
        for (const VmcsField field : list) {
            fields[count++] = field;
        }
    }
    constexpr const VmcsField* begin() const { return fields.data(); }
    constexpr const VmcsField* end() const { return fields.data() + count; }
};

struct EntryCheck {
    std::string_view name;      // unique; appears in the explanation and names the test
    std::string_view sentence;  // what must hold
    bool (*holds)(const EntryContext&);
    FieldList fields;
    u8 qualification = 0;  // guest state only: exit qualification when the row fails
};

enum class EntryFailure : u8 { Controls, HostState, GuestState };

// Exit qualification of exit reason 33; 0 for every other check. SDM Vol. 3C, "VM-Entry Failures
// During or After Loading Guest State": 2 "a problem loading the PDPTEs", 3 "an attempt to inject a
// non-maskable interrupt (NMI) into a guest that is blocking events through the STI blocking bit",
// 4 "an invalid VMCS link pointer".
inline constexpr u8 kQualificationPdpte = 2, kQualificationNmi = 3, kQualificationLinkPointer = 4;

// What a group looks at besides fields, and what it takes from fields that often change otherwise,
// in one word: BoundVmcs::check_inputs is that of the last VM entry.
namespace check_input {
inline constexpr u64 kSecondary = 0xFFFF'FFFF;  // secondary controls, 0 unless activated
inline constexpr unsigned kFlagsShift = 32;
inline constexpr u64 kIa32eMode = efer::kLma << kFlagsShift;     // the processor's EFER.LMA
inline constexpr u64 kVirtual8086 = rflags::kVm << kFlagsShift;  // RFLAGS.VM of the guest
}  // namespace check_input

struct CheckGroup {
    std::string_view section;  // title in SDM Vol. 3C
    EntryFailure failure;
    std::span<const EntryCheck> rows;
    // Its check_input bits. With kVirtual8086 its rows take nothing else from RFLAGS; they take
    // nothing from the secondary controls but those in force.
    u64 inputs = check_input::kSecondary;
    bool primary = false;  // takes more from the primary controls than whether there are secondary
    // Under these fields it looks at memory, too.
    bool (*looks_at_memory)(const EntryContext&) = nullptr;
};

// The tables.
std::span<const EntryCheck> execution_control_checks();  // entry_checks_controls.cpp
std::span<const EntryCheck> execution_control_memory_checks();
std::span<const EntryCheck> exit_control_checks();
std::span<const EntryCheck> entry_control_checks();
std::span<const EntryCheck> injection_checks();
std::span<const EntryCheck> entry_msr_area_checks();
std::span<const EntryCheck> host_register_checks();  // entry_checks_host.cpp
std::span<const EntryCheck> host_segment_checks();
std::span<const EntryCheck> host_address_space_checks();
std::span<const EntryCheck> guest_register_checks();  // entry_checks_guest.cpp
std::span<const EntryCheck> guest_segment_checks();   // entry_checks_guest_segments.cpp
std::span<const EntryCheck> guest_descriptor_table_checks();
std::span<const EntryCheck> guest_rip_rflags_checks();  // entry_checks_guest.cpp
std::span<const EntryCheck> guest_non_register_checks();
std::span<const EntryCheck> guest_link_pointer_checks();
std::span<const EntryCheck> guest_pdpte_checks();
// CheckGroup::looks_at_memory of three of them.
bool vtpr_matters(const EntryContext& context);      // entry_checks_controls.cpp
bool has_link_pointer(const EntryContext& context);  // entry_checks_guest.cpp
bool pdptes_in_memory(const EntryContext& context);  // entry_checks_guest.cpp

// All groups in the order of the manual; bit i of BoundVmcs::stale_checks is group i.
std::span<const CheckGroup> check_groups();
inline constexpr u32 kAllChecks = 0xFFFF;
inline constexpr u32 kPlainChecks = 1U << 4 | 1U << 12 | 1U << 13;  // see entry_plain.hpp
// RIP, RFLAGS and non-register state are saved by each VM exit.
inline constexpr u32 kStaleAfterAnyExit = 1U << 12 | 1U << 13;
// The other bits: what else is derived from fields, and stale when they are written.
inline constexpr u32 kStaleControls = 1U << 16;       // BoundVmcs::controls
inline constexpr u32 kStaleGuestSide = 1U << 17;      // BoundVmcs::guest_side
inline constexpr u32 kStaleHostSide = 1U << 18;       // BoundVmcs::host_side
inline constexpr u32 kStaleGuestSegments = 1U << 19;  // BoundVmcs::guest_segments
inline constexpr u32 kStaleHostSegments = 1U << 20;   // BoundVmcs::host_segments
// The bits that a write of `field` sets.
u32 stale_by_writing(VmcsField field);
// ... and those that a VM exit does, given what it found saved in the VMCS and now saves.
namespace saved_change {
inline constexpr u32 kCr0 = 1U << 0;
inline constexpr u32 kCr4 = 1U << 1;
inline constexpr u32 kIa32eMode = 1U << 2;  // EFER.LMA is not what "IA-32e mode guest" said
inline constexpr u32 kInjection = 1U << 3;  // an event was injected by the last VM entry
}  // namespace saved_change
u32 stale_by_saving(u32 changes);
inline u32 stale_after_exit(u32 changes) {
    return kStaleAfterAnyExit | (changes == 0 ? 0 : stale_by_saving(changes));
}

struct FailedCheck {
    const CheckGroup* group = nullptr;
    const EntryCheck* check = nullptr;
};
// The first row of a `failure` kind that does not hold. Skips groups that are not stale; those that
// pass become fresh.
FailedCheck
first_failed_check(const EntryContext& context, EntryFailure failure, u32& stale_checks);
// The digest of the controls, worked out anew if one was written.
const ActiveControls& bring_up_to_date(BoundVmcs& bound);
// Makes the groups stale whose inputs differ from those of the last VM entry.
void inputs_changed(BoundVmcs& bound, u64 inputs);

// "Extended-Page-Table Pointer (EPTP)": may a VM entry use it?
bool ept_pointer_valid(const VmxCapabilities& caps, u64 pointer);

// entry_explain.cpp: the row, its section, every field with its value and what would have been
// allowed.
std::string explain(const EntryContext& context, const FailedCheck& failed);
// The same for entry `number` (1..) of the VM-entry MSR-load area.
std::string explain_msr_loading(const VmxState& vmx, u32 number);

}  // namespace droste
