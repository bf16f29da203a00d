// Decimal adjustments: AAA, AAS, AAM, AAD, DAA, DAS (not in 64-bit mode: the decoder says #UD).
// SDM Vol. 2, "AAA—ASCII Adjust After Addition" and the pages of the others.
//
// Undefined flags follow from how Zen 4 computes: each instruction is one addition or subtraction
// (of AX for AAA and AAS, else of AL) whose flags are kept, before the high nibble of AL is masked
// off; docs/x86/undefined.md.

#include "cpu/x86/exec/exec_table.hpp"
#include "cpu/x86/exec/operands.hpp"

namespace droste {
namespace {

inline bool low_nibble_needs_adjust(const Vcpu& cpu, u8 al) {
    return (al & 0xF) > 9 || cpu.state.flags.af();
}

// Replaces CF and AF, keeping OF.
inline void set_carry_adjust(LazyFlags& flags, bool carry, bool adjust) {
    flags.set_carry(carry);
    flags.carries = (flags.carries & ~bit(3)) | (adjust ? bit(3) : 0);
}

// AAA: IF ((AL AND 0FH) > 9) or (AF = 1): AX := AX + 106H; AF := CF := 1. ELSE AF := CF := 0. AL :=
// AL AND 0FH.
Status exec_aaa(Vcpu& cpu, const Insn& /*insn*/) {
    const auto ax = read_gpr<u16>(cpu, RAX);
    const bool adjust = low_nibble_needs_adjust(cpu, static_cast<u8>(ax));
    const auto step = static_cast<u16>(adjust ? 0x106 : 0);
    const auto sum = static_cast<u16>(ax + step);
    LazyFlags flags = LazyFlags::add<u16>(ax, step, sum);
    set_carry_adjust(flags, adjust, adjust);
    write_gpr<u16>(cpu, RAX, sum & 0xFF0F);
    cpu.state.flags = flags;
    return Status::Next;
}

// AAS: likewise with AX := AX - 6; AH := AH - 1.
Status exec_aas(Vcpu& cpu, const Insn& /*insn*/) {
    const auto ax = read_gpr<u16>(cpu, RAX);
    const bool adjust = low_nibble_needs_adjust(cpu, static_cast<u8>(ax));
    const auto step = static_cast<u16>(adjust ? 0x106 : 0);
    const auto difference = static_cast<u16>(ax - step);
    LazyFlags flags = LazyFlags::sub<u16>(ax, step, difference);
    set_carry_adjust(flags, adjust, adjust);
    write_gpr<u16>(cpu, RAX, difference & 0xFF0F);
    cpu.state.flags = flags;
    return Status::Next;
}

// AAM: AH := AL / imm8; AL := AL MOD imm8. #DE if imm8 is 0.
Status exec_aam(Vcpu& cpu, const Insn& insn) {
    const auto base = static_cast<u8>(insn.imm);
    if (base == 0) {
        return raise(cpu, Exception::DE);
    }
    const auto al = read_gpr<u8>(cpu, RAX);
    const auto remainder = static_cast<u8>(al % base);
    write_gpr<u16>(cpu, RAX, static_cast<u16>(((al / base) << 8) | remainder));
    cpu.state.flags = LazyFlags::logic<u8>(remainder);
    return Status::Next;
}

// AAD: AL := (AL + (AH * imm8)) AND FFH; AH := 0.
Status exec_aad(Vcpu& cpu, const Insn& insn) {
    const auto ax = read_gpr<u16>(cpu, RAX);
    const auto al = static_cast<u8>(ax);
    const auto tens = static_cast<u8>((ax >> 8) * static_cast<u8>(insn.imm));
    const auto sum = static_cast<u8>(al + tens);
    write_gpr<u16>(cpu, RAX, sum);
    cpu.state.flags = LazyFlags::add<u8>(al, tens, sum);
    return Status::Next;
}

// DAA: low nibble > 9 or AF: AL := AL + 6, AF := 1. old AL > 99H or old CF: AL := AL + 60H, CF
// := 1.
Status exec_daa(Vcpu& cpu, const Insn& /*insn*/) {
    const auto al = read_gpr<u8>(cpu, RAX);
    const bool low = low_nibble_needs_adjust(cpu, al);
    const bool high = al > 0x99 || cpu.state.flags.cf();
    const auto step = static_cast<u8>((low ? 0x06 : 0) + (high ? 0x60 : 0));
    const auto sum = static_cast<u8>(al + step);
    LazyFlags flags = LazyFlags::add<u8>(al, step, sum);
    set_carry_adjust(flags, high, low);
    write_gpr<u8>(cpu, RAX, sum);
    cpu.state.flags = flags;
    return Status::Next;
}

// DAS: low nibble > 9 or AF: AL := AL - 6, CF := old CF or borrow, AF := 1. old AL > 99H or old CF:
// AL := AL - 60H, CF := 1.
Status exec_das(Vcpu& cpu, const Insn& /*insn*/) {
    const auto al = read_gpr<u8>(cpu, RAX);
    const bool low = low_nibble_needs_adjust(cpu, al);
    const bool high = al > 0x99 || cpu.state.flags.cf();
    const auto step = static_cast<u8>((low ? 0x06 : 0) + (high ? 0x60 : 0));
    const auto difference = static_cast<u8>(al - step);
    LazyFlags flags = LazyFlags::sub<u8>(al, step, difference);
    set_carry_adjust(flags, high || (low && al < 6), low);
    write_gpr<u8>(cpu, RAX, difference);
    cpu.state.flags = flags;
    return Status::Next;
}

constexpr auto kRows = std::to_array<ExecRow>({
    {Op::AAA, always<exec_aaa>},
    {Op::AAS, always<exec_aas>},
    {Op::AAM, always<exec_aam>},
    {Op::AAD, always<exec_aad>},
    {Op::DAA, always<exec_daa>},
    {Op::DAS, always<exec_das>},
});

}  // namespace

std::span<const ExecRow> exec_rows_decimal() {
    return kRows;
}

}  // namespace droste
