// SYSCALL, SYSRET, SYSENTER, SYSEXIT: level changes that load flat segments without reading a
// descriptor. SDM Vol. 2B, "SYSCALL—Fast System Call" and the entries of the other three. Intel
// behavior: SYSCALL and SYSRET exist in 64-bit mode only, and SYSRET to a non-canonical RCX faults
// at level 0.

#include "cpu/x86/mmu/paging.hpp"
#include "cpu/x86/system/debug_traps.hpp"
#include "cpu/x86/system/exec_system.hpp"
#include "cpu/x86/system/protection.hpp"
#include "cpu/x86/system/shadow_stack.hpp"

#include <array>

namespace droste {

namespace {

// CS and SS of a fast transfer, in one place. `level` 0 or 3; the selectors carry it as RPL. Copied
// from what is made once: fields just written would hold up the copy (a tenth of a system call).
void load_flat_segments(Vcpu& cpu, u16 code, u16 stack, unsigned level, FlatCode size) {
    static const std::array kCode = {
        flat_code_segment(0, 0, FlatCode::Bits32), flat_code_segment(0, 0, FlatCode::Bits64),
        flat_code_segment(0, 3, FlatCode::Bits32), flat_code_segment(0, 3, FlatCode::Bits64)};
    static const std::array kStack = {flat_stack_segment(0, 0), flat_stack_segment(0, 3)};
    const std::size_t outer = level != 0 ? 1 : 0;
    CpuState& s = cpu.state;
    s.seg[CS] = kCode[2 * outer + (size == FlatCode::Bits64 ? 1 : 0)];
    s.seg[CS].selector = with_rpl(code, level);
    s.seg[SS] = kStack[outer];
    s.seg[SS].selector = with_rpl(stack, level);
}

Status finish(Vcpu& cpu) {
    mode_changed(cpu);
    update_attention(cpu);
    return Status::Switched;
}

Status general_protection(Vcpu& cpu) {
    return raise(cpu, Exception::GP, 0);
}

bool syscall_enabled(const Vcpu& cpu) {
    return cpu.mode.long_mode64 && (cpu.state.efer & efer::kSce) != 0;
}

// Does IA32_SYSENTER_CS name a segment?
bool sysenter_usable(const Vcpu& cpu) {
    return cpu.mode.protected_mode && (cpu.state.sysenter_cs & 0xFFFC) != 0;
}

}  // namespace

//   RCX := next RIP; RIP := IA32_LSTAR; R11 := RFLAGS;
//   RFLAGS := RFLAGS AND NOT IA32_FMASK; CPL := 0
Status exec_syscall(Vcpu& cpu, const Insn& insn) {
    CpuState& s = cpu.state;
    if (!syscall_enabled(cpu)) {
        return raise(cpu, Exception::UD);
    }
    const u64 flags = s.rflags() & ~rflags::kRf;
    enter_by_system_call(cpu);
    s.gpr[RCX] = s.rip() + insn.length;
    s.gpr[R11] = flags;
    s.rip() = s.lstar;
    s.set_rflags(flags & ~s.sfmask);
    const auto selector = static_cast<u16>((s.star >> 32) & 0xFFFC);
    load_flat_segments(cpu, selector, static_cast<u16>(selector + 8), 0, FlatCode::Bits64);
    if ((s.rflags_system & rflags::kTf) == 0) {
        cpu.step.marks |= step_mark::kNoSingleStep;  // TF is sampled after the mask
    }
    return finish(cpu);
}

//   RIP := RCX (or ECX); RFLAGS := R11 without RF and VM; CS := STAR[63:48] + 16 (64-bit) or + 0;
//   SS := STAR[63:48] + 8
Status exec_sysret(Vcpu& cpu, const Insn& insn) {
    CpuState& s = cpu.state;
    if (!syscall_enabled(cpu)) {
        return raise(cpu, Exception::UD);
    }
    const bool to_64bit = insn.rex_w();
    if (cpu.mode.cpl != 0 || (to_64bit && !is_canonical(cpu, s.gpr[RCX]))) {
        return general_protection(cpu);
    }
    leave_by_system_call(cpu);
    s.rip() = to_64bit ? s.gpr[RCX] : static_cast<u32>(s.gpr[RCX]);
    s.set_rflags(s.gpr[R11] & 0x3C7FD7);
    const auto selector = static_cast<u16>(s.star >> 48);
    load_flat_segments(cpu, static_cast<u16>(to_64bit ? selector + 16 : selector),
                       static_cast<u16>(selector + 8), 3,
                       to_64bit ? FlatCode::Bits64 : FlatCode::Bits32);
    if ((s.rflags_system & rflags::kTf) != 0) {
        s.pending_debug |= dr6::kBs;  // a TF that SYSRET sets traps before the next instruction
    }
    return finish(cpu);
}

//   RSP := IA32_SYSENTER_ESP; RIP := IA32_SYSENTER_EIP; VM, IF, RF := 0;
//   CS := IA32_SYSENTER_CS; SS := CS + 8; CPL := 0
Status exec_sysenter(Vcpu& cpu, const Insn& /*insn*/) {
    CpuState& s = cpu.state;
    if (!sysenter_usable(cpu)) {
        return general_protection(cpu);
    }
    const bool ia32e = ia32e_mode(cpu);
    enter_by_system_call(cpu);
    s.rflags_system &= ~(rflags::kVm | rflags::kIf | rflags::kRf);
    s.gpr[RSP] = ia32e ? s.sysenter_esp : static_cast<u32>(s.sysenter_esp);
    s.rip() = ia32e ? s.sysenter_eip : static_cast<u32>(s.sysenter_eip);
    const auto selector = static_cast<u16>(s.sysenter_cs & 0xFFFC);
    load_flat_segments(cpu, selector, static_cast<u16>(selector + 8), 0,
                       ia32e ? FlatCode::Bits64 : FlatCode::Bits32);
    return finish(cpu);
}

//   RSP := RCX; RIP := RDX; CS := IA32_SYSENTER_CS + 16 (or + 32 with REX.W);
//   SS := CS + 8; CPL := 3
Status exec_sysexit(Vcpu& cpu, const Insn& insn) {
    CpuState& s = cpu.state;
    if (!sysenter_usable(cpu) || cpu.mode.cpl != 0) {
        return general_protection(cpu);
    }
    const bool to_64bit = insn.rex_w();
    if (to_64bit && (!is_canonical(cpu, s.gpr[RCX]) || !is_canonical(cpu, s.gpr[RDX]))) {
        return general_protection(cpu);
    }
    leave_by_system_call(cpu);
    s.gpr[RSP] = to_64bit ? s.gpr[RCX] : static_cast<u32>(s.gpr[RCX]);
    s.rip() = to_64bit ? s.gpr[RDX] : static_cast<u32>(s.gpr[RDX]);
    const auto base = static_cast<u16>(s.sysenter_cs);
    const auto selector = static_cast<u16>(to_64bit ? base + 32 : base + 16);
    load_flat_segments(cpu, selector, static_cast<u16>(selector + 8), 3,
                       to_64bit ? FlatCode::Bits64 : FlatCode::Bits32);
    return finish(cpu);
}

}  // namespace droste
