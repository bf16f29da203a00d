// Instructions that handle shadow stacks: RDSSP, INCSSP, RSTORSSP, SAVEPREVSSP, SETSSBSY, CLRSSBSY,
// WRSS, WRUSS. SDM Vol. 2, the pages of those names. ENDBR is in interp/exec_branch_near.cpp.

#include "cpu/x86/exec/exec_table.hpp"
#include "cpu/x86/exec/operands.hpp"
#include "cpu/x86/mmu/paging.hpp"
#include "cpu/x86/system/exec_system.hpp"
#include "cpu/x86/system/shadow_stack.hpp"

#include <array>

namespace droste {

namespace {

Status general_protection(Vcpu& cpu) {
    return raise(cpu, Exception::GP, 0);
}

bool user(const Vcpu& cpu) {
    return cpu.mode.cpl == 3;
}

// RSTORSSP, CLRSSBSY and the writes fault on a misaligned address whatever CR0.AM says.
Status aligned_operand(Vcpu& cpu, const Insn& insn, unsigned bytes, LinearAddr& linear) {
    if (const Status status = operand_address(cpu, insn, bytes, true, linear);
        status != Status::Next) {
        return status;
    }
    if (cpu.mode.long_mode64 && !is_canonical(cpu, linear)) {
        return raise(cpu, insn.seg == SS ? Exception::SS : Exception::GP, 0);
    }
    return linear % bytes == 0 ? Status::Next : general_protection(cpu);
}

void set_only_carry(Vcpu& cpu, bool carry) {
    cpu.state.flags = LazyFlags::from_status(carry ? rflags::kCf : 0);
}

// A NOP where shadow stacks are off.
Status exec_rdssp(Vcpu& cpu, const Insn& insn) {
    if (shadow_stack_enabled(cpu, cpu.mode.cpl)) {
        write_gpr_sized(cpu, insn.rm, insn.width, cpu.state.ssp);
    }
    return Status::Next;
}

// Pops up to 255 entries; the first and the last one are read.
Status exec_incssp(Vcpu& cpu, const Insn& insn) {
    if (!shadow_stack_enabled(cpu, cpu.mode.cpl)) {
        return raise(cpu, Exception::UD);
    }
    const u64 count = cpu.state.gpr[insn.rm] & 0xFF;
    const u64 last = count == 0 ? 0 : count - 1;
    for (const u64 entry : {u64{0}, last}) {
        u64 unused = 0;
        if (const Status status = load_shadow_stack(cpu, cpu.state.ssp + entry * insn.width,
                                                    &unused, insn.width, user(cpu));
            status != Status::Next) {
            return status;
        }
    }
    cpu.state.ssp += count * insn.width;
    return Status::Next;
}

// The token in memory says where SSP was when the stack was left, bit 0: in 64-bit mode. In its
// place goes one that names the stack which is left now, bit 1 set.
Status exec_rstorssp(Vcpu& cpu, const Insn& insn) {
    CpuState& s = cpu.state;
    if (!shadow_stack_enabled(cpu, cpu.mode.cpl)) {
        return raise(cpu, Exception::UD);
    }
    LinearAddr linear = 0;
    if (const Status status = aligned_operand(cpu, insn, 8, linear); status != Status::Next) {
        return status;
    }
    u64 token = 0;
    if (const Status status = probe_shadow_stack(cpu, linear, 8, user(cpu));
        status != Status::Next) {
        return status;
    }
    if (const Status status = load_shadow_stack(cpu, linear, &token, 8, user(cpu));
        status != Status::Next) {
        return status;
    }
    const u64 wide = cpu.mode.long_mode64 ? 1 : 0;
    const bool legal = (token & 3) == wide && (wide != 0 || (token >> 32) == 0) &&
                       (((token & ~u64{1}) - 8) & ~u64{7}) == linear;
    if (!legal) {
        return raise(cpu, ControlProtection::Rstorssp);
    }
    const u64 previous = s.ssp | wide | 2;
    if (const Status status = store_shadow_stack(cpu, linear, &previous, 8, user(cpu));
        status != Status::Next) {
        return status;
    }
    s.ssp = linear;
    set_only_carry(cpu, (token & 4) != 0);
    return Status::Next;
}

// Behind RSTORSSP: pushes a token onto the stack that was left, so that it can be restored.
Status exec_saveprevssp(Vcpu& cpu, const Insn& /*insn*/) {
    CpuState& s = cpu.state;
    if (!shadow_stack_enabled(cpu, cpu.mode.cpl)) {
        return raise(cpu, Exception::UD);
    }
    if ((s.ssp & 7) != 0) {
        return general_protection(cpu);
    }
    u64 token = 0;
    if (const Status status = load_shadow_stack(cpu, s.ssp, &token, 8, user(cpu));
        status != Status::Next) {
        return status;
    }
    u64 popped = s.ssp + 8;
    if (s.flags.cf()) {  // an alignment hole, which is 0; outside 64-bit mode only
        u32 hole = 0;
        if (cpu.mode.long_mode64) {
            return general_protection(cpu);
        }
        if (const Status status = load_shadow_stack(cpu, popped, &hole, 4, user(cpu));
            status != Status::Next) {
            return status;
        }
        if (hole != 0) {
            return general_protection(cpu);
        }
        popped += 4;
    }
    if ((token & 2) == 0 || (!cpu.mode.long_mode64 && (token >> 32) != 0)) {
        return general_protection(cpu);
    }
    const u64 previous = token & ~u64{3};
    const u64 saved = previous | (cpu.mode.long_mode64 ? 1 : 0);
    constexpr u32 kPadding = 0;
    const u64 slot = (previous & ~u64{7}) - 8;
    if (const Status status = probe_shadow_stack(cpu, slot, 8, user(cpu)); status != Status::Next) {
        return status;
    }
    if (const Status status = store_shadow_stack(cpu, previous - 4, &kPadding, 4, user(cpu));
        status != Status::Next) {
        return status;
    }
    if (const Status status = store_shadow_stack(cpu, slot, &saved, 8, user(cpu));
        status != Status::Next) {
        return status;
    }
    s.ssp = popped;
    return Status::Next;
}

// What SETSSBSY and CLRSSBSY ask before anything else.
Status supervisor_only(Vcpu& cpu) {
    if (!shadow_stack_enabled(cpu, 0)) {
        return raise(cpu, Exception::UD);
    }
    return require_cpl0(cpu);
}

Status exec_setssbsy(Vcpu& cpu, const Insn& /*insn*/) {
    CpuState& s = cpu.state;
    if (const Status status = supervisor_only(cpu); status != Status::Next) {
        return status;
    }
    const u64 ssp = s.pl0_ssp;
    if ((ssp & 7) != 0) {
        return general_protection(cpu);
    }
    bool matched = cpu.mode.long_mode64 || (ssp >> 32) == 0;
    if (matched) {
        if (const Status status = exchange_token(cpu, ssp, ssp, ssp | kTokenBusy, matched);
            status != Status::Next) {
            return status;
        }
    }
    if (!matched) {
        return raise(cpu, ControlProtection::Setssbsy);
    }
    s.ssp = ssp;
    return Status::Next;
}

Status exec_clrssbsy(Vcpu& cpu, const Insn& insn) {
    if (const Status status = supervisor_only(cpu); status != Status::Next) {
        return status;
    }
    LinearAddr linear = 0;
    if (const Status status = aligned_operand(cpu, insn, 8, linear); status != Status::Next) {
        return status;
    }
    bool matched = false;
    if (const Status status = exchange_token(cpu, linear, linear | kTokenBusy, linear, matched);
        status != Status::Next) {
        return status;
    }
    set_only_carry(cpu, !matched);
    cpu.state.ssp = 0;
    return Status::Next;
}

Status write_shadow_stack(Vcpu& cpu, const Insn& insn, bool as_user) {
    LinearAddr linear = 0;
    if (const Status status = aligned_operand(cpu, insn, insn.mem_bytes, linear);
        status != Status::Next) {
        return status;
    }
    return store_shadow_stack(cpu, linear, &cpu.state.gpr[insn.reg], insn.mem_bytes, as_user);
}

Status exec_wrss(Vcpu& cpu, const Insn& insn) {
    const u64 control = cet_control(cpu.state, cpu.mode.cpl);
    if (!shadow_stack_enabled(cpu, cpu.mode.cpl) || (control & cet::kWriteShadowStack) == 0) {
        return raise(cpu, Exception::UD);
    }
    return write_shadow_stack(cpu, insn, user(cpu));
}

// Writes a user's shadow stack, from level 0.
Status exec_wruss(Vcpu& cpu, const Insn& insn) {
    if ((cpu.state.cr4 & cr4::kCet) == 0) {
        return raise(cpu, Exception::UD);
    }
    if (const Status status = require_cpl0(cpu); status != Status::Next) {
        return status;
    }
    return write_shadow_stack(cpu, insn, true);
}

constexpr auto kRows = std::to_array<ExecRow>({
    {Op::RDSSP, always<exec_rdssp>},
    {Op::INCSSP, always<exec_incssp>},
    {Op::RSTORSSP, always<exec_rstorssp>},
    {Op::SAVEPREVSSP, always<exec_saveprevssp>},
    {Op::SETSSBSY, always<exec_setssbsy>},
    {Op::CLRSSBSY, always<exec_clrssbsy>},
    {Op::WRSS, always<exec_wrss>},
    {Op::WRUSS, always<exec_wruss>},
});

}  // namespace

std::span<const ExecRow> exec_rows_cet() {
    return kRows;
}

}  // namespace droste
