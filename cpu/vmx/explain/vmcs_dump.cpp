#include "cpu/vmx/explain/vmcs_dump.hpp"

#include "core/bits.hpp"
#include "cpu/vmx/capabilities.hpp"
#include "cpu/vmx/exit/exit.hpp"
#include "cpu/vmx/vmcs/controls.hpp"
#include "cpu/x86/system/cet.hpp"

#include <span>

#include <fmt/format.h>

namespace droste {

namespace {

struct BitName {
    u32 mask;
    std::string_view name;
};

constexpr auto kPinNames = std::to_array<BitName>({
    {pin::kExternalInterruptExiting, "external-interrupt exiting"},
    {pin::kNmiExiting, "NMI exiting"},
    {pin::kVirtualNmis, "virtual NMIs"},
    {pin::kPreemptionTimer, "activate VMX-preemption timer"},
    {pin::kPostedInterrupts, "process posted interrupts"},
});
constexpr auto kProcNames = std::to_array<BitName>({
    {proc::kInterruptWindowExiting, "interrupt-window exiting"},
    {proc::kTscOffsetting, "use TSC offsetting"},
    {proc::kHltExiting, "HLT exiting"},
    {proc::kInvlpgExiting, "INVLPG exiting"},
    {proc::kMwaitExiting, "MWAIT exiting"},
    {proc::kRdpmcExiting, "RDPMC exiting"},
    {proc::kRdtscExiting, "RDTSC exiting"},
    {proc::kCr3LoadExiting, "CR3-load exiting"},
    {proc::kCr3StoreExiting, "CR3-store exiting"},
    {proc::kCr8LoadExiting, "CR8-load exiting"},
    {proc::kCr8StoreExiting, "CR8-store exiting"},
    {proc::kTprShadow, "use TPR shadow"},
    {proc::kNmiWindowExiting, "NMI-window exiting"},
    {proc::kMovDrExiting, "MOV-DR exiting"},
    {proc::kUnconditionalIoExiting, "unconditional I/O exiting"},
    {proc::kUseIoBitmaps, "use I/O bitmaps"},
    {proc::kMonitorTrapFlag, "monitor trap flag"},
    {proc::kUseMsrBitmaps, "use MSR bitmaps"},
    {proc::kMonitorExiting, "MONITOR exiting"},
    {proc::kPauseExiting, "PAUSE exiting"},
    {proc::kActivateSecondary, "activate secondary controls"},
});
constexpr auto kProc2Names = std::to_array<BitName>({
    {proc2::kVirtualizeApicAccesses, "virtualize APIC accesses"},
    {proc2::kEnableEpt, "enable EPT"},
    {proc2::kDescriptorTableExiting, "descriptor-table exiting"},
    {proc2::kEnableRdtscp, "enable RDTSCP"},
    {proc2::kVirtualizeX2apicMode, "virtualize x2APIC mode"},
    {proc2::kEnableVpid, "enable VPID"},
    {proc2::kWbinvdExiting, "WBINVD exiting"},
    {proc2::kUnrestrictedGuest, "unrestricted guest"},
    {proc2::kApicRegisterVirtualization, "APIC-register virtualization"},
    {proc2::kVirtualInterruptDelivery, "virtual-interrupt delivery"},
    {proc2::kPauseLoopExiting, "PAUSE-loop exiting"},
    {proc2::kRdrandExiting, "RDRAND exiting"},
    {proc2::kEnableInvpcid, "enable INVPCID"},
    {proc2::kEnableVmFunctions, "enable VM functions"},
    {proc2::kVmcsShadowing, "VMCS shadowing"},
    {proc2::kRdseedExiting, "RDSEED exiting"},
    {proc2::kEnablePml, "enable PML"},
    {proc2::kEptViolationVe, "EPT-violation #VE"},
    {proc2::kEnableXsaves, "enable XSAVES/XRSTORS"},
    {proc2::kModeBasedExecute, "mode-based execute control for EPT"},
    {proc2::kUseTscScaling, "use TSC scaling"},
    {proc2::kEnableUserWaitAndPause, "enable user wait and pause"},
});
constexpr auto kExitNames = std::to_array<BitName>({
    {vm_exit_control::kSaveDebugControls, "save debug controls"},
    {vm_exit_control::kHostAddressSpaceSize, "host address-space size"},
    {vm_exit_control::kLoadPerfGlobalCtrl, "load IA32_PERF_GLOBAL_CTRL"},
    {vm_exit_control::kAcknowledgeInterrupt, "acknowledge interrupt on exit"},
    {vm_exit_control::kSavePat, "save IA32_PAT"},
    {vm_exit_control::kLoadPat, "load IA32_PAT"},
    {vm_exit_control::kSaveEfer, "save IA32_EFER"},
    {vm_exit_control::kLoadEfer, "load IA32_EFER"},
    {vm_exit_control::kSavePreemptionTimer, "save VMX-preemption timer value"},
    {vm_exit_control::kLoadCetState, "load CET state"},
});
constexpr auto kEntryNames = std::to_array<BitName>({
    {vm_entry_control::kLoadDebugControls, "load debug controls"},
    {vm_entry_control::kIa32eModeGuest, "IA-32e mode guest"},
    {vm_entry_control::kEntryToSmm, "entry to SMM"},
    {vm_entry_control::kDeactivateDualMonitor, "deactivate dual-monitor treatment"},
    {vm_entry_control::kLoadPerfGlobalCtrl, "load IA32_PERF_GLOBAL_CTRL"},
    {vm_entry_control::kLoadPat, "load IA32_PAT"},
    {vm_entry_control::kLoadEfer, "load IA32_EFER"},
    {vm_entry_control::kLoadCetState, "load CET state"},
});
constexpr auto kInterruptibilityNames = std::to_array<BitName>({
    {1U << 0, "blocking by STI"},
    {1U << 1, "blocking by MOV SS"},
    {1U << 2, "blocking by SMI"},
    {1U << 3, "blocking by NMI"},
    {1U << 4, "enclave interruption"},
});
constexpr auto kCr0Names = std::to_array<BitName>({
    {1U << 0, "PE"},
    {1U << 1, "MP"},
    {1U << 2, "EM"},
    {1U << 3, "TS"},
    {1U << 4, "ET"},
    {1U << 5, "NE"},
    {1U << 16, "WP"},
    {1U << 18, "AM"},
    {1U << 29, "NW"},
    {1U << 30, "CD"},
    {1U << 31, "PG"},
});
constexpr auto kCr4Names = std::to_array<BitName>({
    {1U << 0, "VME"},    {1U << 1, "PVI"},      {1U << 2, "TSD"},         {1U << 3, "DE"},
    {1U << 4, "PSE"},    {1U << 5, "PAE"},      {1U << 6, "MCE"},         {1U << 7, "PGE"},
    {1U << 8, "PCE"},    {1U << 9, "OSFXSR"},   {1U << 10, "OSXMMEXCPT"}, {1U << 11, "UMIP"},
    {1U << 12, "LA57"},  {1U << 13, "VMXE"},    {1U << 14, "SMXE"},       {1U << 16, "FSGSBASE"},
    {1U << 17, "PCIDE"}, {1U << 18, "OSXSAVE"}, {1U << 20, "SMEP"},       {1U << 21, "SMAP"},
    {1U << 22, "PKE"},   {1U << 23, "CET"},
});
constexpr auto kEferNames = std::to_array<BitName>(
    {{1U << 0, "SCE"}, {1U << 8, "LME"}, {1U << 10, "LMA"}, {1U << 11, "NXE"}});
constexpr auto kSCetNames = std::to_array<BitName>({
    {cet::kShadowStack, "SH_STK_EN"},
    {cet::kWriteShadowStack, "WR_SHSTK_EN"},
    {cet::kEndbranch, "ENDBR_EN"},
    {cet::kLegacyTreatment, "LEG_IW_EN"},
    {cet::kNoTrack, "NO_TRACK_EN"},
    {cet::kSuppressDisable, "SUPPRESS_DIS"},
    {cet::kSuppress, "SUPPRESS"},
    {cet::kTracker, "TRACKER"},
});

std::span<const BitName> names_of(VmcsField field) {
    switch (field) {
    case VmcsField::pin_controls: return kPinNames;
    case VmcsField::proc_controls: return kProcNames;
    case VmcsField::proc2_controls: return kProc2Names;
    case VmcsField::exit_controls: return kExitNames;
    case VmcsField::entry_controls: return kEntryNames;
    case VmcsField::guest_interruptibility: return kInterruptibilityNames;
    case VmcsField::guest_cr0:
    case VmcsField::host_cr0:
    case VmcsField::cr0_guest_host_mask:
    case VmcsField::cr0_read_shadow: return kCr0Names;
    case VmcsField::guest_cr4:
    case VmcsField::host_cr4:
    case VmcsField::cr4_guest_host_mask:
    case VmcsField::cr4_read_shadow: return kCr4Names;
    case VmcsField::guest_ia32_efer:
    case VmcsField::host_ia32_efer: return kEferNames;
    case VmcsField::guest_ia32_s_cet:
    case VmcsField::host_ia32_s_cet: return kSCetNames;
    default: return {};
    }
}

std::string decode_interruption(u64 value) {
    constexpr std::array<std::string_view, 8> kTypes = {
        "external interrupt", "reserved",           "NMI",
        "hardware exception", "software interrupt", "privileged software exception",
        "software exception", "other event"};
    if ((value & interruption::kValid) == 0) {
        return "not valid";
    }
    return fmt::format("vector {}, {}{}{}", value & interruption::kVectorMask,
                       kTypes[interruption::type_of(static_cast<u32>(value))],
                       (value & interruption::kErrorCodeValid) != 0 ? ", error code" : "",
                       (value & interruption::kNmiUnblocking) != 0 ? ", NMI unblocking due to IRET"
                                                                   : "");
}

std::string decode_rights(u64 value) {
    if (test_bit(value, 16)) {
        return "unusable";
    }
    return fmt::format("type {} {} DPL {} {}{}{}{}", value & 0xF,
                       test_bit(value, 4) ? "code/data" : "system", (value >> 5) & 3,
                       test_bit(value, 7) ? "P" : "not present", test_bit(value, 13) ? " L" : "",
                       test_bit(value, 14) ? " D/B" : "", test_bit(value, 15) ? " G" : "");
}

bool is_access_rights(std::string_view name) {
    return name.ends_with("access rights");
}

std::string line(const Vmcs& vmcs, VmcsField field, const Vmcs* before) {
    const VmcsFieldRow& row = row_of(field);
    const u64 value = read_field(vmcs, row);
    const std::string decoded = decode_bits(field, value);
    std::string text =
        fmt::format("  {:04X} {:<46} {:#0{}x}", row.encoding, row.name, value, row.bytes * 2 + 2);
    if (!decoded.empty()) {
        text += "  " + decoded;
    }
    if (before != nullptr && read_field(*before, row) != value) {
        text += fmt::format("  (was {:#x})", read_field(*before, row));
    }
    return text + "\n";
}

}  // namespace

std::string decode_bits(VmcsField field, u64 value) {
    switch (field) {
    case VmcsField::exit_reason:
        return fmt::format("{}{}", describe(static_cast<ExitReason>(value & 0xFFFF)),
                           (value & kExitReasonEntryFailure) != 0 ? " (VM-entry failure)" : "");
    case VmcsField::entry_interruption_info:
    case VmcsField::exit_interruption_info:
    case VmcsField::idt_vectoring_info: return decode_interruption(value);
    case VmcsField::guest_activity_state: {
        constexpr std::array<std::string_view, 4> kStates = {"active", "HLT", "shutdown",
                                                             "wait-for-SIPI"};
        return value < kStates.size() ? std::string(kStates[value]) : "invalid";
    }
    default: break;
    }
    if (is_access_rights(row_of(field).name)) {
        return decode_rights(value);
    }
    std::string text;
    for (const BitName& bit_name : names_of(field)) {
        if ((value & bit_name.mask) != 0) {
            text += text.empty() ? "" : " | ";
            text += bit_name.name;
        }
    }
    return text;
}

std::string
dump_vmcs(const Vmcs& vmcs, const VmxCapabilities& caps, PhysAddr address, const Vmcs* before) {
    std::string text = fmt::format("VMCS at {:#x}\n", address);
    for (const VmcsGroup group : {VmcsGroup::Guest, VmcsGroup::Host, VmcsGroup::Execution,
                                  VmcsGroup::Exit, VmcsGroup::Entry, VmcsGroup::Information}) {
        text += fmt::format("{}\n", name_of(group));
        for (unsigned i = 0; i < kVmcsFieldCount; ++i) {
            const auto field = static_cast<VmcsField>(i);
            if (row_of(field).group == group && caps.supports(row_of(field))) {
                text += line(vmcs, field, before);
            }
        }
    }
    return text;
}

std::string diff_vmcs(const Vmcs& before, const Vmcs& after, const VmxCapabilities& caps) {
    std::string text;
    for (unsigned i = 0; i < kVmcsFieldCount; ++i) {
        const auto field = static_cast<VmcsField>(i);
        const VmcsFieldRow& row = row_of(field);
        if (caps.supports(row) && read_field(before, row) != read_field(after, row)) {
            text += line(after, field, &before);
        }
    }
    return text;
}

std::string dump_failed_vmcs(const Vmcs& vmcs,
                             const VmxCapabilities& caps,
                             PhysAddr address,
                             const Vmcs* last_good) {
    std::string head = "No VM entry with this VMCS has succeeded yet\n";
    if (last_good != nullptr) {
        const std::string changes = diff_vmcs(*last_good, vmcs, caps);
        head = changes.empty() ? "Nothing changed since the last good VM entry\n"
                               : "Changed since the last good VM entry\n" + changes;
    }
    return head + dump_vmcs(vmcs, caps, address, last_good);
}

}  // namespace droste
