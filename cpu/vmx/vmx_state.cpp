#include "cpu/vmx/vmx_state.hpp"

#include "core/guest_memory.hpp"
#include "core/log.hpp"
#include "cpu/vmx/entry/entry.hpp"
#include "cpu/vmx/explain/instruction_explain.hpp"
#include "cpu/vmx/guest/preemption_timer.hpp"
#include "cpu/vmx/instructions/exec_vmx.hpp"
#include "cpu/vmx/vmcs/controls.hpp"
#include "cpu/x86/apic/local_apic.hpp"
#include "cpu/x86/model/msr.hpp"
#include "cpu/x86/system/control_regs.hpp"

namespace droste {

namespace {

VmxConfig made_consistent(VmxConfig config, const CpuFeatures& features) {
    (void)make_consistent(config.features, features);
    return config;
}

Status execute_instruction(VmxState& vmx, const Insn& insn) {
    switch (insn.op) {
    case Op::VMCALL: return exec_vmcall(vmx, insn);
    case Op::VMLAUNCH: return exec_vmlaunch(vmx, insn);
    case Op::VMRESUME: return exec_vmresume(vmx, insn);
    case Op::VMXOFF: return exec_vmxoff(vmx, insn);
    case Op::VMXON: return exec_vmxon(vmx, insn);
    case Op::VMCLEAR: return exec_vmclear(vmx, insn);
    case Op::VMPTRLD: return exec_vmptrld(vmx, insn);
    case Op::VMPTRST: return exec_vmptrst(vmx, insn);
    case Op::VMREAD: return exec_vmread(vmx, insn);
    case Op::VMWRITE: return exec_vmwrite(vmx, insn);
    case Op::VMFUNC: return exec_vmfunc(vmx, insn);
    case Op::INVEPT: return exec_invept(vmx, insn);
    case Op::INVVPID: return exec_invvpid(vmx, insn);
    default: return raise(vmx.cpu, Exception::UD);
    }
}

}  // namespace

VmxState::VmxState(Vcpu& vcpu, const VmxConfig& vmx_config)
    : cpu(vcpu)
    , config(made_consistent(vmx_config, vcpu.features))
    , caps(config, vcpu.features, cr4_allowed(vcpu))
    , field_access(caps)
    , intercepts(*this)
    , ept(*this)
    , preemption_timer(vcpu.events,
                       [this](u64 /*deadline_ns*/) { preemption_timer_fired(*this); }) {
    field_map.numbers = field_access.numbers();
    field_map.places = field_access.places();
    reset(vcpu);
    vcpu.memory.code_pages().add(*this);
}

VmxState::~VmxState() {
    cpu.memory.code_pages().remove(*this);
}

std::unique_ptr<VmxState> make_vmx(Vcpu& vcpu, VmxConfig config) {
    auto vmx = std::make_unique<VmxState>(vcpu, config);
    vcpu.vmx = vmx.get();
    return vmx;
}

Status VmxState::execute(Vcpu& vcpu, const Insn& insn) {
    return insn.op == Op::VMRESUME && may_resume() ? resume_guest(*this, insn)
                                                   : execute_any(vcpu, insn);
}

Status VmxState::execute_any(Vcpu& vcpu, const Insn& insn) {
    if (insn.op == Op::VMREAD ? vmread_directly(*this, insn)
                              : insn.op == Op::VMWRITE && vmwrite_directly(*this, insn)) {
        return Status::Next;
    }
    const Status status = execute_instruction(*this, insn);
    // What is pending depends on the operation, the host's and guest's state and the controls:
    // those that change one of them need not remember that. VM entries and VM exits (Switched) have
    // done it for the state they loaded.
    if (status == Status::Sync || status == Status::Fault) {
        update_attention(vcpu);
    }
    if (status == Status::Fault && !vcpu.fault_is_vm_exit && vcpu.log.enabled(LogCategory::Vmx)) {
        log_vmx_fault(*this, insn);
    }
    return status;
}

// In VMX root operation INIT stays pending (SDM Vol. 3C, "Restrictions on VMX Operation"). "RESET
// is the only event that wakes a logical processor from the VMX-abort shutdown state" ("VMX
// Aborts").
u32 VmxState::held_back(const Vcpu& /*vcpu*/) const {
    if (aborted) {
        return ~attention::kStop;
    }
    const bool root = in_operation && !non_root;
    return root || waits_for_sipi() ? attention::kInit : 0;
}

// "If a logical processor is in the wait-for-SIPI state, INIT signals are blocked. They do not
// cause VM exits in this case" (SDM Vol. 3C, "Other Causes of VM Exits"). Processors do not
// remember them either: the other CPU's INIT, SIPI, SIPI would end in an INIT of the processor just
// started. One behind a SIPI not yet taken finds the processor in root operation.
bool VmxState::loses_init(const Vcpu& vcpu) const {
    return waits_for_sipi() &&
           (vcpu.attention.load(std::memory_order_relaxed) & attention::kSipi) == 0;
}

bool VmxState::waits_for_sipi() const {
    return non_root && cpu.state.activity == Activity::WaitForSipi;
}

bool VmxState::in_vmx_operation(const Vcpu& /*vcpu*/) const {
    return in_operation;
}

u64 VmxState::cr0_required(const Vcpu& /*vcpu*/) const {
    if (!in_operation) {
        return 0;
    }
    const bool unrestricted = non_root && guest.controls.has2(proc2::kUnrestrictedGuest);
    return caps.cr0_fixed0 & ~(unrestricted ? cr0::kPe | cr0::kPg : 0);
}

u64 VmxState::cr4_required(const Vcpu& /*vcpu*/) const {
    return in_operation ? caps.cr4_fixed0 : 0;
}

bool VmxState::read_msr(Vcpu& /*vcpu*/, u32 index, u64& value) {
    if (index == msr::kFeatureControl) {
        value = feature_control;
        return true;
    }
    return caps.read_msr(index, value);
}

// The capability MSRs are read-only. IA32_FEATURE_CONTROL is writable until locked; there is no
// SMX.
bool VmxState::write_msr(Vcpu& /*vcpu*/, u32 index, u64 value) {
    constexpr u64 kWritable = kFeatureControlLock | kFeatureControlVmxOutsideSmx;
    if (index != msr::kFeatureControl || (feature_control & kFeatureControlLock) != 0 ||
        (value & ~kWritable) != 0) {
        return false;
    }
    feature_control = value;
    return true;
}

void VmxState::reset(Vcpu& /*vcpu*/) {
    if (non_root) {
        leave_non_root();
    }
    cache.forget_all();
    current = nullptr;
    refresh_view();
    vmxon_pointer = kNoVmcs;
    in_operation = false;
    aborted = false;
    preemption_timer.disarm();
    trace.reset();
    feature_control = !config.feature_control_locked ? 0
                      : config.feature_control_vmx
                          ? kFeatureControlLock | kFeatureControlVmxOutsideSmx
                          : kFeatureControlLock;
}

// "VM exits flush linear and combined mappings of VPID 0000H".
void VmxState::flush_without_vpid() {
    ++cpu.counters.tlb_flushes;
    trace.flushed_on_exit();
    cpu.log.write(LogCategory::Mmu, "vCPU {}: TLB: VM exit without VPID flushes", cpu.index);
    cpu.tlb.flush_vpid(0);
}

// Null: it does not lie in memory, so each access asks for it.
const u8* VmxState::guests_bitmap(PhysAddr address) const {
    return cpu.apic->claims(address) ? nullptr : cpu.memory.lookup(address).native;
}

void VmxState::open_shadow_view() {
    view.fields = reinterpret_cast<u8*>(&guest.shadow->fields);
    if (const u8* bitmap = guests_bitmap(vmcs().vmread_bitmap); bitmap != nullptr) {
        view.read_closed = bitmap;
    }
    if (const u8* bitmap = guests_bitmap(vmcs().vmwrite_bitmap); bitmap != nullptr) {
        view.write_closed = bitmap;
    }
}

void VmxState::leave_vmx_operation() {
    // Software should have cleared its VMCSs; what is still bound goes back to memory now, so that
    // nothing is written later.
    cache.write_back_all(cpu);
    current = nullptr;
    refresh_view();
    vmxon_pointer = kNoVmcs;
    in_operation = false;
}

}  // namespace droste
