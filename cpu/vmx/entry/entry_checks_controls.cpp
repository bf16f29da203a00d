// Checks on VMX controls. SDM Vol. 3C, "Checks on VMX Controls": one row a bullet, in its order.
// A VM entry that fails here ends in VMfailValid with error 7.

#include "core/bits.hpp"
#include "cpu/vmx/entry/entry_checks.hpp"
#include "cpu/vmx/entry/entry_state_rules.hpp"
#include "cpu/vmx/vmcs/controls.hpp"
#include "cpu/x86/mmu/paging.hpp"
#include "cpu/x86/state/regs.hpp"

namespace droste {

bool ept_pointer_valid(const VmxCapabilities& caps, u64 pointer) {
    const u64 type = pointer & eptp::kMemoryType;
    const bool type_ok = (type == eptp::kWriteBack && caps.has(VmxFeature::EptWriteBack)) ||
                         (type == eptp::kUncacheable && caps.has(VmxFeature::EptUncacheable));
    const bool walk_ok = (pointer & eptp::kWalkLengthMask) == eptp::kWalkLength4 &&
                         caps.has(VmxFeature::EptPageWalk4);
    const bool dirty_ok =
        (pointer & eptp::kAccessedDirty) == 0 || caps.has(VmxFeature::EptAccessedDirty);
    constexpr u64 kReserved = 0xF80;  // bit 7 is for supervisor shadow stacks
    return type_ok && walk_ok && dirty_ok && (pointer & kReserved) == 0 &&
           caps.physical_address_fits(pointer);
}

namespace {

using C = const EntryContext&;
using enum VmcsField;

constexpr u32 kTprUsers = proc2::kVirtualizeX2apicMode | proc2::kApicRegisterVirtualization |
                          proc2::kVirtualInterruptDelivery;

bool injected_error_code_bit_ok(C c) {
    const bool delivers = (c.vmcs.entry_interruption_info & interruption::kErrorCodeValid) != 0;
    const bool hardware_exception =
        c.injected_type() == static_cast<unsigned>(EventType::HardwareException);
    const bool real_mode = c.unrestricted && (c.vmcs.guest_cr0 & cr0::kPe) == 0;
    if (!hardware_exception || real_mode) {
        return !delivers;
    }
    return c.caps.has(VmxFeature::AnyErrorCode) ||
           delivers == vector_has_error_code(c.injected_vector());
}

bool injected_vector_ok(C c) {
    switch (c.injected_type()) {
    case static_cast<unsigned>(EventType::NMI): return c.injected_vector() == 2;
    case static_cast<unsigned>(EventType::HardwareException): return c.injected_vector() <= 31;
    case interruption::kTypeOther: return c.injected_vector() == 0;
    default: return true;
    }
}

bool injected_type_ok(C c) {
    const unsigned type = c.injected_type();
    return type != 1 &&
           (type != interruption::kTypeOther || c.caps.has(VmxFeature::MonitorTrapFlag));
}

bool injected_length_ok(C c) {
    const unsigned type = c.injected_type();
    if (type != 4 && type != 5 && type != 6) {
        return true;
    }
    const u32 length = c.vmcs.entry_instruction_length;
    return length <= 15 && (length != 0 || c.caps.has(VmxFeature::ZeroLengthInjection));
}

// "Checks on ... MSR areas": aligned to 16 bytes; first and last byte within the physical-address
// width.
bool msr_area_ok(C c, u64 address, u32 count) {
    return count == 0 || (address % 16 == 0 && c.address_fits(address) &&
                          c.address_fits(address + u64{count} * 16 - 1));
}

// clang-format off
constexpr auto kExecutionControls = std::to_array<EntryCheck>({
    {"pin-based controls reserved bits", "reserved bits of the pin-based VM-execution controls are set as IA32_VMX_TRUE_PINBASED_CTLS says",
     [](C c) { return c.caps.pin.allows(c.vmcs.pin_controls); }, {pin_controls}},
    {"primary controls reserved bits", "reserved bits of the primary processor-based controls are set as IA32_VMX_TRUE_PROCBASED_CTLS says",
     [](C c) { return c.caps.proc.allows(c.vmcs.proc_controls); }, {proc_controls}},
    {"secondary controls reserved bits", "with \"activate secondary controls\", the secondary controls set only bits IA32_VMX_PROCBASED_CTLS2 allows",
     [](C c) { return c.caps.proc2.allows(c.controls.proc2); }, {proc2_controls, proc_controls}},
    {"CR3-target count", "the CR3-target count is not above IA32_VMX_MISC[24:16]",
     [](C c) { return c.vmcs.cr3_target_count <= c.caps.cr3_target_count; }, {cr3_target_count}},
    {"I/O bitmap A address", "with \"use I/O bitmaps\", the address is 4-KByte aligned and within the physical-address width",
     [](C c) { return !c.controls.has(proc::kUseIoBitmaps) || c.page_address_ok(c.vmcs.io_bitmap_a); }, {io_bitmap_a, proc_controls}},
    {"I/O bitmap B address", "with \"use I/O bitmaps\", the address is 4-KByte aligned and within the physical-address width",
     [](C c) { return !c.controls.has(proc::kUseIoBitmaps) || c.page_address_ok(c.vmcs.io_bitmap_b); }, {io_bitmap_b, proc_controls}},
    {"MSR bitmaps address", "with \"use MSR bitmaps\", the address is 4-KByte aligned and within the physical-address width",
     [](C c) { return !c.controls.has(proc::kUseMsrBitmaps) || c.page_address_ok(c.vmcs.msr_bitmap); }, {msr_bitmap, proc_controls}},
    {"virtual-APIC address", "with \"use TPR shadow\", the address is 4-KByte aligned and within the physical-address width",
     [](C c) { return !c.controls.has(proc::kTprShadow) || c.page_address_ok(c.vmcs.virtual_apic_address); }, {virtual_apic_address, proc_controls}},
    {"TPR threshold reserved bits", "with \"use TPR shadow\" and no virtual-interrupt delivery, bits 31:4 of the TPR threshold are 0",
     [](C c) { return !c.controls.has(proc::kTprShadow) || c.controls.has2(proc2::kVirtualInterruptDelivery) || (c.vmcs.tpr_threshold >> 4) == 0; },
     {tpr_threshold, proc_controls, proc2_controls}},
    {"virtual NMIs need NMI exiting", "\"virtual NMIs\" is 0 if \"NMI exiting\" is 0",
     [](C c) { return c.controls.has_pin(pin::kNmiExiting) || !c.controls.has_pin(pin::kVirtualNmis); }, {pin_controls}},
    {"NMI-window exiting needs virtual NMIs", "\"NMI-window exiting\" is 0 if \"virtual NMIs\" is 0",
     [](C c) { return c.controls.has_pin(pin::kVirtualNmis) || !c.controls.has(proc::kNmiWindowExiting); }, {pin_controls, proc_controls}},
    {"APIC-access address", "with \"virtualize APIC accesses\", the address is 4-KByte aligned and within the physical-address width",
     [](C c) { return !c.controls.has2(proc2::kVirtualizeApicAccesses) || c.page_address_ok(c.vmcs.apic_access_address); },
     {apic_access_address, proc2_controls, proc_controls}},
    {"APIC virtualization needs the TPR shadow", "\"virtualize x2APIC mode\", \"APIC-register virtualization\" and \"virtual-interrupt delivery\" are 0 if \"use TPR shadow\" is 0",
     [](C c) { return c.controls.has(proc::kTprShadow) || !c.controls.has2(kTprUsers); }, {proc_controls, proc2_controls}},
    {"x2APIC mode excludes APIC accesses", "\"virtualize APIC accesses\" is 0 if \"virtualize x2APIC mode\" is 1",
     [](C c) { return !c.controls.has2(proc2::kVirtualizeX2apicMode) || !c.controls.has2(proc2::kVirtualizeApicAccesses); }, {proc2_controls, proc_controls}},
    {"virtual-interrupt delivery needs external-interrupt exiting", "\"external-interrupt exiting\" is 1 if \"virtual-interrupt delivery\" is 1",
     [](C c) { return !c.controls.has2(proc2::kVirtualInterruptDelivery) || c.controls.has_pin(pin::kExternalInterruptExiting); },
     {pin_controls, proc2_controls, proc_controls}},
    {"posted interrupts need virtual-interrupt delivery", "\"virtual-interrupt delivery\" is 1 if \"process posted interrupts\" is 1",
     [](C c) { return !c.controls.has_pin(pin::kPostedInterrupts) || c.controls.has2(proc2::kVirtualInterruptDelivery); },
     {pin_controls, proc2_controls, proc_controls}},
    {"posted interrupts need acknowledge on exit", "\"acknowledge interrupt on exit\" is 1 if \"process posted interrupts\" is 1",
     [](C c) { return !c.controls.has_pin(pin::kPostedInterrupts) || c.controls.has_exit(vm_exit_control::kAcknowledgeInterrupt); },
     {pin_controls, exit_controls}},
    {"posted-interrupt notification vector", "with \"process posted interrupts\", the vector is in the range 0-255",
     [](C c) { return !c.controls.has_pin(pin::kPostedInterrupts) || c.vmcs.posted_interrupt_vector <= 255; }, {posted_interrupt_vector, pin_controls}},
    {"posted-interrupt descriptor address", "with \"process posted interrupts\", the address is 64-byte aligned and within the physical-address width",
     [](C c) { return !c.controls.has_pin(pin::kPostedInterrupts) ||
                      (c.vmcs.posted_interrupt_descriptor % 64 == 0 && c.address_fits(c.vmcs.posted_interrupt_descriptor)); },
     {posted_interrupt_descriptor, pin_controls}},
    {"VPID not 0", "with \"enable VPID\", the VPID is not 0000H",
     [](C c) { return !c.controls.has2(proc2::kEnableVpid) || c.vmcs.vpid != 0; }, {vpid, proc2_controls, proc_controls}},
    {"EPT pointer", "with \"enable EPT\", memory type, walk length, A/D enable and reserved bits of the EPTP are as IA32_VMX_EPT_VPID_CAP allows",
     [](C c) { return !c.controls.has2(proc2::kEnableEpt) || ept_pointer_valid(c.caps, c.vmcs.ept_pointer); }, {ept_pointer, proc2_controls, proc_controls}},
    {"PML needs EPT", "\"enable EPT\" is 1 if \"enable PML\" is 1",
     [](C c) { return !c.controls.has2(proc2::kEnablePml) || c.controls.has2(proc2::kEnableEpt); }, {proc2_controls, proc_controls}},
    {"PML address", "with \"enable PML\", the address is 4-KByte aligned and within the physical-address width",
     [](C c) { return !c.controls.has2(proc2::kEnablePml) || c.page_address_ok(c.vmcs.pml_address); }, {pml_address, proc2_controls, proc_controls}},
    {"unrestricted guest needs EPT", "\"enable EPT\" is 1 if \"unrestricted guest\" is 1",
     [](C c) { return !c.controls.has2(proc2::kUnrestrictedGuest) || c.controls.has2(proc2::kEnableEpt); }, {proc2_controls, proc_controls}},
    {"mode-based execute control needs EPT", "\"enable EPT\" is 1 if \"mode-based execute control for EPT\" is 1",
     [](C c) { return !c.controls.has2(proc2::kModeBasedExecute) || c.controls.has2(proc2::kEnableEpt); }, {proc2_controls, proc_controls}},
    {"VM-function controls reserved bits", "with \"enable VM functions\", the VM-function controls set only bits IA32_VMX_VMFUNC allows",
     [](C c) { return !c.controls.has2(proc2::kEnableVmFunctions) || (c.vmcs.vm_function_controls & ~c.caps.vm_functions) == 0; },
     {vm_function_controls, proc2_controls, proc_controls}},
    {"EPTP switching needs EPT", "\"enable EPT\" is 1 if VM function \"EPTP switching\" is enabled",
     [](C c) { return !c.controls.has2(proc2::kEnableVmFunctions) || (c.vmcs.vm_function_controls & kVmFunctionEptpSwitching) == 0 ||
                      c.controls.has2(proc2::kEnableEpt); },
     {vm_function_controls, proc2_controls, proc_controls}},
    {"EPTP-list address", "with EPTP switching, the address is 4-KByte aligned and within the physical-address width",
     [](C c) { return !c.controls.has2(proc2::kEnableVmFunctions) || (c.vmcs.vm_function_controls & kVmFunctionEptpSwitching) == 0 ||
                      c.page_address_ok(c.vmcs.eptp_list_address); },
     {eptp_list_address, vm_function_controls, proc2_controls, proc_controls}},
    {"VMREAD-bitmap address", "with \"VMCS shadowing\", the address is 4-KByte aligned and within the physical-address width",
     [](C c) { return !c.controls.has2(proc2::kVmcsShadowing) || c.page_address_ok(c.vmcs.vmread_bitmap); }, {vmread_bitmap, proc2_controls, proc_controls}},
    {"VMWRITE-bitmap address", "with \"VMCS shadowing\", the address is 4-KByte aligned and within the physical-address width",
     [](C c) { return !c.controls.has2(proc2::kVmcsShadowing) || c.page_address_ok(c.vmcs.vmwrite_bitmap); }, {vmwrite_bitmap, proc2_controls, proc_controls}},
    {"virtualization-exception information address", "with \"EPT-violation #VE\", the address is 4-KByte aligned and within the physical-address width",
     [](C c) { return !c.controls.has2(proc2::kEptViolationVe) || c.page_address_ok(c.vmcs.ve_information_address); },
     {ve_information_address, proc2_controls, proc_controls}},
    {"TSC multiplier", "with \"use TSC scaling\", the TSC multiplier is not 0",
     [](C c) { return !c.controls.has2(proc2::kUseTscScaling) || c.vmcs.tsc_multiplier != 0; }, {tsc_multiplier, proc2_controls, proc_controls}},
});

constexpr auto kExecutionControlsMemory = std::to_array<EntryCheck>({
    {"TPR threshold above VTPR", "with \"use TPR shadow\" and neither \"virtualize APIC accesses\" nor virtual-interrupt delivery, the TPR threshold is not above bits 7:4 of VTPR",
     [](C c) {
         if (!vtpr_matters(c)) {
             return true;
         }
         const u64 vtpr = read_physical(c.vmx.cpu, c.vmcs.virtual_apic_address + 0x80, 1);
         return (c.vmcs.tpr_threshold & 0xF) <= (vtpr >> 4);
     },
     {tpr_threshold, virtual_apic_address, proc_controls, proc2_controls}},
});

constexpr auto kExitControls = std::to_array<EntryCheck>({
    {"VM-exit controls reserved bits", "reserved bits of the VM-exit controls are set as IA32_VMX_TRUE_EXIT_CTLS says",
     [](C c) { return c.caps.exit.allows(c.vmcs.exit_controls); }, {exit_controls}},
    {"saving the preemption timer needs the timer", "\"save VMX-preemption timer value\" is 0 if \"activate VMX-preemption timer\" is 0",
     [](C c) { return c.controls.has_pin(pin::kPreemptionTimer) || !c.controls.has_exit(vm_exit_control::kSavePreemptionTimer); },
     {exit_controls, pin_controls}},
    {"VM-exit MSR-store area", "if the count is not 0, the area is 16-byte aligned and lies within the physical-address width",
     [](C c) { return msr_area_ok(c, c.vmcs.exit_msr_store_address, c.vmcs.exit_msr_store_count); }, {exit_msr_store_address, exit_msr_store_count}},
    {"VM-exit MSR-load area", "if the count is not 0, the area is 16-byte aligned and lies within the physical-address width",
     [](C c) { return msr_area_ok(c, c.vmcs.exit_msr_load_address, c.vmcs.exit_msr_load_count); }, {exit_msr_load_address, exit_msr_load_count}},
});

constexpr auto kEntryControls = std::to_array<EntryCheck>({
    {"VM-entry controls reserved bits", "reserved bits of the VM-entry controls are set as IA32_VMX_TRUE_ENTRY_CTLS says",
     [](C c) { return c.caps.entry.allows(c.vmcs.entry_controls); }, {entry_controls}},
});

constexpr auto kInjection = std::to_array<EntryCheck>({
    {"injected event type", "the interruption type is not 1, and 7 only if the monitor trap flag is supported",
     [](C c) { return !c.injects || injected_type_ok(c); }, {entry_interruption_info}},
    {"injected event vector", "the vector is 2 for an NMI, at most 31 for a hardware exception, 0 for a pending MTF VM exit",
     [](C c) { return !c.injects || injected_vector_ok(c); }, {entry_interruption_info}},
    {"injected error-code bit", "\"deliver error code\" is 1 exactly for the hardware exceptions that have one, and 0 if the guest is in real-address mode",
     [](C c) { return !c.injects || injected_error_code_bit_ok(c); }, {entry_interruption_info, guest_cr0, proc2_controls, proc_controls}},
    {"injected event reserved bits", "bits 30:12 of the VM-entry interruption-information field are 0",
     [](C c) { return !c.injects || (c.vmcs.entry_interruption_info & 0x7FFF'F000) == 0; }, {entry_interruption_info}},
    {"injected error code reserved bits", "if an error code is delivered, bits 31:16 of the VM-entry exception error code are 0",
     [](C c) { return !c.injects || (c.vmcs.entry_interruption_info & interruption::kErrorCodeValid) == 0 || (c.vmcs.entry_exception_error_code >> 16) == 0; },
     {entry_interruption_info, entry_exception_error_code}},
    {"injected instruction length", "for software interrupts and exceptions the VM-entry instruction length is 1-15, or 0 if IA32_VMX_MISC[30] allows it",
     [](C c) { return !c.injects || injected_length_ok(c); }, {entry_interruption_info, entry_instruction_length}},
});

constexpr auto kEntryMsrArea = std::to_array<EntryCheck>({
    {"VM-entry MSR-load area", "if the count is not 0, the area is 16-byte aligned and lies within the physical-address width",
     [](C c) { return msr_area_ok(c, c.vmcs.entry_msr_load_address, c.vmcs.entry_msr_load_count); }, {entry_msr_load_address, entry_msr_load_count}},
});
// clang-format on

}  // namespace

std::span<const EntryCheck> execution_control_checks() {
    return kExecutionControls;
}
std::span<const EntryCheck> execution_control_memory_checks() {
    return kExecutionControlsMemory;
}
std::span<const EntryCheck> exit_control_checks() {
    return kExitControls;
}
std::span<const EntryCheck> entry_control_checks() {
    return kEntryControls;
}
std::span<const EntryCheck> injection_checks() {
    return kInjection;
}
std::span<const EntryCheck> entry_msr_area_checks() {
    return kEntryMsrArea;
}

bool vtpr_matters(C c) {
    return c.controls.has(proc::kTprShadow) &&
           !c.controls.has2(proc2::kVirtualizeApicAccesses | proc2::kVirtualInterruptDelivery);
}

}  // namespace droste
