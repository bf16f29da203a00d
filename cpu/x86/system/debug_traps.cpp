// Debug exceptions: breakpoint registers, single-step, and the shadows that postpone them.
// SDM Vol. 3B, "Debug Registers", "Debug Exceptions"; Vol. 3A, "Masking Exceptions and Interrupts
// When Switching Stacks".
//
// Instruction breakpoints are faults and are looked for before the instruction. Everything else is
// a trap: its DR6 bits gather in state.pending_debug and service_boundary() delivers them after the
// instruction. A data breakpoint costs nothing unless one is set: pages it touches have no TLB tag,
// so their accesses come through mem_slow.cpp, which asks here.

#include "cpu/x86/system/debug_traps.hpp"

#include "core/bits.hpp"
#include "cpu/x86/system/attention.hpp"
#include "cpu/x86/system/deliver.hpp"

#include <algorithm>

namespace droste {

namespace {

enum class BreakOn : u8 { Execute = 0, Write = 1, Io = 2, ReadWrite = 3 };

constexpr unsigned kBreakpoints = 4;

bool breakpoint_enabled(const CpuState& s, unsigned n) {
    return bits(s.dr7, 2 * n, 2 * n + 1) != 0;  // Ln or Gn
}
BreakOn break_on(const CpuState& s, unsigned n) {
    return static_cast<BreakOn>(bits(s.dr7, 16 + 4 * n, 17 + 4 * n));
}
u64 breakpoint_bytes(const CpuState& s, unsigned n) {
    static constexpr u64 kBytes[] = {1, 2, 8, 4};
    return kBytes[bits(s.dr7, 18 + 4 * n, 19 + 4 * n)];
}

// Breakpoint `n` covers LEN bytes from the address with its low bits ignored.
bool breakpoint_covers(const CpuState& s, unsigned n, u64 first, u64 count) {
    const u64 bytes = breakpoint_bytes(s, n);
    const u64 start = s.dr[n] & ~(bytes - 1);
    return first + count - 1 >= start && first <= start + bytes - 1;
}

bool any_breakpoint_enabled(const CpuState& s) {
    return (s.dr7 & 0xFF) != 0;
}

bool code_breakpoints_enabled(const CpuState& s) {
    if (!any_breakpoint_enabled(s)) {
        return false;
    }
    for (unsigned n = 0; n < kBreakpoints; ++n) {
        if (breakpoint_enabled(s, n) && break_on(s, n) == BreakOn::Execute) {
            return true;
        }
    }
    return false;
}

void hold_debug_trap(Vcpu& cpu, u64 conditions) {
    if (conditions != 0) {
        cpu.state.pending_debug |= conditions;
        cpu.request(attention::kStep);
        cpu.leave_block(
            leave::kTrap);  // the trap comes after this instruction, not after its block
    }
}

}  // namespace

bool step_needed_for(const Vcpu& cpu) {
    const CpuState& s = cpu.state;
    if (s.pending_debug != 0) {
        return true;
    }
    if (s.activity != Activity::Active) {
        return false;  // no instruction to step
    }
    return (s.rflags_system & (rflags::kTf | rflags::kRf)) != 0 ||
           (s.interruptibility & (blocking::kSti | blocking::kMovSs)) != 0 ||
           cpu.non_root.step_forced || code_breakpoints_enabled(s);
}

bool code_breakpoint_hit(Vcpu& cpu) {
    CpuState& s = cpu.state;
    const bool resume_flag = (s.rflags_system & rflags::kRf) != 0;
    cpu.step.marks =
        (s.interruptibility & step_mark::kShadows) | (resume_flag ? step_mark::kRf : 0);
    if (resume_flag || (s.interruptibility & blocking::kMovSs) != 0 || !any_breakpoint_enabled(s)) {
        return false;
    }
    const LinearAddr linear =
        cpu.mode.long_mode64 ? s.rip() : static_cast<u32>(s.seg[CS].base + s.rip());
    u64 hits = 0;
    for (unsigned n = 0; n < kBreakpoints; ++n) {
        if (breakpoint_enabled(s, n) && break_on(s, n) == BreakOn::Execute && s.dr[n] == linear) {
            hits |= bit(n);
        }
    }
    if (hits == 0) {
        return false;
    }
    Event event;
    event.vector = static_cast<u8>(Exception::DB);
    event.payload = hits;
    deliver(cpu, event);
    return true;
}

void after_instruction_in_step_mode(Vcpu& cpu, bool trap_flag_was_set, bool branch_taken) {
    CpuState& s = cpu.state;
    const u32 marks = cpu.step.marks;
    cpu.step.marks = 0;
    s.interruptibility &= ~(marks & step_mark::kShadows);
    if ((marks & step_mark::kRf) != 0) {
        s.rflags_system &= ~rflags::kRf;
    }
    // MOV SS and POP SS swallow their own single-step trap; breakpoint traps stay pending behind
    // them.
    const bool suppressed =
        (marks & step_mark::kNoSingleStep) != 0 || (s.interruptibility & blocking::kMovSs) != 0;
    const bool on_branches_only = (s.debugctl & debugctl::kBtf) != 0;
    if (trap_flag_was_set && !suppressed && (!on_branches_only || branch_taken)) {
        s.pending_debug |= dr6::kBs;
    }
    update_attention(cpu);
    if (cpu.non_root.step_forced) {
        cpu.request(attention::kVmx);  // the boundary is looked at behind HLT, too
    }
}

void note_data_access(Vcpu& cpu, LinearAddr linear, unsigned bytes, bool write) {
    const CpuState& s = cpu.state;
    u64 hits = 0;
    for (unsigned n = 0; n < kBreakpoints; ++n) {
        const BreakOn kind = break_on(s, n);
        const bool matches = kind == BreakOn::ReadWrite || (kind == BreakOn::Write && write);
        if (breakpoint_enabled(s, n) && matches && breakpoint_covers(s, n, linear, bytes)) {
            hits |= bit(n);
        }
    }
    hold_debug_trap(cpu, hits);
}

void note_io_access(Vcpu& cpu, u16 port, unsigned bytes) {
    const CpuState& s = cpu.state;
    if (!any_breakpoint_enabled(s) || (s.cr4 & cr4::kDe) == 0) {
        return;
    }
    u64 hits = 0;
    for (unsigned n = 0; n < kBreakpoints; ++n) {
        if (breakpoint_enabled(s, n) && break_on(s, n) == BreakOn::Io &&
            breakpoint_covers(s, n, port, bytes)) {
            hits |= bit(n);
        }
    }
    hold_debug_trap(cpu, hits);
}

bool data_breakpoints_in_page(const Vcpu& cpu, LinearAddr page) {
    const CpuState& s = cpu.state;
    if (!any_breakpoint_enabled(s)) {
        return false;
    }
    for (unsigned n = 0; n < kBreakpoints; ++n) {
        const BreakOn kind = break_on(s, n);
        if (breakpoint_enabled(s, n) && (kind == BreakOn::Write || kind == BreakOn::ReadWrite) &&
            breakpoint_covers(s, n, page & kPageMask, kPageBytes)) {
            return true;
        }
    }
    return false;
}

void debug_registers_changed(Vcpu& cpu) {
    if (any_breakpoint_enabled(cpu.state)) {
        cpu.tlb.flush_all(cpu);  // any context may hold a tag for a watched page
    }
    update_attention(cpu);
}

}  // namespace droste
