// Near control transfers: JMP, CALL, RET, Jcc, LOOP, JrCXZ; and the opcodes that exist to raise
// #UD. SDM Vol. 2, the pages of that name. INT n and the like are in exec_branch_interrupt.cpp.
//
// The 64-bit variants are chosen at decode time (operand size 8 exists only there). The target is
// checked before the stack is touched, so a #GP leaves everything as it was.

#include "cpu/x86/exec/exec_table.hpp"
#include "cpu/x86/exec/operands.hpp"
#include "cpu/x86/interp/branch.hpp"
#include "cpu/x86/interp/exec_branch_near.hpp"

#include <utility>

namespace droste {
namespace {

// Near transfers of 64-bit code without control-flow enforcement have handlers here, all others in
// exec_branch_near.cpp.
bool plain64(const Vcpu& cpu, const Insn& insn) {
    return insn.opsize == 8 && cpu.mode.cet == 0;
}

// --- JMP ----------------------------------------------------------------------------------------

Status exec_jmp_relative64(Vcpu& cpu, const Insn& insn) {
    const u64 target = cpu.state.rip() + insn.length + insn.imm;
    if (!canonical_target(cpu, target)) [[unlikely]] {
        return raise(cpu, Exception::GP, 0);
    }
    cpu.state.rip() = target;
    return Status::Branch;
}
Status exec_jmp_relative(Vcpu& cpu, const Insn& insn) {
    return branch_to(cpu, relative_target(cpu, insn));
}
Status exec_jmp_indirect64(Vcpu& cpu, const Insn& insn) {
    u64 target = 0;
    if (const Status status = read_e<u64>(cpu, insn, target); status != Status::Next) {
        return status;
    }
    return branch_to(cpu, target);
}

ExecFn select_jmp(Vcpu& cpu, Insn& insn) {
    if (insn.form == Form::I) {
        return insn.opsize == 8 ? exec_jmp_relative64 : exec_jmp_relative;
    }
    return plain64(cpu, insn) ? exec_jmp_indirect64 : select_near_jmp(insn);
}

// --- Jcc ----------------------------------------------------------------------------------------

template <unsigned kCondition>
Status exec_jcc64(Vcpu& cpu, const Insn& insn) {
    return condition(cpu.state.flags, kCondition) ? exec_jmp_relative64(cpu, insn) : Status::Next;
}
template <unsigned kCondition>
Status exec_jcc(Vcpu& cpu, const Insn& insn) {
    return condition(cpu.state.flags, kCondition) ? branch_to(cpu, relative_target(cpu, insn))
                                                  : Status::Next;
}

template <unsigned... kConditions>
constexpr std::array<ExecFn, 16>
jcc64_table(std::integer_sequence<unsigned, kConditions...> /*all*/) {
    return {exec_jcc64<kConditions>...};
}
template <unsigned... kConditions>
constexpr std::array<ExecFn, 16>
jcc_table(std::integer_sequence<unsigned, kConditions...> /*all*/) {
    return {exec_jcc<kConditions>...};
}
constexpr auto kJcc64 = jcc64_table(std::make_integer_sequence<unsigned, 16>{});
constexpr auto kJcc = jcc_table(std::make_integer_sequence<unsigned, 16>{});

ExecFn select_jcc(Vcpu& /*cpu*/, Insn& insn) {
    return insn.opsize == 8 ? kJcc64[insn.opcode & 0xF] : kJcc[insn.opcode & 0xF];
}

// --- CALL ---------------------------------------------------------------------------------------

// Pushes the return address and goes to a target that has been checked.
inline Status call64(Vcpu& cpu, const Insn& insn, u64 target) {
    if (!canonical_target(cpu, target)) [[unlikely]] {
        return raise(cpu, Exception::GP, 0);
    }
    if (const Status status = push64(cpu, cpu.state.rip() + insn.length); status != Status::Next)
        [[unlikely]] {
        return status;
    }
    cpu.state.rip() = target;
    return Status::Branch;
}
Status exec_call_relative64(Vcpu& cpu, const Insn& insn) {
    return call64(cpu, insn, cpu.state.rip() + insn.length + insn.imm);
}
Status exec_call_indirect64(Vcpu& cpu, const Insn& insn) {
    u64 target = 0;
    if (const Status status = read_e<u64>(cpu, insn, target); status != Status::Next) [[unlikely]] {
        return status;
    }
    return call64(cpu, insn, target);
}

ExecFn select_call(Vcpu& cpu, Insn& insn) {
    if (!plain64(cpu, insn)) {
        return select_near_call(insn);
    }
    return insn.form == Form::I ? exec_call_relative64 : exec_call_indirect64;
}

// --- RET ----------------------------------------------------------------------------------------

// RET imm16 also releases `imm` bytes of parameters; insn.imm is 0 without.
Status exec_ret64(Vcpu& cpu, const Insn& insn) {
    u64 target = 0;
    if (!peek64(cpu, target) || !canonical_target(cpu, target)) [[unlikely]] {
        return select_near_ret(insn)(cpu, insn);
    }
    cpu.state.gpr[RSP] += sizeof(u64) + static_cast<u16>(insn.imm);
    cpu.state.rip() = target;
    return Status::Branch;
}

ExecFn select_ret(Vcpu& cpu, Insn& insn) {
    if (insn.form == Form::None) {
        insn.imm = 0;
    }
    return plain64(cpu, insn) ? exec_ret64 : select_near_ret(insn);
}

// --- LOOP, JrCXZ --------------------------------------------------------------------------------

// LOOP: the count register of the address size is decremented without flags; branch if it is not 0
// (and ZF as LOOPE, LOOPNE ask). A faulting branch leaves the count as it was.
template <Op O>
Status exec_loop(Vcpu& cpu, const Insn& insn) {
    const u64 count = (cpu.state.gpr[RCX] - 1) & size_mask(insn.addrsize);
    bool taken = count != 0;
    if constexpr (O == Op::LOOPE) {
        taken = taken && cpu.state.flags.zf();
    } else if constexpr (O == Op::LOOPNE) {
        taken = taken && !cpu.state.flags.zf();
    }
    if (taken) {
        if (const Status status = branch_to(cpu, relative_target(cpu, insn));
            status != Status::Branch) {
            return status;
        }
    }
    write_gpr_masked(cpu, RCX, insn.addrsize, count);
    return taken ? Status::Branch : Status::Next;
}

Status exec_jrcxz(Vcpu& cpu, const Insn& insn) {
    const bool taken = (cpu.state.gpr[RCX] & size_mask(insn.addrsize)) == 0;
    return taken ? branch_to(cpu, relative_target(cpu, insn)) : Status::Next;
}

constexpr auto kRows = std::to_array<ExecRow>({
    {Op::JMP_NEAR, select_jmp},
    {Op::CALL_NEAR, select_call},
    {Op::RET_NEAR, select_ret},
    {Op::Jcc, select_jcc},
    {Op::JrCXZ, always<exec_jrcxz>},
    {Op::LOOP, always<exec_loop<Op::LOOP>>},
    {Op::LOOPE, always<exec_loop<Op::LOOPE>>},
    {Op::LOOPNE, always<exec_loop<Op::LOOPNE>>},
    {Op::UD, always<exec_undefined>},
    {Op::UD0, always<exec_undefined>},
    {Op::UD1, always<exec_undefined>},
    {Op::UD2, always<exec_undefined>},
});

}  // namespace

std::span<const ExecRow> exec_rows_branch() {
    return kRows;
}

}  // namespace droste
