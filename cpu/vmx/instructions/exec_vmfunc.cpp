// VMFUNC: the VM functions a guest may invoke without a VM exit. SDM Vol. 3C, "VM Functions".

#include "core/bits.hpp"
#include "cpu/vmx/entry/entry_checks.hpp"
#include "cpu/vmx/instructions/exec_vmx.hpp"
#include "cpu/vmx/vmcs/controls.hpp"
#include "cpu/vmx/vmx_state.hpp"
#include "cpu/x86/mmu/paging.hpp"

namespace droste {

namespace {

constexpr u32 kEptpListEntries = 512;

// "EPTP Switching" (VM function 0): ECX selects an EPTP from the list.
Status switch_eptp(VmxState& vmx, const Insn& insn) {
    Vcpu& cpu = vmx.cpu;
    Vmcs& vmcs = vmx.vmcs();
    const auto selected = static_cast<u32>(cpu.state.gpr[RCX]);
    if (selected >= kEptpListEntries) {
        return exit_by_vmx_instruction(vmx, insn);
    }
    const u64 pointer = read_physical(cpu, vmcs.eptp_list_address + selected * 8U, 8);
    if (!ept_pointer_valid(vmx.caps, pointer)) {
        return exit_by_vmx_instruction(vmx, insn);
    }
    vmcs.ept_pointer = pointer;
    if (vmx.guest.controls.has2(proc2::kEptViolationVe)) {
        vmcs.eptp_index = static_cast<u16>(selected);
    }
    vmx.ept.activate(pointer, vmx.guest.controls.has2(proc2::kModeBasedExecute));
    cpu.non_root.ept_root = vmx.ept.tag();
    cpu.tlb.activate(cpu);
    return Status::Sync;
}

}  // namespace

Status exec_vmfunc(VmxState& vmx, const Insn& insn) {
    Vcpu& cpu = vmx.cpu;
    const auto function = static_cast<u32>(cpu.state.gpr[RAX]);
    if (!vmx.non_root || !vmx.guest.controls.has2(proc2::kEnableVmFunctions) || function >= 64) {
        return raise(cpu, Exception::UD);
    }
    if (!test_bit(vmx.vmcs().vm_function_controls, function)) {
        return exit_by_vmx_instruction(vmx, insn);
    }
    return switch_eptp(vmx, insn);  // the only function whose control may be 1
}

}  // namespace droste
