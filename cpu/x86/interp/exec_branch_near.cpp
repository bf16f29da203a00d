// CALL, JMP and RET of every width, with shadow stacks and indirect-branch tracking where they are
// on, and ENDBR. SDM Vol. 1, "Control-flow Enforcement Technology (CET)"; Vol. 2, "CALL", "JMP",
// "RET", "ENDBR64".
//
// The tracker is part of the block key: after an indirect branch the target is looked up among
// blocks that were decoded to be waited for, whose only instruction is ENDBR, or else one that
// raises #CP.

#include "cpu/x86/interp/exec_branch_near.hpp"

#include "cpu/x86/exec/exec_table.hpp"
#include "cpu/x86/exec/operands.hpp"
#include "cpu/x86/interp/branch.hpp"
#include "cpu/x86/system/cet.hpp"
#include "cpu/x86/system/shadow_stack.hpp"

namespace droste {
namespace {

// Addresses on shadow stacks are 8 bytes in 64-bit mode, else 4.
template <typename T>
constexpr unsigned kShadowBytes = sizeof(T) == 8 ? 8 : 4;

bool on_shadow_stack(const Vcpu& cpu) {
    return (cpu.mode.cet & Vcpu::kCetShadowStack) != 0;
}

// After an indirect branch, unless it is suppressed or the prefix excuses it.
void track(Vcpu& cpu, const Insn& insn) {
    if ((cpu.mode.cet & Vcpu::kCetTracked) == 0) {
        return;
    }
    const u64 control = cet_control(cpu.state, cpu.mode.cpl);
    const bool excused = (insn.flags & kInsnNoTrack) != 0 && (control & cet::kNoTrack) != 0;
    if ((control & cet::kSuppress) != 0 || excused) {
        return;
    }
    wait_for_endbranch(cpu);
}

void stop_waiting(Vcpu& cpu, u64 suppress) {
    u64& control = cet_control(cpu.state, cpu.mode.cpl);
    control = (control & ~(cet::kTracker | cet::kSuppress)) | suppress;
    cpu.mode.cet = static_cast<u8>(cpu.mode.cet & ~unsigned{Vcpu::kCetWaiting});
    refresh_mode_key(cpu);
}

// RSP changes only if both pushes succeed.
template <typename T>
Status call_to(Vcpu& cpu, const Insn& insn, u64 target, bool shadow) {
    if (const Status status = check_target(cpu, target); status != Status::Next) {
        return status;
    }
    const auto back = static_cast<T>(next_rip(cpu, insn));
    const u64 rsp = cpu.state.gpr[RSP];
    if (const Status status = push<T>(cpu, back); status != Status::Next) {
        return status;
    }
    if (shadow) {
        if (const Status status = push_shadow(cpu, back, kShadowBytes<T>); status != Status::Next) {
            cpu.state.gpr[RSP] = rsp;
            return status;
        }
    }
    cpu.state.rip() = target;
    return Status::Branch;
}

// A call of the next instruction, which is how code finds its own address, pushes no shadow.
struct CallRelative {
    template <typename T>
    static Status exec(Vcpu& cpu, const Insn& insn) {
        return call_to<T>(cpu, insn, relative_target(cpu, insn),
                          on_shadow_stack(cpu) && insn.imm != 0);
    }
};
struct CallIndirect {
    template <typename T>
    static Status exec(Vcpu& cpu, const Insn& insn) {
        T target = 0;
        if (const Status status = read_e<T>(cpu, insn, target); status != Status::Next) {
            return status;
        }
        const Status status = call_to<T>(cpu, insn, target, on_shadow_stack(cpu));
        if (status == Status::Branch) {
            track(cpu, insn);
        }
        return status;
    }
};
struct JmpIndirect {
    template <typename T>
    static Status exec(Vcpu& cpu, const Insn& insn) {
        T target = 0;
        if (const Status status = read_e<T>(cpu, insn, target); status != Status::Next) {
            return status;
        }
        const Status status = branch_to(cpu, target);
        if (status == Status::Branch) {
            track(cpu, insn);
        }
        return status;
    }
};
struct RetNear {
    template <typename T>
    static Status exec(Vcpu& cpu, const Insn& insn) {
        T target = 0;
        if (const Status status = peek<T>(cpu, target); status != Status::Next) {
            return status;
        }
        if (const Status status = check_target(cpu, target); status != Status::Next) {
            return status;
        }
        if (on_shadow_stack(cpu)) {
            u64 expected = 0;
            if (const Status status = peek_shadow(cpu, kShadowBytes<T>, expected);
                status != Status::Next) {
                return status;
            }
            if (expected != target) {
                return raise(cpu, ControlProtection::NearReturn);
            }
            cpu.state.ssp += kShadowBytes<T>;
        }
        release_stack(cpu, sizeof(T) + static_cast<u16>(insn.imm));
        cpu.state.rip() = target;
        return Status::Branch;
    }
};

// ENDBR64 counts in 64-bit mode, ENDBR32 elsewhere.
bool endbranch_of_mode(const Vcpu& cpu, const Insn& insn) {
    constexpr u8 kEndbr64 = 0xFA;
    return insn.op == Op::ENDBR && (insn.modrm == kEndbr64) == cpu.mode.long_mode64;
}

Status exec_endbranch(Vcpu& cpu, const Insn& /*insn*/) {
    stop_waiting(cpu, 0);
    return Status::Next;
}
Status exec_no_endbranch(Vcpu& /*cpu*/, const Insn& /*insn*/) {
    return Status::Next;
}

ExecFn select_endbranch(Vcpu& cpu, Insn& insn) {
    const bool counts = (cpu.mode.cet & Vcpu::kCetTracked) != 0 && endbranch_of_mode(cpu, insn);
    return counts ? exec_endbranch : exec_no_endbranch;
}

// Does the bit map of pages that hold code without ENDBR cover this instruction?
Status in_legacy_page(Vcpu& cpu, bool& legacy) {
    const u64 control = cet_control(cpu.state, cpu.mode.cpl);
    const u64 rip = cpu.state.rip();
    const u64 linear = cpu.mode.long_mode64 ? rip & (bit(cpu.features.linear_address_bits) - 1)
                                            : static_cast<u32>(cpu.state.seg[CS].base + rip);
    u8 pages = 0;
    if (const Status status =
            load_linear(cpu, (control & cet::kLegacyBitmap) + (linear >> 15), pages);
        status != Status::Next) {
        return status;
    }
    legacy = test_bit(pages, static_cast<unsigned>(linear >> 12) & 7);
    return Status::Next;
}

Status exec_missing_endbranch(Vcpu& cpu, const Insn& insn) {
    if (const Status status = check_missing_endbranch(cpu); status != Status::Next) {
        return status;
    }
    Insn original = insn;
    select_exec(cpu, original);
    return original.exec(cpu, original);
}

constexpr auto kRows = std::to_array<ExecRow>({
    {Op::ENDBR, select_endbranch},
});

}  // namespace

ExecFn select_near_call(const Insn& insn) {
    return insn.form == Form::I ? by_word_width<CallRelative>(insn.opsize)
                                : by_word_width<CallIndirect>(insn.opsize);
}

ExecFn select_near_jmp(const Insn& insn) {
    return by_word_width<JmpIndirect>(insn.opsize);
}

ExecFn select_near_ret(const Insn& insn) {
    return by_word_width<RetNear>(insn.opsize);
}

// SDM Vol. 1, "Legacy Compatibility Treatment".
Status check_missing_endbranch(Vcpu& cpu) {
    const u64 control = cet_control(cpu.state, cpu.mode.cpl);
    bool legacy = false;
    if ((control & cet::kLegacyTreatment) != 0) {
        if (const Status status = in_legacy_page(cpu, legacy); status != Status::Next) {
            return status;
        }
    }
    if (!legacy) {
        return raise(cpu, ControlProtection::Endbranch);
    }
    stop_waiting(cpu, (control & cet::kSuppressDisable) != 0 ? 0 : cet::kSuppress);
    return Status::Next;
}

bool replace_missing_endbranch(const Vcpu& cpu, Insn& insn) {
    insn.flags |= kInsnEndsBlock;
    // A debugger may put its breakpoint over ENDBR: the tracker then goes on waiting.
    if (endbranch_of_mode(cpu, insn) || insn.op == Op::INT3 || insn.op == Op::INT1) {
        return false;
    }
    insn.exec = exec_missing_endbranch;
    return true;
}

void wait_for_endbranch(Vcpu& cpu) {
    cet_control(cpu.state, cpu.mode.cpl) |= cet::kTracker;
    cpu.mode.cet |= Vcpu::kCetWaiting;
    refresh_mode_key(cpu);
}

bool accept_endbranch(Vcpu& cpu, const Insn& insn) {
    if ((cpu.mode.cet & Vcpu::kCetWaiting) == 0 || !endbranch_of_mode(cpu, insn)) {
        return false;
    }
    stop_waiting(cpu, 0);
    return true;
}

std::span<const ExecRow> exec_rows_endbranch() {
    return kRows;
}

}  // namespace droste
