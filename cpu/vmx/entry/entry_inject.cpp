// Event injection. SDM Vol. 3C, "Event Injection". The event goes through the guest's IDT like any
// other, with three differences carried by Event::injected: no intercept is asked about it, CR2,
// DR6, DR7 and IA32_DEBUGCTL stay as loaded, and a software event pushes RIP + VM-entry instruction
// length.

#include "cpu/vmx/entry/entry_load_state.hpp"
#include "cpu/vmx/vmcs/controls.hpp"
#include "cpu/vmx/vmx_state.hpp"
#include "cpu/x86/system/deliver.hpp"

namespace droste {

void inject_event(VmxState& vmx) {
    Vcpu& cpu = vmx.cpu;
    const Vmcs& v = vmx.vmcs();
    const u32 info = v.entry_interruption_info;
    const unsigned type = interruption::type_of(info);
    if (type == interruption::kTypeOther) {
        vmx.guest.mtf = MtfState::Pending;
        cpu.request(attention::kVmx);
        return;
    }
    Event event;
    event.type = static_cast<EventType>(type);
    event.vector = static_cast<u8>(info & interruption::kVectorMask);
    event.has_error_code = (info & interruption::kErrorCodeValid) != 0;
    event.error_code = v.entry_exception_error_code;
    event.injected = true;
    if (event.type == EventType::SoftwareInterrupt || event.type == EventType::SoftwareException ||
        event.type == EventType::PrivilegedSoftwareException) {
        event.insn_length = static_cast<u8>(v.entry_instruction_length);
    }
    // "Interruptibility State": a vectoring VM entry leaves no blocking by STI or MOV SS, and makes
    // the processor active.
    CpuState& s = cpu.state;
    s.interruptibility &= ~(blocking::kSti | blocking::kMovSs);
    s.activity = Activity::Active;
    if (event.type == EventType::NMI) {
        s.interruptibility |= blocking::kNmi;
    }
    deliver(cpu, event);
    if (vmx.non_root && vmx.guest.mtf != MtfState::Off) {
        // "... before the first instruction following the VM entry"
        vmx.guest.mtf = MtfState::Pending;
        cpu.request(attention::kVmx);
    }
    update_attention(cpu);
}

}  // namespace droste
