// Instructions on RFLAGS: CLC .. STD, LAHF, SAHF, SALC, PUSHF, POPF, CLI, STI, CLAC, STAC.
// SDM Vol. 2, the pages of that name; Vol. 3B, "8086 Emulation", for VME and PVI.

#include "cpu/x86/exec/exec_table.hpp"
#include "cpu/x86/exec/operands.hpp"

namespace droste {
namespace {

inline unsigned io_privilege_level(const Vcpu& cpu) {
    return static_cast<unsigned>((cpu.state.rflags_system & rflags::kIopl) >> 12);
}

// --- status flags and DF ------------------------------------------------------------------------

Status exec_clc(Vcpu& cpu, const Insn& /*insn*/) {
    cpu.state.flags.set_carry(false);
    return Status::Next;
}
Status exec_stc(Vcpu& cpu, const Insn& /*insn*/) {
    cpu.state.flags.set_carry(true);
    return Status::Next;
}
Status exec_cmc(Vcpu& cpu, const Insn& /*insn*/) {
    cpu.state.flags.set_carry(!cpu.state.flags.cf());
    return Status::Next;
}
Status exec_cld(Vcpu& cpu, const Insn& /*insn*/) {
    cpu.state.rflags_system &= ~rflags::kDf;
    return Status::Next;
}
Status exec_std(Vcpu& cpu, const Insn& /*insn*/) {
    cpu.state.rflags_system |= rflags::kDf;
    return Status::Next;
}

// "This instruction executes as described above in compatibility mode and legacy mode. It is valid
// in 64-bit mode only if CPUID.80000001H:ECX.LAHF-SAHF[bit 0] = 1."
inline bool ah_transfers_exist(const Vcpu& cpu) {
    return !cpu.mode.long_mode64 || cpu.features.has(Feature::LAHF_LM);
}

// LAHF: AH := SF:ZF:0:AF:0:PF:1:CF.
Status exec_lahf(Vcpu& cpu, const Insn& /*insn*/) {
    if (!ah_transfers_exist(cpu)) {
        return raise(cpu, Exception::UD);
    }
    const u64 flags = (cpu.state.flags.status() & ~rflags::kOf) | rflags::kFixed1;
    constexpr unsigned kAh = 20;
    write_gpr<u8>(cpu, kAh, static_cast<u8>(flags));
    return Status::Next;
}
// SAHF: SF ZF AF PF CF := AH; OF stays.
Status exec_sahf(Vcpu& cpu, const Insn& /*insn*/) {
    if (!ah_transfers_exist(cpu)) {
        return raise(cpu, Exception::UD);
    }
    constexpr u64 kLoaded = rflags::kStatus & ~rflags::kOf;
    const u64 ah = cpu.state.gpr[RAX] >> 8;
    cpu.state.flags =
        LazyFlags::from_status((ah & kLoaded) | (cpu.state.flags.of() ? rflags::kOf : 0));
    return Status::Next;
}
// SALC (undocumented by Intel): AL := CF ? FFH : 0.
Status exec_salc(Vcpu& cpu, const Insn& /*insn*/) {
    write_gpr<u8>(cpu, RAX, cpu.state.flags.cf() ? 0xFF : 0);
    return Status::Next;
}

// --- PUSHF, POPF --------------------------------------------------------------------------------

// In virtual-8086 mode with IOPL < 3, only the 16-bit forms and only with CR4.VME; VIF then stands
// in for IF.
enum class FlagsView : u8 { Real, Virtual, Denied };
inline FlagsView flags_view(const Vcpu& cpu, const Insn& insn) {
    if (!cpu.mode.virtual8086 || io_privilege_level(cpu) == 3) {
        return FlagsView::Real;
    }
    return (cpu.state.cr4 & cr4::kVme) != 0 && insn.opsize == 2 ? FlagsView::Virtual
                                                                : FlagsView::Denied;
}

// PUSHF: "temp := RFLAGS with VM and RF cleared".
struct Pushf {
    template <typename T>
    static Status exec(Vcpu& cpu, const Insn& insn) {
        u64 image = cpu.state.rflags() & ~(rflags::kVm | rflags::kRf);
        switch (flags_view(cpu, insn)) {
        case FlagsView::Denied: return raise(cpu, Exception::GP, 0);
        case FlagsView::Virtual:
            image = (image & ~rflags::kIf) | rflags::kIopl |
                    ((image & rflags::kVif) != 0 ? rflags::kIf : 0);
            break;
        case FlagsView::Real: break;
        }
        return push<T>(cpu, static_cast<T>(image));
    }
};

// Installs RFLAGS and tells everyone what changed.
Status commit_rflags(Vcpu& cpu, u64 value) {
    const u64 before = cpu.state.rflags_system;
    cpu.state.set_rflags(value);
    const u64 changed = before ^ cpu.state.rflags_system;
    if ((changed & rflags::kAc) != 0) {
        mode_changed(cpu);
    }
    constexpr u64 kWatched = rflags::kIf | rflags::kTf | rflags::kRf | rflags::kVif | rflags::kAc;
    if ((changed & kWatched) == 0) {
        return Status::Next;
    }
    update_attention(cpu);
    return Status::Sync;
}

// Which bits POPF takes from the stack. SDM Vol. 2B, "POPF/POPFD/POPFQ—Pop Stack Into EFLAGS
// Register": IOPL only at CPL 0, IF only at CPL <= IOPL; VM, VIF, VIP never; RF is cleared.
u64 popf_takes(const Vcpu& cpu, unsigned opsize) {
    u64 takes =
        rflags::kStatus | rflags::kTf | rflags::kDf | rflags::kNt | rflags::kAc | rflags::kId;
    if (cpu.mode.virtual8086 || cpu.mode.cpl <= io_privilege_level(cpu)) {
        takes |= rflags::kIf;
    }
    if (cpu.mode.cpl == 0) {
        takes |= rflags::kIopl;
    }
    return opsize == 2 ? takes & 0xFFFF : takes;
}

// The 16-bit POPF of virtual-8086 mode with VME: IF on the stack goes to VIF, IF and IOPL stay.
Status popf_virtual(Vcpu& cpu, u64 image, u64& value) {
    const u64 flags = cpu.state.rflags();
    const bool enables = (image & rflags::kIf) != 0;
    if ((image & rflags::kTf) != 0 || (enables && (flags & rflags::kVip) != 0)) {
        return raise(cpu, Exception::GP, 0);
    }
    constexpr u64 kTakes = rflags::kStatus | rflags::kTf | rflags::kDf | rflags::kNt;
    value = (flags & ~(kTakes | rflags::kVif)) | (image & kTakes) | (enables ? rflags::kVif : 0);
    return Status::Next;
}

struct Popf {
    template <typename T>
    static Status exec(Vcpu& cpu, const Insn& insn) {
        const FlagsView view = flags_view(cpu, insn);
        if (view == FlagsView::Denied) {
            return raise(cpu, Exception::GP, 0);
        }
        T image = 0;
        if (const Status status = peek<T>(cpu, image); status != Status::Next) {
            return status;
        }
        u64 value = 0;
        if (view == FlagsView::Virtual) {
            if (const Status status = popf_virtual(cpu, image, value); status != Status::Next) {
                return status;
            }
        } else {
            const u64 takes = popf_takes(cpu, sizeof(T));
            value = (cpu.state.rflags() & ~takes) | (image & takes);
        }
        release_stack(cpu, sizeof(T));
        return commit_rflags(cpu, value & ~rflags::kRf);
    }
};

template <typename Handler>
ExecFn select_by_opsize(Vcpu& /*cpu*/, Insn& insn) {
    return by_word_width<Handler>(insn.opsize);
}

// --- CLI, STI -----------------------------------------------------------------------------------

// Which flag CLI and STI act on. SDM Vol. 2, Table "Decision Table for CLI Results" (and STI's).
enum class InterruptFlag : u8 { If, Vif, Denied };
InterruptFlag interrupt_flag(const Vcpu& cpu) {
    if (cpu.mode.cpl <= io_privilege_level(cpu)) {  // real-address mode too: CPL is 0
        return InterruptFlag::If;
    }
    const u64 extension = cpu.mode.virtual8086 ? cr4::kVme : cr4::kPvi;
    const bool virtualized = cpu.mode.cpl == 3 && (cpu.state.cr4 & extension) != 0;
    return virtualized ? InterruptFlag::Vif : InterruptFlag::Denied;
}

Status exec_cli(Vcpu& cpu, const Insn& /*insn*/) {
    switch (interrupt_flag(cpu)) {
    case InterruptFlag::Denied: return raise(cpu, Exception::GP, 0);
    case InterruptFlag::Vif: cpu.state.rflags_system &= ~rflags::kVif; return Status::Next;
    case InterruptFlag::If: break;
    }
    if ((cpu.state.rflags_system & rflags::kIf) == 0) {
        return Status::Next;
    }
    cpu.state.rflags_system &= ~rflags::kIf;
    update_attention(cpu);
    return Status::Next;  // less can be taken than before
}

// "Maskable external interrupts are inhibited ... until after the next instruction ... if STI is
// executed with RFLAGS.IF = 0."
Status exec_sti(Vcpu& cpu, const Insn& /*insn*/) {
    switch (interrupt_flag(cpu)) {
    case InterruptFlag::Denied: return raise(cpu, Exception::GP, 0);
    case InterruptFlag::Vif:
        if ((cpu.state.rflags_system & rflags::kVip) != 0) {
            return raise(cpu, Exception::GP, 0);
        }
        cpu.state.rflags_system |= rflags::kVif;
        return Status::Next;
    case InterruptFlag::If: break;
    }
    if ((cpu.state.rflags_system & rflags::kIf) != 0) {
        return Status::Next;
    }
    cpu.state.rflags_system |= rflags::kIf;
    cpu.state.interruptibility |= blocking::kSti;
    update_attention(cpu);
    return Status::Sync;
}

// --- CLAC, STAC ---------------------------------------------------------------------------------

// "#UD if CPL > 0" (and without SMAP, which the decoder answers).
template <bool kSet>
Status exec_alignment_check_flag(Vcpu& cpu, const Insn& /*insn*/) {
    if (cpu.mode.cpl != 0) {
        return raise(cpu, Exception::UD);
    }
    const u64 before = cpu.state.rflags_system;
    cpu.state.rflags_system = kSet ? before | rflags::kAc : before & ~rflags::kAc;
    if (cpu.state.rflags_system == before) {
        return Status::Next;
    }
    mode_changed(cpu);
    return Status::Sync;
}

constexpr auto kRows = std::to_array<ExecRow>({
    {Op::CLC, always<exec_clc>},
    {Op::STC, always<exec_stc>},
    {Op::CMC, always<exec_cmc>},
    {Op::CLD, always<exec_cld>},
    {Op::STD, always<exec_std>},
    {Op::LAHF, always<exec_lahf>},
    {Op::SAHF, always<exec_sahf>},
    {Op::SALC, always<exec_salc>},
    {Op::PUSHF, select_by_opsize<Pushf>},
    {Op::POPF, select_by_opsize<Popf>},
    {Op::CLI, always<exec_cli>},
    {Op::STI, always<exec_sti>},
    {Op::CLAC, always<exec_alignment_check_flag<false>>},
    {Op::STAC, always<exec_alignment_check_flag<true>>},
});

}  // namespace

std::span<const ExecRow> exec_rows_flags() {
    return kRows;
}

}  // namespace droste
