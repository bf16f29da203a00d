#include "cpu/vmx/explain/instruction_explain.hpp"

#include "core/log.hpp"
#include "cpu/vmx/vmx_state.hpp"
#include "cpu/x86/state/regs.hpp"

#include <fmt/format.h>

namespace droste {

namespace {

// The titles of SDM Vol. 3C, "VMX Instruction Reference".
std::string_view manual_title(Op op) {
    switch (op) {
    case Op::INVEPT: return "INVEPT—Invalidate Translations Derived from EPT";
    case Op::INVVPID: return "INVVPID—Invalidate Translations Based on VPID";
    case Op::VMCALL: return "VMCALL—Call to VM Monitor";
    case Op::VMCLEAR: return "VMCLEAR—Clear Virtual-Machine Control Structure";
    case Op::VMFUNC: return "VMFUNC—Invoke VM Function";
    case Op::VMLAUNCH:
    case Op::VMRESUME: return "VMLAUNCH/VMRESUME—Launch/Resume Virtual Machine";
    case Op::VMPTRLD: return "VMPTRLD—Load Pointer to Virtual-Machine Control Structure";
    case Op::VMPTRST: return "VMPTRST—Store Pointer to Virtual-Machine Control Structure";
    case Op::VMREAD: return "VMREAD—Read Field from Virtual-Machine Control Structure";
    case Op::VMWRITE: return "VMWRITE—Write Field to Virtual-Machine Control Structure";
    case Op::VMXOFF: return "VMXOFF—Leave VMX Operation";
    case Op::VMXON: return "VMXON—Enter VMX Operation";
    default: return "VMX Instruction Reference";
    }
}

std::string invalidation_types(const VmxState& vmx, Op op) {
    struct Type {
        VmxFeature feature;
        unsigned number;
    };
    constexpr std::array kInvept = {Type{VmxFeature::InveptSingle, 1},
                                    Type{VmxFeature::InveptAll, 2}};
    constexpr std::array kInvvpid = {
        Type{VmxFeature::InvvpidAddress, 0}, Type{VmxFeature::InvvpidSingle, 1},
        Type{VmxFeature::InvvpidAll, 2}, Type{VmxFeature::InvvpidRetainGlobals, 3}};
    const auto list = [&](const auto& types) {
        std::string text;
        for (const Type& type : types) {
            if (vmx.caps.has(type.feature)) {
                text += fmt::format("{}{}", text.empty() ? "" : ", ", type.number);
            }
        }
        return text;
    };
    return op == Op::INVEPT
               ? fmt::format("types {}; a single context needs an EPTP a VM entry would take",
                             list(kInvept))
               : fmt::format(
                     "types {}; VPID not 0 (but type 2), bits 63:16 clear, a canonical address",
                     list(kInvvpid));
}

std::string allowed(const VmxState& vmx, Op op, VmError error) {
    switch (error) {
    case VmError::VmcallInRoot: return "VMCALL in VMX non-root operation, where it exits";
    case VmError::VmclearInvalidAddress:
    case VmError::VmptrldInvalidAddress:
        return fmt::format("an address with bits 11:0 clear and within {} bits",
                           vmx.caps.physical_address_bits);
    case VmError::VmclearVmxonPointer:
    case VmError::VmptrldVmxonPointer:
        return fmt::format("any region but the VMXON region, {:#x}", vmx.vmxon_pointer);
    case VmError::VmlaunchNonClear:
        return "VMRESUME, or VMCLEAR first: the launch state is launched";
    case VmError::VmresumeNonLaunched: return "VMLAUNCH: the launch state is clear";
    case VmError::VmptrldWrongRevision:
        return fmt::format("{:#x} in bits 30:0{}", kVmcsRevision,
                           vmx.caps.has(VmxFeature::VmcsShadowing)
                               ? ", bit 31 for a shadow VMCS"
                               : ", bit 31 clear (no VMCS shadowing)");
    case VmError::UnsupportedComponent:
        return "fields whose controls this processor has (SDM Vol. 3D, Appendix B)";
    case VmError::VmwriteReadOnly: return "VMREAD only: IA32_VMX_MISC[29] is 0";
    case VmError::VmxonInRoot: return "VMXON outside VMX operation, after VMXOFF";
    case VmError::EntryBlockedByMovSs: return "no MOV SS or POP SS directly before";
    case VmError::InvalidInvalidation: return invalidation_types(vmx, op);
    default: return {};
    }
}

std::string head(const VmxState& vmx, const Insn& insn) {
    return fmt::format("vCPU {} L{} {}: {}", vmx.cpu.index, vmx.trace.current_level(),
                       describe_rip(vmx, vmx.cpu.state.rip()), mnemonic(insn.op));
}

}  // namespace

void log_vm_fail(VmxState& vmx,
                 const Insn& insn,
                 bool valid,
                 std::optional<VmError> error,
                 std::string_view detail) {
    if (!vmx.cpu.log.enabled(LogCategory::Vmx) || error == VmError::EntryInvalidControls ||
        error == VmError::EntryInvalidHostState) {
        return;
    }
    const std::string_view text = error ? describe(*error) : detail;
    std::string message = fmt::format(
        "{} failed: {}{}{}\n  manual:  SDM Vol. 3C, \"{}\"\n  result:  {}", head(vmx, insn), text,
        error && !detail.empty() ? "; " : "", error ? detail : "", manual_title(insn.op),
        valid   ? fmt::format("VMfailValid, error {}", static_cast<u32>(*error))
        : error ? fmt::format("VMfailInvalid (no current VMCS to hold error {})",
                              static_cast<u32>(*error))
                : "VMfailInvalid");
    const std::string instead = error ? allowed(vmx, insn.op, *error) : std::string();
    if (!instead.empty()) {
        message += fmt::format("\n  allowed: {}", instead);
    }
    vmx.cpu.log.write(LogCategory::Vmx, "{}", message);
}

void log_vmx_fault(VmxState& vmx, const Insn& insn) {
    const Vcpu& cpu = vmx.cpu;
    const bool undefined = cpu.fault.vector == static_cast<u8>(Exception::UD);
    const bool protection = cpu.fault.vector == static_cast<u8>(Exception::GP);
    // VMXON says itself which of CR0, CR4 and IA32_FEATURE_CONTROL it does not like.
    if ((!undefined && !protection) ||
        (protection && insn.op == Op::VMXON && cpu.mode.cpl == 0 && !vmx.in_operation)) {
        return;
    }
    const bool compatibility = (cpu.state.efer & efer::kLma) != 0 && !cpu.mode.long_mode64;
    const std::string_view mode = !cpu.mode.protected_mode ? "real mode"
                                  : cpu.mode.virtual8086   ? "virtual-8086 mode"
                                  : compatibility          ? "compatibility mode"
                                  : cpu.mode.long_mode64   ? "64-bit mode"
                                                           : "protected mode";
    vmx.cpu.log.write(
        LogCategory::Vmx,
        "{} raises {}: {} VMX operation, CR4.VMXE {}, {}, CPL {}\n  manual:  SDM Vol. 3C, \"{}\"\n"
        "  allowed: {}",
        head(vmx, insn), undefined ? "#UD" : "#GP(0)", vmx.in_operation ? "in" : "outside",
        (cpu.state.cr4 & cr4::kVmxe) != 0 ? 1 : 0, mode, cpu.mode.cpl, manual_title(insn.op),
        insn.op == Op::VMXON ? "CR4.VMXE 1, protected or 64-bit mode, CPL 0"
                             : "after VMXON, protected or 64-bit mode, CPL 0, an operand in reach");
}

std::string describe_rip(const VmxState& vmx, u64 rip) {
    const std::string name =
        vmx.name_of_code ? vmx.name_of_code(vmx.trace.current_level(), rip) : std::string();
    return name.empty() ? fmt::format("rip {:#x}", rip) : fmt::format("rip {:#x} <{}>", rip, name);
}

std::string describe_unsupported_field(u64 encoding) {
    const VmcsFieldRow* row = find_vmcs_field(encoding);
    if (row == nullptr) {
        return fmt::format("encoding {:#x} is no field of this processor", encoding);
    }
    return fmt::format("encoding {:#x} ({}) needs {}", encoding, row->name,
                       row_of(row->needs).name);
}

}  // namespace droste
