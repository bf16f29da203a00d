// The derived state of a vCPU: what CR0, CR4, EFER, RFLAGS, CS, SS and XCR0 say about how code
// runs. It is computed here and nowhere else. SDM Vol. 3A, "Modes of Operation", "Mode Switching".

#include "cpu/x86/mmu/paging.hpp"
#include "cpu/x86/system/cet.hpp"
#include "cpu/x86/system/segment.hpp"
#include "cpu/x86/vcpu.hpp"

namespace droste {

namespace {

// The privilege level is SS.DPL whatever CS says: a conforming code segment keeps the caller's
// level, and in 64-bit mode a null SS remembers it (VMX names the same place, SDM Vol. 3C, "Guest
// Register State").
u8 privilege_level(const Vcpu& cpu) {
    if (!cpu.mode.protected_mode) {
        return 0;
    }
    return cpu.mode.virtual8086 ? 3 : static_cast<u8>(cpu.state.seg[SS].dpl());
}

u8 fpu_blocks(const CpuState& s) {
    constexpr u64 kSseAndAvx = 6;
    unsigned blocked = 0;
    blocked |= (s.cr0 & cr0::kEm) != 0 ? Vcpu::kFpuEm : 0U;
    blocked |= (s.cr0 & cr0::kTs) != 0 ? Vcpu::kFpuTs : 0U;
    blocked |= (s.cr4 & cr4::kOsfxsr) == 0 ? Vcpu::kFpuNoOsfxsr : 0U;
    blocked |= (s.cr4 & cr4::kOsxsave) == 0 ? Vcpu::kFpuNoOsxsave : 0U;
    blocked |= (s.xcr0 & kSseAndAvx) != kSseAndAvx ? Vcpu::kFpuNoAvxState : 0U;
    return static_cast<u8>(blocked);
}

u8 cet_state(const Vcpu& cpu) {
    if ((cpu.state.cr4 & cr4::kCet) == 0) {
        return 0;
    }
    unsigned state = shadow_stack_enabled(cpu, cpu.mode.cpl) ? Vcpu::kCetShadowStack : 0U;
    if (endbranch_enabled(cpu, cpu.mode.cpl)) {
        const bool waiting = (cet_control(cpu.state, cpu.mode.cpl) & cet::kTracker) != 0;
        state |= Vcpu::kCetTracked | (waiting ? Vcpu::kCetWaiting : 0U);
    }
    return static_cast<u8>(state);
}

}  // namespace

void mode_changed(Vcpu& cpu) {
    const CpuState& s = cpu.state;
    const Segment& cs = s.seg[CS];
    cpu.mode.protected_mode = (s.cr0 & cr0::kPe) != 0;
    cpu.mode.virtual8086 = cpu.mode.protected_mode && (s.rflags_system & rflags::kVm) != 0;
    cpu.mode.long_mode64 = (s.efer & efer::kLma) != 0 && (cs.rights & segment_rights::kL) != 0;
    cpu.mode.cpl = privilege_level(cpu);
    cpu.mode.alignment_checked =
        cpu.mode.cpl == 3 && (s.cr0 & cr0::kAm) != 0 && (s.rflags_system & rflags::kAc) != 0;
    cpu.mode.fpu_blocked = fpu_blocks(s);
    cpu.mode.cet = cet_state(cpu);
    if (cpu.mode.long_mode64) {
        cpu.mode.code_bits = 64;
        cpu.mode.rip_mask = ~u64{0};
        cpu.mode.stack_mask = ~u64{0};
    } else {
        cpu.mode.code_bits = (cs.rights & segment_rights::kDb) != 0 ? 32 : 16;
        // EIP is 32 bits wide in 16-bit code too: running past FFFFh is a limit violation, not a
        // wrap. Branches with a 16-bit operand size truncate their target themselves.
        cpu.mode.rip_mask = 0xFFFF'FFFF;
        cpu.mode.stack_mask = (s.seg[SS].rights & segment_rights::kDb) != 0 ? 0xFFFF'FFFF : 0xFFFF;
    }
    refresh_data_tlb(cpu);
    refresh_mode_key(cpu);
}

void refresh_data_tlb(Vcpu& cpu) {
    cpu.mode.data_tlb =
        cpu.mode.alignment_checked
            ? cpu.tlb.empty_table()
            : &cpu.tlb.current().data[static_cast<std::size_t>(data_privilege(cpu))];
    cpu.mode.shadow_tlb = &cpu.tlb.current().shadow[cpu.mode.cpl == 3 ? 1 : 0];
}

void refresh_mode_key(Vcpu& cpu) {
    const ModeState& mode = cpu.mode;
    const bool real_or_v86 = !mode.protected_mode || mode.virtual8086;
    u32 key = mode.code_bits | u32{mode.cet} << mode_key::kCetShift |
              u32{mode.fpu_blocked} << mode_key::kFpuShift;
    key |= real_or_v86 ? mode_key::kRealOrV86 : 0;
    key |= mode.cpl == 3 ? mode_key::kUser : 0;
    key |= mode.alignment_checked ? mode_key::kAlignment : 0;
    key |= mode.stack_mask == 0xFFFF ? mode_key::kStack16 : 0;
    key |= mode.stack_mask == 0xFFFF'FFFF ? mode_key::kStack32 : 0;
    cpu.mode.key = key;
}

}  // namespace droste
