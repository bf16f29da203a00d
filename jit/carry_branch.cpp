// Near jumps, calls and returns of 64-bit code. Known targets are linked; the others are looked up
// in the jump table of the address space (docs/jit/links.md). Whatever the table does not hold, the
// interpreter does: it checks the target and raises what is to be raised.

#include "cpu/x86/interp/branch.hpp"
#include "jit/registers.hpp"

#include <bit>

namespace droste::jit {

namespace {

u64 relative_target(const Item& item) {
    return item.next_rip() + item.insn->imm;
}

// t1 holds the target; afterwards t0 points at its entry of the jump table.
void look_up_target(Assembly& a) {
    Emitter& e = a.emitter();
    a.clobber_status();  // an access in a window has not
    constexpr unsigned kEntryShift = std::countr_zero(sizeof(JumpTable::Entry));
    e.rr({.opcode = 0x69}, kT0, kT1);  // imul
    e.dword(JumpTable::kMultiplier);
    e.xr({.opcode = 0xC1}, 5, kT0);  // shr
    e.byte(JumpTable::kIndexShift - kEntryShift);
    e.alu_imm(4, kT0, (JumpTable::kEntries - 1) << kEntryShift, false);
    e.rm({.opcode = 0x03, .w = true}, kT0, at_rsp(layout::kJumpTable));
    e.rm({.opcode = 0x3B, .w = true}, kT1, {.base = kT0});
    a.interpret_if(e.jcc(cc::kNE));
}

// t1 := the target of an indirect branch.
bool load_target(Assembly& a) {
    const Insn& insn = a.insn();
    Emitter& e = a.emitter();
    if (insn.mem()) {
        if (!can_address(insn)) {
            return false;
        }
        e.load(kT1, check_operand(a, {.bytes = 8, .write = false}));
    } else {
        a.clobber_status();
        e.mov(kT1, in_register(a, insn.rm, kT1));
    }
    return true;
}

bool jmp(Assembly& a) {
    const Item& item = a.item();
    if (item.insn->form == Form::I) {
        if (!canonical_in_any_width(relative_target(item))) {
            return false;
        }
        a.leave_to(relative_target(item), a.index() + 1);
        return true;
    }
    if (!load_target(a)) {
        return false;
    }
    look_up_target(a);
    a.settle_stack();
    a.emitter().jmp_mem({.base = kT0, .disp = 8});
    return true;
}

// Both ways then need no code of their own.
void settle_if_last(Assembly& a) {
    if (a.index() + 1 == a.count()) {
        a.settle_stack();
    }
}

bool jcc(Assembly& a) {
    const Item& item = a.item();
    if (!canonical_in_any_width(relative_target(item))) {
        return false;
    }
    a.need_native_status();
    settle_if_last(a);
    u8* place = a.emitter().jcc(item.insn->opcode & 0xF);
    a.leave_if(place, relative_target(item), a.index() + 1);
    if (a.index() + 1 == a.count()) {
        a.leave_to(item.next_rip(), a.index() + 1);
    }
    return true;
}

void store_return_address(Assembly& a) {
    Emitter& e = a.emitter();
    const u64 address = a.item().next_rip();
    const Mem mem = check_stack(a, -8, {.bytes = 8, .write = true});
    if (fits32(address)) {
        e.xm({.opcode = 0xC7, .w = true}, 0, mem);
        e.dword(static_cast<u32>(address));
    } else {
        e.load_imm(kT1, address);
        e.store(mem, kT1);
    }
    a.move_stack(-8);
    a.settle_stack();
}

bool call(Assembly& a) {
    const Item& item = a.item();
    Emitter& e = a.emitter();
    if (item.insn->form == Form::I) {
        if (!canonical_in_any_width(relative_target(item))) {
            return false;
        }
        store_return_address(a);
        a.leave_to(relative_target(item), a.index() + 1);
        return true;
    }
    if (!load_target(a)) {
        return false;
    }
    // The target's entry first: if there is none nothing has been stored yet, which might be what
    // the target was read from.
    look_up_target(a);
    e.load(kT0, {.base = kT0, .disp = 8});
    e.store(at_rsp(layout::kTarget), kT0);
    store_return_address(a);
    e.jmp_mem(at_rsp(layout::kTarget));
    return true;
}

bool ret(Assembly& a) {
    const Insn& insn = a.insn();
    Emitter& e = a.emitter();
    const i32 release = insn.form == Form::I ? static_cast<i32>(insn.imm & 0xFFFF) : 0;
    e.load(kT1, check_stack(a, 0, {.bytes = 8, .write = false}));
    look_up_target(a);
    a.move_stack(8 + release);
    a.settle_stack();
    e.jmp_mem({.base = kT0, .disp = 8});
    return true;
}

// The native flags must stay: only LEA and JRCXZ.
bool loop(Assembly& a) {
    const Item& item = a.item();
    Emitter& e = a.emitter();
    const Insn& insn = *item.insn;
    if (insn.addrsize != 8 || !canonical_in_any_width(relative_target(item))) {
        return false;
    }
    const bool counts = insn.op == Op::LOOP;
    settle_if_last(a);
    if (counts) {
        e.lea(kRcx, {.base = kRcx, .disp = -1});
    }
    // LOOP is taken with RCX not 0, JRCXZ with RCX 0.
    constexpr u8 kJumpBytes = 5;
    e.byte(0xE3);
    e.byte(counts ? kJumpBytes : 2);
    if (!counts) {
        e.byte(0xEB);
        e.byte(kJumpBytes);
    }
    u8* place = e.jmp();
    a.leave_if(place, relative_target(item), a.index() + 1);
    if (a.index() + 1 == a.count()) {
        a.leave_to(item.next_rip(), a.index() + 1);
    }
    return true;
}

}  // namespace

bool carry_over_branch(Assembly& a) {
    const Insn& insn = a.insn();
    if (insn.opsize != 8) {
        return false;
    }
    switch (insn.op) {
    case Op::JMP_NEAR: return jmp(a);
    case Op::Jcc: return jcc(a);
    case Op::CALL_NEAR: return call(a);
    case Op::RET_NEAR: return ret(a);
    case Op::LOOP:
    case Op::JrCXZ: return loop(a);
    default: return false;
    }
}

}  // namespace droste::jit
