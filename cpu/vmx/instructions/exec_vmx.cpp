// VMXON, VMXOFF, VMCLEAR, VMPTRLD, VMPTRST, VMCALL, and what all VMX instructions share.
// SDM Vol. 3C, "VMX Instruction Reference"; the order of checks is that of each Operation section.

#include "cpu/vmx/instructions/exec_vmx.hpp"

#include "core/assert.hpp"
#include "core/log.hpp"
#include "cpu/vmx/exit/exit_qualification.hpp"
#include "cpu/vmx/instructions/vmx_status.hpp"
#include "cpu/vmx/vmcs/controls.hpp"
#include "cpu/vmx/vmx_state.hpp"
#include "cpu/x86/mmu/mem_access.hpp"
#include "cpu/x86/mmu/paging.hpp"

#include <utility>

#include <fmt/format.h>

namespace droste {

namespace {

ExitReason exit_reason_of(Op op) {
    switch (op) {
    case Op::VMCALL: return ExitReason::VMCALL;
    case Op::VMCLEAR: return ExitReason::VMCLEAR;
    case Op::VMLAUNCH: return ExitReason::VMLAUNCH;
    case Op::VMPTRLD: return ExitReason::VMPTRLD;
    case Op::VMPTRST: return ExitReason::VMPTRST;
    case Op::VMREAD: return ExitReason::VMREAD;
    case Op::VMRESUME: return ExitReason::VMRESUME;
    case Op::VMWRITE: return ExitReason::VMWRITE;
    case Op::VMXOFF: return ExitReason::VMXOFF;
    case Op::VMXON: return ExitReason::VMXON;
    case Op::INVEPT: return ExitReason::INVEPT;
    case Op::INVVPID: return ExitReason::INVVPID;
    case Op::VMFUNC: return ExitReason::VMFUNC;
    default: DROSTE_UNREACHABLE();
    }
}

// A pointer to a VMXON or VMCS region: aligned, within the physical-address width.
bool region_address_valid(const VmxState& vmx, u64 address) {
    return address % kPageBytes == 0 && vmx.caps.physical_address_fits(address);
}

}  // namespace

bool vmx_instruction_undefined(const VmxState& vmx, const Insn& insn, OperandRule rule) {
    const Vcpu& cpu = vmx.cpu;
    const bool compatibility_mode = (cpu.state.efer & efer::kLma) != 0 && !cpu.mode.long_mode64;
    return (rule == OperandRule::MemoryOnly && !insn.mem()) || !cpu.mode.protected_mode ||
           cpu.mode.virtual8086 || compatibility_mode;
}

Status exit_by_vmx_instruction(VmxState& vmx, const Insn& insn) {
    ExitInfo info = exit_by_instruction(exit_reason_of(insn.op), insn);
    fill_operand_information(vmx.cpu, insn, info);
    if (insn.op == Op::VMPTRLD || insn.op == Op::VMCLEAR) {
        vmx.trace.named_region(vmx, insn);
    }
    vm_exit(vmx, info);
    return Status::Switched;
}

std::optional<Status> gate_vmx_instruction(VmxState& vmx, const Insn& insn, OperandRule rule) {
    if (!vmx.in_operation || vmx_instruction_undefined(vmx, insn, rule)) {
        return raise(vmx.cpu, Exception::UD);
    }
    if (vmx.non_root) {
        return exit_by_vmx_instruction(vmx, insn);
    }
    if (vmx.cpu.mode.cpl != 0) {
        return raise(vmx.cpu, Exception::GP, 0);
    }
    return std::nullopt;
}

u64 register_operand(const VmxState& vmx, unsigned gpr) {
    const u64 value = vmx.cpu.state.gpr[gpr];
    return vmx.cpu.mode.long_mode64 ? value : static_cast<u32>(value);
}

// VMXON: enter VMX operation.
Status exec_vmxon(VmxState& vmx, const Insn& insn) {
    Vcpu& cpu = vmx.cpu;
    if (vmx_instruction_undefined(vmx, insn, OperandRule::MemoryOnly) ||
        (cpu.state.cr4 & cr4::kVmxe) == 0) {
        return raise(cpu, Exception::UD);
    }
    if (vmx.non_root) {
        return exit_by_vmx_instruction(vmx, insn);
    }
    if (cpu.mode.cpl != 0) {
        return raise(cpu, Exception::GP, 0);
    }
    if (vmx.in_operation) {
        return vm_fail(vmx, insn, VmError::VmxonInRoot);
    }
    constexpr u64 kEnabled = kFeatureControlLock | kFeatureControlVmxOutsideSmx;
    const auto fixed = [](u64 value, u64 fixed0, u64 fixed1) {
        return (~value & fixed0) == 0 && (value & ~fixed1) == 0;
    };
    if (!cpu.a20_enabled || !fixed(cpu.state.cr0, vmx.caps.cr0_fixed0, vmx.caps.cr0_fixed1) ||
        !fixed(cpu.state.cr4, vmx.caps.cr4_fixed0, vmx.caps.cr4_fixed1) ||
        (vmx.feature_control & kEnabled) != kEnabled) {
        cpu.log.write(LogCategory::Vmx,
                      "vCPU {} rip {:#x}: VMXON raises #GP(0): CR0 {:#x} (must have {:#x}), CR4 "
                      "{:#x} (must have {:#x}), "
                      "IA32_FEATURE_CONTROL {:#x} (must have {:#x})",
                      cpu.index, cpu.state.rip(), cpu.state.cr0, vmx.caps.cr0_fixed0, cpu.state.cr4,
                      vmx.caps.cr4_fixed0, vmx.feature_control, kEnabled);
        return raise(cpu, Exception::GP, 0);
    }
    u64 address = 0;
    if (const Status status = load(cpu, insn, address); status != Status::Next) {
        return status;
    }
    if (!region_address_valid(vmx, address)) {
        return vm_fail_invalid(
            vmx, insn, fmt::format("VMXON pointer {:#x} is unaligned or too wide", address));
    }
    if (const auto revision = static_cast<u32>(read_physical(cpu, address, 4));
        revision != kVmcsRevision) {
        return vm_fail_invalid(
            vmx, insn,
            fmt::format("VMXON region holds revision {:#x}, IA32_VMX_BASIC says {:#x}", revision,
                        kVmcsRevision));
    }
    vmx.vmxon_pointer = address;
    vmx.current = nullptr;
    vmx.in_operation = true;
    (void)vm_succeed(cpu);
    return Status::Sync;
}

// VMXOFF: leave VMX operation; a blocked INIT is taken next.
Status exec_vmxoff(VmxState& vmx, const Insn& insn) {
    if (const auto status = gate_vmx_instruction(vmx, insn, OperandRule::Any)) {
        return *status;
    }
    vmx.leave_vmx_operation();
    (void)vm_succeed(vmx.cpu);
    return Status::Sync;
}

// VMCLEAR: make a VMCS clear, inactive and not current.
Status exec_vmclear(VmxState& vmx, const Insn& insn) {
    if (const auto status = gate_vmx_instruction(vmx, insn, OperandRule::MemoryOnly)) {
        return *status;
    }
    u64 address = 0;
    if (const Status status = load(vmx.cpu, insn, address); status != Status::Next) {
        return status;
    }
    if (!region_address_valid(vmx, address)) {
        return vm_fail(vmx, insn, VmError::VmclearInvalidAddress, fmt::format("{:#x}", address));
    }
    if (address == vmx.vmxon_pointer) {
        return vm_fail(vmx, insn, VmError::VmclearVmxonPointer, fmt::format("{:#x}", address));
    }
    if (address == vmx.current_pointer()) {
        vmx.current = nullptr;
        vmx.refresh_view();
    }
    if (vmx.cache.clear(vmx.cpu, address)) {
        vmx.trace.born(address);
    }
    return vm_succeed(vmx.cpu);
}

// VMPTRLD: make a VMCS active and current.
Status exec_vmptrld(VmxState& vmx, const Insn& insn) {
    if (const auto status = gate_vmx_instruction(vmx, insn, OperandRule::MemoryOnly)) {
        return *status;
    }
    u64 address = 0;
    if (const Status status = load(vmx.cpu, insn, address); status != Status::Next) {
        return status;
    }
    if (!region_address_valid(vmx, address)) {
        return vm_fail(vmx, insn, VmError::VmptrldInvalidAddress, fmt::format("{:#x}", address));
    }
    if (address == vmx.vmxon_pointer) {
        return vm_fail(vmx, insn, VmError::VmptrldVmxonPointer, fmt::format("{:#x}", address));
    }
    const auto revision = static_cast<u32>(read_physical(vmx.cpu, address, 4));
    const bool shadow = (revision & kShadowVmcsIndicator) != 0;
    if ((revision & ~kShadowVmcsIndicator) != kVmcsRevision ||
        (shadow && !vmx.caps.has(VmxFeature::VmcsShadowing))) {
        return vm_fail(vmx, insn, VmError::VmptrldWrongRevision,
                       fmt::format("region {:#x} holds {:#x}, IA32_VMX_BASIC says {:#x}", address,
                                   revision, kVmcsRevision));
    }
    vmx.current = &vmx.cache.bind(vmx.cpu, address, vmx.current, nullptr);
    vmx.refresh_view();
    if (std::exchange(vmx.current->blank, false)) {
        vmx.trace.born(address);
    }
    return vm_succeed(vmx.cpu);
}

// VMPTRST: store the current-VMCS pointer.
Status exec_vmptrst(VmxState& vmx, const Insn& insn) {
    if (const auto status = gate_vmx_instruction(vmx, insn, OperandRule::MemoryOnly)) {
        return *status;
    }
    if (const Status status = store(vmx.cpu, insn, vmx.current_pointer()); status != Status::Next) {
        return status;
    }
    return vm_succeed(vmx.cpu);
}

// VMCALL: in non-root operation a VM exit whatever the mode; without an SMM monitor it fails in
// root operation.
Status exec_vmcall(VmxState& vmx, const Insn& insn) {
    if (!vmx.in_operation) {
        return raise(vmx.cpu, Exception::UD);
    }
    if (vmx.non_root) {
        return exit_by_vmx_instruction(vmx, insn);
    }
    if (vmx_instruction_undefined(vmx, insn, OperandRule::Any)) {
        return raise(vmx.cpu, Exception::UD);
    }
    if (vmx.cpu.mode.cpl != 0) {
        return raise(vmx.cpu, Exception::GP, 0);
    }
    return vm_fail(vmx, insn, VmError::VmcallInRoot);
}

}  // namespace droste
