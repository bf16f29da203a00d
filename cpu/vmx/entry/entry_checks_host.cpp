// Checks on the host-state area. SDM Vol. 3C, "Checks on Host Control Registers, MSRs, and SSP",
// "Checks on Host Segment and Descriptor-Table Registers", "Checks Related to Address-Space Size".
// A VM entry that fails here ends in VMfailValid with error 8.

#include "core/bits.hpp"
#include "cpu/vmx/entry/entry_checks.hpp"
#include "cpu/vmx/entry/entry_state_rules.hpp"
#include "cpu/vmx/vmcs/controls.hpp"
#include "cpu/x86/state/regs.hpp"
#include "cpu/x86/system/cet.hpp"

namespace droste {

namespace {

using C = const EntryContext&;
using enum VmcsField;

bool fixed_bits_ok(u64 value, u64 fixed0, u64 fixed1) {
    return (~value & fixed0) == 0 && (value & ~fixed1) == 0;
}

bool loads_cet(C c) {
    return c.controls.has_exit(vm_exit_control::kLoadCetState);
}

constexpr bool selector_ok(u16 selector) {
    return (selector & 7) == 0;
}

// clang-format off
constexpr auto kRegisters = std::to_array<EntryCheck>({
    {"host CR0 fixed bits", "CR0 has every bit of IA32_VMX_CR0_FIXED0 and none outside IA32_VMX_CR0_FIXED1",
     [](C c) { return fixed_bits_ok(c.vmcs.host_cr0, c.caps.cr0_fixed0, c.caps.cr0_fixed1); }, {host_cr0}},
    {"host CR4 fixed bits", "CR4 has every bit of IA32_VMX_CR4_FIXED0 and none outside IA32_VMX_CR4_FIXED1",
     [](C c) { return fixed_bits_ok(c.vmcs.host_cr4, c.caps.cr4_fixed0, c.caps.cr4_fixed1); }, {host_cr4}},
    {"host CR4.CET needs CR0.WP", "CR0.WP is 1 if CR4.CET is 1",
     [](C c) { return cet_has_write_protection(c.vmcs.host_cr0, c.vmcs.host_cr4); }, {host_cr0, host_cr4}},
    {"host CR3", "bits of CR3 beyond the physical-address width are 0",
     [](C c) { return c.address_fits(c.vmcs.host_cr3); }, {host_cr3}},
    {"host IA32_SYSENTER_ESP canonical", "IA32_SYSENTER_ESP holds a canonical address",
     [](C c) { return c.canonical(c.vmcs.host_ia32_sysenter_esp); }, {host_ia32_sysenter_esp}},
    {"host IA32_SYSENTER_EIP canonical", "IA32_SYSENTER_EIP holds a canonical address",
     [](C c) { return c.canonical(c.vmcs.host_ia32_sysenter_eip); }, {host_ia32_sysenter_eip}},
    {"host IA32_INTERRUPT_SSP_TABLE_ADDR canonical", "with \"load CET state\", IA32_INTERRUPT_SSP_TABLE_ADDR holds a canonical address",
     [](C c) { return !loads_cet(c) || c.canonical(c.vmcs.host_ia32_interrupt_ssp_table_addr); }, {host_ia32_interrupt_ssp_table_addr, exit_controls}},
    {"host IA32_PERF_GLOBAL_CTRL", "with \"load IA32_PERF_GLOBAL_CTRL\", reserved bits are 0",
     [](C c) { return !c.controls.has_exit(vm_exit_control::kLoadPerfGlobalCtrl) || perf_global_ctrl_ok(c.vmcs.host_ia32_perf_global_ctrl); },
     {host_ia32_perf_global_ctrl, exit_controls}},
    {"host IA32_PAT", "with \"load IA32_PAT\", each byte is 0, 1, 4, 5, 6 or 7",
     [](C c) { return !c.controls.has_exit(vm_exit_control::kLoadPat) || pat_ok(c.vmcs.host_ia32_pat); }, {host_ia32_pat, exit_controls}},
    {"host IA32_EFER reserved bits", "with \"load IA32_EFER\", reserved bits are 0",
     [](C c) { return !c.controls.has_exit(vm_exit_control::kLoadEfer) || (c.vmcs.host_ia32_efer & ~kEferDefined) == 0; }, {host_ia32_efer, exit_controls}},
    {"host IA32_EFER LMA and LME", "with \"load IA32_EFER\", LMA and LME equal \"host address-space size\"",
     [](C c) {
         const u64 expected = c.host_64 ? efer::kLma | efer::kLme : 0;
         return !c.controls.has_exit(vm_exit_control::kLoadEfer) || (c.vmcs.host_ia32_efer & (efer::kLma | efer::kLme)) == expected;
     },
     {host_ia32_efer, exit_controls}},
    {"host IA32_S_CET", "with \"load CET state\", reserved bits are 0, and SUPPRESS and TRACKER are not both 1",
     [](C c) { return !loads_cet(c) || cet_control_legal(c.vmx.cpu.features, c.vmcs.host_ia32_s_cet); }, {host_ia32_s_cet, exit_controls}},
    {"host SSP alignment", "with \"load CET state\", bits 1:0 of SSP are 0",
     [](C c) { return !loads_cet(c) || ssp_aligned(c.vmcs.host_ssp); }, {host_ssp, exit_controls}},
});

constexpr auto kSegments = std::to_array<EntryCheck>({
    {"host ES selector", "RPL and TI are 0", [](C c) { return selector_ok(c.vmcs.host_es_selector); }, {host_es_selector}},
    {"host CS selector", "RPL and TI are 0", [](C c) { return selector_ok(c.vmcs.host_cs_selector); }, {host_cs_selector}},
    {"host SS selector", "RPL and TI are 0", [](C c) { return selector_ok(c.vmcs.host_ss_selector); }, {host_ss_selector}},
    {"host DS selector", "RPL and TI are 0", [](C c) { return selector_ok(c.vmcs.host_ds_selector); }, {host_ds_selector}},
    {"host FS selector", "RPL and TI are 0", [](C c) { return selector_ok(c.vmcs.host_fs_selector); }, {host_fs_selector}},
    {"host GS selector", "RPL and TI are 0", [](C c) { return selector_ok(c.vmcs.host_gs_selector); }, {host_gs_selector}},
    {"host TR selector", "RPL and TI are 0", [](C c) { return selector_ok(c.vmcs.host_tr_selector); }, {host_tr_selector}},
    {"host CS selector not null", "the CS selector is not 0000H", [](C c) { return c.vmcs.host_cs_selector != 0; }, {host_cs_selector}},
    {"host TR selector not null", "the TR selector is not 0000H", [](C c) { return c.vmcs.host_tr_selector != 0; }, {host_tr_selector}},
    {"host SS selector not null", "the SS selector is not 0000H if \"host address-space size\" is 0",
     [](C c) { return c.host_64 || c.vmcs.host_ss_selector != 0; }, {host_ss_selector, exit_controls}},
    {"host FS base canonical", "the base holds a canonical address", [](C c) { return c.canonical(c.vmcs.host_fs_base); }, {host_fs_base}},
    {"host GS base canonical", "the base holds a canonical address", [](C c) { return c.canonical(c.vmcs.host_gs_base); }, {host_gs_base}},
    {"host GDTR base canonical", "the base holds a canonical address", [](C c) { return c.canonical(c.vmcs.host_gdtr_base); }, {host_gdtr_base}},
    {"host IDTR base canonical", "the base holds a canonical address", [](C c) { return c.canonical(c.vmcs.host_idtr_base); }, {host_idtr_base}},
    {"host TR base canonical", "the base holds a canonical address", [](C c) { return c.canonical(c.vmcs.host_tr_base); }, {host_tr_base}},
});

bool in_ia32e_mode(C c) {
    return (c.vmx.cpu.state.efer & efer::kLma) != 0;
}

constexpr auto kAddressSpace = std::to_array<EntryCheck>({
    {"IA-32e guest of a 32-bit host", "\"IA-32e mode guest\" is 0 if \"host address-space size\" is 0",
     [](C c) { return c.host_64 || !c.ia32e_guest; }, {entry_controls, exit_controls}},
    {"IA-32e guest from outside IA-32e mode", "\"IA-32e mode guest\" is 0 if the processor is outside IA-32e mode",
     [](C c) { return in_ia32e_mode(c) || !c.ia32e_guest; }, {entry_controls}},
    {"64-bit host from outside IA-32e mode", "\"host address-space size\" is 0 if the processor is outside IA-32e mode",
     [](C c) { return in_ia32e_mode(c) || !c.host_64; }, {exit_controls}},
    {"32-bit host from IA-32e mode", "\"host address-space size\" is 1 if the processor is in IA-32e mode",
     [](C c) { return !in_ia32e_mode(c) || c.host_64; }, {exit_controls}},
    {"host CR4.PCIDE without 64-bit host", "CR4.PCIDE is 0 if \"host address-space size\" is 0",
     [](C c) { return c.host_64 || (c.vmcs.host_cr4 & cr4::kPcide) == 0; }, {host_cr4, exit_controls}},
    {"host RIP of a 32-bit host", "bits 63:32 of RIP are 0 if \"host address-space size\" is 0",
     [](C c) { return c.host_64 || (c.vmcs.host_rip >> 32) == 0; }, {host_rip, exit_controls}},
    {"host IA32_S_CET of a 32-bit host", "with \"load CET state\", bits 63:32 of IA32_S_CET are 0 if \"host address-space size\" is 0",
     [](C c) { return !loads_cet(c) || c.host_64 || (c.vmcs.host_ia32_s_cet >> 32) == 0; }, {host_ia32_s_cet, exit_controls}},
    {"host SSP of a 32-bit host", "with \"load CET state\", bits 63:32 of SSP are 0 if \"host address-space size\" is 0",
     [](C c) { return !loads_cet(c) || c.host_64 || (c.vmcs.host_ssp >> 32) == 0; }, {host_ssp, exit_controls}},
    {"host CR4.PAE of a 64-bit host", "CR4.PAE is 1 if \"host address-space size\" is 1",
     [](C c) { return !c.host_64 || (c.vmcs.host_cr4 & cr4::kPae) != 0; }, {host_cr4, exit_controls}},
    {"host RIP canonical", "RIP holds a canonical address if \"host address-space size\" is 1",
     [](C c) { return !c.host_64 || c.canonical(c.vmcs.host_rip); }, {host_rip, exit_controls}},
    {"host IA32_S_CET canonical", "with \"load CET state\", IA32_S_CET holds a canonical address if \"host address-space size\" is 1",
     [](C c) { return !loads_cet(c) || !c.host_64 || c.canonical(c.vmcs.host_ia32_s_cet); }, {host_ia32_s_cet, exit_controls}},
    {"host SSP canonical", "with \"load CET state\", SSP holds a canonical address if \"host address-space size\" is 1",
     [](C c) { return !loads_cet(c) || !c.host_64 || c.canonical(c.vmcs.host_ssp); }, {host_ssp, exit_controls}},
});
// clang-format on

}  // namespace

std::span<const EntryCheck> host_register_checks() {
    return kRegisters;
}
std::span<const EntryCheck> host_segment_checks() {
    return kSegments;
}
std::span<const EntryCheck> host_address_space_checks() {
    return kAddressSpace;
}

}  // namespace droste
