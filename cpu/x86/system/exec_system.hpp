#pragma once
// Shared by the handlers of system instructions: operands, privilege, interception. The handlers
// declared here are rows of exec_rows_segment() and exec_rows_system(), which live with their first
// files.

#include "core/types.hpp"
#include "cpu/x86/mmu/mem_access.hpp"
#include "cpu/x86/seams/intercept.hpp"
#include "cpu/x86/vcpu.hpp"

namespace droste {

inline Status require_cpl0(Vcpu& cpu) {
    return cpu.mode.cpl == 0 ? Status::Next : raise(cpu, Exception::GP, 0);
}
// CR4.UMIP hides SGDT, SIDT, SLDT, SMSW and STR from user code.
inline Status check_umip(Vcpu& cpu) {
    const bool hidden = cpu.mode.cpl != 0 && (cpu.state.cr4 & cr4::kUmip) != 0;
    return hidden ? raise(cpu, Exception::GP, 0) : Status::Next;
}
// VMX made a VM exit of the instruction: return Status::Switched.
inline bool intercepted(Vcpu& cpu, const Insn& insn, Interceptable kind, u64 operand = 0) {
    return cpu.non_root.intercepts != nullptr &&
           cpu.non_root.intercepts->instruction(cpu, insn, kind, operand);
}
inline u64 memory_operand_offset(const Vcpu& cpu, const Insn& insn) {
    return insn.mem() ? effective_offset(cpu, insn) : 0;
}
// 16 bits to memory; zero-extended to the operand size in a register.
inline Status store_zero_extended(Vcpu& cpu, const Insn& insn, u16 value) {
    if (insn.mem()) {
        return store(cpu, insn, value);
    }
    write_gpr_sized(cpu, insn.rm, insn.width, value);
    return Status::Next;
}

// A memory operand m16:16, m16:32 or m16:64.
struct FarPointer {
    u64 offset = 0;
    u16 selector = 0;
};
Status load_far_pointer(Vcpu& cpu, const Insn& insn, FarPointer& out);
// The linear address of the memory operand after the checks of an access of `bytes`.
Status operand_address(Vcpu& cpu, const Insn& insn, unsigned bytes, bool write, LinearAddr& linear);

// exec_far.cpp
Status exec_jmp_far(Vcpu& cpu, const Insn& insn);
Status exec_call_far(Vcpu& cpu, const Insn& insn);
Status exec_ret_far(Vcpu& cpu, const Insn& insn);
// exec_syscall.cpp
Status exec_syscall(Vcpu& cpu, const Insn& insn);
Status exec_sysret(Vcpu& cpu, const Insn& insn);
Status exec_sysenter(Vcpu& cpu, const Insn& insn);
Status exec_sysexit(Vcpu& cpu, const Insn& insn);
// exec_control.cpp
Status exec_mov_cr_to(Vcpu& cpu, const Insn& insn);
Status exec_mov_cr_from(Vcpu& cpu, const Insn& insn);
Status exec_mov_dr_to(Vcpu& cpu, const Insn& insn);
Status exec_mov_dr_from(Vcpu& cpu, const Insn& insn);
Status exec_smsw(Vcpu& cpu, const Insn& insn);
Status exec_lmsw(Vcpu& cpu, const Insn& insn);
Status exec_clts(Vcpu& cpu, const Insn& insn);
// exec_tables.cpp
Status exec_sgdt(Vcpu& cpu, const Insn& insn);
Status exec_sidt(Vcpu& cpu, const Insn& insn);
Status exec_lgdt(Vcpu& cpu, const Insn& insn);
Status exec_lidt(Vcpu& cpu, const Insn& insn);
Status exec_invlpg(Vcpu& cpu, const Insn& insn);
Status exec_invpcid(Vcpu& cpu, const Insn& insn);
// exec_wait.cpp
Status exec_hlt(Vcpu& cpu, const Insn& insn);
Status exec_monitor(Vcpu& cpu, const Insn& insn);
Status exec_mwait(Vcpu& cpu, const Insn& insn);
Status exec_umonitor(Vcpu& cpu, const Insn& insn);
Status exec_umwait(Vcpu& cpu, const Insn& insn);
Status exec_tpause(Vcpu& cpu, const Insn& insn);

}  // namespace droste
