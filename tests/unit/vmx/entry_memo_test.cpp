// The memo of VM-entry checks is exact: a group of checks runs again when something it reads may have
// changed since it passed, and only then. docs/decisions/0005-memo-of-entry-checks.md.

#include "cpu/vmx/entry/entry_plain.hpp"
#include "tests/unit/vmx/vmx_machine.hpp"

#include <catch2/catch.hpp>

#include <algorithm>
#include <array>
#include <cstring>
#include <string_view>
#include <vector>

using namespace droste;
using namespace droste::test;

namespace {

// Exited once by CPUID: everything that can be is fresh.
class Entered : public VmxMachine {
  public:
    Entered() {
        prepare();
        guest_code({0x0F, 0xA2, 0x0F, 0xA2, 0x0F, 0xA2});
        REQUIRE(run_guest());
        REQUIRE(exited_with(ExitReason::CPUID));
        REQUIRE(enterable());
        REQUIRE(stale() == 0);
    }

    // Runs what is stale now, as a VM entry does.
    FailedCheck memo(EntryFailure kind) {
        (void)groups_to_check(vmx());
        const EntryContext context(vmx());
        return first_failed_check(context, kind, vmx().current->stale_checks);
    }
    FailedCheck full(EntryFailure kind) {
        const EntryContext context(vmx());
        u32 all = kAllChecks;
        return first_failed_check(context, kind, all);
    }
    bool enterable() {
        return memo(EntryFailure::Controls).check == nullptr &&
               memo(EntryFailure::HostState).check == nullptr &&
               memo(EntryFailure::GuestState).check == nullptr;
    }
    void memo_agrees() {
        for (const EntryFailure kind :
             {EntryFailure::Controls, EntryFailure::HostState, EntryFailure::GuestState}) {
            CHECK(memo(kind).check == full(kind).check);
        }
    }
    u32 stale() { return vmx().current->stale_checks & kAllChecks; }
    u32 stale_with_inputs() { return groups_to_check(vmx()); }
    // By VMWRITE in the host's code, the whole value.
    void write(VmcsField field, u64 value) {
        REQUIRE(vmwrite(row_of(field).encoding, value) == Status::Next);
        REQUIRE(succeeded());
    }
};

// By number of the group: whether a row of it lists `field`.
u32 groups_listing(VmcsField field) {
    u32 groups = 0;
    u32 number = 0;
    for (const CheckGroup& group : check_groups()) {
        for (const EntryCheck& row : group.rows) {
            if (std::find(row.fields.begin(), row.fields.end(), field) != row.fields.end()) {
                groups |= 1U << number;
            }
        }
        ++number;
    }
    return groups;
}

// Those it makes stale by its value's effect on the group's inputs, not by itself.
bool comes_by_inputs(VmcsField field) {
    return field == VmcsField::proc_controls || field == VmcsField::proc2_controls ||
           field == VmcsField::guest_rflags;
}

}  // namespace

TEST_CASE("every bit of every field: checks that read it run again", "[vmx][entry][memo]") {
    Entered m;
    const Vmcs good = m.vmcs();
    for (unsigned number = 0; number < kVmcsFieldCount; ++number) {
        const auto field = static_cast<VmcsField>(number);
        const VmcsFieldRow& row = row_of(field);
        if (!m.vmx().caps.supports(row) || row.group == VmcsGroup::Information) {
            continue;
        }
        const u64 old = read_field(m.vmcs(), row);
        for (unsigned n = 0; n < row.bytes * 8U; ++n) {
            m.write(field, old ^ (u64{1} << n));
            CAPTURE(row.name, n);
            const u32 listing = groups_listing(field);
            const u32 stale = m.stale();
            CHECK((stale & ~listing) == 0);  // and no others
            if (!comes_by_inputs(field)) {
                CHECK(stale == listing);
            }
            m.memo_agrees();
            m.write(field, old);
            REQUIRE(m.enterable());
            REQUIRE(m.stale() == 0);
        }
    }
    CHECK(std::memcmp(&good, &m.vmcs(), sizeof(good)) == 0);
}

TEST_CASE("a write of what a field holds makes nothing stale", "[vmx][entry][memo]") {
    Entered m;
    for (unsigned number = 0; number < kVmcsFieldCount; ++number) {
        const auto field = static_cast<VmcsField>(number);
        const VmcsFieldRow& row = row_of(field);
        if (m.vmx().caps.supports(row) && row.group != VmcsGroup::Information) {
            const u32 before = m.vmx().current->stale_checks;
            m.write(field, read_field(m.vmcs(), row));
            CAPTURE(row.name);
            CHECK(m.vmx().current->stale_checks == before);
        }
    }
}

TEST_CASE("no check runs for an entry that changes RIP, RFLAGS and injection alone",
          "[vmx][entry][memo]") {
    Entered m;
    REQUIRE(m.run_guest());  // VMRESUME, and CPUID again
    m.write(VmcsField::guest_rip, VmxMachine::kGuestCode);
    CHECK(m.stale() != 0);
    CHECK(m.stale_with_inputs() == 0);
    m.write(VmcsField::guest_rflags, rflags::kFixed1 | rflags::kIf | rflags::kCf);
    CHECK(m.stale_with_inputs() == 0);
    constexpr u32 kInterrupt = interruption::kValid | 0x30;
    constexpr u32 kGeneralProtection =
        interruption::kValid | interruption::kErrorCodeValid | 3U << 8 | 13;
    constexpr u32 kNmi = interruption::kValid | 2U << 8 | 2;
    for (const u32 event : {kInterrupt, kGeneralProtection, kNmi}) {
        m.write(VmcsField::entry_interruption_info, event);
        CHECK(m.stale_with_inputs() == 0);
    }
    m.write(VmcsField::guest_interruptibility, blocking::kNmi);
    CHECK(m.stale_with_inputs() != 0);  // an NMI while NMIs are blocked: its row decides
    m.write(VmcsField::entry_interruption_info, 0);
    CHECK(m.stale_with_inputs() == 0);
}

TEST_CASE("a change of the processor's mode reruns the checks on the address-space size",
          "[vmx][entry][memo]") {
    Entered m;
    const u64 efer = m.state().efer;
    m.state().efer = efer & ~(efer::kLma | efer::kLme);
    m.memo_agrees();
    REQUIRE(m.memo(EntryFailure::HostState).check != nullptr);
    m.state().efer = efer;
    m.memo_agrees();
    CHECK(m.enterable());
    CHECK(m.stale() == 0);
}

TEST_CASE("checks that look at memory run at every VM entry", "[vmx][entry][memo]") {
    Entered vtpr;
    vtpr.machine().poke_value<u8>(VmxMachine::kVirtualApic + 0x80, 0x50);
    vtpr.write(VmcsField::virtual_apic_address, VmxMachine::kVirtualApic);
    vtpr.write(VmcsField::proc_controls, vtpr.vmcs().proc_controls | proc::kTprShadow);
    vtpr.write(VmcsField::tpr_threshold, 5);
    REQUIRE(vtpr.enterable());
    vtpr.machine().poke_value<u8>(VmxMachine::kVirtualApic + 0x80, 0x40);
    CHECK_FALSE(vtpr.enterable());
    vtpr.machine().poke_value<u8>(VmxMachine::kVirtualApic + 0x80, 0x50);
    CHECK(vtpr.enterable());
    vtpr.write(VmcsField::proc_controls, vtpr.vmcs().proc_controls & ~proc::kTprShadow);
    CHECK(vtpr.enterable());
    CHECK(vtpr.stale() == 0);  // no memory any more

    Entered link;
    constexpr u64 kRegion = VmxMachine::kScratch & kPageMask;
    link.machine().poke_value<u32>(kRegion, kVmcsRevision);
    link.write(VmcsField::vmcs_link_pointer, kRegion);
    REQUIRE(link.enterable());
    link.machine().poke_value<u32>(kRegion, kVmcsRevision + 1);
    CHECK_FALSE(link.enterable());
    link.write(VmcsField::vmcs_link_pointer, kNoVmcs);
    CHECK(link.enterable());
    CHECK(link.stale() == 0);
}

TEST_CASE(
    "a VM exit that saves another CR0 beside an EFER it does not save reruns the check on both",
    "[vmx][entry][memo]") {
    Entered m;
    m.write(VmcsField::entry_controls, m.vmcs().entry_controls | vm_entry_control::kLoadEfer);
    m.write(VmcsField::guest_ia32_efer, m.state().efer);
    // mov rax, cr0; btr eax, 16 (WP); mov cr0, rax; cpuid
    m.guest_code({0x0F, 0x20, 0xC0, 0x0F, 0xBA, 0xF0, 16, 0x0F, 0x22, 0xC0, 0x0F, 0xA2});
    m.write(VmcsField::guest_rip, VmxMachine::kGuestCode);
    REQUIRE(m.run_guest());
    REQUIRE(m.exited_with(ExitReason::CPUID));
    REQUIRE((m.vmcs().guest_cr0 & cr0::kWp) == 0);
    CHECK((m.stale() & groups_listing(VmcsField::guest_cr0)) ==
          groups_listing(VmcsField::guest_cr0));
    m.memo_agrees();
    CHECK(m.enterable());
}

// What differs at every VM entry, in all combinations that matter: where the predicate holds, so do
// the rows it stands for.
TEST_CASE("plainly enterable states pass every check on what they stand for",
          "[vmx][entry][memo]") {
    Entered m;
    Vmcs& v = m.vmcs();
    u64 plain = 0, odd = 0;
    const u32 entry_controls = v.entry_controls;
    const auto judge = [&] {
        m.vmx().current->stale_checks = ~0U;
        const EntryContext context(m.vmx());
        if (!plainly_enterable(v, context.controls, m.vmx().caps.linear_address_bits)) {
            ++odd;
            return;
        }
        ++plain;
        for (const EntryFailure kind : {EntryFailure::Controls, EntryFailure::GuestState}) {
            u32 all = kAllChecks;
            const FailedCheck failed = first_failed_check(context, kind, all);
            if (failed.check != nullptr) {
                // Only what it does not stand for may fail: the controls and segments changed here.
                CAPTURE(failed.check->name, v.entry_interruption_info, v.guest_rflags,
                        v.guest_interruptibility);
                const bool other =
                    failed.check->name.find("IA-32e mode") != std::string_view::npos ||
                    failed.check->name.find("VM-entry controls") == 0 ||
                    failed.check->name == "guest PDPTEs";
                CHECK(other);
            }
        }
    };
    constexpr u32 kValid = interruption::kValid, kCode = interruption::kErrorCodeValid;
    std::vector<u32> events = {0, 0x30};
    for (u32 type = 0; type < 8; ++type) {
        for (const u32 vector : {0U, 1U, 2U, 3U, 8U, 13U, 14U, 17U, 21U, 31U, 32U, 255U}) {
            for (const u32 more : {0U, kCode, 1U << 12, 1U << 30}) {
                events.push_back(kValid | type << 8 | vector | more);
            }
        }
    }
    for (const u32 event : events) {
        for (const u64 flags :
             {u64{0}, rflags::kFixed1, rflags::kFixed1 | rflags::kIf, rflags::kFixed1 | rflags::kTf,
              rflags::kFixed1 | rflags::kVm, rflags::kFixed1 | rflags::kRf,
              rflags::kFixed1 | u64{1} << 15, rflags::kFixed1 | u64{1} << 32}) {
            for (const u32 blocked : {0U, 1U, 2U, 4U, 8U, 16U}) {
                for (const u32 activity : {0U, 1U, 2U, 3U, 4U}) {
                    for (const u64 pending : {u64{0}, u64{1} << 14, u64{1} << 12, u64{1} << 4}) {
                        v.entry_interruption_info = event;
                        v.guest_rflags = flags;
                        v.guest_interruptibility = blocked;
                        v.guest_activity_state = activity;
                        v.guest_pending_debug = pending;
                        v.entry_exception_error_code = (event & 4) != 0 ? 0x1'0000 : 0xFFFF;
                        judge();
                    }
                }
            }
        }
    }
    v.entry_interruption_info = 0;
    v.guest_rflags = rflags::kFixed1;
    v.guest_interruptibility = v.guest_activity_state = 0;
    v.guest_pending_debug = 0;
    for (const u32 controls : {entry_controls, entry_controls & ~vm_entry_control::kIa32eModeGuest,
                               entry_controls | vm_entry_control::kLoadCetState}) {
        for (const u32 rights : {0xA09BU, 0xC09BU}) {
            for (unsigned n = 0; n < 64; ++n) {
                v.entry_controls = controls;
                v.guest_cs_access_rights = rights;
                v.guest_rip = u64{1} << n;
                judge();
                v.guest_rip = ~(u64{1} << n);
                judge();
            }
        }
    }
    CHECK(plain > 100);
    CHECK(odd > 100);
}

TEST_CASE("what a VMCS remembers of its sides is the state that its fields load",
          "[vmx][entry][memo]") {
    const auto same = [](const ModeState& a, const ModeState& b) {
        return a.key == b.key && a.cpl == b.cpl && a.data_tlb == b.data_tlb &&
               a.stack_mask == b.stack_mask && a.rip_mask == b.rip_mask;
    };
    const auto consistent = [&](VmxMachine& m) {
        const ModeState now = m.cpu().mode;
        REQUIRE(m.cpu().tlb.is_current(m.cpu()));
        mode_changed(m.cpu());
        CHECK(same(now, m.cpu().mode));
    };
    // Fields that name the address space or the mode, changed between two round trips.
    struct Change {
        VmcsField field;
        u64 bits;
    };
    for (const Change& change : std::to_array<Change>({{VmcsField::guest_cr0, cr0::kTs},
                                                       {VmcsField::guest_cr0, cr0::kWp},
                                                       {VmcsField::guest_cr4, cr4::kOsxsave},
                                                       {VmcsField::guest_cr4, cr4::kPge},
                                                       {VmcsField::guest_cr3, 0x18},
                                                       {VmcsField::guest_rflags, rflags::kAc},
                                                       {VmcsField::host_cr0, cr0::kTs},
                                                       {VmcsField::host_cr0, cr0::kWp},
                                                       {VmcsField::host_cr4, cr4::kOsxsave},
                                                       {VmcsField::host_cr3, 0x18}})) {
        Entered m;
        for (unsigned round = 0; round < 3; ++round) {
            m.write(VmcsField::guest_rip, VmxMachine::kGuestCode);
            REQUIRE(m.vmresume() == Status::Switched);
            REQUIRE(m.vmx().non_root);
            CAPTURE(row_of(change.field).name, round);
            consistent(m);
            REQUIRE(m.continue_guest(10));
            consistent(m);
            m.write(change.field, read_field(m.vmcs(), row_of(change.field)) ^ change.bits);
        }
    }
    // What the fields do not hold: XCR0 and EFER.NXE as the host has them.
    Entered m;
    m.write(VmcsField::guest_rip, VmxMachine::kGuestCode);
    m.state().xcr0 = 1;
    mode_changed(m.cpu());
    REQUIRE(m.vmresume() == Status::Switched);
    consistent(m);
    REQUIRE(m.continue_guest(10));
    consistent(m);
    m.state().efer ^= efer::kNxe;
    m.cpu().tlb.activate(m.cpu());
    m.write(VmcsField::guest_rip, VmxMachine::kGuestCode);
    REQUIRE(m.vmresume() == Status::Switched);
    consistent(m);
    REQUIRE(m.continue_guest(10));
    consistent(m);
}
