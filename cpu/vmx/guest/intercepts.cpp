// Instructions a guest may not execute, or only if a control says so. SDM Vol. 3C, "Instructions
// That Cause VM Exits Unconditionally", "Instructions That Cause VM Exits Conditionally", "Changes
// to Instruction Behavior in VMX Non-Root Operation". One row a kind: the exit reason, and the
// control that asks for it (0: always).

#include "cpu/vmx/guest/intercepts.hpp"

#include "core/bits.hpp"
#include "cpu/vmx/exit/exit_qualification.hpp"
#include "cpu/vmx/vmcs/controls.hpp"
#include "cpu/vmx/vmx_state.hpp"

#include <array>

namespace droste {

namespace {

enum class When : u8 {
    Asked,  // if a control of the row is 1
    Always,
    Otherwise,  // ... or for a reason of its own
};

struct Row {
    Interceptable kind;
    ExitReason reason;
    u32 primary = 0;    // exits if one of these primary controls is 1
    u32 secondary = 0;  // ... or one of these secondary ones
    When when = primary == 0 && secondary == 0 ? When::Always : When::Asked;
};

using K = Interceptable;
using R = ExitReason;
constexpr auto kRows = std::to_array<Row>({
    {K::CPUID, R::CPUID},
    {K::HLT, R::HLT, proc::kHltExiting},
    {K::INVD, R::INVD},
    {K::INVLPG, R::INVLPG, proc::kInvlpgExiting},
    {K::INVPCID, R::INVPCID, proc::kInvlpgExiting},
    {K::MONITOR, R::MONITOR, proc::kMonitorExiting},
    {K::MWAIT, R::MWAIT, proc::kMwaitExiting},
    {K::PAUSE, R::PAUSE, proc::kPauseExiting, 0, When::Otherwise},
    {K::RDPMC, R::RDPMC, proc::kRdpmcExiting},
    {K::RDRAND, R::RDRAND, 0, proc2::kRdrandExiting},
    {K::RDSEED, R::RDSEED, 0, proc2::kRdseedExiting},
    {K::RDTSC, R::RDTSC, proc::kRdtscExiting},
    {K::RDTSCP, R::RDTSCP, proc::kRdtscExiting},
    {K::RSM, R::RSM, 0, 0, When::Otherwise},
    {K::WBINVD, R::WBINVD, 0, proc2::kWbinvdExiting},
    {K::XSETBV, R::XSETBV},
    {K::XSAVES, R::XSAVES, 0, 0, When::Otherwise},
    {K::XRSTORS, R::XRSTORS, 0, 0, When::Otherwise},
    {K::GETSEC, R::GETSEC},
    {K::SGDT, R::GDTR_OR_IDTR, 0, proc2::kDescriptorTableExiting},
    {K::SIDT, R::GDTR_OR_IDTR, 0, proc2::kDescriptorTableExiting},
    {K::LGDT, R::GDTR_OR_IDTR, 0, proc2::kDescriptorTableExiting},
    {K::LIDT, R::GDTR_OR_IDTR, 0, proc2::kDescriptorTableExiting},
    {K::SLDT, R::LDTR_OR_TR, 0, proc2::kDescriptorTableExiting},
    {K::STR, R::LDTR_OR_TR, 0, proc2::kDescriptorTableExiting},
    {K::LLDT, R::LDTR_OR_TR, 0, proc2::kDescriptorTableExiting},
    {K::LTR, R::LDTR_OR_TR, 0, proc2::kDescriptorTableExiting},
    {K::TPAUSE, R::TPAUSE, proc::kRdtscExiting},
    {K::UMWAIT, R::UMWAIT, proc::kRdtscExiting},
    {K::VMX, R::VMCALL, 0, 0, When::Otherwise},  // exit by themselves: exec_vmx.cpp
});

constexpr bool rows_in_order() {
    for (std::size_t i = 0; i < kRows.size(); ++i) {
        if (kRows[i].kind != static_cast<Interceptable>(i)) {
            return false;
        }
    }
    return true;
}
static_assert(rows_in_order(), "rows follow the enumerators of Interceptable");

// "PAUSE-loop exiting": PAUSEs at CPL 0 close together form a loop; a loop longer than PLE_Window
// exits.
bool pause_loop_exits(VmxState& vmx) {
    if (!vmx.guest.controls.has2(proc2::kPauseLoopExiting) || vmx.cpu.mode.cpl != 0) {
        return false;
    }
    NonRoot& guest = vmx.guest;
    const u64 now = vmx.cpu.tsc();
    const u64 since_last = now - guest.last_pause_tsc;
    guest.last_pause_tsc = now;
    if (since_last > vmx.vmcs().ple_gap) {
        guest.first_pause_tsc = now;
        return false;
    }
    return now - guest.first_pause_tsc > vmx.vmcs().ple_window;
}

[[gnu::noinline]] bool exits_for_a_reason_of_its_own(VmxState& vmx, K kind, u64 operand) {
    switch (kind) {
    case K::PAUSE: return pause_loop_exits(vmx);
    case K::XSAVES:
    case K::XRSTORS: return (operand & vmx.cpu.state.xss & vmx.vmcs().xss_exiting_bitmap) != 0;
    default: return false;  // RSM is #UD outside SMM, in non-root operation too; VMX: their row
    }
}

bool exits(VmxState& vmx, const Row& row, u64 operand) {
    const ActiveControls& controls = vmx.guest.controls;
    if (controls.has(row.primary) || controls.has2(row.secondary)) {
        return true;
    }
    return row.when == When::Always ||
           (row.when == When::Otherwise && exits_for_a_reason_of_its_own(vmx, row.kind, operand));
}

bool exit_without_operand(VmxState& vmx, const Insn& insn, const Row& row) {
    vmx.exiting.reason = row.reason;
    vmx.exiting.instruction_length = insn.length;
    vm_exit(vmx, vmx.exiting);
    return true;
}

// The exit of an instruction with an operand tells more than its length.
[[gnu::noinline]] bool
exit_with_operand(VmxState& vmx, const Insn& insn, const Row& row, u64 operand) {
    ExitInfo info = exit_by_instruction(row.reason, insn);
    if (insn.modrm != 0 || insn.mem()) {
        fill_operand_information(vmx.cpu, insn, info);
    }
    if (row.kind == K::INVLPG) {
        info.qualification = vmx.cpu.mode.long_mode64 ? operand : static_cast<u32>(operand);
    } else if (row.kind == K::MWAIT) {
        info.qualification = operand & 1;  // address-range monitoring armed
    }
    vm_exit(vmx, info);
    return true;
}

[[gnu::noinline]] bool exits_now(VmxState& vmx, const Insn& insn, const Row& row, u64 operand) {
    if (!exits(vmx, row, operand)) {
        return false;
    }
    if (insn.modrm != 0 || insn.mem() || row.kind == K::MWAIT) {
        return exit_with_operand(vmx, insn, row, operand);
    }
    return exit_without_operand(vmx, insn, row);
}

}  // namespace

ActiveControls active_controls(const Vmcs& vmcs) {
    ActiveControls controls;
    controls.pin = vmcs.pin_controls;
    controls.proc = vmcs.proc_controls;
    controls.proc2 = (vmcs.proc_controls & proc::kActivateSecondary) != 0 ? vmcs.proc2_controls : 0;
    controls.exit = vmcs.exit_controls;
    controls.entry = vmcs.entry_controls;
    return controls;
}

bool GuestIntercepts::instruction(Vcpu& /*cpu*/,
                                  const Insn& insn,
                                  Interceptable kind,
                                  u64 operand) {
    const Row& row = kRows[static_cast<std::size_t>(kind)];
    if (row.when == When::Always && insn.modrm == 0 && !insn.mem()) [[likely]] {
        return exit_without_operand(vmx_, insn, row);  // CPUID
    }
    return exits_now(vmx_, insn, row, operand);
}

bool GuestIntercepts::instruction_enabled(const Vcpu& /*cpu*/, Interceptable kind) const {
    const ActiveControls& controls = vmx_.guest.controls;
    switch (kind) {
    case K::RDTSCP: return controls.has2(proc2::kEnableRdtscp);
    case K::INVPCID: return controls.has2(proc2::kEnableInvpcid);
    case K::XSAVES:
    case K::XRSTORS: return controls.has2(proc2::kEnableXsaves);
    case K::UMWAIT:
    case K::TPAUSE: return controls.has2(proc2::kEnableUserWaitAndPause);
    default: return true;
    }
}

// "Use TSC Offsetting", "Use TSC Scaling": the multiplier is a fixed-point number with 48
// fractional bits.
u64 GuestIntercepts::guest_tsc(const Vcpu& /*cpu*/, u64 tsc) const {
    const ActiveControls& controls = vmx_.guest.controls;
    if (!controls.has(proc::kTscOffsetting)) {
        return tsc;
    }
    const Vmcs& v = vmx_.vmcs();
    if (controls.has2(proc2::kUseTscScaling)) {
        tsc = static_cast<u64>((static_cast<u128>(tsc) * v.tsc_multiplier) >> 48);
    }
    return tsc + v.tsc_offset;
}

}  // namespace droste
