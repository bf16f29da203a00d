// Control and debug registers in VMX non-root operation. SDM Vol. 3C, "Guest/Host Masks and Read
// Shadows for CR0 and CR4", "CR3-Target Controls", and CLTS, LMSW, MOV to/from CR, MOV DR in
// "Instructions That Cause VM Exits Conditionally".

#include "cpu/vmx/exit/exit_qualification.hpp"
#include "cpu/vmx/guest/intercepts.hpp"
#include "cpu/vmx/vmcs/controls.hpp"
#include "cpu/vmx/vmx_state.hpp"
#include "cpu/x86/mmu/mem_access.hpp"

namespace droste {

namespace {

// The bits the host owns keep their real value, the others take the guest's.
u64 merge_owned(u64 written, u64 real, u64 mask) {
    return (written & ~mask) | (real & mask);
}

bool is_cr3_target(const Vmcs& v, u64 value) {
    const std::array<u64, 4> targets = {v.cr3_target_value_0, v.cr3_target_value_1,
                                        v.cr3_target_value_2, v.cr3_target_value_3};
    for (u32 i = 0; i < v.cr3_target_count && i < targets.size(); ++i) {
        if (targets[i] == value) {
            return true;
        }
    }
    return false;
}

bool mov_to_cr_exits(const VmxState& vmx, u8 cr, u64& value) {
    const Vmcs& v = vmx.vmcs();
    const CpuState& s = vmx.cpu.state;
    const ActiveControls& controls = vmx.guest.controls;
    switch (cr) {
    case 0:
        if (((value ^ v.cr0_read_shadow) & v.cr0_guest_host_mask) != 0) {
            return true;
        }
        value = merge_owned(value, s.cr0, v.cr0_guest_host_mask);
        return false;
    case 3: return controls.has(proc::kCr3LoadExiting) && !is_cr3_target(v, value);
    case 4:
        if (((value ^ v.cr4_read_shadow) & v.cr4_guest_host_mask) != 0) {
            return true;
        }
        value = merge_owned(value, s.cr4, v.cr4_guest_host_mask);
        return false;
    case 8: return controls.has(proc::kCr8LoadExiting);
    default: return false;
    }
}

// CLTS exits if the host owns TS and its shadow is set; if only owned, TS keeps its value.
bool clts_exits(const VmxState& vmx, u64& new_cr0) {
    const Vmcs& v = vmx.vmcs();
    if ((v.cr0_guest_host_mask & v.cr0_read_shadow & cr0::kTs) != 0) {
        return true;
    }
    new_cr0 = merge_owned(new_cr0, vmx.cpu.state.cr0, v.cr0_guest_host_mask);
    return false;
}

// LMSW can set PE but not clear it, so only setting an owned PE exits.
bool lmsw_exits(const VmxState& vmx, u64& source) {
    const Vmcs& v = vmx.vmcs();
    const u64 mask = v.cr0_guest_host_mask;
    constexpr u64 kOthers = cr0::kMp | cr0::kEm | cr0::kTs;
    const bool sets_owned_pe = (mask & source & ~v.cr0_read_shadow & cr0::kPe) != 0;
    if (sets_owned_pe || ((source ^ v.cr0_read_shadow) & mask & kOthers) != 0) {
        return true;
    }
    source = merge_owned(source, vmx.cpu.state.cr0, mask & (kOthers | cr0::kPe));
    return false;
}

}  // namespace

bool GuestIntercepts::cr_access(Vcpu& cpu, const Insn& insn, CrAccess access, u8 cr, u64& value) {
    const u64 written = value;
    bool exits = false;
    switch (access) {
    case CrAccess::MovTo: exits = mov_to_cr_exits(vmx_, cr, value); break;
    case CrAccess::MovFrom:
        exits = (cr == 3 && vmx_.guest.controls.has(proc::kCr3StoreExiting)) ||
                (cr == 8 && vmx_.guest.controls.has(proc::kCr8StoreExiting));
        break;
    case CrAccess::Clts: exits = clts_exits(vmx_, value); break;
    case CrAccess::Lmsw: exits = lmsw_exits(vmx_, value); break;
    }
    if (!exits) {
        return false;
    }
    ExitInfo info = exit_by_instruction(ExitReason::CR_ACCESS, insn,
                                        cr_access_qualification(insn, access, cr, written));
    if (access == CrAccess::Lmsw && insn.mem()) {
        const auto seg = static_cast<SegReg>(insn.seg);
        const u64 base = !cpu.mode.long_mode64 || seg >= FS ? cpu.state.seg[seg].base : 0;
        const LinearAddr linear = base + effective_offset(cpu, insn);
        info.guest_linear = cpu.mode.long_mode64 ? linear : static_cast<u32>(linear);
    }
    vm_exit(vmx_, info);
    return true;
}

u64 GuestIntercepts::shadowed_cr0(const Vcpu& cpu) const {
    const Vmcs& v = vmx_.vmcs();
    return merge_owned(cpu.state.cr0, v.cr0_read_shadow, v.cr0_guest_host_mask);
}

u64 GuestIntercepts::shadowed_cr4(const Vcpu& cpu) const {
    const Vmcs& v = vmx_.vmcs();
    return merge_owned(cpu.state.cr4, v.cr4_read_shadow, v.cr4_guest_host_mask);
}

bool GuestIntercepts::dr_access(Vcpu& /*cpu*/, const Insn& insn) {
    if (!vmx_.guest.controls.has(proc::kMovDrExiting)) {
        return false;
    }
    vm_exit(vmx_, exit_by_instruction(ExitReason::MOV_DR, insn, mov_dr_qualification(insn)));
    return true;
}

}  // namespace droste
