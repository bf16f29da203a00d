#pragma once
// VM exits. SDM Vol. 3C, "VM Exits".

#include "core/types.hpp"
#include "cpu/x86/decode/insn.hpp"
#include "cpu/x86/state/exception.hpp"

#include <string_view>

namespace droste {

class VmxState;

enum class ExitReason : u16 {
#define DROSTE_EXIT_REASON(number, name, text) name = number,
#include "cpu/vmx/exit/exit_reasons.inc"
#undef DROSTE_EXIT_REASON
};
inline constexpr unsigned kExitReasonLimit = 70;
inline constexpr u32 kExitReasonEntryFailure = 1U << 31;

std::string_view name_of(ExitReason reason);   // EPT_VIOLATION
std::string_view describe(ExitReason reason);  // "EPT violation"

// What goes into the VM-exit information fields. Fields the manual leaves undefined for a reason
// are 0.
struct ExitInfo {
    ExitReason reason{};
    u64 qualification = 0;
    u32 instruction_length = 0;
    u32 instruction_info = 0;
    u32 interruption_info = 0;  // without "valid": no event to report
    u32 interruption_error_code = 0;
    u64 guest_linear = 0;
    u64 guest_physical = 0;
};

// An exit caused by executing `insn`.
inline ExitInfo exit_by_instruction(ExitReason reason, const Insn& insn, u64 qualification = 0) {
    ExitInfo info;
    info.reason = reason;
    info.instruction_length = insn.length;
    info.qualification = qualification;
    return info;
}

// Makes the VM exit: information fields, guest state, MSR lists, host state. Afterwards the vCPU is
// in VMX root operation at the host's RIP (or shut down by a VMX abort).
void vm_exit(VmxState& vmx, const ExitInfo& info);
// A VM entry that failed while or after loading guest state: only reason and qualification, then
// host state. `nmi_blocking`: what it was before the entry.
void fail_vm_entry(VmxState& vmx, ExitReason reason, u64 qualification, u32 nmi_blocking);

// The MSR areas (msr_lists.cpp). SDM Vol. 3C, "Loading MSRs", "Saving MSRs".
// Number (1..) of the entry that cannot be loaded, or 0.
u32 load_msr_list(VmxState& vmx, PhysAddr list, u32 count);
bool store_msr_list(VmxState& vmx, PhysAddr list, u32 count);

enum class VmxAbort : u32 {
    SavingGuestMsrs = 1,
    HostPdptes = 2,
    VmcsCorrupted = 3,
    LoadingHostMsrs = 4,
    MachineCheck = 5,
    HostAddressSpace = 6,
};
// SDM Vol. 3C, "VMX Aborts": indicator into the VMCS region, then shutdown.
void vmx_abort(VmxState& vmx, VmxAbort reason);

// Interruption-information format of an event (also IDT-vectoring).
u32 interruption_info_of(const Event& event, bool with_error_code);

}  // namespace droste
