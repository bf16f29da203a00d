// RET far, and the return to an outer privilege level that IRET shares.
// SDM Vol. 2B, "RET—Return From Procedure"; Vol. 3A, "Returning from a Called Procedure".

#include "cpu/x86/system/far_return.hpp"

#include "cpu/x86/mmu/mem_access.hpp"
#include "cpu/x86/system/protection.hpp"
#include "cpu/x86/system/segment.hpp"
#include "cpu/x86/system/shadow_stack.hpp"

namespace droste {

Status check_return_segment(Vcpu& cpu, u16 selector, ReturnTarget& out) {
    if (null_selector(selector)) {
        return raise(cpu, Exception::GP, 0);
    }
    Descriptor d;
    if (const Status status = read_descriptor(cpu, selector, Exception::GP, d);
        status != Status::Next) {
        return status;
    }
    const unsigned rpl = rpl_of(selector);
    const bool wrong_level = is_conforming(d) ? d.dpl() > rpl : d.dpl() != rpl;
    if (!is_code(d) || rpl < cpu.mode.cpl || wrong_level) {
        return raise(cpu, Exception::GP, selector_error(selector));
    }
    if (const Status status = check_code_mode_and_presence(cpu, selector, d);
        status != Status::Next) {
        return status;
    }
    if (const Status status = set_accessed(cpu, selector, d); status != Status::Next) {
        return status;
    }
    out.code = segment_from(selector, d);
    out.level = rpl;
    return Status::Next;
}

Status check_return_stack(Vcpu& cpu, u16 selector, ReturnTarget& target) {
    const bool to_64bit = ia32e_mode(cpu) && (target.code.rights & segment_rights::kL) != 0;
    if (!null_selector(selector)) {
        return load_stack_descriptor(cpu, selector, target.level, Exception::GP, target.stack);
    }
    if (!to_64bit || target.level == 3 || rpl_of(selector) != target.level) {
        return raise(cpu, Exception::GP, 0);
    }
    target.stack = null_segment(selector, target.level);
    return Status::Next;
}

void commit_return_with_stack(Vcpu& cpu, const ReturnTarget& target, u64 rip, u64 rsp) {
    CpuState& s = cpu.state;
    const bool wide = ia32e_mode(cpu) && (target.code.rights & segment_rights::kL) != 0;
    set_segment(cpu, SS, target.stack);
    s.gpr[RSP] = loaded_stack_pointer(s.gpr[RSP], target.stack, wide, rsp);
    const bool outward = target.level > cpu.mode.cpl;
    commit_code(cpu, target.code, target.level, rip);
    mode_changed(cpu);
    if (outward) {
        drop_inner_data_segments(cpu);
    }
}

namespace {

Status return_real(Vcpu& cpu, const Insn& insn, u32 release_bytes) {
    u64 rip = 0;
    u64 selector = 0;
    if (peek_sized(cpu, insn.opsize, 0, rip) != Status::Next ||
        peek_sized(cpu, insn.opsize, insn.opsize, selector) != Status::Next) {
        return Status::Fault;
    }
    const Segment code =
        real_mode_segment(cpu.state.seg[CS], static_cast<u16>(selector), cpu.mode.virtual8086);
    if (const Status status = check_entry_point(cpu, code, rip); status != Status::Next) {
        return status;
    }
    release_stack(cpu, 2ULL * insn.opsize + release_bytes);
    commit_code(cpu, code, cpu.mode.cpl, rip);
    mode_changed(cpu);
    return Status::Switched;
}

}  // namespace

Status far_return(Vcpu& cpu, const Insn& insn, u32 release_bytes) {
    if (!cpu.mode.protected_mode || cpu.mode.virtual8086) {
        return return_real(cpu, insn, release_bytes);
    }
    const unsigned bytes = insn.opsize;
    u64 rip = 0;
    u64 selector = 0;
    if (peek_sized(cpu, bytes, 0, rip) != Status::Next ||
        peek_sized(cpu, bytes, bytes, selector) != Status::Next) {
        return Status::Fault;
    }
    ReturnTarget target;
    if (const Status status = check_return_segment(cpu, static_cast<u16>(selector), target);
        status != Status::Next) {
        return status;
    }
    if (target.level == cpu.mode.cpl) {
        if (const Status status = check_entry_point(cpu, target.code, rip);
            status != Status::Next) {
            return status;
        }
        if (const Status status =
                leave_level(cpu, target.code, target.level, rip, ShadowReturn::FarReturn);
            status != Status::Next) {
            return status;
        }
        release_stack(cpu, 2ULL * bytes + release_bytes);
        commit_code(cpu, target.code, cpu.mode.cpl, rip);
        mode_changed(cpu);
        return Status::Switched;
    }
    u64 rsp = 0;
    u64 stack_selector = 0;
    const u64 above = 2ULL * bytes + release_bytes;
    if (peek_sized(cpu, bytes, above, rsp) != Status::Next ||
        peek_sized(cpu, bytes, above + bytes, stack_selector) != Status::Next) {
        return Status::Fault;
    }
    if (const Status status = check_return_stack(cpu, static_cast<u16>(stack_selector), target);
        status != Status::Next) {
        return status;
    }
    if (const Status status = check_entry_point(cpu, target.code, rip); status != Status::Next) {
        return status;
    }
    if (const Status status =
            leave_level(cpu, target.code, target.level, rip, ShadowReturn::FarReturn);
        status != Status::Next) {
        return status;
    }
    commit_return_with_stack(cpu, target, rip, rsp + release_bytes);
    return Status::Switched;
}

}  // namespace droste
