// Every bit of the capability MSRs either works or is not advertised: each feature names the test
// that shows its behaviour (and the test must exist), every bit set in an MSR belongs to a feature
// or to a field with a fixed meaning, and control bits that are not advertised cannot be set.

#include "tests/unit/vmx/vmx_machine.hpp"

#include <catch2/catch.hpp>

#include <algorithm>
#include <string>
#include <vector>

using namespace droste;
using namespace droste::test;

namespace {

using M = VmxMachine;
using F = VmxFeature;
constexpr u64 kCode = M::kGuestCode;

struct Witness {
    F feature;
    const char* test;  // how its name starts
};
constexpr const char *kIntercepted = "an intercepted instruction exits with its reason",
                     *kExternal = "external-interrupt exiting", *kNmi = "NMI exiting: exit",
                     *kEnabled = "RDTSCP, INVPCID, XSAVES and TPAUSE raise #UD unless enabled",
                     *kPlaces = "guest state and host state change places",
                     *kMatrix = "EPT permission matrix: rights x access x privilege",
                     *kInvvpid = "INVVPID drops what its type says",
                     *kInjection = "injection matrix",
                     *kCet = "\"load CET state\": guest and host state change places";
// clang-format off
constexpr Witness kWitnesses[] = {
    {F::ExternalInterruptExiting, kExternal},
    {F::NmiExiting, kNmi},
    {F::VirtualNmis, kNmi},
    {F::PreemptionTimer, "preemption timer: zero exits before the first instruction"},
    {F::PostedInterrupts, "posted interrupts: the notification vector"},
    {F::InterruptWindowExiting, "interrupt-window exiting: at once if open"},
    {F::TscOffsetting, "TSC offsetting and scaling"},
    {F::HltExiting, kIntercepted},
    {F::InvlpgExiting, kIntercepted},
    {F::MwaitExiting, kIntercepted},
    {F::RdpmcExiting, kIntercepted},
    {F::RdtscExiting, kIntercepted},
    {F::Cr3LoadExiting, "CR3-target values let a MOV to CR3 pass"},
    {F::Cr3StoreExiting, kIntercepted},
    {F::Cr8LoadExiting, kIntercepted},
    {F::Cr8StoreExiting, kIntercepted},
    {F::TprShadow, "MOV CR8 reads and writes VTPR"},
    {F::NmiWindowExiting, "NMI-window exiting waits for the IRET"},
    {F::MovDrExiting, kIntercepted},
    {F::UnconditionalIoExiting, kIntercepted},
    {F::UseIoBitmaps, "I/O bitmaps decide by every byte"},
    {F::MonitorTrapFlag, "monitor trap flag: after one instruction"},
    {F::UseMsrBitmaps, "MSR bitmaps cover"},
    {F::MonitorExiting, kIntercepted},
    {F::PauseExiting, kIntercepted},
    {F::SecondaryControls, "without \"activate secondary controls\""},
    {F::VirtualizeApicAccesses, "APIC-access page: exits with offset and type"},
    {F::Ept, kMatrix},
    {F::DescriptorTableExiting, kIntercepted},
    {F::EnableRdtscp, kEnabled},
    {F::VirtualizeX2apicMode, "x2APIC mode: TPR always"},
    {F::Vpid, "with VPID and EPT thousands of exits miss no translation"},
    {F::WbinvdExiting, kIntercepted},
    {F::UnrestrictedGuest, "unrestricted guest: real mode runs under EPT"},
    {F::ApicRegisterVirtualization, "APIC-access page: exits with offset and type"},
    {F::VirtualInterruptDelivery, "a pending virtual interrupt is delivered"},
    {F::PauseLoopExiting, "PAUSE-loop exiting"},
    {F::RdrandExiting, kIntercepted},
    {F::EnableInvpcid, kEnabled},
    {F::VmFunctions, "VMFUNC 0 switches the EPTP"},
    {F::VmcsShadowing, "shadowed VMREAD and VMWRITE reach the shadow VMCS"},
    {F::RdseedExiting, kIntercepted},
    {F::Pml, "page-modification logging"},
    {F::EptViolationVe, "convertible violations become #VE"},
    {F::EnableXsaves, kEnabled},
    {F::ModeBasedExecute, kMatrix},
    {F::TscScaling, "TSC offsetting and scaling"},
    {F::UserWaitAndPause, kEnabled},
    {F::SaveDebugControls, kPlaces},
    {F::HostAddressSpaceSize, kPlaces},
    {F::AcknowledgeInterrupt, kExternal},
    {F::ExitSavePat, kPlaces},
    {F::ExitLoadPat, kPlaces},
    {F::ExitSaveEfer, kPlaces},
    {F::ExitLoadEfer, kPlaces},
    {F::SavePreemptionTimer, "the preemption timer wakes a guest in HLT, and its rest is saved"},
    {F::LoadDebugControls, kPlaces},
    {F::Ia32eModeGuest, "IA32_VMX_MISC[5]"},
    {F::EntryLoadPat, kPlaces},
    {F::EntryLoadEfer, kPlaces},
    {F::ExitLoadCetState, kCet},
    {F::EntryLoadCetState, kCet},
    {F::EptExecuteOnly, "without execute-only support"},
    {F::EptPageWalk4, kMatrix},
    {F::EptUncacheable, "EPT memory types and walk lengths"},
    {F::EptWriteBack, "EPT memory types and walk lengths"},
    {F::Ept2M, kMatrix},
    {F::Ept1G, kMatrix},
    {F::Invept, "translations survive exits until INVEPT"},
    {F::EptAccessedDirty, kMatrix},
    {F::EptAdvancedInformation, "advanced EPT-violation information"},
    {F::InveptSingle, "translations survive exits until INVEPT"},
    {F::InveptAll, "translations survive exits until INVEPT"},
    {F::Invvpid, kInvvpid},
    {F::InvvpidAddress, kInvvpid},
    {F::InvvpidSingle, kInvvpid},
    {F::InvvpidAll, kInvvpid},
    {F::InvvpidRetainGlobals, kInvvpid},
    {F::StoreLma, "IA32_VMX_MISC[5]"},
    {F::ActivityHlt, kInjection},
    {F::ActivityShutdown, kInjection},
    {F::ActivityWaitForSipi, kInjection},
    {F::VmwriteAnyField, "without MISC[29], VMWRITE to a read-only field fails"},
    {F::ZeroLengthInjection, "IA32_VMX_MISC[30]"},
    {F::EptpSwitching, "VMFUNC 0 switches the EPTP"},
    {F::InsOutsInformation, "IA32_VMX_BASIC[54]"},
    {F::TrueControls, "legacy control MSRs require the default1 class"},
    {F::AnyErrorCode, "IA32_VMX_BASIC[56]"},
};
// clang-format on

bool test_exists(const std::string& start) {
    const auto& tests = Catch::getRegistryHub().getTestCaseRegistry().getAllTests();
    return std::any_of(tests.begin(), tests.end(), [&](const Catch::TestCase& test) {
        return test.name.compare(0, start.size(), start) == 0;
    });
}

// All feature bits of a word that `m` advertises.
u64 feature_bits(const M& m, CapabilityWord word) {
    u64 bits = 0;
    for (unsigned i = 0; i < kVmxFeatureCount; ++i) {
        const VmxFeatureRow& row = row_of(static_cast<F>(i));
        if (row.word == word && const_cast<M&>(m).vmx().caps.has(row.feature)) {
            bits |= u64{1} << row.bit;
        }
    }
    return bits;
}

u64 read(M& m, u32 index) {
    u64 value = 0;
    REQUIRE(m.vmx().read_msr(m.cpu(), index, value));
    return value;
}

M without(F feature) {
    VmxConfig config = VmxConfig::max();
    config.features.enable(feature, false);
    return M(config);
}

}  // namespace

TEST_CASE("every advertised VMX feature has a test of its behaviour", "[vmx][capabilities]") {
    M m;
    for (unsigned i = 0; i < kVmxFeatureCount; ++i) {
        const VmxFeatureRow& row = row_of(static_cast<F>(i));
        if (!m.vmx().caps.has(row.feature)) {
            continue;
        }
        CAPTURE(row.name);
        const auto* found =
            std::find_if(std::begin(kWitnesses), std::end(kWitnesses),
                         [&](const Witness& w) { return w.feature == row.feature; });
        REQUIRE(found != std::end(kWitnesses));
        CAPTURE(found->test);
        CHECK(test_exists(found->test));
    }
}

TEST_CASE("every bit of the capability MSRs is a feature or a field with a value",
          "[vmx][capabilities]") {
    for (const VmxConfig& config : {VmxConfig::nested(), VmxConfig::max()}) {
        M m(config);
        constexpr u64 kBasicFields = 0x7FFF'FFFF | u64{0x1FFF} << 32 | u64{0xF} << 50;
        constexpr u64 kMiscFields = 0x1F | 0x1FF << 16;  // timer rate, CR3 targets
        CHECK((read(m, msr::kVmxBasic) & ~kBasicFields) == feature_bits(m, CapabilityWord::Basic));
        CHECK((read(m, msr::kVmxMisc) & ~kMiscFields) == feature_bits(m, CapabilityWord::Misc));
        CHECK(read(m, msr::kVmxEptVpidCap) == feature_bits(m, CapabilityWord::EptVpid));
        CHECK(read(m, msr::kVmxVmFunc) == feature_bits(m, CapabilityWord::VmFunc));
        CHECK(read(m, msr::kVmxProc2) >> 32 == feature_bits(m, CapabilityWord::Proc2));
        struct Row {
            u32 msr;
            CapabilityWord word;
            u64 default1;
        };
        for (const auto& [index, word, default1] :
             {Row{msr::kVmxPin, CapabilityWord::Pin, pin::kDefault1},
              Row{msr::kVmxProc, CapabilityWord::Proc, proc::kDefault1},
              Row{msr::kVmxExit, CapabilityWord::Exit, vm_exit_control::kDefault1},
              Row{msr::kVmxEntry, CapabilityWord::Entry, vm_entry_control::kDefault1}}) {
            CAPTURE(index);
            CHECK(read(m, index) >> 32 == (feature_bits(m, word) | default1));
        }
        for (u32 index = 0x492; index <= 0x49F; ++index) {
            u64 value = 0;
            CHECK_FALSE(m.vmx().read_msr(m.cpu(), index, value));
        }
        CHECK((read(m, msr::kVmxMisc) >> 16 & 0x1FF) == 4);
    }
}

TEST_CASE("a control bit that is not advertised fails the VM entry, whichever it is",
          "[vmx][capabilities]") {
    M m;
    m.prepare();
    m.guest_code({0x0F, 0xA2});  // cpuid
    struct Word {
        u32 Vmcs::*field;
        const VmxCapabilities::Controls* controls;
        const char* check;
    };
    const VmxCapabilities& caps = m.vmx().caps;
    const Vmcs good = m.vmcs();
    for (const Word& word :
         {Word{&Vmcs::pin_controls, &caps.pin, "pin-based controls reserved bits"},
          Word{&Vmcs::proc_controls, &caps.proc, "primary controls reserved bits"},
          Word{&Vmcs::proc2_controls, &caps.proc2, "secondary controls reserved bits"},
          Word{&Vmcs::exit_controls, &caps.exit, "VM-exit controls reserved bits"},
          Word{&Vmcs::entry_controls, &caps.entry, "VM-entry controls reserved bits"}}) {
        for (unsigned bit = 0; bit < 32; ++bit) {
            const u32 mask = 1U << bit;
            const bool free =
                (word.controls->may_be_1 & mask) != 0 && (word.controls->must_be_1 & mask) == 0;
            if (free) {
                continue;
            }
            CAPTURE(word.check, bit);
            m.vmcs() = good;
            m.vmcs().proc_controls |= proc::kActivateSecondary;
            m.vmcs().*word.field ^= mask;
            m.vmx().current->stale_checks = ~0U;
            const EntryContext context(m.vmx());
            u32 all = ~0U;
            const FailedCheck failed = first_failed_check(context, EntryFailure::Controls, all);
            REQUIRE(failed.check != nullptr);
            CHECK(failed.check->name == word.check);
        }
    }
}

TEST_CASE("without \"activate secondary controls\" the secondary controls count as 0",
          "[vmx][capabilities]") {
    M m;
    m.prepare();
    m.guest_code({0x0F, 0x09, 0x0F, 0xA2});  // wbinvd; cpuid
    m.set(&Vmcs::proc2_controls, ~0U);
    REQUIRE(m.run_guest());
    CHECK(m.exited_with(ExitReason::CPUID));
}

TEST_CASE("IA32_VMX_MISC[5]: an exit stores EFER.LMA into \"IA-32e mode guest\"",
          "[vmx][capabilities]") {
    // The guest turns paging off in compatibility mode, and IA-32e mode with it.
    M m;
    m.prepare();
    Vmcs& v = m.vmcs();
    v.proc_controls |= proc::kActivateSecondary;
    v.proc2_controls = proc2::kEnableEpt | proc2::kUnrestrictedGuest;
    v.ept_pointer = m.make_identity_ept(7);
    v.guest_cs_access_rights = 0xC09B;
    // mov eax, cr0; and eax, 7FFFFFFFh; mov cr0, eax; cpuid
    m.guest_code({0x0F, 0x20, 0xC0, 0x25, 0xFF, 0xFF, 0xFF, 0x7F, 0x0F, 0x22, 0xC0, 0x0F, 0xA2});
    m.vmx().current->stale_checks = ~0U;
    REQUIRE(m.run_guest());
    CHECK(m.exited_with(ExitReason::CPUID));
    CHECK((v.guest_cr0 & cr0::kPg) == 0);
    CHECK((v.entry_controls & vm_entry_control::kIa32eModeGuest) == 0);
    REQUIRE(m.run_guest());  // and enters again as saved
    CHECK(m.exited_with(ExitReason::CPUID));
}

TEST_CASE("a VM exit that does not save IA32_EFER may make the next entry fail",
          "[vmx][capabilities]") {
    M m;
    m.prepare();
    Vmcs& v = m.vmcs();
    v.proc_controls |= proc::kActivateSecondary;
    v.proc2_controls = proc2::kEnableEpt | proc2::kUnrestrictedGuest;
    v.ept_pointer = m.make_identity_ept(7);
    v.guest_cs_access_rights = 0xC09B;
    v.entry_controls |= vm_entry_control::kLoadEfer;
    v.guest_ia32_efer = efer::kLma | efer::kLme;
    // mov rax, cr0; and eax, 0x7fffffff; mov cr0, rax; cpuid
    m.guest_code({0x0F, 0x20, 0xC0, 0x25, 0xFF, 0xFF, 0xFF, 0x7F, 0x0F, 0x22, 0xC0, 0x0F, 0xA2});
    m.vmx().current->stale_checks = ~0U;
    REQUIRE(m.run_guest());
    REQUIRE(m.exited_with(ExitReason::CPUID));
    (void)m.vmresume();
    CHECK(m.exit_reason() == 0x8000'0021);
    CHECK(m.log_text().find("guest IA32_EFER LMA and LME") != std::string::npos);
}

TEST_CASE("IA32_VMX_MISC[30]: a software interrupt may be injected with length 0",
          "[vmx][capabilities]") {
    const auto inject = [](M& m) {
        m.prepare();
        m.make_guest_idt();
        m.vmcs().proc_controls |= proc::kHltExiting;
        m.set(&Vmcs::entry_interruption_info, interruption::kValid | 4U << 8 | 0x80);
        return m.run_guest();
    };
    M with;
    REQUIRE(inject(with));
    CHECK(with.machine().peek_value<u64>(with.vmcs().guest_rsp) == kCode);
    M gone = without(F::ZeroLengthInjection);
    CHECK_FALSE(inject(gone));
    CHECK(gone.instruction_error() == 7);
}

TEST_CASE("IA32_VMX_BASIC[56]: a hardware exception may carry an error code or not",
          "[vmx][capabilities]") {
    for (const u32 info : {3U << 8 | 13, interruption::kErrorCodeValid | 3U << 8 | 6}) {
        CAPTURE(info);
        const auto inject = [info](M& m) {
            m.prepare();
            m.make_guest_idt();
            m.vmcs().proc_controls |= proc::kHltExiting;
            m.vmcs().entry_exception_error_code = 0x77;
            m.set(&Vmcs::entry_interruption_info, interruption::kValid | info);
            return m.run_guest();
        };
        M with;
        REQUIRE(inject(with));
        const bool pushed = (info & interruption::kErrorCodeValid) != 0;
        CHECK(with.machine().peek_value<u64>(with.vmcs().guest_rsp) ==
              (pushed ? u64{0x77} : kCode));
        M gone = without(F::AnyErrorCode);
        CHECK_FALSE(inject(gone));
        CHECK(gone.instruction_error() == 7);
    }
}

TEST_CASE("IA32_VMX_BASIC[54]: INS and OUTS report their address size and segment",
          "[vmx][capabilities]") {
    const auto outs = [](M& m) {
        m.prepare();
        m.guest_code({0x67, 0x64, 0x6E});  // outsb fs:[esi]
        m.vmcs().proc_controls |= proc::kUnconditionalIoExiting;
        m.vmx().current->stale_checks = ~0U;
        m.state().gpr[RSI] = M::kGuestData;
        REQUIRE(m.run_guest());
        REQUIRE(m.exited_with(ExitReason::IO_INSTRUCTION));
        return m.vmcs().exit_instruction_info;
    };
    M with;
    CHECK(outs(with) == (1U << 7 | 4U << 15));
    M gone = without(F::InsOutsInformation);
    CHECK(outs(gone) == 0);
}

TEST_CASE("EPT memory types and walk lengths: only what IA32_VMX_EPT_VPID_CAP says",
          "[vmx][capabilities]") {
    M m;
    const VmxCapabilities& caps = m.vmx().caps;
    for (u64 low = 0; low < 0x1000; ++low) {
        const bool type = (low & 7) == 0 || (low & 7) == 6;
        const bool walk = (low >> 3 & 7) == 3;
        const bool reserved = (low & 0xF80) != 0;
        CAPTURE(low);
        CHECK(ept_pointer_valid(caps, M::kEptTables | low) == (type && walk && !reserved));
    }
    CHECK_FALSE(ept_pointer_valid(caps, u64{1} << 46 | 0x1E));
    M no_uc = without(F::EptUncacheable);
    CHECK_FALSE(ept_pointer_valid(no_uc.vmx().caps, M::kEptTables | 0x18));
    M no_dirty = without(F::EptAccessedDirty);
    CHECK_FALSE(ept_pointer_valid(no_dirty.vmx().caps, M::kEptTables | 0x5E));
}

TEST_CASE("advanced EPT-violation information: bits 11:9 of the qualification",
          "[vmx][capabilities]") {
    const auto violate = [](M& m) {
        m.prepare();
        m.guest_code({0x8A, 0x03});  // mov al, byte [rbx]
        m.vmcs().proc_controls |= proc::kActivateSecondary;
        m.vmcs().proc2_controls = proc2::kEnableEpt;
        m.vmcs().ept_pointer = m.make_identity_ept(7);
        m.machine().poke_value<u64>(m.ept_entry_address(M::kGuestData), 0);
        m.state().gpr[RBX] = M::kGuestData;
        m.vmx().current->stale_checks = ~0U;
        REQUIRE(m.run_guest());
        REQUIRE(m.exited_with(ExitReason::EPT_VIOLATION));
        return m.vmcs().exit_qualification & 0xE00;
    };
    M with;
    CHECK(violate(with) == 0x600);  // a writable user page
    M gone = without(F::EptAdvancedInformation);
    CHECK(violate(gone) == 0);
}

TEST_CASE("VMFUNC 0 writes the EPTP index only with \"EPT-violation #VE\"", "[vmx][capabilities]") {
    for (const u32 ve : {0U, proc2::kEptViolationVe}) {
        CAPTURE(ve);
        M m;
        m.prepare();
        m.guest_code({0x0F, 0x01, 0xD4, 0x0F, 0xA2});  // vmfunc; cpuid
        Vmcs& v = m.vmcs();
        v.proc_controls |= proc::kActivateSecondary;
        v.proc2_controls = proc2::kEnableEpt | proc2::kEnableVmFunctions | ve;
        v.ept_pointer = m.make_identity_ept(7);
        v.vm_function_controls = kVmFunctionEptpSwitching;
        v.eptp_list_address = M::kBitmaps + 0x2000;
        v.ve_information_address = M::kBitmaps + 0x3000;
        v.eptp_index = 77;
        m.machine().poke_value<u64>(v.eptp_list_address + 5 * 8, v.ept_pointer);
        m.state().gpr[RAX] = 0;
        m.state().gpr[RCX] = 5;
        m.vmx().current->stale_checks = ~0U;
        REQUIRE(m.run_guest());
        CHECK(m.exited_with(ExitReason::CPUID));
        CHECK(v.eptp_index == (ve != 0 ? 5 : 77));
    }
}
