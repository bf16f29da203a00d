#include "cpu/vmx/entry/entry_load_state.hpp"

#include "core/bits.hpp"
#include "core/log.hpp"
#include "cpu/vmx/entry/entry_checks.hpp"
#include "cpu/vmx/exit/msr_lists.hpp"
#include "cpu/vmx/guest/boundary.hpp"
#include "cpu/vmx/vmcs/controls.hpp"
#include "cpu/vmx/vmcs/preserved_bits.hpp"
#include "cpu/vmx/vmcs/segment_fields.hpp"
#include "cpu/vmx/vmx_state.hpp"
#include "cpu/x86/mmu/paging.hpp"
#include "cpu/x86/system/debug_traps.hpp"
#include "cpu/x86/system/segment.hpp"

namespace droste {

namespace {

// "Loading Guest Control Registers, Debug Registers, and MSRs".
void load_registers(const EntryContext& context) {
    const Vmcs& v = context.vmcs;
    CpuState& s = context.vmx.cpu.state;
    const ActiveControls& controls = context.controls;
    s.cr0 = (s.cr0 & kCr0Preserved) | (v.guest_cr0 & ~kCr0Preserved);
    s.cr3 = v.guest_cr3;
    s.cr4 = v.guest_cr4;
    if (controls.has_entry(vm_entry_control::kLoadDebugControls)) {
        // Bits 11, 12, 14 and 15 stay clear, bit 10 set.
        s.dr7 = (v.guest_dr7 & ~u64{0xD800}) | dr7::kReset;
        s.debugctl = v.guest_ia32_debugctl;
    }
    s.sysenter_cs = v.guest_ia32_sysenter_cs;
    s.sysenter_esp = v.guest_ia32_sysenter_esp;
    s.sysenter_eip = v.guest_ia32_sysenter_eip;
    if (controls.has_entry(vm_entry_control::kLoadEfer)) {
        s.efer = v.guest_ia32_efer;
    } else {
        const u64 lma = context.ia32e_guest ? efer::kLma : 0;
        s.efer = (s.efer & ~efer::kLma) | lma;
        if ((s.cr0 & cr0::kPg) != 0) {
            s.efer = (s.efer & ~efer::kLme) | (context.ia32e_guest ? efer::kLme : 0);
        }
    }
    if (controls.has_entry(vm_entry_control::kLoadPat)) {
        s.pat = v.guest_ia32_pat;
    }
    if (controls.has_entry(vm_entry_control::kLoadPerfGlobalCtrl)) {
        (void)set_msr_quietly(context.vmx.cpu, kPerfGlobalCtrl, v.guest_ia32_perf_global_ctrl);
    }
    if (controls.has_entry(vm_entry_control::kLoadCetState)) {
        s.s_cet = v.guest_ia32_s_cet;
        s.interrupt_ssp_table = v.guest_ia32_interrupt_ssp_table_addr;
    }
}

// "Loading Guest Segment Registers and Descriptor-Table Registers".
void load_segments(const EntryContext& context) {
    const Vmcs& v = context.vmcs;
    CpuState& s = context.vmx.cpu.state;
    for (const SegmentFields& fields : kSegmentFields) {
        Segment& segment = fields.register_in(s);
        segment.selector = v.*fields.selector;
        segment.base = v.*fields.base;
        segment.limit = v.*fields.limit;
        segment.rights = v.*fields.access_rights;
        refresh_segment_checks(segment);
    }
    s.gdtr = {v.guest_gdtr_base, static_cast<u16>(v.guest_gdtr_limit)};
    s.idtr = {v.guest_idtr_base, static_cast<u16>(v.guest_idtr_limit)};
}

// "Delivery of Pending Debug Exceptions after VM Entry": when the field counts at all.
bool pending_debug_counts(const EntryContext& context) {
    const Vmcs& v = context.vmcs;
    if (!context.injects) {
        return v.guest_activity_state == static_cast<u32>(Activity::Active) ||
               v.guest_activity_state == static_cast<u32>(Activity::Hlt);
    }
    switch (context.injected_type()) {
    case static_cast<unsigned>(EventType::SoftwareInterrupt):
    case static_cast<unsigned>(EventType::SoftwareException):
        return (v.guest_interruptibility & blocking::kMovSs) != 0;
    case interruption::kTypeOther: return true;
    default: return false;
    }
}

// "Loading Guest RIP, RSP, RFLAGS, and SSP" and non-register state.
void load_rest(const EntryContext& context) {
    const Vmcs& v = context.vmcs;
    CpuState& s = context.vmx.cpu.state;
    s.gpr[RSP] = v.guest_rsp;
    s.rip() = v.guest_rip;
    s.set_rflags(v.guest_rflags);
    if (context.controls.has_entry(vm_entry_control::kLoadCetState)) {
        s.ssp = v.guest_ssp;
    }
    s.activity = static_cast<Activity>(v.guest_activity_state);
    s.interruptibility =
        v.guest_interruptibility & (blocking::kSti | blocking::kMovSs | blocking::kNmi);
    s.pending_debug = 0;
    // Bit 12 (an enabled breakpoint was met) or BS makes the exception pending; bits 3:0 alone do
    // not.
    constexpr u64 kEnabledBreakpoint = 1U << 12;
    if ((v.guest_pending_debug & (kEnabledBreakpoint | dr6::kBs)) != 0 &&
        pending_debug_counts(context)) {
        s.pending_debug = v.guest_pending_debug & (dr6::kBs | 0xF);
    }
    if (guest_uses_pae_paging(context)) {
        s.pdpte = guest_pdptes(context);
    }
}

}  // namespace

bool guest_uses_pae_paging(const EntryContext& context) {
    return (context.vmcs.guest_cr0 & cr0::kPg) != 0 && (context.vmcs.guest_cr4 & cr4::kPae) != 0 &&
           !context.ia32e_guest;
}

std::array<u64, 4> guest_pdptes(const EntryContext& context) {
    const Vmcs& v = context.vmcs;
    if (context.controls.has2(proc2::kEnableEpt)) {
        return {v.guest_pdpte0, v.guest_pdpte1, v.guest_pdpte2, v.guest_pdpte3};
    }
    std::array<u64, 4> pdptes{};
    const PhysAddr table = v.guest_cr3 & 0xFFFF'FFE0;
    for (unsigned i = 0; i < pdptes.size(); ++i) {
        pdptes[i] = read_physical(context.vmx.cpu, table + i * 8, 8);
    }
    return pdptes;
}

void load_guest_state(const EntryContext& context) {
    VmxState& vmx = context.vmx;
    load_registers(context);
    load_segments(context);
    load_rest(context);
    Vcpu& cpu = vmx.cpu;
    const ActiveControls& controls = context.controls;
    const Vmcs& v = context.vmcs;
    vmx.guest = NonRoot{};
    vmx.guest.controls = controls;
    cpu.non_root.vpid = controls.has2(proc2::kEnableVpid) ? v.vpid : u16{0};
    cpu.non_root.ept_root = 0;
    if (controls.has2(proc2::kEnableEpt)) {
        const bool mode_based = controls.has2(proc2::kModeBasedExecute);
        vmx.ept.activate(v.ept_pointer, mode_based);
        cpu.non_root.ept_root = Ept::tag_of(v.ept_pointer, mode_based);
    }
    if (cpu.non_root.vpid == 0) {
        // "VM entries flush linear and combined mappings of VPID 0000H": those of the host and of
        // guests without VPID.
        ++cpu.counters.tlb_flushes;
        vmx.trace.flushed_on_entry();
        cpu.log.write(LogCategory::Mmu, "vCPU {}: TLB: VM entry without VPID flushes", cpu.index);
        cpu.tlb.flush_vpid(0);
    }
    debug_registers_changed(cpu);  // DR7 may be the guest's, and DR0 to DR3 others than before
}

void enter_guest_context(VmxState& vmx) {
    Vcpu& cpu = vmx.cpu;
    const ActiveControls& controls = vmx.guest.controls;
    vmx.non_root = true;
    cpu.non_root.intercepts = &vmx.intercepts;
    cpu.non_root.second_stage = controls.has2(proc2::kEnableEpt) ? &vmx.ept : nullptr;
    cpu.non_root.apic_access_page =
        controls.has2(proc2::kVirtualizeApicAccesses) ? vmx.vmcs().apic_access_address : kNoTag;
    ++cpu.counters.vm_entries;
    cpu.step.marks = step_mark::kNoSingleStep;  // the host's trap flag does not reach the guest's
                                                // first instruction
    cpu.tlb.activate(cpu);                      // refreshes derived state, too
    arm_boundary(vmx);
}

}  // namespace droste
