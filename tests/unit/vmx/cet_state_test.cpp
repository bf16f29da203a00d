// "Load CET state": the two controls and their fields exist with CET and only with it, what VM
// entry and VM exit load and save, and what else of VMX knows #CP and shadow stacks. The entry
// checks are in entry_checks_test.cpp.

#include "cpu/vmx/exit/exit_qualification.hpp"
#include "cpu/vmx/explain/vmcs_dump.hpp"
#include "cpu/x86/system/cet.hpp"
#include "tests/unit/vmx/vmx_machine.hpp"

#include <catch2/catch.hpp>

using namespace droste;
using namespace droste::test;

namespace {

using M = VmxMachine;
using F = VmxFeature;

constexpr u32 kExitLoad = vm_exit_control::kLoadCetState;
constexpr u32 kEntryLoad = vm_entry_control::kLoadCetState;
constexpr u64 kFields[] = {0x6828, 0x682A, 0x682C, 0x6C18, 0x6C1A, 0x6C1C};

CpuFeatures features_with(bool shadow_stacks, bool branch_tracking) {
    CpuFeatures features = vmx_features();
    features.enable(Feature::CET_SS, shadow_stacks);
    features.enable(Feature::CET_SSS, shadow_stacks);
    features.enable(Feature::CET_IBT, branch_tracking);
    return features;
}

bool advertised(M& m) {
    const bool exit = (m.vmx().caps.exit.may_be_1 & kExitLoad) != 0;
    CHECK(((m.vmx().caps.entry.may_be_1 & kEntryLoad) != 0) == exit);
    CHECK(((m.vmx().caps.exit.must_be_1 | m.vmx().caps.exit.legacy_must_be_1) & kExitLoad) == 0);
    CHECK(((m.vmx().caps.entry.must_be_1 | m.vmx().caps.entry.legacy_must_be_1) & kEntryLoad) == 0);
    return exit;
}

// Three values each for host, guest and what is in the processor when neither was loaded.
constexpr u64 kGuestSCet = cet::kShadowStack | cet::kEndbranch | cet::kNoTrack | 0x7000,
              kGuestSsp = 0x1'8000, kGuestTable = 0x2'0000,
              kHostSCet = cet::kWriteShadowStack | cet::kSuppress | 0x5000, kHostSsp = 0xE000,
              kHostTable = 0xC000, kOldSCet = cet::kLegacyTreatment, kOldSsp = 0xE800,
              kOldTable = 0xC800;

// A guest with CR4.CET whose VM exit comes before its first instruction.
void prepare(M& m, u32 entry_controls, u32 exit_controls) {
    m.prepare();
    Vmcs& v = m.vmcs();
    v.entry_controls |= entry_controls;
    v.exit_controls |= exit_controls;
    v.guest_cr4 |= cr4::kCet;
    v.guest_ia32_s_cet = kGuestSCet;
    v.guest_ssp = kGuestSsp;
    v.guest_ia32_interrupt_ssp_table_addr = kGuestTable;
    v.host_ia32_s_cet = kHostSCet;
    v.host_ssp = kHostSsp;
    v.host_ia32_interrupt_ssp_table_addr = kHostTable;
    m.state().s_cet = kOldSCet;
    m.state().ssp = kOldSsp;
    m.state().interrupt_ssp_table = kOldTable;
    m.set(&Vmcs::entry_interruption_info, interruption::kValid | interruption::kTypeOther << 8);
}

void check_state(M& m, u64 s_cet, u64 ssp, u64 table) {
    CHECK(m.state().s_cet == s_cet);
    CHECK(m.state().ssp == ssp);
    CHECK(m.state().interrupt_ssp_table == table);
}

void check_guest_fields(M& m, u64 s_cet, u64 ssp, u64 table) {
    CHECK(m.vmcs().guest_ia32_s_cet == s_cet);
    CHECK(m.vmcs().guest_ssp == ssp);
    CHECK(m.vmcs().guest_ia32_interrupt_ssp_table_addr == table);
}

}  // namespace

TEST_CASE("\"load CET state\" exists with either half of CET, and not in the nested model",
          "[vmx][cet]") {
    struct Case {
        bool shadow_stacks, branch_tracking;
    };
    for (const auto& [shadow_stacks, branch_tracking] :
         {Case{true, true}, Case{true, false}, Case{false, true}, Case{false, false}}) {
        CAPTURE(shadow_stacks, branch_tracking);
        M m(VmxConfig::max(), features_with(shadow_stacks, branch_tracking));
        CHECK(advertised(m) == (shadow_stacks || branch_tracking));
        CHECK(((m.vmx().caps.cr4_fixed1 & cr4::kCet) != 0) == (shadow_stacks || branch_tracking));
    }
    M nested(VmxConfig::nested());
    CHECK_FALSE(advertised(nested));
}

TEST_CASE("half of \"load CET state\" is taken away, and both without CET", "[vmx][cet]") {
    CHECK(vmx_feature_by_name("vmx-exit-save-cet") == F::ExitLoadCetState);
    CHECK(vmx_feature_by_name("vmx-entry-load-cet") == F::EntryLoadCetState);
    for (const F half : {F::ExitLoadCetState, F::EntryLoadCetState}) {
        VmxFeatures features = VmxConfig::max().features;
        features.enable(half, false);
        const auto dropped = make_consistent(features, vmx_features());
        REQUIRE(dropped.size() == 1);
        CHECK(dropped[0].reason == "needs " + std::string(row_of(half).name));
        CHECK_FALSE(features.has(F::ExitLoadCetState));
        CHECK_FALSE(features.has(F::EntryLoadCetState));
    }
    VmxFeatures features = VmxConfig::max().features;
    const auto dropped = make_consistent(features, features_with(false, false));
    REQUIRE(dropped.size() == 2);
    CHECK(dropped[0].reason == "the CPU model has no CET");
    CHECK(dropped[1].reason == "the CPU model has no CET");
}

TEST_CASE("the fields of CET can be read and written, and without CET are not there",
          "[vmx][cet]") {
    M m;
    M without(VmxConfig::max(), features_with(false, false));
    m.prepare();
    without.prepare();
    for (const u64 encoding : kFields) {
        CAPTURE(encoding);
        u64 value = 0;
        (void)m.vmwrite(encoding, 0xFFFF'8765'4321'0000 + encoding);
        CHECK(m.succeeded());
        (void)m.vmread(encoding, value);
        CHECK(m.succeeded());
        CHECK(value == 0xFFFF'8765'4321'0000 + encoding);
        (void)m.vmread(encoding + 1, value);  // natural width: no high half
        CHECK(m.failed_valid());
        (void)without.vmwrite(encoding, 1);
        CHECK(without.failed_valid());
        CHECK(without.instruction_error() == 12);
        (void)without.vmread(encoding, value);
        CHECK(without.failed_valid());
        CHECK(without.instruction_error() == 12);
    }
    const std::string text = dump_vmcs(m.vmcs(), m.vmx().caps, 0);
    const std::string shorter = dump_vmcs(without.vmcs(), without.vmx().caps, 0);
    for (const char* name :
         {"6828 Guest IA32_S_CET", "682A Guest SSP", "682C Guest IA32_INTERRUPT_SSP_TABLE_ADDR",
          "6C18 Host IA32_S_CET", "6C1A Host SSP", "6C1C Host IA32_INTERRUPT_SSP_TABLE_ADDR"}) {
        CAPTURE(name);
        CHECK(text.find(name) != std::string::npos);
        CHECK(shorter.find(name) == std::string::npos);
    }
    CHECK(decode_bits(VmcsField::guest_ia32_s_cet, 0xC05) ==
          "SH_STK_EN | ENDBR_EN | SUPPRESS | TRACKER");
    CHECK(decode_bits(VmcsField::exit_controls, kExitLoad) == "load CET state");
    CHECK(decode_bits(VmcsField::entry_controls, kEntryLoad) == "load CET state");
    CHECK(decode_bits(VmcsField::guest_cr4, cr4::kCet) == "CET");
}

TEST_CASE("without CET the controls and CR4.CET are reserved", "[vmx][cet]") {
    struct Case {
        const char* check;
        void (*violate)(Vmcs&);
        u32 error;
    };
    for (const auto& [check, violate, error] : {
             Case{"VM-exit controls reserved bits", [](Vmcs& v) { v.exit_controls |= kExitLoad; },
                  7},
             Case{"VM-entry controls reserved bits",
                  [](Vmcs& v) { v.entry_controls |= kEntryLoad; }, 7},
             Case{"host CR4 fixed bits", [](Vmcs& v) { v.host_cr4 |= cr4::kCet; }, 8},
             Case{"guest CR4 fixed bits", [](Vmcs& v) { v.guest_cr4 |= cr4::kCet; }, 0},
         }) {
        CAPTURE(check);
        M m(VmxConfig::max(), features_with(false, false));
        m.prepare();
        violate(m.vmcs());
        m.vmx().current->stale_checks = ~0U;
        (void)m.vmlaunch();
        CHECK(m.log_text().find("check:   " + std::string(check) + "\n") != std::string::npos);
        CHECK((error != 0 ? m.instruction_error() == error : m.exit_reason() == 0x8000'0021));
    }
}

TEST_CASE("\"load CET state\": guest and host state change places", "[vmx][cet]") {
    for (const u32 entry : {0U, kEntryLoad}) {
        for (const u32 exit : {0U, kExitLoad}) {
            CAPTURE(entry, exit);
            M m;
            prepare(m, entry, exit);
            REQUIRE(m.vmlaunch() == Status::Switched);
            REQUIRE(m.vmx().non_root);
            const bool loaded = entry != 0;
            const u64 s_cet = loaded ? kGuestSCet : kOldSCet, ssp = loaded ? kGuestSsp : kOldSsp,
                      table = loaded ? kGuestTable : kOldTable;
            check_state(m, s_cet, ssp, table);
            CHECK(m.cpu().mode.cet == (loaded ? Vcpu::kCetShadowStack | Vcpu::kCetTracked : 0));
            REQUIRE(m.continue_guest(10));
            CHECK(m.exited_with(ExitReason::MONITOR_TRAP_FLAG));
            check_guest_fields(m, s_cet, ssp, table);  // with and without the controls
            if (exit != 0) {
                check_state(m, kHostSCet, kHostSsp, kHostTable);
            } else {
                check_state(m, s_cet, ssp, table);
            }
            CHECK(m.cpu().mode.cet == 0);  // the host's CR4.CET is 0
        }
    }
}

TEST_CASE("what of CET is in force follows the VM entry and the VM exit", "[vmx][cet]") {
    M m;
    prepare(m, kEntryLoad, kExitLoad);
    m.vmcs().guest_ia32_s_cet = cet::kEndbranch | cet::kTracker;
    m.vmcs().host_cr4 |= cr4::kCet;
    m.set(&Vmcs::host_ia32_s_cet, cet::kShadowStack);
    REQUIRE(m.vmlaunch() == Status::Switched);
    CHECK(m.cpu().mode.cet == (Vcpu::kCetTracked | Vcpu::kCetWaiting));
    REQUIRE(m.continue_guest(10));
    CHECK(m.vmcs().guest_ia32_s_cet == (cet::kEndbranch | cet::kTracker));
    CHECK(m.cpu().mode.cet == Vcpu::kCetShadowStack);
}

TEST_CASE("a processor without CET saves nothing into its fields", "[vmx][cet]") {
    M m(VmxConfig::max(), features_with(false, false));
    m.prepare();
    m.vmcs().guest_ssp = 0x1234;
    m.vmcs().guest_ia32_s_cet = 1;
    m.set(&Vmcs::entry_interruption_info, interruption::kValid | interruption::kTypeOther << 8);
    REQUIRE(m.run_guest());
    check_guest_fields(m, 1, 0x1234, 0);
    CHECK(m.state().ssp == 0);
}

TEST_CASE("a VM entry that fails on guest state loads the host's CET state and saves none",
          "[vmx][cet]") {
    M m;
    prepare(m, kEntryLoad, kExitLoad);
    m.set(&Vmcs::guest_ssp, 1);
    CHECK(m.vmlaunch() == Status::Switched);
    CHECK(m.exit_reason() == 0x8000'0021);
    check_state(m, kHostSCet, kHostSsp, kHostTable);
    check_guest_fields(m, kGuestSCet, 1, kGuestTable);
}

TEST_CASE("checks on CET state look at it only with the control", "[vmx][cet]") {
    M m;
    prepare(m, 0, 0);
    Vmcs& v = m.vmcs();
    v.guest_ia32_s_cet = v.host_ia32_s_cet = ~u64{0};
    v.guest_ssp = v.host_ssp = 0x8000'0000'0000'0001;
    v.guest_ia32_interrupt_ssp_table_addr = v.host_ia32_interrupt_ssp_table_addr = u64{1} << 63;
    m.set(&Vmcs::guest_activity_state, 0);
    REQUIRE(m.run_guest());
    CHECK(m.exited_with(ExitReason::MONITOR_TRAP_FLAG));
}

TEST_CASE("values of IA32_S_CET and SSP that a VM entry takes", "[vmx][cet]") {
    // As the CPU has it: which bits, and never SUPPRESS with TRACKER.
    struct Case {
        bool shadow_stacks, branch_tracking;
        u64 s_cet;
        bool good;
    };
    for (const auto& [shadow_stacks, branch_tracking, s_cet, good] : {
             Case{true, true, 0x3F, true},
             Case{true, true, 0x400, true},
             Case{true, true, 0x800, true},
             Case{true, true, 0xC00, false},
             Case{true, true, 0xFFFF'8000'0000'0004, true},
             Case{true, false, 0x3, true},
             Case{true, false, 0x4, false},
             Case{true, false, 0x1000, false},
             Case{false, true, 0x1, false},
             Case{false, true, 0x2, false},
             Case{false, true, 0xF03C, true},
         }) {
        CAPTURE(shadow_stacks, branch_tracking, s_cet);
        M m(VmxConfig::max(), features_with(shadow_stacks, branch_tracking));
        prepare(m, kEntryLoad, kExitLoad);
        m.vmcs().guest_ia32_s_cet = 0;
        m.set(&Vmcs::host_ia32_s_cet, s_cet);
        u32 all = ~0U;
        CHECK((first_failed_check(EntryContext(m.vmx()), EntryFailure::HostState, all).check ==
               nullptr) == good);
        m.vmcs().host_ia32_s_cet = 0;
        m.set(&Vmcs::guest_ia32_s_cet, s_cet);
        all = ~0U;
        CHECK((first_failed_check(EntryContext(m.vmx()), EntryFailure::GuestState, all).check ==
               nullptr) == good);
    }
    // A guest's SSP need not be canonical: bit 47 may differ from those above.
    struct Ssp {
        u64 value;
        bool guest, host;
    };
    for (const auto& [value, guest, host] : {
             Ssp{0x7FFF'FFFF'FFFC, true, true},
             Ssp{0x8000'0000'0000, true, false},
             Ssp{0xFFFF'7FFF'FFFF'FFFC, true, false},
             Ssp{0xFFFF'8000'0000'0000, true, true},
             Ssp{u64{1} << 48, false, false},
             Ssp{0xFFFE'FFFF'FFFF'FFFC, false, false},
         }) {
        CAPTURE(value);
        M m;
        prepare(m, kEntryLoad, kExitLoad);
        m.set(&Vmcs::guest_ssp, value);
        u32 all = ~0U;
        CHECK((first_failed_check(EntryContext(m.vmx()), EntryFailure::GuestState, all).check ==
               nullptr) == guest);
        m.set(&Vmcs::host_ssp, value);
        all = ~0U;
        CHECK((first_failed_check(EntryContext(m.vmx()), EntryFailure::HostState, all).check ==
               nullptr) == host);
    }
}

TEST_CASE("a failed check on CET state says what would have been allowed", "[vmx][cet]") {
    struct Case {
        void (*violate)(Vmcs&);
        const char* says;
    };
    for (const auto& [violate, says] : {
             Case{[](Vmcs& v) { v.guest_ia32_s_cet = 0x241; },
                  "6828H Guest IA32_S_CET = 0x241 (SH_STK_EN)  [may be 1: 0xfffffffffffffc3f, not "
                  "allowed 0x240, not SUPPRESS and TRACKER]"},
             Case{[](Vmcs& v) { v.guest_ssp = 2; },
                  "682AH Guest SSP = 0x2  [bits 1:0 = 0, bits 63:48 all 0 or all 1]"},
             Case{[](Vmcs& v) { v.host_ssp = u64{1} << 47; },
                  "6C1AH Host SSP = 0x800000000000  [bits 1:0 = 0, canonical]"},
         }) {
        CAPTURE(says);
        M m;
        prepare(m, kEntryLoad, kExitLoad);
        violate(m.vmcs());
        m.vmx().current->stale_checks = ~0U;
        (void)m.vmlaunch();
        CHECK(m.log_text().find(says) != std::string::npos);
    }
}

TEST_CASE("#CP exits by bit 21 of the exception bitmap, with its error code", "[vmx][cet]") {
    for (const u32 bitmap : {0U, 1U << 21}) {
        M m;
        prepare(m, kEntryLoad, kExitLoad);
        m.vmcs().entry_interruption_info = 0;
        m.set(&Vmcs::exception_bitmap, bitmap);
        REQUIRE(m.vmlaunch() == Status::Switched);
        Event event;
        event.vector = static_cast<u8>(Exception::CP);
        event.has_error_code = true;
        event.error_code = static_cast<u32>(ControlProtection::Endbranch);
        CHECK(m.vmx().intercepts.event(m.cpu(), event) == (bitmap != 0));
        if (bitmap == 0) {
            continue;
        }
        CHECK(m.exited_with(ExitReason::EXCEPTION_OR_NMI));
        CHECK(m.vmcs().exit_interruption_info ==
              (interruption::kValid | interruption::kErrorCodeValid | 3U << 8 | 21));
        CHECK(m.vmcs().exit_interruption_error_code == 3);
        CHECK(m.vmcs().exit_qualification == 0);
    }
}

TEST_CASE("an injected #CP whose delivery exits is in the IDT-vectoring information",
          "[vmx][cet]") {
    M m;
    m.prepare();
    m.make_guest_idt();
    Vmcs& v = m.vmcs();
    v.proc_controls |= proc::kActivateSecondary;
    v.proc2_controls = proc2::kEnableEpt;
    v.ept_pointer = m.make_identity_ept();
    m.machine().poke_value<u64>(m.ept_entry_address(M::kGuestIdt), 0);
    v.entry_exception_error_code = 4;
    m.set(&Vmcs::entry_interruption_info,
          interruption::kValid | interruption::kErrorCodeValid | 3U << 8 | 21);
    REQUIRE(m.run_guest());
    CHECK(m.exited_with(ExitReason::EPT_VIOLATION));
    CHECK(v.idt_vectoring_info ==
          (interruption::kValid | interruption::kErrorCodeValid | 3U << 8 | 21));
    CHECK(v.idt_vectoring_error_code == 4);
}

TEST_CASE("EPT violation: bit 13 of the qualification is for shadow-stack accesses", "[vmx][cet]") {
    struct Case {
        bool cet, shadow_stack, paging_structure, expected;
    };
    for (const auto& [with_cet, shadow_stack, paging_structure, expected] : {
             Case{true, true, false, true},
             Case{true, false, false, false},
             Case{true, true, true, false},  // the access is to the tables, not to the stack
             Case{false, true, false, false},
         }) {
        CAPTURE(with_cet, shadow_stack, paging_structure);
        M m(VmxConfig::max(), features_with(with_cet, true));
        m.prepare();
        Vmcs& v = m.vmcs();
        v.proc_controls |= proc::kActivateSecondary;
        v.proc2_controls = proc2::kEnableEpt;
        m.set(&Vmcs::ept_pointer, m.make_identity_ept(1));  // readable only
        REQUIRE(m.vmlaunch() == Status::Switched);
        StageTwoAccess access;
        access.access = Access::Write;
        access.linear = M::kGuestData;
        access.linear_valid = true;
        access.shadow_stack = shadow_stack;
        access.paging_structure = paging_structure;
        access.paging_structure_write = paging_structure;
        StageTwoResult result;
        REQUIRE_FALSE(m.vmx().ept.translate(m.cpu(), M::kGuestData, access, result));
        const ExitInfo& info = m.vmx().guest.pending.info;
        CHECK(info.reason == ExitReason::EPT_VIOLATION);
        CHECK((info.qualification & ept_violation::kWrite) != 0);
        CHECK(((info.qualification & u64{1} << 13) != 0) == expected);
    }
}
