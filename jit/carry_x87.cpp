// x87: the very instruction on the native unit, where the guest's registers are (x87_state.hpp).
// Left to the interpreter are transcendental functions, which are our own
// (docs/decisions/0010-own-elementary-functions.md), remainders and decimals, which the native CPU
// takes apart otherwise, environments, and everything while an exception is unmasked.

#include "cpu/x86/fpu/x87.hpp"
#include "jit/register_effect.hpp"
#include "jit/registers.hpp"
#include "jit/x87_state.hpp"

#include <algorithm>
#include <array>

namespace droste::jit {

namespace {

struct Row {
    Op op;
    X87Memory memory = X87Memory::Read;
};

// clang-format off
constexpr auto kRows = std::to_array<Row>({
    {Op::FLD}, {Op::FST, X87Memory::Write}, {Op::FSTP, X87Memory::Write}, {Op::FXCH},
    {Op::FILD}, {Op::FIST, X87Memory::Write}, {Op::FISTP, X87Memory::Write}, {Op::FISTTP, X87Memory::Write},
    {Op::FCMOVB}, {Op::FCMOVE}, {Op::FCMOVBE}, {Op::FCMOVU}, {Op::FCMOVNB}, {Op::FCMOVNE}, {Op::FCMOVNBE}, {Op::FCMOVNU},
    {Op::FADD}, {Op::FADDP}, {Op::FIADD}, {Op::FSUB}, {Op::FSUBP}, {Op::FISUB}, {Op::FSUBR}, {Op::FSUBRP}, {Op::FISUBR},
    {Op::FMUL}, {Op::FMULP}, {Op::FIMUL}, {Op::FDIV}, {Op::FDIVP}, {Op::FIDIV}, {Op::FDIVR}, {Op::FDIVRP}, {Op::FIDIVR},
    {Op::FABS}, {Op::FCHS}, {Op::FRNDINT}, {Op::FSCALE}, {Op::FSQRT},
    {Op::FCOM}, {Op::FCOMP}, {Op::FCOMPP}, {Op::FUCOM}, {Op::FUCOMP}, {Op::FUCOMPP}, {Op::FICOM}, {Op::FICOMP}, {Op::FTST}, {Op::FXAM},
    {Op::FCOMI}, {Op::FUCOMI}, {Op::FCOMIP}, {Op::FUCOMIP},
    {Op::FLD1}, {Op::FLDZ}, {Op::FLDPI}, {Op::FLDL2E}, {Op::FLDLN2}, {Op::FLDL2T}, {Op::FLDLG2},
    {Op::FINCSTP}, {Op::FDECSTP}, {Op::FNOP},
});
// clang-format on

const Row* find_row(Op op) {
    const auto* row = std::find_if(kRows.begin(), kRows.end(),
                                   [&](const Row& candidate) { return candidate.op == op; });
    return row != kRows.end() ? row : nullptr;
}

bool reads_status(const Insn& insn) {
    return insn.op >= Op::FCMOVB && insn.op <= Op::FCMOVNU;
}

unsigned extension(const Insn& insn) {
    return (insn.modrm >> 3) & 7U;
}

bool arithmetic(Assembly& a, const Row& row) {
    const Insn& insn = a.insn();
    Emitter& e = a.emitter();
    const bool unchecked_fstp = row.op == Op::FSTP && !insn.mem() && insn.opcode == 0xD9;
    if (unchecked_fstp || (insn.mem() && !can_address(insn))) {
        return false;
    }
    a.need_x87();
    if (insn.mem()) {
        e.xm({.opcode = insn.opcode}, extension(insn),
             check_operand(a, {.bytes = insn.mem_bytes, .write = row.memory == X87Memory::Write}));
    } else {
        if (reads_status(insn)) {
            a.need_native_status();
        }
        e.byte(insn.opcode);
        e.byte(insn.modrm);
    }
    status_written(a);
    a.note_x87();
    return true;
}

// FLDCW, to a value that masks all exceptions, with the bits that exist.
bool fldcw(Assembly& a) {
    if (!can_address(a.insn())) {
        return false;
    }
    Emitter& e = a.emitter();
    a.need_x87();
    e.rm({.opcode = 0xB7, .map = OpcodeMap::Map0F}, kT1,
         check_operand(a, {.bytes = 2, .write = false}));
    e.mov32(kT0, kT1);
    e.alu_imm(4, kT0, kX87Masks, false);
    e.alu_imm(7, kT0, kX87Masks, false);
    a.interpret_if(e.jcc(cc::kNE));
    e.alu_imm(4, kT1, x87::kControlDefined, false);
    e.alu_imm(1, kT1, 0x40, false);
    e.store32(at_rsp(layout::kScratch), kT1);
    e.xm({.opcode = 0xD9}, 5, at_rsp(layout::kScratch));
    return true;
}

// FNSTCW, FNSTSW
bool store_word(Assembly& a) {
    const Insn& insn = a.insn();
    Emitter& e = a.emitter();
    if (insn.mem() && !can_address(insn)) {
        return false;
    }
    a.need_x87();
    if (insn.mem()) {
        e.xm({.opcode = insn.opcode}, extension(insn),
             check_operand(a, {.bytes = 2, .write = true}));
    } else {
        e.byte(insn.opcode);  // fnstsw ax
        e.byte(insn.modrm);
    }
    return true;
}

}  // namespace

X87Memory x87_memory(Op op) {
    if (op == Op::FLDCW) {
        return X87Memory::Read;
    }
    if (op == Op::FNSTCW || op == Op::FNSTSW) {
        return X87Memory::Write;
    }
    const Row* row = find_row(op);
    return row != nullptr ? row->memory : X87Memory::Unknown;
}

bool x87_may_run(const Assembly& a) {
    constexpr u32 kBlocked = Vcpu::kFpuEm | Vcpu::kFpuTs;
    const u32 key = a.translation().key;
    return ((key & mode_key::kFpu) >> mode_key::kFpuShift & kBlocked) == 0 &&
           (key & kKeyX87Unmasked) == 0 && a.native_choices().conditions_are_ours();
}

bool carry_over_x87(Assembly& a) {
    const Op op = a.insn().op;
    if ((a.insn().map != OpcodeMap::X87 && op != Op::FWAIT) || !x87_may_run(a)) {
        return false;
    }
    switch (op) {
    case Op::FWAIT: return true;  // nothing is pending
    case Op::FLDCW: return fldcw(a);
    case Op::FNSTCW:
    case Op::FNSTSW: return store_word(a);
    default: break;
    }
    const Row* row = find_row(op);
    return row != nullptr && arithmetic(a, *row);
}

}  // namespace droste::jit
