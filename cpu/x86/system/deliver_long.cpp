// Events in IA-32e mode: 64-bit gates, the interrupt stack table, 16-byte aligned frames that
// always hold SS:RSP. SDM Vol. 3A, "Exception and Interrupt Handling in 64-bit Mode".

#include "cpu/x86/mmu/mem_access.hpp"
#include "cpu/x86/mmu/paging.hpp"
#include "cpu/x86/system/deliver.hpp"
#include "cpu/x86/system/delivery.hpp"
#include "cpu/x86/system/protection.hpp"
#include "cpu/x86/system/shadow_stack.hpp"

#include <array>

namespace droste {

namespace {

Status read_gate(Vcpu& cpu, const Event& event, Gate& out) {
    const CpuState& s = cpu.state;
    const u32 entry = u32{event.vector} * 16;
    const u32 error = idt_error(event.vector);
    if (entry + 15 > s.idtr.limit) {
        return raise(cpu, Exception::GP, error);
    }
    std::array<u64, 2> halves{};
    if (const Status status = load_system(cpu, s.idtr.base + entry, halves);
        status != Status::Next) {
        return status;
    }
    out.descriptor.raw = halves[0];
    out.descriptor.raw_high = halves[1] & 0xFFFF'FFFF;
    const Descriptor& d = out.descriptor;
    const unsigned type = d.type();
    const bool legal =
        d.system() && (type == system_type::kInterruptGate32 || type == system_type::kTrapGate32);
    if (!legal || (is_software_interrupt(event) && d.dpl() < cpu.mode.cpl)) {
        return raise(cpu, Exception::GP, error);
    }
    return d.present() ? Status::Next : raise(cpu, Exception::NP, error);
}

Status read_handler_segment(Vcpu& cpu, u16 selector, Descriptor& out) {
    if (null_selector(selector)) {
        return raise(cpu, Exception::GP, 0);
    }
    if (const Status status = read_descriptor(cpu, selector, Exception::GP, out);
        status != Status::Next) {
        return status;
    }
    if (!is_code(out) || out.dpl() > cpu.mode.cpl || !is_64bit_code(out) || is_32bit_default(out)) {
        return raise(cpu, Exception::GP, selector_error(selector));
    }
    return out.present() ? set_accessed(cpu, selector, out)
                         : raise(cpu, Exception::NP, selector_error(selector));
}

// The frame in memory order, from the new RSP upwards; the error code lies below it.
struct Frame {
    std::array<u64, 6> words{};
    unsigned first = 0;  // 0 with an error code, 1 without

    unsigned bytes() const { return (6 - first) * 8; }
    const u64* data() const { return words.data() + first; }
};

Frame make_frame(const Vcpu& cpu, const Event& event) {
    const CpuState& s = cpu.state;
    Frame frame;
    frame.words = {event.error_code,   return_rip(cpu, event),
                   s.seg[CS].selector, pushed_rflags(cpu, event),
                   s.gpr[RSP],         s.seg[SS].selector};
    frame.first = event.has_error_code ? 0 : 1;
    return frame;
}

Status
store_stack(Vcpu& cpu, LinearAddr linear, const void* data, unsigned bytes, bool supervisor) {
    return supervisor ? store_system_slow(cpu, linear, data, bytes)
                      : store_slow(cpu, linear, data, bytes, SS);
}

// The frame is stored as one block. If that faults, it is pushed again word by word, from the top
// as the processor does, so that CR2 names the word that met the fault.
Status push_frame(Vcpu& cpu, const Frame& frame, u64 rsp, bool supervisor) {
    const Status status = store_stack(cpu, rsp, frame.data(), frame.bytes(), supervisor);
    if (status == Status::Next) [[likely]] {
        return status;
    }
    cpu.fault_is_vm_exit = false;
    for (unsigned offset = frame.bytes(); offset != 0; offset -= 8) {
        const u64 slot = rsp + offset - 8;
        if (const Status pushed =
                store_stack(cpu, slot, frame.data() + (offset - 8) / 8, 8, supervisor);
            pushed != Status::Next) {
            return pushed;
        }
    }
    return Status::Next;
}

}  // namespace

Status deliver_long(Vcpu& cpu, const Event& event) {
    CpuState& s = cpu.state;
    Gate gate;
    if (const Status status = read_gate(cpu, event, gate); status != Status::Next) {
        return status;
    }
    const u16 selector = gate.selector();
    Descriptor code;
    if (const Status status = read_handler_segment(cpu, selector, code); status != Status::Next) {
        return status;
    }
    const bool inner = !is_conforming(code) && code.dpl() < cpu.mode.cpl;
    const unsigned level = inner ? code.dpl() : cpu.mode.cpl;

    InnerStack stack{s.seg[SS], s.gpr[RSP]};
    if (inner || gate.ist() != 0) {
        const unsigned slot = gate.ist() != 0 ? ist_slot(gate.ist()) : rsp_slot(level);
        if (const Status status = inner_stack_ia32e(cpu, slot, level, stack);
            status != Status::Next) {
            return status;
        }
    }
    const Frame frame = make_frame(cpu, event);
    const u64 rsp = (stack.rsp & ~u64{0xF}) - frame.bytes();
    if (!is_canonical(cpu, rsp) || !is_canonical(cpu, rsp + frame.bytes() - 1)) {
        return raise(cpu, Exception::SS, 0);
    }
    const u64 entry_point = gate.offset64();
    if (!is_canonical(cpu, entry_point)) {
        return raise(cpu, Exception::GP, 0);
    }
    if (const Status status = push_frame(cpu, frame, rsp, inner); status != Status::Next) {
        return status;
    }
    ShadowCommit shadow;
    const ShadowFrame origin = shadow_frame(cpu, return_rip(cpu, event));
    if (const Status status = inner
                                  ? enter_inner_level(cpu, level, origin, gate.ist(), true, shadow)
                                  : enter_same_level(cpu, origin, gate.ist(), shadow);
        status != Status::Next) {
        return status;
    }

    commit_shadow(cpu, shadow);
    expect_endbranch_at(cpu, level);
    if (inner) {
        set_segment(cpu, SS, null_segment(static_cast<u16>(level), level));
    }
    s.gpr[RSP] = rsp;
    commit_code(cpu, segment_from(selector, code), level, entry_point);
    const bool clears_if = gate.descriptor.type() == system_type::kInterruptGate32;
    commit_flags(cpu, 0, rflags::kTf | rflags::kNt | rflags::kRf | (clears_if ? rflags::kIf : 0));
    mode_changed(cpu);
    return Status::Next;
}

}  // namespace droste
