// Integer arithmetic, logic, shifts and bit operations: carried over with other registers. They set
// the native flags as the guest's.

#include "jit/registers.hpp"

#include <array>

namespace droste::jit {

namespace {

// How an operand of an instruction is used.
enum class Use2 : u8 { Read, Write, Modify };

struct Shape {
    Opcode opcode;
    Use2 e = Use2::Read;
    Use2 g = Use2::Read;
    bool reads_status = false;
    unsigned bytes = 0;       // of E in memory
    int immediate = -1;       // bytes of an immediate
    bool reversible = false;  // `opcode` ^ 2 has the operands exchanged
};

// Whether register E may stay in memory: if it is not written, or whole. (A store of a part would
// make the next load of the whole wait for it.)
bool in_place(const Insn& insn, Use2 use) {
    return in_memory(insn.rm) && (use == Use2::Read || insn.width == 8);
}

// Both operands are registers.
void two_registers(Assembly& a, const Shape& shape) {
    const Insn& insn = a.insn();
    Emitter& e = a.emitter();
    // What is narrower than 32 bits keeps the rest of the register.
    const bool load_g = shape.g != Use2::Write || insn.width < 4;
    // In memory the bit that a register names may lie far from the operand.
    const bool bit =
        insn.op == Op::BT || insn.op == Op::BTS || insn.op == Op::BTR || insn.op == Op::BTC;
    bool e_in_place = false, g_in_place = false;
    if (insn.rm == insn.reg && in_memory(insn.rm) && shape.g == Use2::Read) {
        // XOR and SUB of a register and itself do not depend on it.
        const bool zeroes = insn.width >= 4 && (insn.op == Op::XOR || insn.op == Op::SUB);
        const u8 both = in_register(a, insn.rm, kT0, !zeroes);
        e.rr(shape.opcode, both, both);
    } else if (shape.reversible && in_memory(insn.reg) && !in_memory(insn.rm) &&
               (shape.g == Use2::Read || insn.width == 8)) {
        g_in_place = true;
        Opcode reversed = shape.opcode;
        reversed.opcode ^= 2;
        e.rm(reversed, native(insn.rm), slot(insn.reg));
    } else if (in_place(insn, shape.e) && !bit) {
        e_in_place = true;
        e.rm(shape.opcode, in_register(a, insn.reg, kT1, load_g), slot(insn.rm));
    } else {
        const u8 target = in_register(a, insn.rm, kT0, shape.e != Use2::Write || insn.width < 4);
        e.rr(shape.opcode, in_register(a, insn.reg, kT1, load_g), target);
    }
    if (shape.immediate > 0) {
        immediate(a, static_cast<unsigned>(shape.immediate), insn.imm);
    }
    if (shape.e != Use2::Read && !e_in_place) {
        written(a, insn.rm, kT0);
    }
    if (shape.g != Use2::Read && !g_in_place) {
        written(a, insn.reg, kT1);
    }
}

// One instruction with operands G and E, whichever is written. False: not in this combination.
bool two_operands(Assembly& a, const Shape& shape) {
    const Insn& insn = a.insn();
    Emitter& e = a.emitter();
    if (insn.mem()) {
        if (high_byte(insn.reg) || !can_address(insn)) {
            return false;
        }
        const Mem mem = check_operand(
            a, {.bytes = shape.bytes, .write = shape.e != Use2::Read, .aligned = insn.lock()});
        provide_status(a, shape.reads_status);
        const bool load_g = shape.g != Use2::Write || insn.width < 4;
        const u8 g = in_register(a, insn.reg, kT1, load_g);
        e.rm(shape.opcode, g, mem);
        if (shape.immediate > 0) {
            immediate(a, static_cast<unsigned>(shape.immediate), insn.imm);
        }
        if (shape.g != Use2::Read) {
            written(a, insn.reg, kT1);
        }
    } else {
        if ((high_byte(insn.reg) && takes_rex(insn.rm)) ||
            (high_byte(insn.rm) && takes_rex(insn.reg))) {
            return false;
        }
        provide_status(a, shape.reads_status);
        two_registers(a, shape);
    }
    status_written(a);
    return true;
}

// One operand E and an opcode extension; perhaps an immediate of so many bytes.
bool one_operand(Assembly& a,
                 Opcode opcode,
                 unsigned extension,
                 Use2 use,
                 unsigned bytes,
                 bool reads_status,
                 unsigned immediate_bytes = 0) {
    const Insn& insn = a.insn();
    Emitter& e = a.emitter();
    opcode.lock = insn.lock();
    if (insn.mem()) {
        if (!can_address(insn)) {
            return false;
        }
        const Mem mem =
            check_operand(a, {.bytes = bytes, .write = use != Use2::Read, .aligned = insn.lock()});
        provide_status(a, reads_status);
        e.xm(opcode, extension, mem);
    } else {
        provide_status(a, reads_status);
        if (in_place(insn, use)) {
            e.xm(opcode, extension, slot(insn.rm));
        } else {
            e.xr(opcode, extension, in_register(a, insn.rm, kT0, use != Use2::Write));
        }
    }
    if (immediate_bytes != 0) {
        immediate(a, immediate_bytes, insn.imm);
    }
    if (!insn.mem() && use != Use2::Read && !in_place(insn, use)) {
        written(a, insn.rm, kT0);
    }
    status_written(a);
    return true;
}

bool alu(Assembly& a, unsigned number, bool reads_status) {
    const Insn& insn = a.insn();
    const bool compares = number == 7;
    if (a.item().registers.moves_stack != 0) {
        if (!a.item().status_live_after) {
            a.move_stack(a.item().registers.moves_stack);
            a.set_status(StatusPlace::Dead);
            return true;
        }
        // ADD and SUB set the carry differently, so the instruction is kept.
        a.settle_stack();
        a.emitter().alu_imm(number, kHome[RSP], static_cast<i32>(insn.imm), a.code64());
        a.stack_settled_by(a.item().registers.moves_stack);
        a.set_status(StatusPlace::Native);
        return true;
    }
    const Use2 dest = compares ? Use2::Read : Use2::Modify;
    if (insn.form == Form::EI) {
        const bool small = insn.width != 1 && static_cast<i64>(insn.imm) >= -128 &&
                           static_cast<i64>(insn.imm) < 128;
        Opcode opcode = by_width(0x80, insn.width);
        if (small) {
            opcode.opcode = 0x83;
        }
        return one_operand(a, opcode, number, dest, insn.width, reads_status,
                           small ? 1 : insn.width);
    }
    const bool to_g = insn.form == Form::GE;
    if (!to_g && insn.form != Form::EG) {
        return false;
    }
    Opcode opcode = by_width(static_cast<u8>(number << 3 | (to_g ? 2 : 0)), insn.width);
    opcode.lock = insn.lock();
    return two_operands(a, {.opcode = opcode,
                            .e = to_g ? Use2::Read : dest,
                            .g = to_g ? dest : Use2::Read,
                            .reads_status = reads_status,
                            .bytes = insn.width,
                            .reversible = true});
}

bool test(Assembly& a) {
    const Insn& insn = a.insn();
    if (insn.form == Form::EI) {
        return one_operand(a, by_width(0xF6, insn.width), 0, Use2::Read, insn.width, false,
                           insn.width == 8 ? 4 : insn.width);
    }
    return insn.form == Form::EG &&
           two_operands(a, {.opcode = by_width(0x84, insn.width), .bytes = insn.width});
}

bool shift(Assembly& a) {
    const Insn& insn = a.insn();
    const bool by_cl = insn.form == Form::EC;
    if (!by_cl && insn.form != Form::EI) {
        return false;
    }
    const bool reads_status = insn.op == Op::RCL || insn.op == Op::RCR;
    return one_operand(a, by_width(by_cl ? 0xD2 : 0xC0, insn.width), shift_extension(insn.op),
                       Use2::Modify, insn.width, reads_status, by_cl ? 0 : 1);
}

bool double_shift(Assembly& a, u8 opcode) {
    const Insn& insn = a.insn();
    if (insn.width == 2) {
        return false;  // counts above 16 leave the result undefined: the interpreter's is ours
    }
    const bool by_cl = insn.form == Form::EGC;
    return two_operands(a, {.opcode = by_word(static_cast<u8>(opcode | (by_cl ? 1 : 0)), insn.width,
                                              OpcodeMap::Map0F),
                            .e = Use2::Modify,
                            .bytes = insn.width,
                            .immediate = by_cl ? -1 : 1});
}

// A bit string in memory: the register is signed and counts bits from the operand on. The word with
// the bit is checked as an access of its own.
bool bit_string(Assembly& a, unsigned number) {
    const Insn& insn = a.insn();
    Emitter& e = a.emitter();
    if (insn.width < 4 || insn.addrsize != 8 || !can_address(insn)) {
        return false;
    }
    const bool wide = insn.width == 8;
    const Opcode extend{.opcode = static_cast<u8>(wide ? 0x8B : 0x63), .w = true};
    const Access access{.bytes = insn.width, .write = number != 0, .aligned = insn.lock()};
    const auto load_bit = [&](u8 to, const Opcode& load) {
        if (in_memory(insn.reg)) {
            e.rm(load, to, slot(insn.reg));
        } else {
            e.rr(load, to, native(insn.reg));
        }
    };
    a.clobber_status();
    compute(a, {});
    load_bit(kT0, extend);
    e.xr({.opcode = 0xC1, .w = true}, 7, kT0);  // sar
    e.byte(wide ? 6 : 5);
    e.lea(kT1, {.base = kT1, .index = kT0, .scale = static_cast<u8>(wide ? 3 : 2)});
    e.store(at_rsp(layout::kTarget), kT1);
    a.interpret_if(probe(a, access));
    e.rm({.opcode = 0x03, .w = true}, kT0, at_rsp(layout::kTarget));  // add
    load_bit(kT1, {.opcode = 0x8B});
    e.alu_imm(4, kT1, static_cast<i32>(insn.width * 8 - 1), false);
    provide_status(a, false);
    Opcode opcode = by_word(static_cast<u8>(0xA3 + 8 * number), insn.width, OpcodeMap::Map0F);
    opcode.lock = insn.lock();
    e.rm(opcode, kT1, {.base = kT0});
    status_written(a);
    return true;
}

bool bit_test(Assembly& a, unsigned number) {
    const Insn& insn = a.insn();
    const Use2 dest = number == 0 ? Use2::Read : Use2::Modify;
    if (insn.form == Form::EI) {
        return one_operand(a, by_word(0xBA, insn.width, OpcodeMap::Map0F), 4 + number, dest,
                           insn.width, false, 1);
    }
    if (insn.form != Form::EG) {
        return false;
    }
    if (insn.mem()) {
        return bit_string(a, number);
    }
    return two_operands(
        a, {.opcode = by_word(static_cast<u8>(0xA3 + 8 * number), insn.width, OpcodeMap::Map0F),
            .e = dest,
            .bytes = insn.width});
}

bool multiply(Assembly& a) {
    const Insn& insn = a.insn();
    if (insn.form == Form::E) {
        return one_operand(a, by_width(0xF6, insn.width), insn.op == Op::MUL ? 4 : 5, Use2::Read,
                           insn.width, false);
    }
    if (insn.form == Form::GE) {
        return two_operands(a, {.opcode = by_word(0xAF, insn.width, OpcodeMap::Map0F),
                                .g = Use2::Modify,
                                .bytes = insn.width});
    }
    if (insn.form != Form::GEI) {
        return false;
    }
    return two_operands(a, {.opcode = by_word(0x69, insn.width),
                            .g = Use2::Write,
                            .bytes = insn.width,
                            .immediate = insn.width == 2 ? 2 : 4});
}

// Only if it cannot fault: the quotient fits, by a test that nearly every division passes.
bool divide(Assembly& a) {
    const Insn& insn = a.insn();
    Emitter& e = a.emitter();
    if (insn.width < 4 || (insn.mem() && !can_address(insn))) {
        return false;
    }
    const bool w = insn.width == 8;
    if (insn.mem()) {
        e.rm({.opcode = 0x8B, .w = w}, kT1,
             check_operand(a, {.bytes = insn.width, .write = false}));
    } else {
        e.rr({.opcode = 0x8B, .w = w}, kT1, in_register(a, insn.rm, kT1));
    }
    a.clobber_status();  // an access in a window has not
    if (insn.op == Op::DIV) {
        e.rr({.opcode = 0x3B, .w = w}, kRdx, kT1);  // RDX:RAX / t1 < 2^64 if RDX < t1
        a.interpret_if(e.jcc(cc::kAE));
    } else {
        // RDX is the sign of RAX, and the divisor neither 0 nor -1.
        e.rr({.opcode = 0x8B, .w = w}, kT0, kRax);
        e.xr({.opcode = 0xC1, .w = w}, 7, kT0);
        e.byte(w ? 63 : 31);
        e.rr({.opcode = 0x3B, .w = w}, kT0, kRdx);
        a.interpret_if(e.jcc(cc::kNE));
        e.lea(kT0, {.base = kT1, .disp = 1}, w);
        e.alu_imm(7, kT0, 1, w);
        a.interpret_if(e.jcc(cc::kBE));
    }
    provide_status(a, false);
    e.xr({.opcode = 0xF7, .w = w}, insn.op == Op::DIV ? 6 : 7, kT1);
    status_written(a);
    return true;
}

bool bswap(Assembly& a) {
    const Insn& insn = a.insn();
    Emitter& e = a.emitter();
    if (insn.width < 4) {
        return false;
    }
    const u8 reg = in_register(a, insn.rm, kT0);
    const unsigned rex = (insn.width == 8 ? 8U : 0U) | (reg >> 3);
    if (rex != 0) {
        e.byte(0x40 | rex);
    }
    e.byte(0x0F);
    e.byte(0xC8 | (reg & 7));
    written(a, insn.rm, kT0);
    return true;
}

// Bit counts and scans: GE, by a prefix or none.
bool scan(Assembly& a, u8 opcode, u8 prefix, bool keeps) {
    const Insn& insn = a.insn();
    Opcode op = by_word(opcode, insn.width, OpcodeMap::Map0F);
    op.prefix = prefix;
    return two_operands(
        a, {.opcode = op, .g = keeps ? Use2::Modify : Use2::Write, .bytes = insn.width});
}

bool with_prefix(Assembly& a, u8 opcode, u8 prefix, OpcodeMap map, bool opsize, Use2 g) {
    const Insn& insn = a.insn();
    return two_operands(a, {.opcode = {.opcode = opcode,
                                       .map = map,
                                       .prefix = prefix,
                                       .opsize = opsize || insn.width == 2,
                                       .w = insn.width == 8},
                            .g = g,
                            .reads_status = insn.op == Op::ADCX || insn.op == Op::ADOX,
                            .bytes = insn.width});
}

// BMI1 and BMI2: VEX-encoded, with up to three registers.
bool bmi(Assembly& a, u8 opcode, OpcodeMap map, u8 pp) {
    const Insn& insn = a.insn();
    Emitter& e = a.emitter();
    if (insn.mem() && !can_address(insn)) {
        return false;
    }
    VexOpcode op{.opcode = opcode, .map = map, .pp = pp, .w = insn.width == 8};
    const bool has_b = insn.form == Form::GBE || insn.form == Form::GEB || insn.form == Form::BE;
    const bool has_g = insn.form != Form::BE;
    Mem mem;
    u8 source = 0;
    if (insn.mem()) {
        mem = check_operand(a, {.bytes = insn.width, .write = false});
    } else {
        source = in_register(a, insn.rm, kT0);
    }
    if (has_b) {
        op.vvvv = in_register(a, insn.vvvv, kT1, has_g);
    }
    const unsigned reg = has_g ? in_register(a, insn.reg, kT1, false) : (insn.modrm >> 3) & 7;
    if (insn.mem()) {
        e.vex_rm(op, reg, mem);
    } else {
        e.vex_rr(op, reg, source);
    }
    if (insn.form == Form::GEI) {
        e.byte(static_cast<u8>(insn.imm));
    }
    written(a, has_g ? insn.reg : insn.vvvv, kT1);
    status_written(a);
    return true;
}

bool mulx(Assembly& a) {
    const Insn& insn = a.insn();
    Emitter& e = a.emitter();
    if (insn.mem() && !can_address(insn)) {
        return false;
    }
    // Both destinations in memory, or the source, would need a third register.
    if (in_memory(insn.vvvv) && (in_memory(insn.reg) || !insn.mem())) {
        return false;
    }
    VexOpcode op{.opcode = 0xF6, .map = OpcodeMap::Map0F38, .pp = 3, .w = insn.width == 8};
    op.vvvv = in_register(a, insn.vvvv, kT1, false);
    const u8 high = in_register(a, insn.reg, kT1, false);
    if (insn.mem()) {
        e.vex_rm(op, high, check_operand(a, {.bytes = insn.width, .write = false}));
    } else {
        e.vex_rr(op, high, in_register(a, insn.rm, kT0));
    }
    written(a, insn.vvvv, kT1);
    written(a, insn.reg, kT1);
    return true;
}

// CBW, CWDE, CDQE; CWD, CDQ, CQO.
bool sign(Assembly& a, u8 opcode) {
    const Insn& insn = a.insn();
    Emitter& e = a.emitter();
    if (insn.opsize == 2) {
        e.byte(0x66);
    } else if (insn.opsize == 8) {
        e.byte(0x48);
    }
    e.byte(opcode);
    return true;
}

// CLC, STC, CMC, LAHF, SAHF: one byte, RAX and the flags.
bool flag_byte(Assembly& a, u8 opcode, bool reads) {
    provide_status(a, reads);
    a.emitter().byte(opcode);
    status_written(a);
    return true;
}

}  // namespace

bool carry_over_integer(Assembly& a) {
    const Insn& insn = a.insn();
    const auto native_has = [&](Feature feature) { return a.native().has(feature); };
    switch (insn.op) {
    case Op::ADD: return alu(a, 0, false);
    case Op::OR: return alu(a, 1, false);
    case Op::ADC: return alu(a, 2, true);
    case Op::SBB: return alu(a, 3, true);
    case Op::AND: return alu(a, 4, false);
    case Op::SUB: return alu(a, 5, false);
    case Op::XOR: return alu(a, 6, false);
    case Op::CMP: return alu(a, 7, false);
    case Op::TEST: return test(a);
    case Op::NOT:
        return one_operand(a, by_width(0xF6, insn.width), 2, Use2::Modify, insn.width, false);
    case Op::NEG:
        return one_operand(a, by_width(0xF6, insn.width), 3, Use2::Modify, insn.width, false);
    case Op::INC:
        return one_operand(a, by_width(0xFE, insn.width), 0, Use2::Modify, insn.width, false);
    case Op::DEC:
        return one_operand(a, by_width(0xFE, insn.width), 1, Use2::Modify, insn.width, false);
    case Op::MUL:
    case Op::IMUL: return multiply(a);
    case Op::DIV:
    case Op::IDIV: return divide(a);
    case Op::ROL:
    case Op::ROR:
    case Op::RCL:
    case Op::RCR:
    case Op::SHL:
    case Op::SHR:
    case Op::SAR: return shift(a);
    case Op::SHLD: return double_shift(a, 0xA4);
    case Op::SHRD: return double_shift(a, 0xAC);
    case Op::BT: return bit_test(a, 0);
    case Op::BTS: return bit_test(a, 1);
    case Op::BTR: return bit_test(a, 2);
    case Op::BTC: return bit_test(a, 3);
    case Op::BSF: return scan(a, 0xBC, 0, true);
    case Op::BSR: return scan(a, 0xBD, 0, true);
    case Op::TZCNT: return native_has(Feature::BMI1) && scan(a, 0xBC, 0xF3, false);
    case Op::LZCNT: return native_has(Feature::LZCNT) && scan(a, 0xBD, 0xF3, false);
    case Op::POPCNT: return scan(a, 0xB8, 0xF3, false);
    case Op::BSWAP: return bswap(a);
    case Op::ADCX:
        return native_has(Feature::ADX) &&
               with_prefix(a, 0xF6, 0, OpcodeMap::Map0F38, true, Use2::Modify);
    case Op::ADOX:
        return native_has(Feature::ADX) &&
               with_prefix(a, 0xF6, 0xF3, OpcodeMap::Map0F38, false, Use2::Modify);
    case Op::ANDN: return native_has(Feature::BMI1) && bmi(a, 0xF2, OpcodeMap::Map0F38, 0);
    case Op::BEXTR: return native_has(Feature::BMI1) && bmi(a, 0xF7, OpcodeMap::Map0F38, 0);
    case Op::BLSI:
    case Op::BLSMSK:
    case Op::BLSR: return native_has(Feature::BMI1) && bmi(a, 0xF3, OpcodeMap::Map0F38, 0);
    case Op::BZHI: return native_has(Feature::BMI2) && bmi(a, 0xF5, OpcodeMap::Map0F38, 0);
    case Op::PDEP: return native_has(Feature::BMI2) && bmi(a, 0xF5, OpcodeMap::Map0F38, 3);
    case Op::PEXT: return native_has(Feature::BMI2) && bmi(a, 0xF5, OpcodeMap::Map0F38, 2);
    case Op::RORX: return native_has(Feature::BMI2) && bmi(a, 0xF0, OpcodeMap::Map0F3A, 3);
    case Op::SARX: return native_has(Feature::BMI2) && bmi(a, 0xF7, OpcodeMap::Map0F38, 2);
    case Op::SHLX: return native_has(Feature::BMI2) && bmi(a, 0xF7, OpcodeMap::Map0F38, 1);
    case Op::SHRX: return native_has(Feature::BMI2) && bmi(a, 0xF7, OpcodeMap::Map0F38, 3);
    case Op::MULX: return native_has(Feature::BMI2) && mulx(a);
    case Op::CBW: return sign(a, 0x98);
    case Op::CWD: return sign(a, 0x99);
    case Op::CLC: return flag_byte(a, 0xF8, false);
    case Op::STC: return flag_byte(a, 0xF9, false);
    case Op::CMC: return flag_byte(a, 0xF5, true);
    case Op::LAHF: return flag_byte(a, 0x9F, true);
    case Op::SAHF: return flag_byte(a, 0x9E, false);
    default: return false;
    }
}

}  // namespace droste::jit
