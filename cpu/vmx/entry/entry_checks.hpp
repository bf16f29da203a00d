#pragma once
// VM-entry checks as rows: name, where the manual says so, what must hold, a predicate, and the
// fields it reads. SDM Vol. 3C, "VM Entries". One table a section, in the manual's order;
// entry_checks_*.cpp.
//
// The rows serve four readers: the VM entry itself, the explanation of a failed one
// (entry_explain.cpp), the test that every row has a violating case, and the memo: a group whose
// fields were not written since it passed is not run again. So a row must list *every* field its
// predicate reads; a test compares memoized with full checking.

#include "core/types.hpp"
#include "cpu/vmx/vmcs/vmcs.hpp"
#include "cpu/vmx/vmx_state.hpp"

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
    ActiveControls controls;
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

struct CheckGroup {
    std::string_view section;  // title in SDM Vol. 3C
    EntryFailure failure;
    std::span<const EntryCheck> rows;
    bool always = false;  // looks at memory or at the processor's state: no memo
};

// The tables.
std::span<const EntryCheck> execution_control_checks();  // entry_checks_controls.cpp
std::span<const EntryCheck> execution_control_memory_checks();
std::span<const EntryCheck> exit_control_checks();
std::span<const EntryCheck> entry_control_checks();
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

// All groups in the order of the manual; bit i of BoundVmcs::stale_checks is group i.
std::span<const CheckGroup> check_groups();
// Groups with a row that reads `field`.
u32 checks_reading(VmcsField field);
// What a VM exit makes stale: the guest state it saves is the processor's and passes by
// construction, except RIP, RFLAGS and the non-register state; and it clears the injection. Without
// "save IA32_EFER" that field may not go with the CR0 saved.
u32 checks_stale_after_exit(const ActiveControls& controls);

struct FailedCheck {
    const CheckGroup* group = nullptr;
    const EntryCheck* check = nullptr;
};
// The first row of a `failure` kind that does not hold. Skips groups that are not stale; those that
// pass become fresh.
FailedCheck
first_failed_check(const EntryContext& context, EntryFailure failure, u32& stale_checks);

// "Extended-Page-Table Pointer (EPTP)": may a VM entry use it?
bool ept_pointer_valid(const VmxCapabilities& caps, u64 pointer);

// entry_explain.cpp: the row, its section, every field with its value and what would have been
// allowed.
std::string explain(const EntryContext& context, const FailedCheck& failed);
// The same for entry `number` (1..) of the VM-entry MSR-load area.
std::string explain_msr_loading(const VmxState& vmx, u32 number);

}  // namespace droste
