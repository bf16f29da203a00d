// Vector moves and bitwise logic without a thunk. They are the most frequent vector instructions by
// far (memcpy, zeroing a register, scalar loads), and in C++ they cost no indirect call.
//
// Every one of them writes the low Bytes of its destination and zeroes the rest up to bit 127
// (legacy) or 255 (VEX); bits 255:128 stay as they are in the legacy forms. SDM Vol. 1,
// "Instruction Exception Specification".

#include "cpu/x86/fpu/exec_vector.hpp"
#include "cpu/x86/fpu/fpu_access.hpp"

#include <algorithm>
#include <array>
#include <cstring>

namespace droste {
namespace {

using RegClass = Insn::RegClass;

template <bool Vex>
Status available(Vcpu& cpu) {
    return require_unit(cpu, Vex ? undefined_by::kAvx : undefined_by::kSse);
}

template <unsigned Bytes, bool Vex>
void write_zero_extended(Ymm& dest, const std::array<u8, Bytes>& value) {
    constexpr unsigned kEnd = Vex ? 32 : 16;
    std::memcpy(dest.bytes.data(), value.data(), Bytes);
    if constexpr (Bytes < kEnd) {
        std::memset(dest.bytes.data() + Bytes, 0, kEnd - Bytes);
    }
}
template <unsigned Bytes>
std::array<u8, Bytes> low_of(const Ymm& source) {
    std::array<u8, Bytes> value;
    std::memcpy(value.data(), source.bytes.data(), Bytes);
    return value;
}

// DEST[Bytes] := SRC; the rest up to MAXVL := 0 (VEX), or up to bit 127.
template <unsigned Bytes, bool Vex>
Status exec_load(Vcpu& cpu, const Insn& insn) {
    if (const Status status = available<Vex>(cpu); status != Status::Next) [[unlikely]] {
        return status;
    }
    std::array<u8, Bytes> value;
    if (const Status status = load_vector<Bytes>(cpu, insn, value); status != Status::Next)
        [[unlikely]] {
        return status;
    }
    write_zero_extended<Bytes, Vex>(cpu.state.ymm[insn.reg], value);
    return Status::Next;
}

template <unsigned Bytes, bool Vex>
Status exec_store(Vcpu& cpu, const Insn& insn) {
    if (const Status status = available<Vex>(cpu); status != Status::Next) [[unlikely]] {
        return status;
    }
    return store_vector<Bytes>(cpu, insn, low_of<Bytes>(cpu.state.ymm[insn.reg]));
}

template <unsigned Bytes, bool Vex, Form kForm>
Status exec_copy(Vcpu& cpu, const Insn& insn) {
    if (const Status status = available<Vex>(cpu); status != Status::Next) [[unlikely]] {
        return status;
    }
    auto& ymm = cpu.state.ymm;
    const auto value = low_of<Bytes>(ymm[kForm == Form::GE ? insn.rm : insn.reg]);
    write_zero_extended<Bytes, Vex>(ymm[kForm == Form::GE ? insn.reg : insn.rm], value);
    return Status::Next;
}

// MOVSS, MOVSD between registers: DEST[Bytes] := SRC, the rest unchanged.
template <unsigned Bytes, Form kForm>
Status exec_merge(Vcpu& cpu, const Insn& insn) {
    if (const Status status = available<false>(cpu); status != Status::Next) [[unlikely]] {
        return status;
    }
    auto& ymm = cpu.state.ymm;
    const auto value = low_of<Bytes>(ymm[kForm == Form::GE ? insn.rm : insn.reg]);
    std::memcpy(ymm[kForm == Form::GE ? insn.reg : insn.rm].bytes.data(), value.data(), Bytes);
    return Status::Next;
}

// MOVD, MOVQ from and to a general register.
template <typename T, bool Vex>
Status exec_from_gpr(Vcpu& cpu, const Insn& insn) {
    if (const Status status = available<Vex>(cpu); status != Status::Next) [[unlikely]] {
        return status;
    }
    std::array<u8, sizeof(T)> value;
    const T source = read_gpr<T>(cpu, insn.rm);
    std::memcpy(value.data(), &source, sizeof(T));
    write_zero_extended<sizeof(T), Vex>(cpu.state.ymm[insn.reg], value);
    return Status::Next;
}
template <typename T, bool Vex>
Status exec_to_gpr(Vcpu& cpu, const Insn& insn) {
    if (const Status status = available<Vex>(cpu); status != Status::Next) [[unlikely]] {
        return status;
    }
    T value = 0;
    std::memcpy(&value, cpu.state.ymm[insn.reg].bytes.data(), sizeof(T));
    write_gpr<T>(cpu, insn.rm, value);
    return Status::Next;
}

enum class Logic : u8 { And, AndNot, Or, Xor };

template <Logic kLogic, unsigned Bytes>
std::array<u8, Bytes> apply(const std::array<u8, Bytes>& a, const std::array<u8, Bytes>& b) {
    std::array<u64, Bytes / 8> x;
    std::array<u64, Bytes / 8> y;
    std::memcpy(x.data(), a.data(), Bytes);
    std::memcpy(y.data(), b.data(), Bytes);
    for (unsigned i = 0; i < Bytes / 8; ++i) {
        switch (kLogic) {
        case Logic::And: x[i] &= y[i]; break;
        case Logic::AndNot: x[i] = ~x[i] & y[i]; break;
        case Logic::Or: x[i] |= y[i]; break;
        case Logic::Xor: x[i] ^= y[i]; break;
        }
    }
    std::array<u8, Bytes> result;
    std::memcpy(result.data(), x.data(), Bytes);
    return result;
}

// DEST := SRC1 op SRC2; SRC1 is DEST itself in the legacy forms.
template <Logic kLogic, unsigned Bytes, bool Vex, bool Memory>
Status exec_logic(Vcpu& cpu, const Insn& insn) {
    if (const Status status = available<Vex>(cpu); status != Status::Next) [[unlikely]] {
        return status;
    }
    auto& ymm = cpu.state.ymm;
    std::array<u8, Bytes> second;
    if constexpr (Memory) {
        if (const Status status = load_vector<Bytes>(cpu, insn, second); status != Status::Next)
            [[unlikely]] {
            return status;
        }
    } else {
        second = low_of<Bytes>(ymm[insn.rm]);
    }
    const auto first = low_of<Bytes>(ymm[Vex ? insn.vvvv : insn.reg]);
    write_zero_extended<Bytes, Vex>(ymm[insn.reg], apply<kLogic, Bytes>(first, second));
    return Status::Next;
}

// --- selection -----------------------------------------------------------------------------------

template <unsigned Bytes, bool Vex>
ExecFn pick_move(const Insn& insn) {
    if (insn.mem()) {
        return insn.form == Form::GE ? exec_load<Bytes, Vex> : exec_store<Bytes, Vex>;
    }
    return insn.form == Form::GE ? exec_copy<Bytes, Vex, Form::GE>
                                 : exec_copy<Bytes, Vex, Form::EG>;
}

ExecFn pick_whole(const Insn& insn) {
    if (!insn.vex()) {
        return pick_move<16, false>(insn);
    }
    return insn.width == 32 ? pick_move<32, true>(insn) : pick_move<16, true>(insn);
}

// MOVSS, MOVSD.
template <unsigned Bytes>
ExecFn pick_scalar(const Insn& insn) {
    if (insn.mem()) {
        return insn.vex() ? pick_move<Bytes, true>(insn) : pick_move<Bytes, false>(insn);
    }
    if (insn.vex()) {
        return nullptr;  // three operands
    }
    return insn.form == Form::GE ? exec_merge<Bytes, Form::GE> : exec_merge<Bytes, Form::EG>;
}

// MOVD, MOVQ; the MMX forms go through thunks.
template <typename T>
ExecFn pick_gpr_move(const Insn& insn) {
    if (insn.g_class() != RegClass::Xmm) {
        return nullptr;
    }
    if (insn.mem() || insn.e_class() == RegClass::Xmm) {
        return insn.vex() ? pick_move<sizeof(T), true>(insn) : pick_move<sizeof(T), false>(insn);
    }
    if (insn.form == Form::GE) {
        return insn.vex() ? exec_from_gpr<T, true> : exec_from_gpr<T, false>;
    }
    return insn.vex() ? exec_to_gpr<T, true> : exec_to_gpr<T, false>;
}

template <Logic kLogic, unsigned Bytes, bool Vex>
ExecFn pick_logic_operand(const Insn& insn) {
    return insn.mem() ? exec_logic<kLogic, Bytes, Vex, true>
                      : exec_logic<kLogic, Bytes, Vex, false>;
}
template <Logic kLogic>
ExecFn pick_logic(const Insn& insn) {
    if (insn.g_class() != RegClass::Xmm) {
        return nullptr;
    }
    if (!insn.vex()) {
        return pick_logic_operand<kLogic, 16, false>(insn);
    }
    return insn.width == 32 ? pick_logic_operand<kLogic, 32, true>(insn)
                            : pick_logic_operand<kLogic, 16, true>(insn);
}

struct ShortcutRow {
    Op op;
    ExecFn (*pick)(const Insn& insn);
};
// clang-format off
constexpr auto kShortcuts = std::to_array<ShortcutRow>({
    {Op::MOVAPS, pick_whole},  {Op::MOVAPD, pick_whole},  {Op::MOVUPS, pick_whole},  {Op::MOVUPD, pick_whole},
    {Op::MOVDQA, pick_whole},  {Op::MOVDQU, pick_whole},  {Op::LDDQU, pick_whole},   {Op::MOVNTDQA, pick_whole},
    {Op::MOVNTPS, pick_whole}, {Op::MOVNTPD, pick_whole}, {Op::MOVNTDQ, pick_whole},
    {Op::VMOVAPS, pick_whole},  {Op::VMOVAPD, pick_whole},  {Op::VMOVUPS, pick_whole},  {Op::VMOVUPD, pick_whole},
    {Op::VMOVDQA, pick_whole},  {Op::VMOVDQU, pick_whole},  {Op::VLDDQU, pick_whole},   {Op::VMOVNTDQA, pick_whole},
    {Op::VMOVNTPS, pick_whole}, {Op::VMOVNTPD, pick_whole}, {Op::VMOVNTDQ, pick_whole},
    {Op::MOVSS, pick_scalar<4>}, {Op::VMOVSS, pick_scalar<4>}, {Op::MOVSD, pick_scalar<8>}, {Op::VMOVSD, pick_scalar<8>},
    {Op::MOVD, pick_gpr_move<u32>}, {Op::VMOVD, pick_gpr_move<u32>},
    {Op::MOVQ, pick_gpr_move<u64>}, {Op::VMOVQ, pick_gpr_move<u64>},
    {Op::PAND, pick_logic<Logic::And>},     {Op::ANDPS, pick_logic<Logic::And>},     {Op::ANDPD, pick_logic<Logic::And>},
    {Op::PANDN, pick_logic<Logic::AndNot>}, {Op::ANDNPS, pick_logic<Logic::AndNot>}, {Op::ANDNPD, pick_logic<Logic::AndNot>},
    {Op::POR, pick_logic<Logic::Or>},       {Op::ORPS, pick_logic<Logic::Or>},       {Op::ORPD, pick_logic<Logic::Or>},
    {Op::PXOR, pick_logic<Logic::Xor>},     {Op::XORPS, pick_logic<Logic::Xor>},     {Op::XORPD, pick_logic<Logic::Xor>},
    {Op::VPAND, pick_logic<Logic::And>},     {Op::VANDPS, pick_logic<Logic::And>},     {Op::VANDPD, pick_logic<Logic::And>},
    {Op::VPANDN, pick_logic<Logic::AndNot>}, {Op::VANDNPS, pick_logic<Logic::AndNot>}, {Op::VANDNPD, pick_logic<Logic::AndNot>},
    {Op::VPOR, pick_logic<Logic::Or>},       {Op::VORPS, pick_logic<Logic::Or>},       {Op::VORPD, pick_logic<Logic::Or>},
    {Op::VPXOR, pick_logic<Logic::Xor>},     {Op::VXORPS, pick_logic<Logic::Xor>},     {Op::VXORPD, pick_logic<Logic::Xor>},
});
// clang-format on

}  // namespace

ExecFn select_vector_shortcut(const Insn& insn) {
    const auto row =
        std::find_if(kShortcuts.begin(), kShortcuts.end(),
                     [&](const ShortcutRow& shortcut) { return shortcut.op == insn.op; });
    return row != kShortcuts.end() ? row->pick(insn) : nullptr;
}

}  // namespace droste
