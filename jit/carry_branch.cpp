// Near jumps, calls and returns with the operand size of the mode. Known targets are linked; the
// others are looked up in the jump table of the address space (docs/jit/links.md). Whatever the table
// does not hold, the interpreter does: it checks the target and raises what is to be raised.
//
// On a shadow stack calls and returns look into the TLB of its accesses, which are aligned where
// they hit, before anything is stored (docs/jit/modes.md, "Shadow stacks").

#include "cpu/x86/interp/branch.hpp"
#include "jit/look_up.hpp"
#include "jit/registers.hpp"

namespace droste::jit {

namespace {

// MOV of an address.
Opcode word_load(const Assembly& a) {
    return {.opcode = 0x8B, .w = a.code64()};
}

// t1 holds the target; afterwards t0 points at its entry of the jump table. `endbranch`: it has to
// begin with one.
void look_up_target(Assembly& a, bool endbranch) {
    Emitter& e = a.emitter();
    a.clobber_status();  // an access in a window has not
    find_entry(e, layout::kJumpTable);
    if (endbranch) {
        e.xr({.opcode = 0xBA, .map = OpcodeMap::Map0F, .w = true}, 7, kT1);  // btc
        e.byte(JumpTable::kTrackedBit);
    }
    a.compare_entry();
}

// Whether an indirect jump or call waits for ENDBR. With NOTRACK that depends on an MSR.
bool carries_tracking(const Assembly& a) {
    return !a.tracked() || (a.insn().flags & kInsnNoTrack) == 0;
}

// t1 := the target of an indirect branch.
bool load_target(Assembly& a) {
    const Insn& insn = a.insn();
    Emitter& e = a.emitter();
    if (insn.mem()) {
        if (!can_address(insn)) {
            return false;
        }
        e.rm(word_load(a), kT1, check_operand(a, {.bytes = a.word(), .write = false}));
    } else {
        a.clobber_status();
        e.rr(word_load(a), kT1, in_register(a, insn.rm, kT1));
    }
    return true;
}

bool jmp(Assembly& a) {
    const Item& item = a.item();
    if (item.insn->form == Form::I) {
        if (!canonical_in_any_width(item.target())) {
            return false;
        }
        a.leave_to(item.target(), a.index() + 1);
        return true;
    }
    if (!carries_tracking(a) || !load_target(a)) {
        return false;
    }
    look_up_target(a, a.tracked());
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
    if (!canonical_in_any_width(item.target())) {
        return false;
    }
    a.need_native_status();
    if (item.repeats) {
        a.leave_if(a.emitter().jcc((item.insn->opcode & 0xF) ^ 1), item.next_rip(), a.index() + 1);
        return true;
    }
    settle_if_last(a);
    u8* place = a.emitter().jcc(item.insn->opcode & 0xF);
    a.leave_if(place, item.target(), a.index() + 1);
    if (a.index() + 1 == a.count()) {
        a.leave_to(item.next_rip(), a.index() + 1);
    }
    return true;
}

// Checks an access of a word `disp` bytes from SSP; t0 is used in what it returns.
Mem check_shadow_stack(Assembly& a, i32 disp, bool write) {
    Emitter& e = a.emitter();
    a.clobber_status();
    e.load(kT1, at_rsp(layout::kSsp));
    if (disp != 0) {
        e.lea(kT1, {.base = kT1, .disp = disp});
    }
    e.mov(kT0, kT1);
    e.xr({.opcode = 0xC1, .w = true}, 5, kT0);  // shr
    e.byte(kPageShift - 3);
    e.alu_imm(4, kT0, layout::kShadowEntriesMask, false);
    e.rm({.opcode = 0x03, .w = true}, kT0, at_rsp(layout::kShadowTlb));
    e.alu_imm(4, kT1, static_cast<i32>(~u32{0xFFF} | (a.word() - 1)));
    e.rm({.opcode = 0x3B, .w = true}, kT1,
         {.base = kT0, .disp = write ? layout::kShadowWriteTags : layout::kShadowReadTags});
    a.interpret_if(e.jcc(cc::kNE));
    e.load(kT0, {.base = kT0, .disp = layout::kShadowAddends});
    e.rm({.opcode = 0x03, .w = true}, kT0, at_rsp(layout::kSsp));
    return {.base = kT0, .disp = disp};
}

// MOV of the return address; one that is no immediate is in t1 then, or already if `loaded`.
void store_address(Assembly& a, const Mem& mem, bool loaded) {
    Emitter& e = a.emitter();
    const u64 address = a.item().next_rip();
    if (!a.code64() || fits32(address)) {
        e.xm({.opcode = 0xC7, .w = a.code64()}, 0, mem);
        e.dword(static_cast<u32>(address));
        return;
    }
    if (!loaded) {
        e.load_imm(kT1, address);
    }
    e.store(mem, kT1);
}

// Pushes it, to the shadow stack as well if `shadow`: both have been checked before one is written.
void push_return_address(Assembly& a, bool shadow) {
    Emitter& e = a.emitter();
    const auto bytes = static_cast<i32>(a.word());
    if (shadow) {
        (void)check_shadow_stack(a, -bytes, true);
        e.store(at_rsp(layout::kShadow), kT0);
    }
    store_address(a, check_stack(a, -bytes, {.bytes = a.word(), .write = true}), false);
    if (shadow) {
        e.load(kT0, at_rsp(layout::kShadow));
        store_address(a, {.base = kT0, .disp = -bytes}, true);
        e.alu_imm(5, at_rsp(layout::kSsp), bytes);  // sub
    }
    a.move_stack(-bytes);
    a.settle_stack();
}

bool call(Assembly& a) {
    const Item& item = a.item();
    Emitter& e = a.emitter();
    if (item.insn->form == Form::I) {
        if (!canonical_in_any_width(item.target())) {
            return false;
        }
        // A call of the next instruction pushes no shadow.
        push_return_address(a, a.shadow_stack() && item.insn->imm != 0);
        a.leave_to(item.target(), a.index() + 1);
        return true;
    }
    if (!carries_tracking(a) || !load_target(a)) {
        return false;
    }
    // The target's entry first: if there is none nothing has been stored yet, which might be what
    // the target was read from.
    look_up_target(a, a.tracked());
    e.load(kT0, {.base = kT0, .disp = 8});
    e.store(at_rsp(layout::kTarget), kT0);
    push_return_address(a, a.shadow_stack());
    e.jmp_mem(at_rsp(layout::kTarget));
    return true;
}

bool ret(Assembly& a) {
    const Insn& insn = a.insn();
    Emitter& e = a.emitter();
    const i32 release = insn.form == Form::I ? static_cast<i32>(insn.imm & 0xFFFF) : 0;
    if (a.shadow_stack()) {
        e.rm(word_load(a), kT1, check_shadow_stack(a, 0, false));
        e.store(at_rsp(layout::kShadow), kT1);
    }
    e.rm(word_load(a), kT1, check_stack(a, 0, {.bytes = a.word(), .write = false}));
    if (a.shadow_stack()) {
        e.rm({.opcode = 0x3B, .w = true}, kT1, at_rsp(layout::kShadow));
        a.interpret_if(e.jcc(cc::kNE));
    }
    look_up_target(a, false);
    if (a.shadow_stack()) {
        e.alu_imm(0, at_rsp(layout::kSsp), static_cast<i32>(a.word()));  // add
    }
    a.move_stack(static_cast<i32>(a.word()) + release);
    a.settle_stack();
    e.jmp_mem({.base = kT0, .disp = 8});
    return true;
}

// Where shadow stacks are off it does nothing.
bool rdssp(Assembly& a) {
    const Insn& insn = a.insn();
    if (a.shadow_stack()) {
        const u8 to = in_register(a, insn.rm, kT0, false);
        a.emitter().rm({.opcode = 0x8B, .w = insn.width == 8}, to, at_rsp(layout::kSsp));
        written(a, insn.rm, to);
    }
    return true;
}

// The native flags must stay: only LEA, and JRCXZ or JECXZ.
bool loop(Assembly& a) {
    const Item& item = a.item();
    Emitter& e = a.emitter();
    const Insn& insn = *item.insn;
    if (insn.addrsize != a.word() || !canonical_in_any_width(item.target())) {
        return false;
    }
    const bool counts = insn.op == Op::LOOP;
    settle_if_last(a);
    if (counts) {
        e.lea(kRcx, {.base = kRcx, .disp = -1}, a.code64());
    }
    // LOOP is taken with RCX not 0, JRCXZ with RCX 0.
    constexpr u8 kJumpBytes = 5;
    if (!a.code64()) {
        e.byte(0x67);
    }
    e.byte(0xE3);
    e.byte(counts ? kJumpBytes : 2);
    if (!counts) {
        e.byte(0xEB);
        e.byte(kJumpBytes);
    }
    u8* place = e.jmp();
    a.leave_if(place, item.target(), a.index() + 1);
    if (a.index() + 1 == a.count()) {
        a.leave_to(item.next_rip(), a.index() + 1);
    }
    return true;
}

}  // namespace

bool carry_over_branch(Assembly& a) {
    const Insn& insn = a.insn();
    if (insn.op == Op::RDSSP) {
        return rdssp(a);
    }
    if (insn.opsize != a.word()) {
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
