// Task switching with 32-bit and 16-bit TSSs. SDM Vol. 3A, "Task Switching", Table "Exception
// Conditions Checked During a Task Switch".
//
// Up to the point of no return (TR is loaded) only memory has been written: the outgoing TSS, the
// back link and the busy bits, all of which a restarted switch writes again. From there on the
// processor runs in the new task: its registers are loaded first with unusable segments, then each
// segment is qualified, so that a fault finds the new task's CS:EIP and selectors to save, as the
// manual says.

#include "cpu/x86/system/task_switch.hpp"

#include "cpu/x86/mmu/mem_access.hpp"
#include "cpu/x86/seams/intercept.hpp"
#include "cpu/x86/system/control_regs.hpp"
#include "cpu/x86/system/debug_traps.hpp"
#include "cpu/x86/system/protection.hpp"

#include <array>

namespace droste {

namespace {

// What a TSS says about a task.
struct TaskState {
    u32 cr3 = 0;
    u32 eip = 0;
    u32 eflags = 0;
    std::array<u32, 8> gpr{};
    std::array<u16, kSegRegCount> selectors{};
    u16 ldt = 0;
    bool debug_trap = false;
};

// SDM Vol. 3A, Figure "32-Bit Task-State Segment (TSS)": the part a switch saves, EIP (20h) to GS
// (5Fh).
struct SavedTask32 {
    u32 eip, eflags;
    std::array<u32, 8> gpr;
    struct Slot {
        u16 selector, reserved;
    };
    std::array<Slot, 6> selectors;
};
static_assert(sizeof(SavedTask32) == 0x40);
constexpr u32 kSaved32 = 0x20, kCr3 = 0x1C, kLdt32 = 0x60, kTrap = 0x64;
constexpr u32 kMinimumLimit32 = 0x67;

// Figure "16-Bit TSS Format": IP (0Eh) to DS (29h).
struct SavedTask16 {
    u16 ip, flags;
    std::array<u16, 8> gpr;
    std::array<u16, 4> selectors;
};
static_assert(sizeof(SavedTask16) == 0x1C);
constexpr u32 kSaved16 = 0x0E, kLdt16 = 0x2A;
constexpr u32 kMinimumLimit16 = 0x2B;

bool is_32bit(const Segment& tss) {
    return (tss.type() & 8) != 0;
}

LinearAddr field(const Segment& tss, u32 offset) {
    return static_cast<u32>(tss.base + offset);
}

Status read_task32(Vcpu& cpu, const Segment& tss, TaskState& out) {
    SavedTask32 saved{};
    u16 trap = 0;
    if (load_system(cpu, field(tss, kSaved32), saved) != Status::Next ||
        load_system(cpu, field(tss, kCr3), out.cr3) != Status::Next ||
        load_system(cpu, field(tss, kLdt32), out.ldt) != Status::Next ||
        load_system(cpu, field(tss, kTrap), trap) != Status::Next) {
        return Status::Fault;
    }
    out.eip = saved.eip;
    out.eflags = saved.eflags;
    out.gpr = saved.gpr;
    for (std::size_t i = 0; i < saved.selectors.size(); ++i) {
        out.selectors[i] = saved.selectors[i].selector;
    }
    out.debug_trap = (trap & 1) != 0;
    return Status::Next;
}

Status read_task16(Vcpu& cpu, const Segment& tss, TaskState& out) {
    SavedTask16 saved{};
    if (load_system(cpu, field(tss, kSaved16), saved) != Status::Next ||
        load_system(cpu, field(tss, kLdt16), out.ldt) != Status::Next) {
        return Status::Fault;
    }
    out.eip = saved.ip;
    out.eflags = saved.flags;
    for (std::size_t i = 0; i < saved.gpr.size(); ++i) {
        out.gpr[i] = saved.gpr[i];
    }
    for (std::size_t i = 0; i < saved.selectors.size(); ++i) {
        out.selectors[i] = saved.selectors[i];
    }
    return Status::Next;
}

// Stores the current task in its TSS in one write that faults before it changes anything.
Status save_task(Vcpu& cpu, const TaskSwitch& request, u64 rflags) {
    const CpuState& s = cpu.state;
    if (is_32bit(s.tr)) {
        SavedTask32 saved{};
        if (const Status status = load_system(cpu, field(s.tr, kSaved32), saved);
            status != Status::Next) {
            return status;
        }
        saved.eip = static_cast<u32>(request.return_rip);
        saved.eflags = static_cast<u32>(rflags);
        for (std::size_t i = 0; i < saved.gpr.size(); ++i) {
            saved.gpr[i] = static_cast<u32>(s.gpr[i]);
        }
        for (std::size_t i = 0; i < saved.selectors.size(); ++i) {
            saved.selectors[i].selector = s.seg[i].selector;
        }
        return store_system(cpu, field(s.tr, kSaved32), saved);
    }
    SavedTask16 saved{};
    saved.ip = static_cast<u16>(request.return_rip);
    saved.flags = static_cast<u16>(rflags);
    for (std::size_t i = 0; i < saved.gpr.size(); ++i) {
        saved.gpr[i] = static_cast<u16>(s.gpr[i]);
    }
    for (std::size_t i = 0; i < saved.selectors.size(); ++i) {
        saved.selectors[i] = s.seg[i].selector;
    }
    return store_system(cpu, field(s.tr, kSaved16), saved);
}

bool is_nested(TaskSwitchSource source) {
    return source == TaskSwitchSource::Call || source == TaskSwitchSource::Gate;
}

// Everything in memory that says which task runs.
Status switch_memory(Vcpu& cpu, const TaskSwitch& request, const Segment& next) {
    const CpuState& s = cpu.state;
    const u64 rflags = request.source == TaskSwitchSource::Iret
                           ? request.saved_rflags & ~rflags::kNt
                           : request.saved_rflags;
    if (const Status status = save_task(cpu, request, rflags); status != Status::Next) {
        return status;
    }
    if (is_nested(request.source)) {
        if (const Status status = store_system(cpu, field(next, 0), s.tr.selector);
            status != Status::Next) {
            return status;
        }
    } else if (const Status status = set_tss_busy(cpu, s.tr.selector, false);
               status != Status::Next) {
        return status;
    }
    return request.source == TaskSwitchSource::Iret ? Status::Next
                                                    : set_tss_busy(cpu, request.selector, true);
}

// The point of no return: registers of the new task, segments unusable until they are qualified.
void load_registers(Vcpu& cpu,
                    const TaskSwitch& request,
                    const Segment& next,
                    const TaskState& task) {
    CpuState& s = cpu.state;
    s.tr = next;
    s.tr.rights |= system_type::kBusyBit;
    s.set_rflags(task.eflags | (is_nested(request.source) ? rflags::kNt : 0));
    s.rip() = task.eip;
    for (std::size_t i = 0; i < task.gpr.size(); ++i) {
        s.gpr[i] = task.gpr[i];
    }
    const bool virtual8086 = (s.rflags_system & rflags::kVm) != 0;
    const unsigned cpl = rpl_of(task.selectors[CS]);
    for (std::size_t i = 0; i < task.selectors.size(); ++i) {
        s.seg[i] = virtual8086 ? real_mode_segment(s.seg[i], task.selectors[i], true)
                               : null_segment(task.selectors[i], cpl);
    }
    s.ldtr = null_segment(task.ldt);
    s.cr0 |= cr0::kTs;
    constexpr u64 kLocalEnables = 0x155;  // L0-L3, LE
    s.dr7 &= ~kLocalEnables;
    s.interruptibility &= ~(blocking::kSti | blocking::kMovSs);
    cpu.step.marks = step_mark::kNoSingleStep;
    if (task.debug_trap) {
        s.pending_debug |= dr6::kBt;
    }
    mode_changed(cpu);
}

Status qualify_ldt(Vcpu& cpu, u16 selector) {
    if (null_selector(selector)) {
        return Status::Next;
    }
    if (names_ldt(selector)) {
        return raise(cpu, Exception::TS, selector_error(selector));
    }
    Descriptor d;
    if (const Status status = read_descriptor(cpu, selector, Exception::TS, d);
        status != Status::Next) {
        return status;
    }
    if (!d.system() || d.type() != system_type::kLdt || !d.present()) {
        return raise(cpu, Exception::TS, selector_error(selector));
    }
    cpu.state.ldtr = system_segment_from(selector, d);
    return Status::Next;
}

Status qualify_code(Vcpu& cpu, u16 selector) {
    if (null_selector(selector)) {
        return raise(cpu, Exception::TS, selector_error(selector));
    }
    Descriptor d;
    if (const Status status = read_descriptor(cpu, selector, Exception::TS, d);
        status != Status::Next) {
        return status;
    }
    const unsigned rpl = rpl_of(selector);
    if (!is_code(d) || (is_conforming(d) ? d.dpl() > rpl : d.dpl() != rpl)) {
        return raise(cpu, Exception::TS, selector_error(selector));
    }
    if (!d.present()) {
        return raise(cpu, Exception::NP, selector_error(selector));
    }
    if (const Status status = set_accessed(cpu, selector, d); status != Status::Next) {
        return status;
    }
    set_segment(cpu, CS, segment_from(selector, d));
    return Status::Next;
}

Status qualify_stack_and_data(Vcpu& cpu, const TaskState& task) {
    const unsigned cpl = rpl_of(task.selectors[CS]);
    const u16 stack = task.selectors[SS];
    if (null_selector(stack)) {
        return raise(cpu, Exception::TS, selector_error(stack));
    }
    Segment segment;
    if (const Status status = load_stack_descriptor(cpu, stack, cpl, Exception::TS, segment);
        status != Status::Next) {
        return status;
    }
    set_segment(cpu, SS, segment);
    for (const SegReg reg : {DS, ES, FS, GS}) {
        if (const Status status =
                load_data_descriptor(cpu, task.selectors[reg], cpl, Exception::TS, segment);
            status != Status::Next) {
            return status;
        }
        set_segment(cpu, reg, segment);
    }
    return Status::Next;
}

// In the new task: paging, LDT, segments, entry point, error code.
Status qualify_task(Vcpu& cpu, const TaskSwitch& request, const TaskState& task) {
    CpuState& s = cpu.state;
    if (is_32bit(s.tr) && (s.cr0 & cr0::kPg) != 0) {
        if (const Status status = write_cr3(cpu, task.cr3); status != Status::Next) {
            return status;
        }
    }
    if (const Status status = qualify_ldt(cpu, task.ldt); status != Status::Next) {
        return status;
    }
    if (!cpu.mode.virtual8086) {
        if (const Status status = qualify_code(cpu, task.selectors[CS]); status != Status::Next) {
            return status;
        }
        if (const Status status = qualify_stack_and_data(cpu, task); status != Status::Next) {
            return status;
        }
        mode_changed(cpu);
    }
    if (request.has_error_code) {
        PendingStack stack(cpu);
        if (const Status status = stack.push(request.error_code, is_32bit(s.tr) ? 4 : 2);
            status != Status::Next) {
            return status;
        }
        s.gpr[RSP] = stack.rsp();
    }
    return check_entry_point(cpu, s.seg[CS], s.rip());
}

}  // namespace

Status perform_task_switch(Vcpu& cpu, TaskSwitch& request) {
    Descriptor descriptor;
    if (const Status status = read_descriptor(cpu, request.selector, Exception::TS, descriptor);
        status != Status::Next) {
        return status;
    }
    const Segment next = system_segment_from(request.selector, descriptor);
    if (next.limit < (is_32bit(next) ? kMinimumLimit32 : kMinimumLimit16)) {
        return raise(cpu, Exception::TS, selector_error(request.selector));
    }
    if (cpu.non_root.intercepts != nullptr &&
        cpu.non_root.intercepts->task_switch(cpu, request.insn, request.selector,
                                             static_cast<unsigned>(request.source))) {
        request.exited = true;
        return Status::Switched;
    }
    TaskState task;
    if (const Status status =
            is_32bit(next) ? read_task32(cpu, next, task) : read_task16(cpu, next, task);
        status != Status::Next) {
        return status;
    }
    if (const Status status = switch_memory(cpu, request, next); status != Status::Next) {
        return status;
    }
    load_registers(cpu, request, next, task);
    const Status status = qualify_task(cpu, request, task);
    mode_changed(cpu);
    update_attention(cpu);
    return status == Status::Next ? Status::Switched : status;
}

Status switch_task(Vcpu& cpu,
                   const Insn* insn,
                   u16 tss_selector,
                   TaskSwitchSource source,
                   bool has_error_code,
                   u32 error_code) {
    TaskSwitch request;
    request.insn = insn;
    request.selector = tss_selector;
    request.source = source;
    request.return_rip =
        (cpu.state.rip() + (insn != nullptr ? insn->length : 0)) & cpu.mode.rip_mask;
    request.saved_rflags = cpu.state.rflags() & ~rflags::kRf;
    request.has_error_code = has_error_code;
    request.error_code = error_code;
    return perform_task_switch(cpu, request);
}

}  // namespace droste
