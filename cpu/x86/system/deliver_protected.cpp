// Events in protected mode outside IA-32e mode: interrupt, trap and task gates, from rings and from
// virtual-8086 mode. SDM Vol. 3A, "Exception- or Interrupt-Handler Procedures", "Interrupt Tasks";
// Vol. 2A, "INT n/INTO/INT3/INT1—Call to Interrupt Procedure" (Operation). The delivery loop adds
// EXT to error codes.

#include "cpu/x86/mmu/mem_access.hpp"
#include "cpu/x86/seams/intercept.hpp"
#include "cpu/x86/system/deliver.hpp"
#include "cpu/x86/system/delivery.hpp"
#include "cpu/x86/system/protection.hpp"
#include "cpu/x86/system/shadow_stack.hpp"
#include "cpu/x86/system/task_switch.hpp"

namespace droste {

namespace {

struct InterruptGate {
    Gate gate;
    unsigned bytes = 4;      // of one push: 2 for a 16-bit gate
    bool clears_if = false;  // interrupt gate, not trap gate
    u64 entry_point = 0;
};

Status read_gate(Vcpu& cpu, const Event& event, Gate& out) {
    const CpuState& s = cpu.state;
    const u32 entry = u32{event.vector} * 8;
    const u32 error = idt_error(event.vector);
    if (entry + 7 > s.idtr.limit) {
        return raise(cpu, Exception::GP, error);
    }
    if (const Status status =
            load_system(cpu, static_cast<u32>(s.idtr.base + entry), out.descriptor.raw);
        status != Status::Next) {
        return status;
    }
    const Descriptor& d = out.descriptor;
    const unsigned type = d.type();
    const bool legal =
        d.system() && (type == system_type::kTaskGate || type == system_type::kInterruptGate16 ||
                       type == system_type::kTrapGate16 || type == system_type::kInterruptGate32 ||
                       type == system_type::kTrapGate32);
    if (!legal || (is_software_interrupt(event) && d.dpl() < cpu.mode.cpl)) {
        return raise(cpu, Exception::GP, error);
    }
    return d.present() ? Status::Next : raise(cpu, Exception::NP, error);
}

Status deliver_to_task(Vcpu& cpu, const Event& event, const Gate& gate) {
    const u16 selector = gate.selector();
    const u32 error = selector_error(selector);
    if (names_ldt(selector)) {
        return raise(cpu, Exception::GP, error);
    }
    Descriptor tss;
    if (const Status status = read_descriptor(cpu, selector, Exception::GP, tss);
        status != Status::Next) {
        return status;
    }
    if (!is_available_tss(cpu, tss)) {
        return raise(cpu, Exception::GP, error);
    }
    if (!tss.present()) {
        return raise(cpu, Exception::NP, error);
    }
    TaskSwitch request;
    request.selector = selector;
    request.source = TaskSwitchSource::Gate;
    request.return_rip = return_rip(cpu, event);
    request.saved_rflags = pushed_rflags(cpu, event);
    request.has_error_code = event.has_error_code;
    request.error_code = event.error_code;
    const Status status = perform_task_switch(cpu, request);
    // Switched by a switch means success here; only a VM exit must be told apart.
    return status == Status::Switched && !request.exited ? Status::Next : status;
}

// The code segment a gate leads to: #GP, #NP.
Status read_handler_segment(Vcpu& cpu, u16 selector, Descriptor& out) {
    if (null_selector(selector)) {
        return raise(cpu, Exception::GP, 0);
    }
    if (const Status status = read_descriptor(cpu, selector, Exception::GP, out);
        status != Status::Next) {
        return status;
    }
    if (!is_code(out) || out.dpl() > cpu.mode.cpl) {
        return raise(cpu, Exception::GP, selector_error(selector));
    }
    return out.present() ? Status::Next : raise(cpu, Exception::NP, selector_error(selector));
}

Status push_return_frame(Vcpu& cpu, PendingStack& stack, const Event& event, unsigned bytes) {
    const u64 frame[] = {pushed_rflags(cpu, event), cpu.state.seg[CS].selector,
                         return_rip(cpu, event)};
    for (const u64 value : frame) {
        if (const Status status = stack.push(value, bytes); status != Status::Next) {
            return status;
        }
    }
    return event.has_error_code ? stack.push(event.error_code, bytes) : Status::Next;
}

void enter(Vcpu& cpu, const InterruptGate& gate, const Segment& code, unsigned cpl) {
    commit_code(cpu, code, cpl, gate.entry_point);
    commit_flags(cpu, 0,
                 rflags::kTf | rflags::kNt | rflags::kRf | (gate.clears_if ? rflags::kIf : 0));
}

Status
same_privilege(Vcpu& cpu, const Event& event, const InterruptGate& gate, const Segment& code) {
    PendingStack stack(cpu);
    if (const Status status = push_return_frame(cpu, stack, event, gate.bytes);
        status != Status::Next) {
        return status;
    }
    ShadowCommit shadow;
    if (const Status status =
            enter_same_level(cpu, shadow_frame(cpu, return_rip(cpu, event)), 0, shadow);
        status != Status::Next) {
        return status;
    }
    commit_shadow(cpu, shadow);
    cpu.state.gpr[RSP] = stack.rsp();
    enter(cpu, gate, code, cpu.mode.cpl);
    expect_endbranch_at(cpu, cpu.mode.cpl);
    mode_changed(cpu);
    return Status::Next;
}

Status
inner_privilege(Vcpu& cpu, const Event& event, const InterruptGate& gate, const Segment& code) {
    CpuState& s = cpu.state;
    const unsigned level = code.dpl();
    const bool from_v86 = cpu.mode.virtual8086;
    InnerStack inner;
    if (const Status status = inner_stack(cpu, level, inner); status != Status::Next) {
        return status;
    }
    PendingStack stack(cpu, inner.ss, inner.rsp, false, true, selector_error(inner.ss.selector));
    if (from_v86) {
        for (const SegReg reg : {GS, FS, DS, ES}) {
            if (const Status status = stack.push(s.seg[reg].selector, gate.bytes);
                status != Status::Next) {
                return status;
            }
        }
    }
    for (const u64 value : {u64{s.seg[SS].selector}, s.gpr[RSP]}) {
        if (const Status status = stack.push(value, gate.bytes); status != Status::Next) {
            return status;
        }
    }
    if (const Status status = push_return_frame(cpu, stack, event, gate.bytes);
        status != Status::Next) {
        return status;
    }
    ShadowCommit shadow;
    if (const Status status = enter_inner_level(
            cpu, level, shadow_frame(cpu, return_rip(cpu, event)), 0, false, shadow);
        status != Status::Next) {
        return status;
    }
    commit_shadow(cpu, shadow);
    if (from_v86) {
        s.rflags_system &= ~rflags::kVm;
        for (const SegReg reg : {GS, FS, DS, ES}) {
            s.seg[reg] = null_segment(0);
        }
        mode_changed(cpu);
    }
    set_segment(cpu, SS, inner.ss);
    s.gpr[RSP] = stack.rsp();
    enter(cpu, gate, code, level);
    expect_endbranch_at(cpu, level);
    mode_changed(cpu);
    return Status::Next;
}

}  // namespace

Status deliver_protected(Vcpu& cpu, const Event& event) {
    if (cpu.mode.virtual8086 && event.type == EventType::SoftwareInterrupt) {
        V86Redirection redirection{};
        if (const Status status = v86_redirection(cpu, event.vector, redirection);
            status != Status::Next) {
            return status;
        }
        if (redirection == V86Redirection::Program8086) {
            return deliver_to_8086_program(cpu, event);
        }
    }
    InterruptGate gate;
    if (const Status status = read_gate(cpu, event, gate.gate); status != Status::Next) {
        return status;
    }
    const unsigned type = gate.gate.descriptor.type();
    if (type == system_type::kTaskGate) {
        return deliver_to_task(cpu, event, gate.gate);
    }
    const bool wide = (type & 8) != 0;
    gate.bytes = wide ? 4 : 2;
    gate.clears_if = type == system_type::kInterruptGate16 || type == system_type::kInterruptGate32;
    gate.entry_point = wide ? gate.gate.offset32() : gate.gate.offset16();

    const u16 selector = gate.gate.selector();
    Descriptor code;
    if (const Status status = read_handler_segment(cpu, selector, code); status != Status::Next) {
        return status;
    }
    const bool inner = !is_conforming(code) && code.dpl() < cpu.mode.cpl;
    // From virtual-8086 mode only a handler at level 0 will do.
    if (cpu.mode.virtual8086 && (!inner || code.dpl() != 0)) {
        return raise(cpu, Exception::GP, selector_error(selector));
    }
    if (const Status status = set_accessed(cpu, selector, code); status != Status::Next) {
        return status;
    }
    const Segment segment = segment_from(selector, code);
    if (const Status status = check_entry_point(cpu, segment, gate.entry_point);
        status != Status::Next) {
        return status;
    }
    return inner ? inner_privilege(cpu, event, gate, segment)
                 : same_privilege(cpu, event, gate, segment);
}

}  // namespace droste
