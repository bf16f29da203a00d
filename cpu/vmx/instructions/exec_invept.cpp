// INVEPT and INVVPID: drop the contexts of the TLB that match. SDM Vol. 3C, "INVEPT—Invalidate
// Translations Derived from EPT", "INVVPID—Invalidate Translations Based on VPID".

#include "core/bits.hpp"
#include "core/log.hpp"
#include "cpu/vmx/entry/entry_checks.hpp"
#include "cpu/vmx/instructions/exec_vmx.hpp"
#include "cpu/vmx/instructions/vmx_status.hpp"
#include "cpu/vmx/vmcs/controls.hpp"
#include "cpu/vmx/vmx_state.hpp"
#include "cpu/x86/mmu/mem_access.hpp"
#include "cpu/x86/mmu/paging.hpp"

#include <fmt/format.h>

namespace droste {

namespace {

struct Descriptor128 {
    u64 low = 0;
    u64 high = 0;
};

enum class InveptType : u64 { SingleContext = 1, AllContext = 2 };
enum class InvvpidType : u64 {
    IndividualAddress = 0,
    SingleContext = 1,
    AllContext = 2,
    SingleRetainingGlobals = 3
};

bool supported(const VmxState& vmx, InveptType type) {
    switch (type) {
    case InveptType::SingleContext: return vmx.caps.has(VmxFeature::InveptSingle);
    case InveptType::AllContext: return vmx.caps.has(VmxFeature::InveptAll);
    default: return false;
    }
}

bool supported(const VmxState& vmx, InvvpidType type) {
    switch (type) {
    case InvvpidType::IndividualAddress: return vmx.caps.has(VmxFeature::InvvpidAddress);
    case InvvpidType::SingleContext: return vmx.caps.has(VmxFeature::InvvpidSingle);
    case InvvpidType::AllContext: return vmx.caps.has(VmxFeature::InvvpidAll);
    case InvvpidType::SingleRetainingGlobals: return vmx.caps.has(VmxFeature::InvvpidRetainGlobals);
    default: return false;
    }
}

}  // namespace

Status exec_invept(VmxState& vmx, const Insn& insn) {
    Vcpu& cpu = vmx.cpu;
    if (!vmx.caps.has(VmxFeature::Invept)) {
        return raise(cpu, Exception::UD);
    }
    if (const auto status = gate_vmx_instruction(vmx, insn, OperandRule::MemoryOnly)) {
        return *status;
    }
    const auto type = static_cast<InveptType>(register_operand(vmx, insn.reg));
    if (!supported(vmx, type)) {
        return vm_fail(vmx, insn, VmError::InvalidInvalidation,
                       fmt::format("INVEPT type {}", static_cast<u64>(type)));
    }
    Descriptor128 descriptor;
    if (const Status status = load(cpu, insn, descriptor); status != Status::Next) {
        return status;
    }
    if (type == InveptType::SingleContext) {
        if (!ept_pointer_valid(vmx.caps, descriptor.low)) {
            return vm_fail(vmx, insn, VmError::InvalidInvalidation,
                           fmt::format("EPTP {:#x}", descriptor.low));
        }
        vmx.ept.invalidate();
        cpu.tlb.flush_ep4ta(descriptor.low & eptp::kAddressMask);
    } else {
        vmx.ept.invalidate();
        cpu.tlb.flush_all_ep4tas();
    }
    cpu.log.write(LogCategory::Mmu, "vCPU {}: TLB: INVEPT type {}, EPTP {:#x}", cpu.index,
                  static_cast<u64>(type), descriptor.low);
    (void)vm_succeed(cpu);
    return Status::Sync;
}

Status exec_invvpid(VmxState& vmx, const Insn& insn) {
    Vcpu& cpu = vmx.cpu;
    if (!vmx.caps.has(VmxFeature::Invvpid)) {
        return raise(cpu, Exception::UD);
    }
    if (const auto status = gate_vmx_instruction(vmx, insn, OperandRule::MemoryOnly)) {
        return *status;
    }
    const auto type = static_cast<InvvpidType>(register_operand(vmx, insn.reg));
    if (!supported(vmx, type)) {
        return vm_fail(vmx, insn, VmError::InvalidInvalidation,
                       fmt::format("INVVPID type {}", static_cast<u64>(type)));
    }
    Descriptor128 descriptor;
    if (const Status status = load(cpu, insn, descriptor); status != Status::Next) {
        return status;
    }
    const auto vpid = static_cast<u16>(descriptor.low);
    const bool needs_vpid = type != InvvpidType::AllContext;
    const bool bad_address =
        type == InvvpidType::IndividualAddress && !is_canonical_register(cpu, descriptor.high);
    if ((descriptor.low >> 16) != 0 || (needs_vpid && vpid == 0) || bad_address) {
        return vm_fail(vmx, insn, VmError::InvalidInvalidation,
                       fmt::format("type {}, descriptor {:#x}, {:#x}", static_cast<u64>(type),
                                   descriptor.low, descriptor.high));
    }
    switch (type) {
    case InvvpidType::IndividualAddress: cpu.tlb.flush_page_of_vpid(vpid, descriptor.high); break;
    case InvvpidType::AllContext: cpu.tlb.flush_all_vpids(); break;
    default:
        // Retaining globals is a permission, not a duty: they go too.
        cpu.tlb.flush_vpid(vpid);
        break;
    }
    cpu.log.write(LogCategory::Mmu,
                  "vCPU {}: TLB: INVVPID type {}, VPID {:#x}, linear address {:#x}", cpu.index,
                  static_cast<u64>(type), vpid, descriptor.high);
    (void)vm_succeed(cpu);
    return Status::Sync;
}

}  // namespace droste
