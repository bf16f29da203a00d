// Instructions whose undefined status flags the native CPU leaves otherwise than Droste
// (native_choices.hpp, docs/x86/undefined.md), where somebody may still read them: the native
// instruction, and what makes its flags ours. On processors of Intel these are shifts, rotates,
// products, quotients and BMI; without this a rotate at the end of a loop is the interpreter's.
//
//   shifts, rotates   by one less and then by one, for which OF is defined: ours is the same for
//                     all counts. AF is set behind a shift.
//   products          SF, ZF, AF and PF stay: only CF and OF are taken over
//   quotients         CF and OF stay, AF is set, the others cleared
//   TZCNT, LZCNT      OF stays, SF, AF and PF are cleared
//   BMI               PF is that of the result, AF and with BEXTR SF are constant
//
// Whatever the native CPU does where the manual leaves it open is not looked at, so this is right
// on all of them. Rejected: flags as they come without --icount (two engines would differ in one
// run).

#include "jit/registers.hpp"
#include "jit/system_state.hpp"

namespace droste::jit {

namespace {

// Of LAHF's byte of TranslatedCode::status.
constexpr u8 kAf = 0x10, kPf = 0x04, kSf = 0x80, kCf = 0x01;
constexpr u8 kPfShift = 2, kZfShift = 6;
constexpr Mem kOverflow = {.base = kRsp, .disp = layout::kStatus};
constexpr Mem kOthers = {.base = kRsp, .disp = layout::kStatus + 1};

void set_bits(Emitter& e, u8 bits) {
    set(e, {kOthers, bits});
}
void clear_bits(Emitter& e, u8 bits) {
    clear(e, {kOthers, bits});
}
void or_others(Emitter& e, u8 from) {
    e.rm({.opcode = 0x08, .byte = true}, from, kOthers);
}
void shift_byte_left(Emitter& e, u8 reg, u8 by) {
    e.xr({.opcode = 0xC0, .byte = true}, 4, reg);
    e.byte(by);
}

bool sets_af(Op op) {
    return op == Op::SHL || op == Op::SHR || op == Op::SAR;
}

// The native flags are those of the shift, but for AF.
void shifted(Assembly& a) {
    if (!sets_af(a.insn().op)) {
        return;
    }
    a.save_status_with_af();
}

bool shift_by_constant(Assembly& a) {
    const Insn& insn = a.insn();
    Emitter& e = a.emitter();
    const auto count = static_cast<unsigned>(insn.imm & (insn.width == 8 ? 0x3F : 0x1F));
    if (count > 1) {
        if (insn.mem()) {
            return false;  // others would see it half done
        }
        const u8 reg = in_register(a, insn.rm, kT0);
        provide_status(a, false);
        e.xr(by_width(0xC0, insn.width), shift_extension(insn.op), reg);
        e.byte(count - 1);
        e.xr(by_width(0xD0, insn.width), shift_extension(insn.op), reg);
        written(a, insn.rm, kT0);
        a.set_status(StatusPlace::Native);
    } else if (!carry_over_integer(a)) {
        return false;
    }
    if (count != 0) {
        shifted(a);
    }
    return true;
}

bool shift_by_cl(Assembly& a) {
    const Insn& insn = a.insn();
    Emitter& e = a.emitter();
    if (insn.mem() || insn.rm == RCX || insn.rm == kRcx + 20) {  // CL, CX ... and CH
        return false;
    }
    a.need_saved_status();
    a.clobber_status();
    const u8 reg = in_register(a, insn.rm, kT0);
    if (insn.width == 4) {
        e.mov32(reg, reg);  // by 0, too
        written(a, insn.rm, kT0);
    }
    e.xr({.opcode = 0xF6, .byte = true}, 0, kRcx);  // test
    e.byte(insn.width == 8 ? 0x3F : 0x1F);
    u8* by_0 = e.jcc(cc::kE);
    a.set_status(StatusPlace::Saved);
    if (!sets_af(insn.op)) {
        a.need_native_status();
    }
    e.mov(kT1, kRcx);
    e.lea(kRcx, {.base = kRcx, .disp = -1});
    e.xr(by_width(0xD2, insn.width), shift_extension(insn.op), reg);
    e.mov(kRcx, kT1);
    e.xr(by_width(0xD0, insn.width), shift_extension(insn.op), reg);
    written(a, insn.rm, kT0);
    a.set_status(StatusPlace::Native);
    if (sets_af(insn.op)) {
        a.save_status_with_af();
    } else {
        a.need_saved_status();
    }
    e.lands_here(by_0);
    a.set_status(StatusPlace::Saved);
    return true;
}

bool shift(Assembly& a) {
    switch (a.insn().form) {
    case Form::EI: return shift_by_constant(a);
    case Form::EC: return shift_by_cl(a);
    default: return false;
    }
}

// What it keeps is in TranslatedCode::status before it.
bool carry_over_keeping(Assembly& a) {
    a.need_saved_status();
    a.keep_saved_status();
    return carry_over_integer(a);
}

bool product(Assembly& a) {
    if (!carry_over_keeping(a)) {
        return false;
    }
    Emitter& e = a.emitter();
    e.setcc(cc::kB, kT0);
    e.xm({.opcode = 0x90 | cc::kO, .map = OpcodeMap::Map0F, .byte = true}, 0, kOverflow);
    clear_bits(e, kCf);
    or_others(e, kT0);
    a.set_status(StatusPlace::Saved);
    return true;
}

bool quotient(Assembly& a) {
    if (!carry_over_keeping(a)) {
        return false;
    }
    clear_bits(a.emitter(), static_cast<u8>(~kCf));
    set_bits(a.emitter(), kAf);
    a.set_status(StatusPlace::Saved);
    return true;
}

bool count_zeros(Assembly& a) {
    if (!carry_over_keeping(a)) {
        return false;
    }
    Emitter& e = a.emitter();
    e.setcc(cc::kB, kT0);
    e.setcc(cc::kE, kT1);
    shift_byte_left(e, kT1, kZfShift);
    e.rr({.opcode = 0x08, .byte = true}, kT1, kT0);
    e.rm({.opcode = 0x88, .byte = true}, kT0, kOthers);
    a.set_status(StatusPlace::Saved);
    return true;
}

bool bits(Assembly& a) {
    if (!carry_over_integer(a)) {
        return false;
    }
    const Insn& insn = a.insn();
    Emitter& e = a.emitter();
    const bool to_reg = insn.op == Op::ANDN || insn.op == Op::BZHI || insn.op == Op::BEXTR;
    a.need_saved_status();
    const u8 result = in_register(a, to_reg ? insn.reg : insn.vvvv, kT1);
    e.rr({.opcode = 0x84, .byte = true}, result, result);  // test
    e.setcc(cc::kP, kT0);
    shift_byte_left(e, kT0, kPfShift);
    if (insn.op == Op::BEXTR) {
        clear_bits(e, kPf | kSf);
        set_bits(e, kAf);
    } else {
        clear_bits(e, kPf | kAf);
    }
    or_others(e, kT0);
    a.set_status(StatusPlace::Saved);
    return true;
}

}  // namespace

bool carry_over_with_our_flags(Assembly& a) {
    switch (a.insn().op) {
    case Op::ROL:
    case Op::ROR:
    case Op::SHL:
    case Op::SHR:
    case Op::SAR: return shift(a);
    case Op::MUL:
    case Op::IMUL: return product(a);
    case Op::DIV:
    case Op::IDIV: return quotient(a);
    case Op::TZCNT:
    case Op::LZCNT: return count_zeros(a);
    case Op::ANDN:
    case Op::BLSI:
    case Op::BLSMSK:
    case Op::BLSR:
    case Op::BZHI:
    case Op::BEXTR: return bits(a);
    default: return false;
    }
}

}  // namespace droste::jit
