// IRET in all modes. SDM Vol. 2A, "IRET/IRETD/IRETQ—Interrupt Return" (Operation).

#include "cpu/x86/mmu/mem_access.hpp"
#include "cpu/x86/seams/intercept.hpp"
#include "cpu/x86/system/debug_traps.hpp"
#include "cpu/x86/system/far_return.hpp"
#include "cpu/x86/system/protection.hpp"
#include "cpu/x86/system/segment.hpp"
#include "cpu/x86/system/shadow_stack.hpp"
#include "cpu/x86/system/task_switch.hpp"

#include <array>

namespace droste {

namespace {

struct Popped {
    u64 rip = 0;
    u64 selector = 0;
    u64 flags = 0;
};

Status pop_frame(Vcpu& cpu, unsigned bytes, Popped& out) {
    if (peek_sized(cpu, bytes, 0, out.rip) != Status::Next ||
        peek_sized(cpu, bytes, bytes, out.selector) != Status::Next ||
        peek_sized(cpu, bytes, 2 * bytes, out.flags) != Status::Next) {
        return Status::Fault;
    }
    return Status::Next;
}

// RF as popped is in force for the next instruction, so the end of this one must not clear it.
void load_flags(Vcpu& cpu, u64 value, u64 mask) {
    commit_flags(cpu, value, mask);
    cpu.step.marks &= ~step_mark::kRf;
}

constexpr u64 kAlways = rflags::kStatus | rflags::kTf | rflags::kDf | rflags::kNt;
constexpr u64 kOnly32 = rflags::kRf | rflags::kAc | rflags::kId;

// What protected-mode IRET may change at the privilege level it runs at.
u64 flags_mask(const Vcpu& cpu, unsigned bytes) {
    const u64 iopl = (cpu.state.rflags_system & rflags::kIopl) >> 12;
    u64 mask = kAlways;
    if (bytes != 2) {
        mask |= kOnly32;
    }
    if (cpu.mode.cpl <= iopl) {
        mask |= rflags::kIf;
    }
    if (cpu.mode.cpl == 0) {
        mask |= rflags::kIopl;
        if (bytes != 2) {
            mask |= rflags::kVif | rflags::kVip;
        }
    }
    return mask;
}

Status finish(Vcpu& cpu) {
    mode_changed(cpu);
    update_attention(cpu);
    return Status::Switched;
}

// Real-address mode, and virtual-8086 mode with IOPL 3: only the flags that may change differ.
Status return_16bit_style(Vcpu& cpu, const Insn& insn, const Popped& popped, u64 mask) {
    const Segment code = real_mode_segment(cpu.state.seg[CS], static_cast<u16>(popped.selector),
                                           cpu.mode.virtual8086);
    if (const Status status = check_entry_point(cpu, code, popped.rip); status != Status::Next) {
        return status;
    }
    release_stack(cpu, 3ULL * insn.opsize);
    commit_code(cpu, code, cpu.mode.cpl, popped.rip);
    load_flags(cpu, popped.flags, mask);
    return finish(cpu);
}

Status return_in_real_mode(Vcpu& cpu, const Insn& insn) {
    Popped popped;
    if (const Status status = pop_frame(cpu, insn.opsize, popped); status != Status::Next) {
        return status;
    }
    const u64 mask = kAlways | rflags::kIf | rflags::kIopl | (insn.opsize == 2 ? 0 : kOnly32);
    return return_16bit_style(cpu, insn, popped, mask);
}

Status return_in_v86_mode(Vcpu& cpu, const Insn& insn) {
    const u64 flags = cpu.state.rflags();
    const bool iopl3 = (flags & rflags::kIopl) == rflags::kIopl;
    const bool extensions = (cpu.state.cr4 & cr4::kVme) != 0;
    if (!iopl3 && (!extensions || insn.opsize != 2)) {
        return raise(cpu, Exception::GP, 0);
    }
    Popped popped;
    if (const Status status = pop_frame(cpu, insn.opsize, popped); status != Status::Next) {
        return status;
    }
    if (iopl3) {
        return return_16bit_style(cpu, insn, popped,
                                  kAlways | rflags::kIf | (insn.opsize == 2 ? 0 : kOnly32));
    }
    // The program's IF is VIF. SDM Vol. 3B, "Method 6: Software Interrupt Handling".
    const bool wants_interrupts = (popped.flags & rflags::kIf) != 0;
    if ((wants_interrupts && (flags & rflags::kVip) != 0) || (popped.flags & rflags::kTf) != 0) {
        return raise(cpu, Exception::GP, 0);
    }
    popped.flags = (popped.flags & ~rflags::kVif) | (wants_interrupts ? rflags::kVif : 0);
    return return_16bit_style(cpu, insn, popped, kAlways | rflags::kVif);
}

// Level 0 resumes a virtual-8086 program: ESP, SS, ES, DS, FS, GS follow the flags.
Status return_to_v86(Vcpu& cpu, const Popped& popped) {
    CpuState& s = cpu.state;
    std::array<u64, 6> rest{};  // ESP SS ES DS FS GS
    for (unsigned i = 0; i < rest.size(); ++i) {
        if (const Status status = peek_sized(cpu, 4, 12 + 4 * i, rest[i]); status != Status::Next) {
            return status;
        }
    }
    if (popped.rip > 0xFFFF) {
        return raise(cpu, Exception::GP, 0);
    }
    if (const Status status = leave_to_virtual8086(cpu); status != Status::Next) {
        return status;
    }
    load_flags(cpu, popped.flags, rflags::kWritable);
    s.gpr[RSP] = rest[0];
    static constexpr std::array kOrder = {SS, ES, DS, FS, GS};
    for (std::size_t i = 0; i < kOrder.size(); ++i) {
        s.seg[kOrder[i]] = real_mode_segment(s.seg[kOrder[i]], static_cast<u16>(rest[i + 1]), true);
    }
    s.seg[CS] = real_mode_segment(s.seg[CS], static_cast<u16>(popped.selector), true);
    s.rip() = popped.rip;
    return finish(cpu);
}

Status return_to_previous_task(Vcpu& cpu, const Insn& insn) {
    u16 link = 0;
    if (const Status status = load_system(cpu, static_cast<u32>(cpu.state.tr.base), link);
        status != Status::Next) {
        return status;
    }
    if (names_ldt(link)) {
        return raise(cpu, Exception::TS, selector_error(link));
    }
    Descriptor tss;
    if (const Status status = read_descriptor(cpu, link, Exception::TS, tss);
        status != Status::Next) {
        return status;
    }
    if (!is_busy_tss(cpu, tss)) {
        return raise(cpu, Exception::TS, selector_error(link));
    }
    if (!tss.present()) {
        return raise(cpu, Exception::NP, selector_error(link));
    }
    return switch_task(cpu, &insn, link, TaskSwitchSource::Iret, false, 0);
}

Status return_in_protected_mode(Vcpu& cpu, const Insn& insn) {
    const unsigned bytes = insn.opsize;
    if ((cpu.state.rflags_system & rflags::kNt) != 0) {
        return ia32e_mode(cpu) ? raise(cpu, Exception::GP, 0) : return_to_previous_task(cpu, insn);
    }
    Popped popped;
    if (const Status status = pop_frame(cpu, bytes, popped); status != Status::Next) {
        return status;
    }
    if (!ia32e_mode(cpu) && bytes == 4 && cpu.mode.cpl == 0 && (popped.flags & rflags::kVm) != 0) {
        return return_to_v86(cpu, popped);
    }
    ReturnTarget target;
    if (const Status status = check_return_segment(cpu, static_cast<u16>(popped.selector), target);
        status != Status::Next) {
        return status;
    }
    const u64 mask = flags_mask(cpu, bytes);
    // 64-bit mode pops SS:RSP whatever the levels.
    if (target.level == cpu.mode.cpl && !cpu.mode.long_mode64) {
        if (const Status status = check_entry_point(cpu, target.code, popped.rip);
            status != Status::Next) {
            return status;
        }
        if (const Status status =
                leave_level(cpu, target.code, target.level, popped.rip, ShadowReturn::Iret);
            status != Status::Next) {
            return status;
        }
        release_stack(cpu, 3ULL * bytes);
        commit_code(cpu, target.code, cpu.mode.cpl, popped.rip);
    } else {
        u64 rsp = 0;
        u64 stack_selector = 0;
        if (peek_sized(cpu, bytes, 3 * bytes, rsp) != Status::Next ||
            peek_sized(cpu, bytes, 4 * bytes, stack_selector) != Status::Next) {
            return Status::Fault;
        }
        if (const Status status = check_return_stack(cpu, static_cast<u16>(stack_selector), target);
            status != Status::Next) {
            return status;
        }
        if (const Status status = check_entry_point(cpu, target.code, popped.rip);
            status != Status::Next) {
            return status;
        }
        if (const Status status =
                leave_level(cpu, target.code, target.level, popped.rip, ShadowReturn::Iret);
            status != Status::Next) {
            return status;
        }
        commit_return_with_stack(cpu, target, popped.rip, rsp);
    }
    load_flags(cpu, popped.flags, mask);
    return finish(cpu);
}

}  // namespace

Status interrupt_return(Vcpu& cpu, const Insn& insn) {
    // NMIs are unblocked even if the rest faults. SDM Vol. 3C, "Information About NMI Unblocking
    // Due to IRET".
    if (cpu.non_root.intercepts != nullptr) {
        cpu.non_root.intercepts->iret_unblocks_nmi(
            cpu);  // real or virtual NMIs, or neither: VMX knows
    } else if ((cpu.state.interruptibility & blocking::kNmi) != 0) {
        cpu.state.interruptibility &= ~blocking::kNmi;
        update_attention(cpu);
    }
    if (!cpu.mode.protected_mode) {
        return return_in_real_mode(cpu, insn);
    }
    return cpu.mode.virtual8086 ? return_in_v86_mode(cpu, insn)
                                : return_in_protected_mode(cpu, insn);
}

}  // namespace droste
