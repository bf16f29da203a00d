#include "cpu/vmx/instructions/vmx_status.hpp"

#include "cpu/vmx/explain/instruction_explain.hpp"
#include "cpu/vmx/vmx_state.hpp"

namespace droste {

std::string_view describe(VmError error) {
    switch (error) {
#define DROSTE_VM_ERROR(number, id, text) \
    case VmError::id:                     \
        return text;
#include "cpu/vmx/instructions/instruction_errors.inc"
#undef DROSTE_VM_ERROR
    }
    return "unknown VM-instruction error";
}

Status vm_succeed(Vcpu& cpu) {
    cpu.state.flags = LazyFlags::from_status(0);
    return Status::Next;
}

Status vm_fail_invalid(VmxState& vmx, const Insn& insn, std::string_view detail) {
    vmx.cpu.state.flags = LazyFlags::from_status(rflags::kCf);
    log_vm_fail(vmx, insn, false, std::nullopt, detail);
    return Status::Next;
}

Status vm_fail_valid(VmxState& vmx, const Insn& insn, VmError error, std::string_view detail) {
    vmx.cpu.state.flags = LazyFlags::from_status(rflags::kZf);
    // Of the current VMCS in non-root operation, too: VMREAD and VMWRITE under VMCS shadowing read
    // and write the shadow VMCS, but do not report there.
    vmx.vmcs().instruction_error = static_cast<u32>(error);
    log_vm_fail(vmx, insn, true, error, detail);
    return Status::Next;
}

Status vm_fail(VmxState& vmx, const Insn& insn, VmError error, std::string_view detail) {
    if (vmx.current != nullptr) {
        return vm_fail_valid(vmx, insn, error, detail);
    }
    vmx.cpu.state.flags = LazyFlags::from_status(rflags::kCf);
    log_vm_fail(vmx, insn, false, error, detail);
    return Status::Next;
}

}  // namespace droste
