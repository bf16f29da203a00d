// Checks on the guest-state area, all but segments and descriptor tables. SDM Vol. 3C, "Checks on
// the Guest State Area": one row a bullet, in its order. A VM entry that fails here is a VM exit
// with reason 33.

#include "core/bits.hpp"
#include "cpu/vmx/entry/entry_checks.hpp"
#include "cpu/vmx/entry/entry_load_state.hpp"
#include "cpu/vmx/entry/entry_plain.hpp"
#include "cpu/vmx/entry/entry_state_rules.hpp"
#include "cpu/vmx/vmcs/controls.hpp"
#include "cpu/x86/mmu/paging.hpp"
#include "cpu/x86/model/msr.hpp"
#include "cpu/x86/state/cpu_state.hpp"
#include "cpu/x86/state/regs.hpp"
#include "cpu/x86/system/cet.hpp"
#include "cpu/x86/system/debug_traps.hpp"

namespace droste {

namespace {

using C = const EntryContext&;
using enum VmcsField;

bool loads_debug_controls(C c) {
    return c.controls.has_entry(vm_entry_control::kLoadDebugControls);
}
bool loads_efer(C c) {
    return c.controls.has_entry(vm_entry_control::kLoadEfer);
}

bool loads_cet(C c) {
    return c.controls.has_entry(vm_entry_control::kLoadCetState);
}

bool guest_cr0_fixed_ok(C c) {
    const u64 free = c.unrestricted ? cr0::kPe | cr0::kPg : 0;
    const u64 value = c.vmcs.guest_cr0;
    return (~value & c.caps.cr0_fixed0 & ~free) == 0 && (value & ~c.caps.cr0_fixed1) == 0;
}

bool debugctl_ok(C c) {
    constexpr u32 kDebugctl = 0x1D9;
    const MsrStore::Entry* entry = c.vmx.cpu.msrs->find(kDebugctl);
    const u64 defined = entry == nullptr ? 0 : entry->row->writable | entry->row->ignored;
    return (c.vmcs.guest_ia32_debugctl & ~defined) == 0;
}

bool efer_consistent(C c) {
    const u64 efer = c.vmcs.guest_ia32_efer;
    const bool lma = (efer & efer::kLma) != 0;
    const bool lme = (efer & efer::kLme) != 0;
    return lma == c.ia32e_guest && ((c.vmcs.guest_cr0 & cr0::kPg) == 0 || lme == lma);
}

bool in_reach(C c, u64 address) {
    return droste::in_reach(address, c.caps.linear_address_bits);
}

bool rip_ok(C c) {
    return guest_rip_ok(c.vmcs, c.controls, c.caps.linear_address_bits);
}

bool injects(C c, EventType type) {
    return c.injects && c.injected_type() == static_cast<unsigned>(type);
}

constexpr u32 activity(Activity state) {
    return static_cast<u32>(state);
}

bool activity_supported(C c) {
    switch (c.vmcs.guest_activity_state) {
    case activity(Activity::Active): return true;
    case activity(Activity::Hlt): return c.caps.has(VmxFeature::ActivityHlt);
    case activity(Activity::Shutdown): return c.caps.has(VmxFeature::ActivityShutdown);
    case activity(Activity::WaitForSipi): return c.caps.has(VmxFeature::ActivityWaitForSipi);
    default: return false;
    }
}

// Which events may be injected into an inactive processor.
bool activity_allows_injection(C c) {
    if (!c.injects) {
        return true;
    }
    const unsigned type = c.injected_type();
    const unsigned vector = c.injected_vector();
    const bool hardware_exception = injects(c, EventType::HardwareException);
    const bool machine_check = hardware_exception && vector == static_cast<unsigned>(Exception::MC);
    switch (c.vmcs.guest_activity_state) {
    case activity(Activity::Hlt):
        return injects(c, EventType::ExternalInterrupt) || injects(c, EventType::NMI) ||
               machine_check ||
               (hardware_exception && vector == static_cast<unsigned>(Exception::DB)) ||
               type == interruption::kTypeOther;
    case activity(Activity::Shutdown): return injects(c, EventType::NMI) || machine_check;
    case activity(Activity::WaitForSipi): return false;
    default: return true;
    }
}

constexpr u32 kShadow = blocking::kSti | blocking::kMovSs;

// "Pending debug exceptions": BS agrees with TF and BTF where a trap could be pending behind a
// shadow or HLT.
constexpr u64 kPendingEnabledBreakpoint = 1U << 12, kPendingBs = 1U << 14;
constexpr u64 kPendingDefined = 0xF | kPendingEnabledBreakpoint | kPendingBs;
bool pending_bs_needed_here(C c) {
    return (c.vmcs.guest_interruptibility & kShadow) != 0 ||
           c.vmcs.guest_activity_state == activity(Activity::Hlt);
}
bool steps(C c) {
    return (c.vmcs.guest_rflags & rflags::kTf) != 0 &&
           (c.vmcs.guest_ia32_debugctl & debugctl::kBtf) == 0;
}

bool link_revision_ok(C c) {
    const auto revision = static_cast<u32>(read_physical(c.vmx.cpu, c.vmcs.vmcs_link_pointer, 4));
    const bool shadow = (revision & kShadowVmcsIndicator) != 0;
    return (revision & ~kShadowVmcsIndicator) == kVmcsRevision &&
           shadow == c.controls.has2(proc2::kVmcsShadowing);
}

bool pdptes_ok(C c) {
    if (!guest_uses_pae_paging(c.vmcs, c.controls)) {
        return true;
    }
    const u64 reserved = 0x1E6 | (~u64{0} << c.caps.physical_address_bits);
    for (const u64 pdpte : guest_pdptes(c.vmx)) {
        if ((pdpte & 1) != 0 && (pdpte & reserved) != 0) {
            return false;
        }
    }
    return true;
}

// clang-format off
constexpr auto kRegisters = std::to_array<EntryCheck>({
    {"guest CR0 fixed bits", "CR0 has every bit of IA32_VMX_CR0_FIXED0 (PE and PG excepted with \"unrestricted guest\") and none outside IA32_VMX_CR0_FIXED1",
     guest_cr0_fixed_ok, {guest_cr0, proc2_controls, proc_controls}},
    {"guest CR0.PG implies CR0.PE", "CR0.PE is 1 if CR0.PG is 1",
     [](C c) { return (c.vmcs.guest_cr0 & cr0::kPg) == 0 || (c.vmcs.guest_cr0 & cr0::kPe) != 0; }, {guest_cr0}},
    {"guest CR4 fixed bits", "CR4 has every bit of IA32_VMX_CR4_FIXED0 and none outside IA32_VMX_CR4_FIXED1",
     [](C c) { return (~c.vmcs.guest_cr4 & c.caps.cr4_fixed0) == 0 && (c.vmcs.guest_cr4 & ~c.caps.cr4_fixed1) == 0; }, {guest_cr4}},
    {"guest CR4.CET needs CR0.WP", "CR0.WP is 1 if CR4.CET is 1",
     [](C c) { return cet_has_write_protection(c.vmcs.guest_cr0, c.vmcs.guest_cr4); }, {guest_cr0, guest_cr4}},
    {"guest IA32_DEBUGCTL reserved bits", "with \"load debug controls\", reserved bits of IA32_DEBUGCTL are 0",
     [](C c) { return !loads_debug_controls(c) || debugctl_ok(c); }, {guest_ia32_debugctl, entry_controls}},
    {"guest CR0.PG in IA-32e mode", "CR0.PG is 1 if \"IA-32e mode guest\" is 1",
     [](C c) { return !c.ia32e_guest || (c.vmcs.guest_cr0 & cr0::kPg) != 0; }, {guest_cr0, entry_controls}},
    {"guest CR4.PAE in IA-32e mode", "CR4.PAE is 1 if \"IA-32e mode guest\" is 1",
     [](C c) { return !c.ia32e_guest || (c.vmcs.guest_cr4 & cr4::kPae) != 0; }, {guest_cr4, entry_controls}},
    {"guest CR4.PCIDE outside IA-32e mode", "CR4.PCIDE is 0 if \"IA-32e mode guest\" is 0",
     [](C c) { return c.ia32e_guest || (c.vmcs.guest_cr4 & cr4::kPcide) == 0; }, {guest_cr4, entry_controls}},
    {"guest CR3", "bits of CR3 beyond the physical-address width are 0",
     [](C c) { return c.address_fits(c.vmcs.guest_cr3); }, {guest_cr3}},
    {"guest DR7 upper half", "with \"load debug controls\", bits 63:32 of DR7 are 0",
     [](C c) { return !loads_debug_controls(c) || (c.vmcs.guest_dr7 >> 32) == 0; }, {guest_dr7, entry_controls}},
    {"guest IA32_SYSENTER_ESP canonical", "IA32_SYSENTER_ESP holds a canonical address",
     [](C c) { return c.canonical(c.vmcs.guest_ia32_sysenter_esp); }, {guest_ia32_sysenter_esp}},
    {"guest IA32_SYSENTER_EIP canonical", "IA32_SYSENTER_EIP holds a canonical address",
     [](C c) { return c.canonical(c.vmcs.guest_ia32_sysenter_eip); }, {guest_ia32_sysenter_eip}},
    {"guest IA32_S_CET canonical", "with \"load CET state\", IA32_S_CET holds a canonical address",
     [](C c) { return !loads_cet(c) || c.canonical(c.vmcs.guest_ia32_s_cet); }, {guest_ia32_s_cet, entry_controls}},
    {"guest IA32_INTERRUPT_SSP_TABLE_ADDR canonical", "with \"load CET state\", IA32_INTERRUPT_SSP_TABLE_ADDR holds a canonical address",
     [](C c) { return !loads_cet(c) || c.canonical(c.vmcs.guest_ia32_interrupt_ssp_table_addr); }, {guest_ia32_interrupt_ssp_table_addr, entry_controls}},
    {"guest IA32_PERF_GLOBAL_CTRL", "with \"load IA32_PERF_GLOBAL_CTRL\", reserved bits are 0",
     [](C c) { return !c.controls.has_entry(vm_entry_control::kLoadPerfGlobalCtrl) || perf_global_ctrl_ok(c.vmcs.guest_ia32_perf_global_ctrl); },
     {guest_ia32_perf_global_ctrl, entry_controls}},
    {"guest IA32_PAT", "with \"load IA32_PAT\", each byte is 0, 1, 4, 5, 6 or 7",
     [](C c) { return !c.controls.has_entry(vm_entry_control::kLoadPat) || pat_ok(c.vmcs.guest_ia32_pat); }, {guest_ia32_pat, entry_controls}},
    {"guest IA32_EFER reserved bits", "with \"load IA32_EFER\", reserved bits are 0",
     [](C c) { return !loads_efer(c) || (c.vmcs.guest_ia32_efer & ~kEferDefined) == 0; }, {guest_ia32_efer, entry_controls}},
    {"guest IA32_EFER LMA and LME", "with \"load IA32_EFER\", LMA equals \"IA-32e mode guest\", and LME too if CR0.PG is 1",
     [](C c) { return !loads_efer(c) || efer_consistent(c); }, {guest_ia32_efer, guest_cr0, entry_controls}},
    {"guest IA32_S_CET", "with \"load CET state\", reserved bits are 0, and SUPPRESS and TRACKER are not both 1",
     [](C c) { return !loads_cet(c) || cet_control_legal(c.vmx.cpu.features, c.vmcs.guest_ia32_s_cet); }, {guest_ia32_s_cet, entry_controls}},
});

constexpr auto kRipRflags = std::to_array<EntryCheck>({
    {"guest RIP", "in 64-bit mode, bits of RIP beyond the linear-address width are identical; otherwise bits 63:32 are 0",
     rip_ok, {guest_rip, entry_controls, guest_cs_access_rights}},
    {"guest RFLAGS reserved bits", "bits 63:22, 15, 5 and 3 are 0 and bit 1 is 1",
     [](C c) { return (c.vmcs.guest_rflags & ~(rflags::kWritable | rflags::kFixed1)) == 0 && (c.vmcs.guest_rflags & rflags::kFixed1) != 0; }, {guest_rflags}},
    {"guest RFLAGS.VM", "RFLAGS.VM is 0 if \"IA-32e mode guest\" is 1 or CR0.PE is 0",
     [](C c) { return !c.virtual8086 || (!c.ia32e_guest && (c.vmcs.guest_cr0 & cr0::kPe) != 0); }, {guest_rflags, guest_cr0, entry_controls}},
    {"guest RFLAGS.IF for an injected interrupt", "RFLAGS.IF is 1 if an external interrupt is injected",
     [](C c) { return !injects(c, EventType::ExternalInterrupt) || (c.vmcs.guest_rflags & rflags::kIf) != 0; }, {guest_rflags, entry_interruption_info}},
    {"guest SSP alignment", "with \"load CET state\", bits 1:0 of SSP are 0",
     [](C c) { return !loads_cet(c) || ssp_aligned(c.vmcs.guest_ssp); }, {guest_ssp, entry_controls}},
    {"guest SSP", "with \"load CET state\", bits of SSP beyond the linear-address width are identical",
     [](C c) { return !loads_cet(c) || in_reach(c, c.vmcs.guest_ssp); }, {guest_ssp, entry_controls}},
});

constexpr auto kNonRegister = std::to_array<EntryCheck>({
    {"guest activity state", "the activity state is 0-3 and IA32_VMX_MISC says it is supported",
     activity_supported, {guest_activity_state}},
    {"guest activity state HLT at CPL > 0", "the activity state is not HLT if SS.DPL is not 0",
     [](C c) { return c.vmcs.guest_activity_state != activity(Activity::Hlt) || ((c.vmcs.guest_ss_access_rights >> 5) & 3) == 0; },
     {guest_activity_state, guest_ss_access_rights}},
    {"guest activity state in a shadow", "the activity state is active if events are blocked by STI or MOV SS",
     [](C c) { return (c.vmcs.guest_interruptibility & kShadow) == 0 || c.vmcs.guest_activity_state == activity(Activity::Active); },
     {guest_activity_state, guest_interruptibility}},
    {"injection into the activity state", "HLT takes interrupts, NMIs, #DB, #MC and MTF; shutdown NMIs and #MC; wait-for-SIPI nothing",
     activity_allows_injection, {guest_activity_state, entry_interruption_info}},
    {"guest interruptibility reserved bits", "bits 31:4 are 0 (bit 4 needs SGX)",
     [](C c) { return (c.vmcs.guest_interruptibility >> 4) == 0; }, {guest_interruptibility}},
    {"guest blocking by STI and MOV SS", "not both blocking by STI and blocking by MOV SS",
     [](C c) { return (c.vmcs.guest_interruptibility & kShadow) != kShadow; }, {guest_interruptibility}},
    {"guest blocking by STI with IF clear", "no blocking by STI if RFLAGS.IF is 0",
     [](C c) { return (c.vmcs.guest_rflags & rflags::kIf) != 0 || (c.vmcs.guest_interruptibility & blocking::kSti) == 0; },
     {guest_interruptibility, guest_rflags}},
    {"injected interrupt in a shadow", "no blocking by STI or MOV SS if an external interrupt is injected",
     [](C c) { return !injects(c, EventType::ExternalInterrupt) || (c.vmcs.guest_interruptibility & kShadow) == 0; },
     {guest_interruptibility, entry_interruption_info}},
    // "A processor may require bit 0 (blocking by STI) to be 0": those that inhibit NMIs behind STI do.
    {"injected NMI in an STI shadow", "no blocking by STI if an NMI is injected",
     [](C c) { return !injects(c, EventType::NMI) || (c.vmcs.guest_interruptibility & blocking::kSti) == 0; },
     {guest_interruptibility, entry_interruption_info}, kQualificationNmi},
    {"injected NMI in a MOV SS shadow", "no blocking by MOV SS if an NMI is injected",
     [](C c) { return !injects(c, EventType::NMI) || (c.vmcs.guest_interruptibility & blocking::kMovSs) == 0; },
     {guest_interruptibility, entry_interruption_info}},
    {"guest blocking by SMI", "no blocking by SMI outside SMM",
     [](C c) { return (c.vmcs.guest_interruptibility & blocking::kSmi) == 0; }, {guest_interruptibility}},
    {"injected virtual NMI while blocked", "with \"virtual NMIs\", no blocking by NMI if an NMI is injected",
     [](C c) { return !injects(c, EventType::NMI) || !c.controls.has_pin(pin::kVirtualNmis) || (c.vmcs.guest_interruptibility & blocking::kNmi) == 0; },
     {guest_interruptibility, entry_interruption_info, pin_controls}},
    {"guest pending debug exceptions reserved bits", "bits 11:4, 13, 15 and 63:16 are 0",
     [](C c) { return (c.vmcs.guest_pending_debug & ~kPendingDefined) == 0; }, {guest_pending_debug}},
    {"guest pending single-step set", "in a shadow or HLT, BS is 1 if RFLAGS.TF is 1 and IA32_DEBUGCTL.BTF is 0",
     [](C c) { return !pending_bs_needed_here(c) || !steps(c) || (c.vmcs.guest_pending_debug & kPendingBs) != 0; },
     {guest_pending_debug, guest_rflags, guest_ia32_debugctl, guest_interruptibility, guest_activity_state}},
    {"guest pending single-step clear", "in a shadow or HLT, BS is 0 if RFLAGS.TF is 0 or IA32_DEBUGCTL.BTF is 1",
     [](C c) { return !pending_bs_needed_here(c) || steps(c) || (c.vmcs.guest_pending_debug & kPendingBs) == 0; },
     {guest_pending_debug, guest_rflags, guest_ia32_debugctl, guest_interruptibility, guest_activity_state}},
});

constexpr auto kLinkPointer = std::to_array<EntryCheck>({
    {"VMCS link pointer address", "unless FFFFFFFF_FFFFFFFFH, it is 4-KByte aligned and within the physical-address width",
     [](C c) { return !has_link_pointer(c) || c.page_address_ok(c.vmcs.vmcs_link_pointer); }, {vmcs_link_pointer}, kQualificationLinkPointer},
    {"VMCS link pointer not the current VMCS", "unless FFFFFFFF_FFFFFFFFH, it is not the current-VMCS pointer",
     [](C c) { return !has_link_pointer(c) || c.vmcs.vmcs_link_pointer != c.vmx.current_pointer(); }, {vmcs_link_pointer}, kQualificationLinkPointer},
    {"linked VMCS revision", "the region it references holds this processor's VMCS revision identifier, and the shadow-VMCS indicator equals \"VMCS shadowing\"",
     [](C c) { return !has_link_pointer(c) || link_revision_ok(c); }, {vmcs_link_pointer, proc2_controls, proc_controls}, kQualificationLinkPointer},
});

constexpr auto kPdptes = std::to_array<EntryCheck>({
    {"guest PDPTEs", "with PAE paging, reserved bits of present PDPTEs are 0",
     pdptes_ok, {guest_pdpte0, guest_pdpte1, guest_pdpte2, guest_pdpte3, guest_cr3, guest_cr0, guest_cr4, entry_controls, proc2_controls, proc_controls}, kQualificationPdpte},
});
// clang-format on

}  // namespace

std::span<const EntryCheck> guest_register_checks() {
    return kRegisters;
}
std::span<const EntryCheck> guest_rip_rflags_checks() {
    return kRipRflags;
}
std::span<const EntryCheck> guest_non_register_checks() {
    return kNonRegister;
}
std::span<const EntryCheck> guest_link_pointer_checks() {
    return kLinkPointer;
}
std::span<const EntryCheck> guest_pdpte_checks() {
    return kPdptes;
}

bool has_link_pointer(C c) {
    return c.vmcs.vmcs_link_pointer != kNoVmcs;
}

bool pdptes_in_memory(C c) {
    return guest_uses_pae_paging(c.vmcs, c.controls) && !c.controls.has2(proc2::kEnableEpt);
}

}  // namespace droste
