// VMREAD and VMWRITE, in root operation and, with VMCS shadowing, in non-root operation.
// SDM Vol. 3C, "VMREAD—Read Field from Virtual-Machine Control Structure", "VMWRITE", "Field
// Encoding in VMCS".

#include "core/bits.hpp"
#include "cpu/vmx/entry/entry_checks.hpp"
#include "cpu/vmx/explain/instruction_explain.hpp"
#include "cpu/vmx/instructions/exec_vmx.hpp"
#include "cpu/vmx/instructions/vmx_status.hpp"
#include "cpu/vmx/vmcs/controls.hpp"
#include "cpu/vmx/vmx_state.hpp"
#include "cpu/x86/mmu/mem_access.hpp"
#include "cpu/x86/mmu/paging.hpp"

#include <cstring>

namespace droste {

namespace {

// "VMCS Shadowing": does this access exit? `bitmap` is the VMREAD or VMWRITE bitmap.
bool shadow_access_exits(VmxState& vmx, u64 encoding, PhysAddr bitmap) {
    if (!vmx.guest.controls.has2(proc2::kVmcsShadowing) || (encoding >> 15) != 0) {
        return true;
    }
    const u64 byte = read_physical(vmx.cpu, bitmap + encoding / 8, 1);
    return test_bit(byte, static_cast<unsigned>(encoding % 8));
}

struct Operation {
    u64 encoding = 0;
    BoundVmcs* vmcs = nullptr;
};

// The checks both instructions share, up to finding the VMCS. A Status: done already.
std::optional<Status> begin(VmxState& vmx, const Insn& insn, bool write, Operation& operation) {
    Vcpu& cpu = vmx.cpu;
    if (!vmx.in_operation || vmx_instruction_undefined(vmx, insn, OperandRule::Any)) {
        return raise(cpu, Exception::UD);
    }
    operation.encoding = register_operand(vmx, insn.reg);
    if (vmx.non_root) {
        const PhysAddr bitmap = write ? vmx.vmcs().vmwrite_bitmap : vmx.vmcs().vmread_bitmap;
        if (shadow_access_exits(vmx, operation.encoding, bitmap)) {
            return exit_by_vmx_instruction(vmx, insn);
        }
    }
    if (cpu.mode.cpl != 0) {
        return raise(cpu, Exception::GP, 0);
    }
    operation.vmcs = vmx.non_root ? vmx.guest.shadow : vmx.current;
    if (operation.vmcs == nullptr) {
        return vm_fail_invalid(vmx, insn, "no current VMCS");
    }
    return std::nullopt;
}

const VmcsFieldRow* supported_field(const VmxState& vmx, u64 encoding) {
    const VmcsFieldRow* row = find_vmcs_field(encoding);
    return row != nullptr && vmx.caps.supports(*row) ? row : nullptr;
}

// The field, if VmcsView lets the instruction reach it; else one of no bytes.
VmcsFieldPlace direct(const VmxState& vmx, const Insn& insn, const u8* closed) {
    const Vcpu& cpu = vmx.cpu;
    if (!cpu.mode.long_mode64 || cpu.mode.cpl != 0 || insn.mem()) {
        return {};
    }
    const u64 encoding = cpu.state.gpr[insn.reg];
    const VmcsFieldPlace field = vmx.field_map.find(encoding);
    if (field.bytes == 0 || test_bit(closed[encoding / 8], static_cast<unsigned>(encoding % 8))) {
        return {};
    }
    return field;
}

}  // namespace

bool vmread_directly(VmxState& vmx, const Insn& insn) {
    const VmcsFieldPlace field = direct(vmx, insn, vmx.view.read_closed);
    if (field.bytes == 0) {
        return false;
    }
    CpuState& s = vmx.cpu.state;
    u64 value = 0;
    std::memcpy(&value, vmx.view.fields + field.offset, sizeof(value));
    s.gpr[insn.rm] = value & vmx.field_map.masks[field.bytes];
    s.flags = LazyFlags::from_status(0);
    return true;
}

bool vmwrite_directly(VmxState& vmx, const Insn& insn) {
    const VmcsFieldPlace field = direct(vmx, insn, vmx.view.write_closed);
    if (!field.writable) {
        return false;
    }
    CpuState& s = vmx.cpu.state;
    u8* at = vmx.view.fields + field.offset;
    u64 before = 0;
    std::memcpy(&before, at, sizeof(before));
    const u64 changed = (before ^ s.gpr[insn.rm]) & vmx.field_map.masks[field.bytes];
    if (changed != 0) {
        const u64 after = before ^ changed;
        std::memcpy(at, &after, sizeof(after));
        u8* stale_at = vmx.view.fields - VmcsView::kStaleBefore;
        u32 stale = 0;
        std::memcpy(&stale, stale_at, sizeof(stale));
        stale |= field.stale;
        std::memcpy(stale_at, &stale, sizeof(stale));
    }
    s.flags = LazyFlags::from_status(0);
    return true;
}

Status exec_vmread(VmxState& vmx, const Insn& insn) {
    Operation operation;
    if (const auto status = begin(vmx, insn, false, operation)) {
        return *status;
    }
    const VmcsFieldRow* row = supported_field(vmx, operation.encoding);
    if (row == nullptr) {
        return vm_fail_valid(vmx, insn, VmError::UnsupportedComponent,
                             describe_unsupported_field(operation.encoding));
    }
    u64 value = read_field(operation.vmcs->fields, *row);
    if (encoding_is_high(operation.encoding)) {
        value >>= 32;
    }
    Vcpu& cpu = vmx.cpu;
    Status status = Status::Next;
    if (cpu.mode.long_mode64) {
        status = write_e<u64>(cpu, insn, value);
    } else {
        status = write_e<u32>(cpu, insn, static_cast<u32>(value));
    }
    return status == Status::Next ? vm_succeed(cpu) : status;
}

Status exec_vmwrite(VmxState& vmx, const Insn& insn) {
    Operation operation;
    if (const auto status = begin(vmx, insn, true, operation)) {
        return *status;
    }
    Vcpu& cpu = vmx.cpu;
    u64 value = 0;
    if (cpu.mode.long_mode64) {
        if (const Status status = read_e<u64>(cpu, insn, value); status != Status::Next) {
            return status;
        }
    } else {
        u32 narrow = 0;
        if (const Status status = read_e<u32>(cpu, insn, narrow); status != Status::Next) {
            return status;
        }
        value = narrow;
    }
    const VmcsFieldRow* row = supported_field(vmx, operation.encoding);
    if (row == nullptr) {
        return vm_fail_valid(vmx, insn, VmError::UnsupportedComponent,
                             describe_unsupported_field(operation.encoding));
    }
    if (row->access == VmcsAccess::RO && !vmx.caps.has(VmxFeature::VmwriteAnyField)) {
        return vm_fail_valid(vmx, insn, VmError::VmwriteReadOnly, row->name);
    }
    Vmcs& fields = operation.vmcs->fields;
    if (encoding_is_high(operation.encoding)) {
        value = (value << 32) | static_cast<u32>(read_field(fields, *row));
    }
    const u64 before = read_field(fields, *row);
    write_field(fields, *row, value);
    if (read_field(fields, *row) != before) {
        operation.vmcs->stale_checks |=
            stale_by_writing(static_cast<VmcsField>(row - kVmcsFields.data()));
    }
    return vm_succeed(cpu);
}

}  // namespace droste
