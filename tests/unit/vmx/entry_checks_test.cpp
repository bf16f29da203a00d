// Every VM-entry check has a smallest change that violates it: the right error or exit, and its
// name in the log. A row without an entry in violations() fails the first test.

#include "cpu/vmx/entry/entry_plain.hpp"
#include "tests/unit/vmx/vmx_machine.hpp"

#include <catch2/catch.hpp>

#include <algorithm>
#include <functional>
#include <map>
#include <string>
#include <vector>

using namespace droste;
using namespace droste::test;

namespace {

using Violate = std::function<void(VmxMachine&)>;

constexpr u32 kValid = interruption::kValid;
constexpr u32 kNmi = kValid | 2U << 8 | 2;
constexpr u32 kGeneralProtection = kValid | interruption::kErrorCodeValid | 3U << 8 | 13;
constexpr u32 kExternal = kValid | 0x30;
constexpr u32 kMovSs = blocking::kMovSs, kSti = blocking::kSti;

void secondary(VmxMachine& m, u32 bits) {
    m.vmcs().proc_controls |= proc::kActivateSecondary;
    m.vmcs().proc2_controls |= bits;
}
void tpr_shadow(VmxMachine& m) {
    m.vmcs().proc_controls |= proc::kTprShadow;
    m.vmcs().virtual_apic_address = VmxMachine::kVirtualApic;
}
void ept(VmxMachine& m, u32 more = 0) {
    secondary(m, proc2::kEnableEpt | more);
    m.vmcs().ept_pointer = m.make_identity_ept();
}
void virtual_interrupts(VmxMachine& m) {
    tpr_shadow(m);
    secondary(m, proc2::kVirtualInterruptDelivery);
    m.vmcs().pin_controls |= pin::kExternalInterruptExiting;
}
void posted(VmxMachine& m) {
    virtual_interrupts(m);
    m.vmcs().pin_controls |= pin::kPostedInterrupts;
    m.vmcs().exit_controls |= vm_exit_control::kAcknowledgeInterrupt;
}
void perf_features(VmxConfig& config) {
    config.features.enable(VmxFeature::ExitLoadPerfGlobalCtrl);
    config.features.enable(VmxFeature::EntryLoadPerfGlobalCtrl);
}
void host_cet(VmxMachine& m) {
    m.vmcs().exit_controls |= vm_exit_control::kLoadCetState;
}
void guest_cet(VmxMachine& m) {
    m.vmcs().entry_controls |= vm_entry_control::kLoadCetState;
}
void ia32e_guest_off(VmxMachine& m) {
    m.vmcs().entry_controls &= ~vm_entry_control::kIa32eModeGuest;
}
void not_in_ia32e_mode(VmxMachine& m) {
    m.state().efer &= ~(efer::kLma | efer::kLme);
}
void host_32_cet(VmxMachine& m) {
    host_cet(m);
    not_in_ia32e_mode(m);
    ia32e_guest_off(m);
    m.vmcs().exit_controls &= ~vm_exit_control::kHostAddressSpaceSize;
}
void virtual_8086(VmxMachine& m, bool ia32e = false) {
    Vmcs& v = m.vmcs();
    v.guest_rflags |= rflags::kVm;
    if (!ia32e) {
        ia32e_guest_off(m);
    }
#define DROSTE_V86(reg)                                        \
    v.guest_##reg##_base = u64{v.guest_##reg##_selector} << 4; \
    v.guest_##reg##_limit = 0xFFFF;                            \
    v.guest_##reg##_access_rights = 0xF3
    DROSTE_V86(es);
    DROSTE_V86(cs);
    DROSTE_V86(ss);
    DROSTE_V86(ds);
    DROSTE_V86(fs);
    DROSTE_V86(gs);
#undef DROSTE_V86
}
void usable_ldtr(VmxMachine& m) {
    m.vmcs().guest_ldtr_access_rights = 0x82;
    m.vmcs().guest_ldtr_limit = 0xFFF;
}
void guest_at_cpl3(VmxMachine& m) {
    Vmcs& v = m.vmcs();
    v.guest_cs_selector = 0x13;
    v.guest_ss_selector = 0x1B;
    v.guest_cs_access_rights |= 3U << 5;
    v.guest_ss_access_rights |= 3U << 5;
}

struct SegmentMembers {
    u16 Vmcs::*selector;
    Natural Vmcs::*base;
    u32 Vmcs::*limit;
    u32 Vmcs::*rights;
};

void add_segment_violations(std::map<std::string, Violate>& all,
                            const std::string& name,
                            SegmentMembers seg,
                            bool data) {
    const std::string p = "guest " + name + " ";
    all[p + "base in virtual-8086 mode"] = [seg](VmxMachine& m) {
        virtual_8086(m), ++(m.vmcs().*seg.base);
    };
    all[p + "limit in virtual-8086 mode"] = [seg](VmxMachine& m) {
        virtual_8086(m), m.vmcs().*seg.limit = 0xFFFE;
    };
    all[p + "access rights in virtual-8086 mode"] = [seg](VmxMachine& m) {
        virtual_8086(m), m.vmcs().*seg.rights = 0xF1;
    };
    all[p + "S bit"] = [seg](VmxMachine& m) { m.vmcs().*seg.rights &= ~0x10U; };
    all[p + "present"] = [seg](VmxMachine& m) { m.vmcs().*seg.rights &= ~0x80U; };
    all[p + "access-rights reserved bits"] = [seg](VmxMachine& m) {
        m.vmcs().*seg.rights |= 0x100;
    };
    all[p + "granularity"] = [seg](VmxMachine& m) { m.vmcs().*seg.rights &= ~0x8000U; };
    if (data) {
        all[p + "type"] = [seg](VmxMachine& m) { m.vmcs().*seg.rights &= ~1U; };
        all[p + "DPL"] = [seg](VmxMachine& m) { m.vmcs().*seg.selector |= 3; };
    }
}

// clang-format off
std::map<std::string, Violate> control_violations() {
    return {
        {"pin-based controls reserved bits", [](VmxMachine& m) { m.vmcs().pin_controls &= ~2U; }},
        {"primary controls reserved bits", [](VmxMachine& m) { m.vmcs().proc_controls &= ~2U; }},
        {"secondary controls reserved bits", [](VmxMachine& m) { secondary(m, proc2::kEnclsExiting); }},
        {"CR3-target count", [](VmxMachine& m) { m.vmcs().cr3_target_count = 5; }},
        {"I/O bitmap A address", [](VmxMachine& m) { m.vmcs().proc_controls |= proc::kUseIoBitmaps, m.vmcs().io_bitmap_a = 1; }},
        {"I/O bitmap B address", [](VmxMachine& m) { m.vmcs().proc_controls |= proc::kUseIoBitmaps, m.vmcs().io_bitmap_b = u64{1} << 52; }},
        {"MSR bitmaps address", [](VmxMachine& m) { m.vmcs().msr_bitmap = 0x800; }},
        {"virtual-APIC address", [](VmxMachine& m) { tpr_shadow(m), m.vmcs().virtual_apic_address = 0x10; }},
        {"TPR threshold reserved bits", [](VmxMachine& m) { tpr_shadow(m), m.vmcs().tpr_threshold = 0x10; }},
        {"virtual NMIs need NMI exiting", [](VmxMachine& m) { m.vmcs().pin_controls |= pin::kVirtualNmis; }},
        {"NMI-window exiting needs virtual NMIs", [](VmxMachine& m) { m.vmcs().proc_controls |= proc::kNmiWindowExiting; }},
        {"APIC-access address", [](VmxMachine& m) { secondary(m, proc2::kVirtualizeApicAccesses), m.vmcs().apic_access_address = 8; }},
        {"APIC virtualization needs the TPR shadow", [](VmxMachine& m) { secondary(m, proc2::kVirtualizeX2apicMode); }},
        {"x2APIC mode excludes APIC accesses", [](VmxMachine& m) { tpr_shadow(m), secondary(m, proc2::kVirtualizeX2apicMode | proc2::kVirtualizeApicAccesses); }},
        {"virtual-interrupt delivery needs external-interrupt exiting", [](VmxMachine& m) { tpr_shadow(m), secondary(m, proc2::kVirtualInterruptDelivery); }},
        {"posted interrupts need virtual-interrupt delivery", [](VmxMachine& m) { posted(m), m.vmcs().proc2_controls = 0; }},
        {"posted interrupts need acknowledge on exit", [](VmxMachine& m) { posted(m), m.vmcs().exit_controls &= ~vm_exit_control::kAcknowledgeInterrupt; }},
        {"posted-interrupt notification vector", [](VmxMachine& m) { posted(m), m.vmcs().posted_interrupt_vector = 256; }},
        {"posted-interrupt descriptor address", [](VmxMachine& m) { posted(m), m.vmcs().posted_interrupt_descriptor = 32; }},
        {"VPID not 0", [](VmxMachine& m) { secondary(m, proc2::kEnableVpid); }},
        {"EPT pointer", [](VmxMachine& m) { ept(m), m.vmcs().ept_pointer ^= 1; }},
        {"PML needs EPT", [](VmxMachine& m) { secondary(m, proc2::kEnablePml); }},
        {"PML address", [](VmxMachine& m) { ept(m, proc2::kEnablePml), m.vmcs().pml_address = 4; }},
        {"unrestricted guest needs EPT", [](VmxMachine& m) { secondary(m, proc2::kUnrestrictedGuest); }},
        {"mode-based execute control needs EPT", [](VmxMachine& m) { secondary(m, proc2::kModeBasedExecute); }},
        {"VM-function controls reserved bits", [](VmxMachine& m) { ept(m, proc2::kEnableVmFunctions), m.vmcs().vm_function_controls = 2; }},
        {"EPTP switching needs EPT", [](VmxMachine& m) { secondary(m, proc2::kEnableVmFunctions), m.vmcs().vm_function_controls = 1; }},
        {"EPTP-list address", [](VmxMachine& m) { ept(m, proc2::kEnableVmFunctions), m.vmcs().vm_function_controls = 1, m.vmcs().eptp_list_address = 8; }},
        {"VMREAD-bitmap address", [](VmxMachine& m) { secondary(m, proc2::kVmcsShadowing), m.vmcs().vmread_bitmap = 8; }},
        {"VMWRITE-bitmap address", [](VmxMachine& m) { secondary(m, proc2::kVmcsShadowing), m.vmcs().vmwrite_bitmap = 8; }},
        {"virtualization-exception information address", [](VmxMachine& m) { ept(m, proc2::kEptViolationVe), m.vmcs().ve_information_address = 8; }},
        {"TSC multiplier", [](VmxMachine& m) { secondary(m, proc2::kUseTscScaling); }},
        {"TPR threshold above VTPR", [](VmxMachine& m) { tpr_shadow(m), m.vmcs().tpr_threshold = 1; }},
        {"VM-exit controls reserved bits", [](VmxMachine& m) { m.vmcs().exit_controls &= ~1U; }},
        {"saving the preemption timer needs the timer", [](VmxMachine& m) { m.vmcs().exit_controls |= vm_exit_control::kSavePreemptionTimer; }},
        {"VM-exit MSR-store area", [](VmxMachine& m) { m.vmcs().exit_msr_store_count = 1, m.vmcs().exit_msr_store_address = 8; }},
        {"VM-exit MSR-load area", [](VmxMachine& m) { m.vmcs().exit_msr_load_count = 1, m.vmcs().exit_msr_load_address = u64{1} << 60; }},
        {"VM-entry controls reserved bits", [](VmxMachine& m) { m.vmcs().entry_controls |= vm_entry_control::kEntryToSmm; }},
        {"injected event type", [](VmxMachine& m) { m.vmcs().entry_interruption_info = kValid | 1U << 8; }},
        {"injected event vector", [](VmxMachine& m) { m.vmcs().entry_interruption_info = kNmi + 1; }},
        {"injected error-code bit", [](VmxMachine& m) { m.vmcs().entry_interruption_info = kNmi | interruption::kErrorCodeValid; }},
        {"injected event reserved bits", [](VmxMachine& m) { m.vmcs().entry_interruption_info = kNmi | 1U << 12; }},
        {"injected error code reserved bits", [](VmxMachine& m) { m.vmcs().entry_interruption_info = kGeneralProtection, m.vmcs().entry_exception_error_code = 0x1'0000; }},
        {"injected instruction length", [](VmxMachine& m) { m.vmcs().entry_interruption_info = kValid | 4U << 8 | 0x80, m.vmcs().entry_instruction_length = 16; }},
        {"VM-entry MSR-load area", [](VmxMachine& m) { m.vmcs().entry_msr_load_count = 1, m.vmcs().entry_msr_load_address = 8; }},
    };
}

std::map<std::string, Violate> host_violations() {
    return {
        {"host CR0 fixed bits", [](VmxMachine& m) { m.vmcs().host_cr0 &= ~cr0::kNe; }},
        {"host CR4 fixed bits", [](VmxMachine& m) { m.vmcs().host_cr4 &= ~cr4::kVmxe; }},
        {"host CR3", [](VmxMachine& m) { m.vmcs().host_cr3 |= u64{1} << 52; }},
        {"host IA32_SYSENTER_ESP canonical", [](VmxMachine& m) { m.vmcs().host_ia32_sysenter_esp = u64{1} << 63; }},
        {"host IA32_SYSENTER_EIP canonical", [](VmxMachine& m) { m.vmcs().host_ia32_sysenter_eip = u64{1} << 63; }},
        {"host IA32_PERF_GLOBAL_CTRL", [](VmxMachine& m) { m.vmcs().exit_controls |= vm_exit_control::kLoadPerfGlobalCtrl, m.vmcs().host_ia32_perf_global_ctrl = u64{1} << 60; }},
        {"host IA32_PAT", [](VmxMachine& m) { m.vmcs().exit_controls |= vm_exit_control::kLoadPat, m.vmcs().host_ia32_pat = 2; }},
        {"host IA32_EFER reserved bits", [](VmxMachine& m) { m.vmcs().exit_controls |= vm_exit_control::kLoadEfer, m.vmcs().host_ia32_efer = 0x502; }},
        {"host IA32_EFER LMA and LME", [](VmxMachine& m) { m.vmcs().exit_controls |= vm_exit_control::kLoadEfer, m.vmcs().host_ia32_efer = 0x400; }},
        {"host CR4.CET needs CR0.WP", [](VmxMachine& m) { m.vmcs().host_cr4 |= cr4::kCet, m.vmcs().host_cr0 &= ~cr0::kWp; }},
        {"host IA32_INTERRUPT_SSP_TABLE_ADDR canonical", [](VmxMachine& m) { host_cet(m), m.vmcs().host_ia32_interrupt_ssp_table_addr = u64{1} << 47; }},
        {"host IA32_S_CET", [](VmxMachine& m) { host_cet(m), m.vmcs().host_ia32_s_cet = 1U << 9; }},
        {"host SSP alignment", [](VmxMachine& m) { host_cet(m), m.vmcs().host_ssp = 2; }},
        {"host IA32_S_CET of a 32-bit host", [](VmxMachine& m) { host_32_cet(m), m.vmcs().host_ia32_s_cet = u64{1} << 32; }},
        {"host SSP of a 32-bit host", [](VmxMachine& m) { host_32_cet(m), m.vmcs().host_ssp = u64{1} << 32; }},
        {"host IA32_S_CET canonical", [](VmxMachine& m) { host_cet(m), m.vmcs().host_ia32_s_cet = u64{1} << 47; }},
        {"host SSP canonical", [](VmxMachine& m) { host_cet(m), m.vmcs().host_ssp = u64{1} << 47; }},
        {"host ES selector", [](VmxMachine& m) { m.vmcs().host_es_selector |= 1; }},
        {"host CS selector", [](VmxMachine& m) { m.vmcs().host_cs_selector |= 1; }},
        {"host SS selector", [](VmxMachine& m) { m.vmcs().host_ss_selector |= 4; }},
        {"host DS selector", [](VmxMachine& m) { m.vmcs().host_ds_selector |= 2; }},
        {"host FS selector", [](VmxMachine& m) { m.vmcs().host_fs_selector |= 1; }},
        {"host GS selector", [](VmxMachine& m) { m.vmcs().host_gs_selector |= 1; }},
        {"host TR selector", [](VmxMachine& m) { m.vmcs().host_tr_selector |= 4; }},
        {"host CS selector not null", [](VmxMachine& m) { m.vmcs().host_cs_selector = 0; }},
        {"host TR selector not null", [](VmxMachine& m) { m.vmcs().host_tr_selector = 0; }},
        {"host SS selector not null", [](VmxMachine& m) { m.vmcs().host_ss_selector = 0, m.vmcs().exit_controls &= ~vm_exit_control::kHostAddressSpaceSize; }},
        {"host FS base canonical", [](VmxMachine& m) { m.vmcs().host_fs_base = u64{1} << 63; }},
        {"host GS base canonical", [](VmxMachine& m) { m.vmcs().host_gs_base = u64{1} << 63; }},
        {"host GDTR base canonical", [](VmxMachine& m) { m.vmcs().host_gdtr_base = u64{1} << 63; }},
        {"host IDTR base canonical", [](VmxMachine& m) { m.vmcs().host_idtr_base = u64{1} << 63; }},
        {"host TR base canonical", [](VmxMachine& m) { m.vmcs().host_tr_base = u64{1} << 63; }},
        {"IA-32e guest of a 32-bit host", [](VmxMachine& m) { m.vmcs().exit_controls &= ~vm_exit_control::kHostAddressSpaceSize; }},
        {"IA-32e guest from outside IA-32e mode", [](VmxMachine& m) { not_in_ia32e_mode(m); }},
        {"64-bit host from outside IA-32e mode", [](VmxMachine& m) { not_in_ia32e_mode(m), ia32e_guest_off(m); }},
        {"32-bit host from IA-32e mode", [](VmxMachine& m) { ia32e_guest_off(m), m.vmcs().exit_controls &= ~vm_exit_control::kHostAddressSpaceSize; }},
        {"host CR4.PCIDE without 64-bit host", [](VmxMachine& m) { not_in_ia32e_mode(m), ia32e_guest_off(m), m.vmcs().exit_controls &= ~vm_exit_control::kHostAddressSpaceSize, m.vmcs().host_cr4 |= cr4::kPcide; }},
        {"host RIP of a 32-bit host", [](VmxMachine& m) { not_in_ia32e_mode(m), ia32e_guest_off(m), m.vmcs().exit_controls &= ~vm_exit_control::kHostAddressSpaceSize, m.vmcs().host_rip = u64{1} << 32; }},
        {"host CR4.PAE of a 64-bit host", [](VmxMachine& m) { m.vmcs().host_cr4 &= ~cr4::kPae; }},
        {"host RIP canonical", [](VmxMachine& m) { m.vmcs().host_rip = u64{1} << 63; }},
    };
}

std::map<std::string, Violate> guest_segment_violations() {
    std::map<std::string, Violate> all = {
        {"guest TR selector", [](VmxMachine& m) { m.vmcs().guest_tr_selector |= 4; }},
        {"guest LDTR selector", [](VmxMachine& m) { usable_ldtr(m), m.vmcs().guest_ldtr_selector = 4; }},
        {"guest SS selector RPL", [](VmxMachine& m) { m.vmcs().guest_ss_selector |= 3; }},
        {"guest TR base canonical", [](VmxMachine& m) { m.vmcs().guest_tr_base = u64{1} << 63; }},
        {"guest FS base canonical", [](VmxMachine& m) { m.vmcs().guest_fs_base = u64{1} << 63; }},
        {"guest GS base canonical", [](VmxMachine& m) { m.vmcs().guest_gs_base = u64{1} << 63; }},
        {"guest LDTR base canonical", [](VmxMachine& m) { usable_ldtr(m), m.vmcs().guest_ldtr_base = u64{1} << 63; }},
        {"guest CS base", [](VmxMachine& m) { m.vmcs().guest_cs_base = u64{1} << 32; }},
        {"guest SS base", [](VmxMachine& m) { m.vmcs().guest_ss_base = u64{1} << 32; }},
        {"guest DS base", [](VmxMachine& m) { m.vmcs().guest_ds_base = u64{1} << 32; }},
        {"guest ES base", [](VmxMachine& m) { m.vmcs().guest_es_base = u64{1} << 32; }},
        {"guest CS type", [](VmxMachine& m) { m.vmcs().guest_cs_access_rights &= ~1U; }},
        {"guest CS DPL", [](VmxMachine& m) { m.vmcs().guest_cs_access_rights |= 3U << 5; }},
        {"guest CS D/B in 64-bit mode", [](VmxMachine& m) { m.vmcs().guest_cs_access_rights |= segment_rights::kDb; }},
        {"guest SS type", [](VmxMachine& m) { m.vmcs().guest_ss_access_rights |= 8; }},
        {"guest SS DPL", [](VmxMachine& m) { m.vmcs().guest_cs_access_rights |= 0xF, m.vmcs().guest_ss_access_rights |= 3U << 5; }},
        {"guest SS DPL 0",
         [](VmxMachine& m) {
             ept(m, proc2::kUnrestrictedGuest);
             m.vmcs().guest_cs_access_rights = (m.vmcs().guest_cs_access_rights & ~0xFU) | 3;
             m.vmcs().guest_ss_access_rights |= 3U << 5;
         }},
        {"guest TR type", [](VmxMachine& m) { m.vmcs().guest_tr_access_rights ^= 2; }},
        {"guest TR S bit", [](VmxMachine& m) { m.vmcs().guest_tr_access_rights |= 0x10; }},
        {"guest TR present", [](VmxMachine& m) { m.vmcs().guest_tr_access_rights &= ~0x80U; }},
        {"guest TR usable", [](VmxMachine& m) { m.vmcs().guest_tr_access_rights |= segment_rights::kUnusable; }},
        {"guest TR access-rights reserved bits", [](VmxMachine& m) { m.vmcs().guest_tr_access_rights |= 0x100; }},
        {"guest TR granularity", [](VmxMachine& m) { m.vmcs().guest_tr_limit = 0x10'0000; }},
        {"guest LDTR type", [](VmxMachine& m) { usable_ldtr(m), m.vmcs().guest_ldtr_access_rights ^= 1; }},
        {"guest LDTR S bit", [](VmxMachine& m) { usable_ldtr(m), m.vmcs().guest_ldtr_access_rights |= 0x10; }},
        {"guest LDTR present", [](VmxMachine& m) { usable_ldtr(m), m.vmcs().guest_ldtr_access_rights &= ~0x80U; }},
        {"guest LDTR access-rights reserved bits", [](VmxMachine& m) { usable_ldtr(m), m.vmcs().guest_ldtr_access_rights |= 0x100; }},
        {"guest LDTR granularity", [](VmxMachine& m) { usable_ldtr(m), m.vmcs().guest_ldtr_limit = 0x10'0000; }},
        {"guest GDTR base canonical", [](VmxMachine& m) { m.vmcs().guest_gdtr_base = u64{1} << 63; }},
        {"guest IDTR base canonical", [](VmxMachine& m) { m.vmcs().guest_idtr_base = u64{1} << 63; }},
        {"guest GDTR limit", [](VmxMachine& m) { m.vmcs().guest_gdtr_limit = 0x1'0000; }},
        {"guest IDTR limit", [](VmxMachine& m) { m.vmcs().guest_idtr_limit = 0x1'0000; }},
    };
#define DROSTE_MEMBERS(reg) \
    { &Vmcs::guest_##reg##_selector, &Vmcs::guest_##reg##_base, &Vmcs::guest_##reg##_limit, &Vmcs::guest_##reg##_access_rights }
    add_segment_violations(all, "CS", DROSTE_MEMBERS(cs), false);
    add_segment_violations(all, "SS", DROSTE_MEMBERS(ss), false);
    add_segment_violations(all, "DS", DROSTE_MEMBERS(ds), true);
    add_segment_violations(all, "ES", DROSTE_MEMBERS(es), true);
    add_segment_violations(all, "FS", DROSTE_MEMBERS(fs), true);
    add_segment_violations(all, "GS", DROSTE_MEMBERS(gs), true);
#undef DROSTE_MEMBERS
    return all;
}

std::map<std::string, Violate> guest_violations() {
    return {
        {"guest CR0 fixed bits", [](VmxMachine& m) { m.vmcs().guest_cr0 &= ~cr0::kNe; }},
        {"guest CR0.PG implies CR0.PE", [](VmxMachine& m) { ept(m, proc2::kUnrestrictedGuest), m.vmcs().guest_cr0 &= ~cr0::kPe; }},
        {"guest CR4 fixed bits", [](VmxMachine& m) { m.vmcs().guest_cr4 &= ~cr4::kVmxe; }},
        {"guest IA32_DEBUGCTL reserved bits", [](VmxMachine& m) { m.vmcs().entry_controls |= vm_entry_control::kLoadDebugControls, m.vmcs().guest_ia32_debugctl = 1U << 20; }},
        {"guest CR0.PG in IA-32e mode", [](VmxMachine& m) { ept(m, proc2::kUnrestrictedGuest), m.vmcs().guest_cr0 &= ~cr0::kPg; }},
        {"guest CR4.PAE in IA-32e mode", [](VmxMachine& m) { m.vmcs().guest_cr4 &= ~cr4::kPae; }},
        {"guest CR4.PCIDE outside IA-32e mode", [](VmxMachine& m) { ia32e_guest_off(m), m.vmcs().guest_cr4 |= cr4::kPcide; }},
        {"guest CR3", [](VmxMachine& m) { m.vmcs().guest_cr3 |= u64{1} << 60; }},
        {"guest DR7 upper half", [](VmxMachine& m) { m.vmcs().entry_controls |= vm_entry_control::kLoadDebugControls, m.vmcs().guest_dr7 |= u64{1} << 32; }},
        {"guest IA32_SYSENTER_ESP canonical", [](VmxMachine& m) { m.vmcs().guest_ia32_sysenter_esp = u64{1} << 63; }},
        {"guest IA32_SYSENTER_EIP canonical", [](VmxMachine& m) { m.vmcs().guest_ia32_sysenter_eip = u64{1} << 63; }},
        {"guest IA32_PERF_GLOBAL_CTRL", [](VmxMachine& m) { m.vmcs().entry_controls |= vm_entry_control::kLoadPerfGlobalCtrl, m.vmcs().guest_ia32_perf_global_ctrl = u64{1} << 60; }},
        {"guest IA32_PAT", [](VmxMachine& m) { m.vmcs().entry_controls |= vm_entry_control::kLoadPat, m.vmcs().guest_ia32_pat = 3; }},
        {"guest IA32_EFER reserved bits", [](VmxMachine& m) { m.vmcs().entry_controls |= vm_entry_control::kLoadEfer, m.vmcs().guest_ia32_efer = 0x502; }},
        {"guest IA32_EFER LMA and LME", [](VmxMachine& m) { m.vmcs().entry_controls |= vm_entry_control::kLoadEfer, m.vmcs().guest_ia32_efer = 0x100; }},
        {"guest CR4.CET needs CR0.WP", [](VmxMachine& m) { m.vmcs().guest_cr4 |= cr4::kCet, m.vmcs().guest_cr0 &= ~cr0::kWp; }},
        {"guest IA32_S_CET canonical", [](VmxMachine& m) { guest_cet(m), m.vmcs().guest_ia32_s_cet = u64{1} << 47; }},
        {"guest IA32_INTERRUPT_SSP_TABLE_ADDR canonical", [](VmxMachine& m) { guest_cet(m), m.vmcs().guest_ia32_interrupt_ssp_table_addr = u64{1} << 47; }},
        {"guest IA32_S_CET", [](VmxMachine& m) { guest_cet(m), m.vmcs().guest_ia32_s_cet = 1U << 6; }},
        {"guest SSP alignment", [](VmxMachine& m) { guest_cet(m), m.vmcs().guest_ssp = 1; }},
        {"guest SSP", [](VmxMachine& m) { guest_cet(m), m.vmcs().guest_ssp = u64{1} << 48; }},
        {"guest RIP", [](VmxMachine& m) { m.vmcs().guest_rip = u64{1} << m.vmx().caps.linear_address_bits; }},
        {"guest RFLAGS reserved bits", [](VmxMachine& m) { m.vmcs().guest_rflags |= 8; }},
        {"guest RFLAGS.VM", [](VmxMachine& m) { virtual_8086(m, true); }},
        {"guest RFLAGS.IF for an injected interrupt", [](VmxMachine& m) { m.vmcs().entry_interruption_info = kExternal; }},
        {"guest activity state", [](VmxMachine& m) { m.vmcs().guest_activity_state = 4; }},
        {"guest activity state HLT at CPL > 0", [](VmxMachine& m) { guest_at_cpl3(m), m.vmcs().guest_activity_state = 1; }},
        {"guest activity state in a shadow", [](VmxMachine& m) { m.vmcs().guest_activity_state = 1, m.vmcs().guest_interruptibility = kMovSs; }},
        {"injection into the activity state", [](VmxMachine& m) { m.vmcs().guest_activity_state = 1, m.vmcs().entry_interruption_info = kGeneralProtection; }},
        {"guest interruptibility reserved bits", [](VmxMachine& m) { m.vmcs().guest_interruptibility = 0x20; }},
        {"guest blocking by STI and MOV SS", [](VmxMachine& m) { m.vmcs().guest_rflags |= rflags::kIf, m.vmcs().guest_interruptibility = kSti | kMovSs; }},
        {"guest blocking by STI with IF clear", [](VmxMachine& m) { m.vmcs().guest_interruptibility = kSti; }},
        {"injected interrupt in a shadow", [](VmxMachine& m) { m.vmcs().guest_rflags |= rflags::kIf, m.vmcs().guest_interruptibility = kSti, m.vmcs().entry_interruption_info = kExternal; }},
        {"injected NMI in an STI shadow", [](VmxMachine& m) { m.vmcs().guest_rflags |= rflags::kIf, m.vmcs().guest_interruptibility = kSti, m.vmcs().entry_interruption_info = kNmi; }},
        {"injected NMI in a MOV SS shadow", [](VmxMachine& m) { m.vmcs().guest_interruptibility = kMovSs, m.vmcs().entry_interruption_info = kNmi; }},
        {"guest blocking by SMI", [](VmxMachine& m) { m.vmcs().guest_interruptibility = blocking::kSmi; }},
        {"injected virtual NMI while blocked", [](VmxMachine& m) { m.vmcs().pin_controls |= pin::kNmiExiting | pin::kVirtualNmis, m.vmcs().guest_interruptibility = blocking::kNmi, m.vmcs().entry_interruption_info = kNmi; }},
        {"guest pending debug exceptions reserved bits", [](VmxMachine& m) { m.vmcs().guest_pending_debug = 0x10; }},
        {"guest pending single-step set", [](VmxMachine& m) { m.vmcs().guest_interruptibility = kMovSs, m.vmcs().guest_rflags |= rflags::kTf; }},
        {"guest pending single-step clear", [](VmxMachine& m) { m.vmcs().guest_interruptibility = kMovSs, m.vmcs().guest_pending_debug = 0x4000; }},
        {"VMCS link pointer address", [](VmxMachine& m) { m.vmcs().vmcs_link_pointer = 8; }},
        {"VMCS link pointer not the current VMCS", [](VmxMachine& m) { m.vmcs().vmcs_link_pointer = VmxMachine::kVmcsRegion; }},
        {"linked VMCS revision", [](VmxMachine& m) { m.vmcs().vmcs_link_pointer = VmxMachine::kShadowVmcs; }},
        {"guest PDPTEs",
         [](VmxMachine& m) {
             ia32e_guest_off(m);
             m.vmcs().guest_cr3 = VmxMachine::kGuestData;
             m.machine().poke_value<u64>(VmxMachine::kGuestData + 8, 3);  // bit 1 is reserved
         }},
    };
}

// clang-format on

std::map<std::string, Violate> violations() {
    std::map<std::string, Violate> all;
    for (auto part : {control_violations(), host_violations(), guest_segment_violations(),
                      guest_violations()}) {
        all.merge(part);
    }
    return all;
}

// SDM Vol. 3C, "VM-Entry Failures During or After Loading Guest State": "usually cleared to 0", with
// these exceptions.
u64 expected_qualification(const EntryCheck& check) {
    static const std::map<std::string_view, u64> kNotZero = {
        {"guest PDPTEs", 2},
        {"injected NMI in an STI shadow", 3},
        {"VMCS link pointer address", 4},
        {"VMCS link pointer not the current VMCS", 4},
        {"linked VMCS revision", 4},
    };
    const auto found = kNotZero.find(check.name);
    return found == kNotZero.end() ? 0 : found->second;
}

}  // namespace

TEST_CASE("every VM-entry check has a violating test, and every test a check", "[vmx][entry]") {
    const auto tests = violations();
    std::size_t rows = 0;
    for (const CheckGroup& group : check_groups()) {
        for (const EntryCheck& check : group.rows) {
            ++rows;
            CAPTURE(check.name);
            CHECK(tests.count(std::string(check.name)) == 1);
        }
    }
    CHECK(rows == tests.size());
    CHECK(rows > 150);
}

TEST_CASE("the unviolated VMCS enters and exits", "[vmx][entry]") {
    VmxMachine m;
    m.prepare();
    m.guest_code({0x0F, 0xA2});  // CPUID
    REQUIRE(m.run_guest());
    CHECK(m.exited_with(ExitReason::CPUID));
    CHECK(m.vmcs().exit_instruction_length == 2);
    CHECK(m.vmcs().guest_rip == VmxMachine::kGuestCode);
}

TEST_CASE("a guest may be entered at a RIP that is not canonical, and faults there",
          "[vmx][entry]") {
    VmxMachine m;
    m.prepare();
    constexpr u64 kNotCanonical = u64{1} << 47;
    m.vmcs().guest_rip = kNotCanonical;
    m.vmcs().exception_bitmap = 1U << static_cast<unsigned>(Exception::GP);
    REQUIRE(m.run_guest());
    CHECK(m.exited_with(ExitReason::EXCEPTION_OR_NMI));
    CHECK((m.vmcs().exit_interruption_info & 0xFF) == static_cast<unsigned>(Exception::GP));
    CHECK(m.vmcs().guest_rip == kNotCanonical);
}

TEST_CASE("violating one check fails the VM entry with its error and its name", "[vmx][entry]") {
    VmxConfig config = VmxConfig::max();
    perf_features(config);
    const auto tests = violations();
    for (const CheckGroup& group : check_groups()) {
        for (const EntryCheck& check : group.rows) {
            CAPTURE(check.name);
            VmxMachine m(config);
            m.prepare();
            m.guest_code({0x0F, 0xA2});  // cpuid
            tests.at(std::string(check.name))(m);
            const Status status = m.vmlaunch();
            CHECK(m.log_text().find("check:   " + std::string(check.name) + "\n") !=
                  std::string::npos);
            CHECK_FALSE(m.vmx().non_root);
            CHECK(m.vmx().current->launch_state == LaunchState::Clear);
            switch (group.failure) {
            case EntryFailure::Controls:
                CHECK(status == Status::Next);
                CHECK(m.failed_valid());
                CHECK(m.instruction_error() == 7);
                break;
            case EntryFailure::HostState:
                CHECK(status == Status::Next);
                CHECK(m.failed_valid());
                CHECK(m.instruction_error() == 8);
                break;
            case EntryFailure::GuestState:
                CHECK(status == Status::Switched);
                CHECK(m.exit_reason() == 0x8000'0021);
                CHECK(m.vmcs().exit_qualification == expected_qualification(check));
                CHECK(m.state().rip() == VmxMachine::kHostCode);
                break;
            }
        }
    }
}

TEST_CASE("the explanation names rule, section, fields with values and what is allowed",
          "[vmx][entry]") {
    VmxMachine m;
    m.prepare();
    m.vmcs().pin_controls = 0;
    (void)m.vmlaunch();
    const std::string text = m.log_text();
    for (const char* part :
         {"VM-Execution Control Fields", "4000H Pin-based VM-execution controls = 0x0",
          "must be 1: 0x00000016", "error 7"}) {
        CAPTURE(part);
        CHECK(text.find(part) != std::string::npos);
    }
}

TEST_CASE("an MSR-load entry that cannot be loaded fails with its number", "[vmx][entry]") {
    VmxMachine m;
    m.prepare();
    const u64 list = VmxMachine::kMsrLists;
    m.machine().poke_value<u64>(list, 0xC000'0081);  // STAR
    m.machine().poke_value<u64>(list + 8, 0x1234);
    m.machine().poke_value<u64>(list + 16, 0xC000'0100);  // FS base: never
    m.vmcs().entry_msr_load_address = list;
    m.set(&Vmcs::entry_msr_load_count, 2);
    CHECK(m.vmlaunch() == Status::Switched);
    CHECK(m.exit_reason() == 0x8000'0022);
    CHECK(m.vmcs().exit_qualification == 2);
    CHECK(m.state().rip() == VmxMachine::kHostCode);
}

TEST_CASE("an MSR list of absurd length ends", "[vmx][entry]") {
    VmxMachine m;
    m.prepare();
    for (u64 i = 0; i < 600; ++i) {
        m.machine().poke_value<u64>(VmxMachine::kMsrLists + i * 16, 0xC000'0081);
    }
    m.vmcs().entry_msr_load_address = VmxMachine::kMsrLists;
    m.set(&Vmcs::entry_msr_load_count, 0x0FFF'FFFF);
    CHECK(m.vmlaunch() == Status::Switched);
    CHECK(m.exit_reason() == 0x8000'0022);
    CHECK(m.vmcs().exit_qualification == 513);
}

// The memo skips groups whose fields were not written. It must never change the outcome.
TEST_CASE("memoized checks agree with full checks under random VMWRITEs", "[vmx][entry]") {
    VmxMachine m;
    m.prepare();
    m.guest_code({0x0F, 0xA2});  // cpuid
    u64 random = 88172645463325252;
    const auto next = [&random] {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        return random;
    };
    const Vmcs good = m.vmcs();
    for (unsigned round = 0; round < 3000; ++round) {
        const VmcsFieldRow& row = kVmcsFields[next() % kVmcsFieldCount];
        if (!m.vmx().caps.supports(row)) {
            continue;
        }
        const u64 old = read_field(m.vmcs(), row);
        const u64 value = (next() & 3) == 0 ? read_field(good, row)
                                            : old ^ (u64{1} << (next() % (row.bytes * 8U)));
        (void)m.vmwrite(row.encoding, value);
        (void)groups_to_check(m.vmx());
        const EntryContext context(m.vmx());
        for (const EntryFailure kind :
             {EntryFailure::Controls, EntryFailure::HostState, EntryFailure::GuestState}) {
            u32 all = ~0U;
            const FailedCheck full = first_failed_check(context, kind, all);
            const FailedCheck memo =
                first_failed_check(context, kind, m.vmx().current->stale_checks);
            CHECK(full.check == memo.check);
        }
        if ((round & 15) == 0) {
            m.vmcs() = good;
            m.vmx().current->stale_checks = ~0U;
        }
    }
}
