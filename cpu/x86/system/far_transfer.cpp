// JMP and CALL far: direct transfers, call gates, task gates and TSSs.
// SDM Vol. 3A, "Privilege Level Checking When Transferring Program Control Between Code Segments";
// Vol. 2A, "JMP—Jump", "CALL—Call Procedure" (Operation). RET and IRET are in far_return.cpp and
// interrupt_return.cpp.

#include "cpu/x86/mmu/mem_access.hpp"
#include "cpu/x86/mmu/paging.hpp"
#include "cpu/x86/system/protection.hpp"
#include "cpu/x86/system/segment.hpp"
#include "cpu/x86/system/shadow_stack.hpp"

#include <array>

namespace droste {

namespace {

enum class Transfer : u8 { Jump, Call };

struct Target {
    u16 selector = 0;
    u64 offset = 0;
    Segment code;
};

Status protection_fault(Vcpu& cpu, u16 selector) {
    return raise(cpu, Exception::GP, selector_error(selector));
}

u64 next_rip(const Vcpu& cpu, const Insn& insn) {
    return (cpu.state.rip() + insn.length) & cpu.mode.rip_mask;
}

// Pushes the return address, enters the target at the present privilege level. A 64-bit call gate
// pushes as its target will pop, onto the flat stack at RSP, in compatibility mode too.
Status enter_same_privilege(
    Vcpu& cpu, const Insn& insn, Transfer kind, unsigned push_bytes, const Target& target) {
    ShadowCommit shadow;
    const bool wide = cpu.mode.long_mode64 || push_bytes == 8;
    PendingStack stack(cpu, cpu.state.seg[SS], cpu.state.gpr[RSP], wide, false, 0);
    if (kind == Transfer::Call) {
        for (const u64 value : {u64{cpu.state.seg[CS].selector}, next_rip(cpu, insn)}) {
            if (const Status status = stack.push(value, push_bytes); status != Status::Next) {
                return status;
            }
        }
    }
    if (const Status status = check_entry_point(cpu, target.code, target.offset);
        status != Status::Next) {
        return status;
    }
    if (kind == Transfer::Call) {
        if (const Status status =
                enter_same_level(cpu, shadow_frame(cpu, next_rip(cpu, insn)), 0, shadow);
            status != Status::Next) {
            return status;
        }
    }
    commit_shadow(cpu, shadow);
    cpu.state.gpr[RSP] = stack.rsp();
    commit_code(cpu, target.code, cpu.mode.cpl, target.offset);
    if (cpu.mode.protected_mode && !cpu.mode.virtual8086) {
        expect_endbranch_at(cpu, cpu.mode.cpl);
    }
    mode_changed(cpu);
    return Status::Switched;
}

Status transfer_real(Vcpu& cpu, const Insn& insn, Transfer kind, u16 selector, u64 offset) {
    Target target;
    target.offset = offset;
    target.code = real_mode_segment(cpu.state.seg[CS], selector, cpu.mode.virtual8086);
    return enter_same_privilege(cpu, insn, kind, insn.opsize, target);
}

// A code segment named by the instruction itself.
Status transfer_direct(
    Vcpu& cpu, const Insn& insn, Transfer kind, u16 selector, u64 offset, Descriptor& d) {
    const bool privileged = is_conforming(d)
                                ? d.dpl() > cpu.mode.cpl
                                : (rpl_of(selector) > cpu.mode.cpl || d.dpl() != cpu.mode.cpl);
    if (privileged) {
        return protection_fault(cpu, selector);
    }
    if (const Status status = check_code_mode_and_presence(cpu, selector, d);
        status != Status::Next) {
        return status;
    }
    const bool wide = ia32e_mode(cpu) && is_64bit_code(d);
    if (const Status status = check_ssp_reachable(cpu, wide); status != Status::Next) {
        return status;
    }
    if (const Status status = set_accessed(cpu, selector, d); status != Status::Next) {
        return status;
    }
    return enter_same_privilege(cpu, insn, kind, insn.opsize,
                                {selector, offset, segment_from(selector, d)});
}

// --- call gates ---------------------------------------------------------------------------------

struct CallGate {
    Gate gate;
    unsigned bytes = 4;  // of one push: 2, 4 or 8 by the gate's type
    u64 offset = 0;
};

CallGate make_call_gate(const Vcpu& cpu, const Descriptor& d) {
    CallGate result;
    result.gate.descriptor = d;
    if (ia32e_mode(cpu)) {
        result.bytes = 8;
        result.offset = result.gate.offset64();
    } else if (d.type() == system_type::kCallGate32) {
        result.offset = result.gate.offset32();
    } else {
        result.bytes = 2;
        result.offset = result.gate.offset16();
    }
    return result;
}

// The parameters lie on the caller's stack, first one lowest.
Status copy_parameters(Vcpu& cpu, PendingStack& stack, unsigned count, unsigned bytes) {
    for (unsigned i = count; i-- > 0;) {
        u64 value = 0;
        if (const Status status = peek_sized(cpu, bytes, u64{i} * bytes, value);
            status != Status::Next) {
            return status;
        }
        if (const Status status = stack.push(value, bytes); status != Status::Next) {
            return status;
        }
    }
    return Status::Next;
}

Status
enter_inner_privilege(Vcpu& cpu, const Insn& insn, const CallGate& gate, const Target& target) {
    CpuState& s = cpu.state;
    const unsigned level = target.code.dpl();
    const bool wide = gate.bytes == 8;
    InnerStack inner;
    if (const Status status = wide ? inner_stack_ia32e(cpu, rsp_slot(level), level, inner)
                                   : inner_stack(cpu, level, inner);
        status != Status::Next) {
        return status;
    }
    PendingStack stack(cpu, inner.ss, inner.rsp, wide, true, selector_error(inner.ss.selector));
    for (const u64 value : {u64{s.seg[SS].selector}, s.gpr[RSP]}) {
        if (const Status status = stack.push(value, gate.bytes); status != Status::Next) {
            return status;
        }
    }
    if (!wide) {
        if (const Status status =
                copy_parameters(cpu, stack, gate.gate.parameter_count(), gate.bytes);
            status != Status::Next) {
            return status;
        }
    }
    for (const u64 value : {u64{s.seg[CS].selector}, next_rip(cpu, insn)}) {
        if (const Status status = stack.push(value, gate.bytes); status != Status::Next) {
            return status;
        }
    }
    if (const Status status = check_entry_point(cpu, target.code, target.offset);
        status != Status::Next) {
        return status;
    }
    ShadowCommit shadow;
    if (const Status status =
            enter_inner_level(cpu, level, shadow_frame(cpu, next_rip(cpu, insn)), 0, wide, shadow);
        status != Status::Next) {
        return status;
    }
    commit_shadow(cpu, shadow);
    set_segment(cpu, SS, inner.ss);
    s.gpr[RSP] = stack.rsp();
    commit_code(cpu, target.code, level, target.offset);
    expect_endbranch_at(cpu, level);
    mode_changed(cpu);
    return Status::Switched;
}

Status transfer_through_call_gate(
    Vcpu& cpu, const Insn& insn, Transfer kind, u16 gate_selector, const Descriptor& d) {
    // In IA-32e mode the second half carries a type field that must be 0.
    const bool bad_upper_half = ia32e_mode(cpu) && ((d.raw_high >> 40) & 0x1F) != 0;
    if (d.dpl() < cpu.mode.cpl || rpl_of(gate_selector) > d.dpl() || bad_upper_half) {
        return protection_fault(cpu, gate_selector);
    }
    if (!d.present()) {
        return raise(cpu, Exception::NP, selector_error(gate_selector));
    }
    const CallGate gate = make_call_gate(cpu, d);
    const u16 selector = gate.gate.selector();
    if (null_selector(selector)) {
        return raise(cpu, Exception::GP, 0);
    }
    Descriptor code;
    if (const Status status = read_descriptor(cpu, selector, Exception::GP, code);
        status != Status::Next) {
        return status;
    }
    const bool to_other_level = is_code(code) && !is_conforming(code) && code.dpl() < cpu.mode.cpl;
    const bool wrong_size = ia32e_mode(cpu) && (!is_64bit_code(code) || is_32bit_default(code));
    if (!is_code(code) || code.dpl() > cpu.mode.cpl || wrong_size ||
        (kind == Transfer::Jump && to_other_level)) {
        return protection_fault(cpu, selector);
    }
    if (!code.present()) {
        return raise(cpu, Exception::NP, selector_error(selector));
    }
    if (const Status status = set_accessed(cpu, selector, code); status != Status::Next) {
        return status;
    }
    const Target target{selector, gate.offset, segment_from(selector, code)};
    return to_other_level ? enter_inner_privilege(cpu, insn, gate, target)
                          : enter_same_privilege(cpu, insn, kind, gate.bytes, target);
}

// --- tasks --------------------------------------------------------------------------------------

Status
transfer_to_task(Vcpu& cpu, const Insn& insn, Transfer kind, u16 selector, const Descriptor& tss) {
    if (!is_available_tss(cpu, tss)) {
        return protection_fault(cpu, selector);
    }
    if (!tss.present()) {
        return raise(cpu, Exception::NP, selector_error(selector));
    }
    const auto source = kind == Transfer::Call ? TaskSwitchSource::Call : TaskSwitchSource::Jump;
    return switch_task(cpu, &insn, selector, source, false, 0);
}

Status transfer_through_task_gate(
    Vcpu& cpu, const Insn& insn, Transfer kind, u16 gate_selector, const Descriptor& d) {
    if (d.dpl() < cpu.mode.cpl || rpl_of(gate_selector) > d.dpl()) {
        return protection_fault(cpu, gate_selector);
    }
    if (!d.present()) {
        return raise(cpu, Exception::NP, selector_error(gate_selector));
    }
    const u16 selector = Gate{d}.selector();
    if (names_ldt(selector)) {
        return protection_fault(cpu, selector);
    }
    Descriptor tss;
    if (const Status status = read_descriptor(cpu, selector, Exception::GP, tss);
        status != Status::Next) {
        return status;
    }
    return transfer_to_task(cpu, insn, kind, selector, tss);
}

Status
transfer_to_tss(Vcpu& cpu, const Insn& insn, Transfer kind, u16 selector, const Descriptor& d) {
    if (d.dpl() < cpu.mode.cpl || d.dpl() < rpl_of(selector) || names_ldt(selector)) {
        return protection_fault(cpu, selector);
    }
    return transfer_to_task(cpu, insn, kind, selector, d);
}

Status transfer(Vcpu& cpu, const Insn& insn, Transfer kind, u16 selector, u64 offset) {
    if (!cpu.mode.protected_mode || cpu.mode.virtual8086) {
        return transfer_real(cpu, insn, kind, selector, offset);
    }
    if (null_selector(selector)) {
        return raise(cpu, Exception::GP, 0);
    }
    Descriptor d;
    if (const Status status = read_descriptor(cpu, selector, Exception::GP, d);
        status != Status::Next) {
        return status;
    }
    if (is_code(d)) {
        return transfer_direct(cpu, insn, kind, selector, offset, d);
    }
    if (!d.system()) {
        return protection_fault(cpu, selector);
    }
    const bool legacy = !ia32e_mode(cpu);
    switch (d.type()) {
    case system_type::kCallGate32: return transfer_through_call_gate(cpu, insn, kind, selector, d);
    case system_type::kCallGate16:
        return legacy ? transfer_through_call_gate(cpu, insn, kind, selector, d)
                      : protection_fault(cpu, selector);
    case system_type::kTaskGate:
        return legacy ? transfer_through_task_gate(cpu, insn, kind, selector, d)
                      : protection_fault(cpu, selector);
    case system_type::kTss16Available:
    case system_type::kTss16Busy:
    case system_type::kTss32Available:
    case system_type::kTss32Busy:
        return legacy ? transfer_to_tss(cpu, insn, kind, selector, d)
                      : protection_fault(cpu, selector);
    default: return protection_fault(cpu, selector);
    }
}

}  // namespace

Status far_jump(Vcpu& cpu, const Insn& insn, u16 selector, u64 offset) {
    return transfer(cpu, insn, Transfer::Jump, selector, offset);
}

Status far_call(Vcpu& cpu, const Insn& insn, u16 selector, u64 offset) {
    return transfer(cpu, insn, Transfer::Call, selector, offset);
}

}  // namespace droste
