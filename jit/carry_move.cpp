// MOV and its relatives, LEA, exchanges, conditional moves, the stack.

#include "jit/registers.hpp"

namespace droste::jit {

namespace {

bool mov_registers(Assembly& a, unsigned to, unsigned from, unsigned width) {
    Emitter& e = a.emitter();
    if ((high_byte(to) && takes_rex(from)) || (high_byte(from) && takes_rex(to))) {
        return false;
    }
    if (in_memory(to) && width == 8) {
        e.store(slot(to), in_register(a, from, kT0));
    } else if (in_memory(to)) {
        // Stored whole: the next load would wait for a store of a part.
        const u8 source = in_register(a, from, kT1);
        e.rr(by_width(0x8A, width), in_register(a, to, kT0, width < 4), source);
        e.store(slot(to), kT0);
    } else if (in_memory(from)) {
        e.rm(by_width(0x8A, width), native(to), slot(from));
    } else {
        e.rr(by_width(0x8A, width), native(to), native(from));
    }
    return true;
}

bool mov_immediate(Assembly& a) {
    const Insn& insn = a.insn();
    Emitter& e = a.emitter();
    if (insn.mem()) {
        if (!can_address(insn)) {
            return false;
        }
        const Mem mem = check_operand(a, {.bytes = insn.width, .write = true});
        e.xm(by_width(0xC6, insn.width), 0, mem);
        immediate(a, insn.width, insn.imm);
        return true;
    }
    if (insn.width < 4) {
        e.xr(by_width(0xC6, insn.width), 0, in_register(a, insn.rm, kT0));
        immediate(a, insn.width, insn.imm);
        written(a, insn.rm, kT0);
        return true;
    }
    const u64 value = insn.width == 4 ? static_cast<u32>(insn.imm) : insn.imm;
    if (!in_memory(insn.rm)) {
        e.load_imm(native(insn.rm), value);
    } else if (fits32(value)) {
        e.xm({.opcode = 0xC7, .w = true}, 0, slot(insn.rm));
        e.dword(static_cast<u32>(value));
    } else {
        e.load_imm(kT0, value);
        e.store(slot(insn.rm), kT0);
    }
    return true;
}

bool mov(Assembly& a) {
    const Insn& insn = a.insn();
    Emitter& e = a.emitter();
    if (insn.form == Form::EI) {
        return mov_immediate(a);
    }
    const bool to_g = insn.form == Form::GE;
    if (!insn.mem()) {
        return to_g ? mov_registers(a, insn.reg, insn.rm, insn.width)
                    : mov_registers(a, insn.rm, insn.reg, insn.width);
    }
    if (high_byte(insn.reg) || !can_address(insn)) {
        return false;
    }
    const Mem mem = check_operand(a, {.bytes = insn.width, .write = !to_g});
    if (!to_g) {
        e.rm(by_width(0x88, insn.width), in_register(a, insn.reg, kT1), mem);
    } else {
        const u8 to = in_register(a, insn.reg, kT1, insn.width < 4);
        e.rm(by_width(0x8A, insn.width), to, mem);
        written(a, insn.reg, kT1);
    }
    return true;
}

// MOVZX, MOVSX, MOVSXD.
bool extend(Assembly& a) {
    const Insn& insn = a.insn();
    Emitter& e = a.emitter();
    Opcode op{.opsize = insn.width == 2, .w = insn.width == 8};
    if (insn.op == Op::MOVSXD) {
        if (insn.mem_bytes != 4) {
            return false;
        }
        op.opcode = 0x63;
    } else {
        op.map = OpcodeMap::Map0F;
        op.opcode =
            static_cast<u8>((insn.op == Op::MOVZX ? 0xB6 : 0xBE) | (insn.mem_bytes == 2 ? 1 : 0));
        op.byte_rm = insn.mem_bytes == 1;
    }
    if (insn.mem()) {
        if (!can_address(insn)) {
            return false;
        }
        const Mem mem = check_operand(a, {.bytes = insn.mem_bytes, .write = false});
        e.rm(op, in_register(a, insn.reg, kT1, insn.width < 4), mem);
    } else {
        if (high_byte(insn.rm) && (takes_rex(insn.reg) || insn.width == 8)) {
            return false;
        }
        const u8 to = in_register(a, insn.reg, kT1, insn.width < 4);
        if (in_memory(insn.rm)) {
            e.rm(op, to, slot(insn.rm));
        } else {
            e.rr(op, to, native(insn.rm));
        }
    }
    written(a, insn.reg, kT1);
    return true;
}

bool lea(Assembly& a) {
    const Insn& insn = a.insn();
    Emitter& e = a.emitter();
    if (!insn.mem() || insn.addrsize == 2 || insn.width < 4 ||
        (insn.base != kRipSlot && !fits32(static_cast<u64>(insn.disp)))) {
        return false;
    }
    const bool w = insn.addrsize == 8 && insn.width == 8;
    if (a.item().registers.moves_stack != 0) {
        a.move_stack(a.item().registers.moves_stack);
        return true;
    }
    const u8 to = in_register(a, insn.reg, kT1, false);
    if (insn.base == kRipSlot || (insn.base == kZeroSlot && insn.index == kZeroSlot)) {
        const u64 address =
            static_cast<u64>(insn.disp) + (insn.base == kRipSlot ? a.item().rip : 0);
        e.load_imm(to, w ? address : static_cast<u32>(address));
    } else {
        Mem mem{.scale = insn.scale, .disp = static_cast<i32>(insn.disp)};
        if (insn.base == RSP) {
            mem.disp += a.stack_ahead();
        }
        mem.base = insn.base == kZeroSlot ? kNoReg : in_register(a, insn.base, kT1);
        mem.index = insn.index == kZeroSlot ? kNoReg : in_register(a, insn.index, kT0);
        e.lea(to, mem, w);
    }
    written(a, insn.reg, kT1);
    return true;
}

// XCHG, XADD, CMPXCHG: both operands may be written.
bool exchange(Assembly& a, Opcode opcode, bool writes_g, bool implicit_lock) {
    const Insn& insn = a.insn();
    Emitter& e = a.emitter();
    if (insn.mem()) {
        if (high_byte(insn.reg) || !can_address(insn)) {
            return false;
        }
        const bool locked = insn.lock() || implicit_lock;
        const Mem mem = check_operand(a, {.bytes = insn.width, .write = true, .aligned = locked});
        provide_status(a, false);
        opcode.lock = insn.lock();
        e.rm(opcode, in_register(a, insn.reg, kT1), mem);
    } else {
        if ((high_byte(insn.reg) && takes_rex(insn.rm)) ||
            (high_byte(insn.rm) && takes_rex(insn.reg))) {
            return false;
        }
        provide_status(a, false);
        // In memory both would be one scratch register's business if they are the same.
        if (in_memory(insn.rm) && insn.rm == insn.reg) {
            return false;
        }
        const u8 target = in_register(a, insn.rm, kT0);
        e.rr(opcode, in_register(a, insn.reg, kT1), target);
        written(a, insn.rm, kT0);
    }
    if (writes_g) {
        written(a, insn.reg, kT1);
    }
    status_written(a);
    return true;
}

bool cmpxchg_pair(Assembly& a, unsigned bytes) {
    const Insn& insn = a.insn();
    if (!insn.mem() || !can_address(insn)) {
        return false;
    }
    const Mem mem = check_operand(a, {.bytes = bytes, .write = true, .aligned = true});
    provide_status(a, false);
    a.emitter().xm({.opcode = 0xC7, .map = OpcodeMap::Map0F, .w = bytes == 16, .lock = insn.lock()},
                   1, mem);
    status_written(a);
    return true;
}

bool cmov(Assembly& a) {
    const Insn& insn = a.insn();
    Emitter& e = a.emitter();
    const Opcode op =
        by_word(static_cast<u8>(0x40 | (insn.opcode & 0xF)), insn.width, OpcodeMap::Map0F);
    if (insn.mem()) {
        if (!can_address(insn)) {
            return false;
        }
        const Mem mem = check_operand(a, {.bytes = insn.width, .write = false});
        a.need_native_status();
        e.rm(op, in_register(a, insn.reg, kT1), mem);
    } else {
        a.need_native_status();
        const u8 to = in_register(a, insn.reg, kT1);
        if (in_memory(insn.rm)) {
            e.rm(op, to, slot(insn.rm));
        } else {
            e.rr(op, to, native(insn.rm));
        }
    }
    written(a, insn.reg, kT1);
    return true;
}

bool setcc(Assembly& a) {
    const Insn& insn = a.insn();
    Emitter& e = a.emitter();
    const Opcode op{.opcode = static_cast<u8>(0x90 | (insn.opcode & 0xF)),
                    .map = OpcodeMap::Map0F,
                    .byte = true};
    if (insn.mem()) {
        if (!can_address(insn)) {
            return false;
        }
        const Mem mem = check_operand(a, {.bytes = 1, .write = true});
        a.need_native_status();
        e.xm(op, 0, mem);
        return true;
    }
    a.need_native_status();
    e.xr(op, 0, in_register(a, insn.rm, kT0));
    written(a, insn.rm, kT0);
    return true;
}

bool movbe(Assembly& a) {
    const Insn& insn = a.insn();
    Emitter& e = a.emitter();
    if (insn.width < 4 || !insn.mem() || !can_address(insn)) {
        return false;
    }
    const bool to_g = insn.form == Form::GE;
    const Mem mem = check_operand(a, {.bytes = insn.width, .write = !to_g});
    const bool w = insn.width == 8;
    const auto swap_t1 = [&] {
        e.byte(w ? 0x49 : 0x41);
        e.byte(0x0F);
        e.byte(0xC8 | (kT1 & 7));
    };
    if (to_g) {
        e.rm({.opcode = 0x8B, .w = w}, kT1, mem);
        swap_t1();
        if (in_memory(insn.reg)) {
            e.store(slot(insn.reg), kT1);
        } else {
            e.mov(native(insn.reg), kT1);
        }
    } else {
        e.rr({.opcode = 0x8B, .w = w}, kT1, in_register(a, insn.reg, kT1));
        swap_t1();
        e.rm({.opcode = 0x89, .w = w}, kT1, mem);
    }
    return true;
}

bool push(Assembly& a) {
    const Insn& insn = a.insn();
    Emitter& e = a.emitter();
    const unsigned bytes = a.word();
    if (insn.opsize != bytes) {
        return false;
    }
    const bool w = a.code64();
    const Opcode load{.opcode = 0x8B, .w = w};
    const Opcode store{.opcode = 0x89, .w = w};
    const auto below = -static_cast<i32>(bytes);
    if (insn.form == Form::I) {
        const Mem mem = check_stack(a, below, {.bytes = bytes, .write = true});
        e.xm({.opcode = 0xC7, .w = w}, 0, mem);
        e.dword(static_cast<u32>(insn.imm));
    } else if (insn.mem()) {
        if (!can_address(insn)) {
            return false;
        }
        e.rm(load, kT1, check_operand(a, {.bytes = bytes, .write = false}));
        e.store(at_rsp(layout::kTarget), kT1);
        const Mem mem = check_stack(a, below, {.bytes = bytes, .write = true});
        e.load(kT1, at_rsp(layout::kTarget));
        e.rm(store, kT1, mem);
    } else {
        const Mem mem = check_stack(a, below, {.bytes = bytes, .write = true});
        e.rm(store, in_register(a, insn.rm, kT1), mem);
    }
    a.move_stack(below);
    return true;
}

bool pop(Assembly& a) {
    const Insn& insn = a.insn();
    Emitter& e = a.emitter();
    if (insn.opsize != a.word() || insn.mem()) {
        return false;
    }
    const Opcode load{.opcode = 0x8B, .w = a.code64()};
    const Mem mem = check_stack(a, 0, {.bytes = a.word(), .write = false});
    if (insn.rm == RSP) {
        e.rm(load, kHome[RSP], mem);
        a.stack_replaced();
        return true;
    }
    e.rm(load, in_register(a, insn.rm, kT1, false), mem);
    written(a, insn.rm, kT1);
    a.move_stack(static_cast<i32>(a.word()));
    return true;
}

bool leave(Assembly& a) {
    Emitter& e = a.emitter();
    if (a.insn().opsize != a.word()) {
        return false;
    }
    const Mem mem = check_base(a, kRbp, 0, {.bytes = a.word(), .write = false});
    e.lea(kHome[RSP], {.base = kRbp, .disp = static_cast<i32>(a.word())}, a.code64());
    e.rm({.opcode = 0x8B, .w = a.code64()}, kRbp, mem);
    a.stack_replaced();
    return true;
}

bool fence(Assembly& a) {
    const Op op = a.insn().op;
    a.emitter().byte(0x0F);
    a.emitter().byte(0xAE);
    a.emitter().byte(op == Op::LFENCE ? 0xE8 : op == Op::MFENCE ? 0xF0 : 0xF8);
    return true;
}

}  // namespace

bool carry_over_move(Assembly& a) {
    const Insn& insn = a.insn();
    switch (insn.op) {
    case Op::MOV: return mov(a);
    case Op::MOVNTI: return insn.mem() && mov(a);
    case Op::MOVZX:
    case Op::MOVSX:
    case Op::MOVSXD: return extend(a);
    case Op::LEA: return lea(a);
    case Op::XCHG: return exchange(a, by_width(0x86, insn.width), true, true);
    case Op::XADD: return exchange(a, by_width(0xC0, insn.width, OpcodeMap::Map0F), true, false);
    case Op::CMPXCHG:
        return exchange(a, by_width(0xB0, insn.width, OpcodeMap::Map0F), false, false);
    case Op::CMPXCHG8B: return cmpxchg_pair(a, 8);
    case Op::CMPXCHG16B: return cmpxchg_pair(a, 16);
    case Op::CMOVcc: return cmov(a);
    case Op::SETcc: return setcc(a);
    case Op::MOVBE: return movbe(a);
    case Op::PUSH: return push(a);
    case Op::POP: return pop(a);
    case Op::LEAVE: return leave(a);
    case Op::NOP:
    case Op::PREFETCH:
    case Op::PREFETCHW:
    case Op::ENDBR: return true;
    case Op::LFENCE:
    case Op::MFENCE:
    case Op::SFENCE: return fence(a);
    default: return false;
    }
}

}  // namespace droste::jit
