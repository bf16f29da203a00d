// SYSCALL and SYSRET between 64-bit code of levels 3 and 0, without leaving translated code. What
// is not the common case goes to the interpreter, from the state before the instruction: no
// translation known at the target, flags on which the mode or events depend, control-flow
// enforcement, an event that waits.
//
// Each does what exec_syscall.cpp, mode_changed() and update_attention() would do; debug builds
// compare at every boundary. What a level has of its own - jump table, page slots, data TLB - is
// reached from the vCPU: TranslatedCode::other_jump_table is the other level's as long as what it
// holds is good.

#include "cpu/x86/state/regs.hpp"
#include "cpu/x86/system/protection.hpp"
#include "jit/look_up.hpp"
#include "jit/registers.hpp"
#include "jit/system_state.hpp"

namespace droste::jit {

namespace {

constexpr i32 kTables =
    (static_cast<i32>(PrivilegeClass::User) - static_cast<i32>(PrivilegeClass::Supervisor)) *
    static_cast<i32>(sizeof(DataTlb));
constexpr u8 kR11 = 11;

// t1 holds the target; afterwards t0 points at its entry of the other level's jump table.
void look_up_at_other_level(Assembly& a) {
    Emitter& e = a.emitter();
    find_entry(e, layout::kOtherJumpTable);
    a.compare_entry();
}

void interpret_unless(Assembly& a, const FlagByte& flag) {
    test(a.emitter(), flag);
    a.interpret_if(a.emitter().jcc(cc::kE));
}
void interpret_if_any(Assembly& a, const FlagByte& flag) {
    test(a.emitter(), flag);
    a.interpret_if(a.emitter().jcc(cc::kNE));
}

// What both need: the instructions are there, the other level's tables too, and nothing tracks or
// shadows branches at either.
void check_transfer(Assembly& a) {
    Emitter& e = a.emitter();
    a.clobber_status();
    interpret_unless(a, flag_byte(layout::kEfer, efer::kSce));
    interpret_if_any(a, flag_byte(layout::kCr4, cr4::kCet));
    e.alu_imm(7, at_rsp(layout::kOtherJumpTable), 0);
    a.interpret_if(e.jcc(cc::kE));
}

// The segment register, of which t0 has the selector.
void load_flat(Emitter& e, unsigned seg, const Segment& flat) {
    DROSTE_DEBUG_ASSERT(flat.base == 0);
    e.rm({.opcode = 0x89, .opsize = true}, kT0, at_rsp(layout::selector(seg)));
    e.xm({.opcode = 0xC7, .opsize = true}, 0, at_rsp(layout::segment_checks(seg)));
    e.word(flat.checks);
    e.store_imm32(at_rsp(layout::segment_rights(seg)), flat.rights);
    e.store_imm32(at_rsp(layout::segment_limit(seg)), flat.limit);
    e.xm({.opcode = 0xC7, .w = true}, 0, at_rsp(layout::segment_base(seg)));
    e.dword(0);
}

// The level changes: what is derived from it, and what it has of its own.
void change_level(Emitter& e, unsigned level) {
    e.store_imm8(at_rsp(layout::kCpl), static_cast<u8>(level));
    e.alu_imm(6, at_rsp(layout::kModeKey), static_cast<i32>(mode_key::kUser), false);  // xor
    const unsigned up_or_down = level == 0 ? 5 : 0;                                    // sub, add
    e.alu_imm(up_or_down, at_rsp(layout::kDataTlb), kTables);
    e.alu_imm(up_or_down, at_rsp(layout::kShadowTlb), sizeof(TlbContext::ShadowTlb));
    e.load(kT0, at_rsp(layout::kJumpTable));
    e.load(kT1, at_rsp(layout::kOtherJumpTable));
    e.store(at_rsp(layout::kOtherJumpTable), kT0);
    e.store(at_rsp(layout::kJumpTable), kT1);
}

bool user_code(const Assembly& a) {
    return (a.translation().key & (mode_key::kUser | mode_key::kAlignment)) == mode_key::kUser;
}

//   RCX := next RIP; RIP := IA32_LSTAR; R11 := RFLAGS;
//   RFLAGS := RFLAGS AND NOT IA32_FMASK; CPL := 0
bool syscall(Assembly& a) {
    if (!a.code64() || !user_code(a)) {
        return false;
    }
    constexpr u64 kMustClear = rflags::kTf | rflags::kIf | rflags::kAc;
    Emitter& e = a.emitter();
    a.need_saved_status();
    check_transfer(a);
    e.load32(kT0, at_rsp(layout::kSfmask));
    e.xr({.opcode = 0xF7}, 2, kT0);                             // not
    e.rm({.opcode = 0x23}, kT0, at_rsp(layout::kSystemFlags));  // and
    e.xr({.opcode = 0xF7}, 0, kT0);                             // test
    e.dword(static_cast<u32>(kMustClear));
    a.interpret_if(e.jcc(cc::kNE));
    e.load(kT1, at_rsp(layout::kLstar));
    look_up_at_other_level(a);
    a.settle_stack();
    e.load(kT0, {.base = kT0, .disp = 8});
    e.store(at_rsp(layout::kTarget), kT0);

    load_status(e, kR11, kT0);
    e.rm({.opcode = 0x0B, .w = true}, kR11, at_rsp(layout::kSystemFlags));  // or
    e.load32(kT0, at_rsp(layout::kSfmask));
    e.xr({.opcode = 0xF7}, 2, kT0);     // not
    e.rr({.opcode = 0x23}, kT0, kR11);  // and
    store_rflags(e, kT0, kT1);
    e.load_imm(kRcx, a.item().next_rip());

    close_interrupt_window(e);
    e.load32(kT0, at_rsp(layout::kStar + 4));
    e.alu_imm(4, kT0, 0xFFFC, false);
    load_flat(e, CS, flat_code_segment(0, 0, FlatCode::Bits64));
    e.alu_imm(0, kT0, 8, false);
    load_flat(e, SS, flat_stack_segment(0, 0));
    change_level(e, 0);
    e.jmp_mem(at_rsp(layout::kTarget));
    return true;
}

//   RIP := RCX; RFLAGS := R11 without RF and VM; CS := STAR[63:48] + 16; SS := STAR[63:48] + 8;
//   CPL := 3
bool sysret(Assembly& a) {
    if (!a.code64() || !at_level_0(a) || !a.insn().rex_w()) {
        return false;
    }
    constexpr u64 kMustBeClear = rflags::kTf | rflags::kRf | rflags::kVm | rflags::kAc;
    constexpr i32 kLoadedFlags = 0x3C7FD7;
    constexpr u8 kUncanonicalBits = 16;
    Emitter& e = a.emitter();
    check_transfer(a);
    interpret_if_any(a, system_flag(rflags::kAc));
    e.alu_imm(7, at_rsp(layout::kInterruptibility), 0, false);
    a.interpret_if(e.jcc(cc::kNE));
    e.alu_imm(7, at_rsp(layout::kAttention), 0, false);
    a.interpret_if(e.jcc(cc::kNE));
    e.xr({.opcode = 0xF7}, 0, kR11);  // test
    e.dword(static_cast<u32>(kMustBeClear));
    a.interpret_if(e.jcc(cc::kNE));
    e.xr({.opcode = 0xF7}, 0, kR11);
    e.dword(static_cast<u32>(rflags::kIf));
    a.interpret_if(e.jcc(cc::kE));
    // Of 48 bits, with 57-bit addresses, too: what is above those is the interpreter's.
    e.mov(kT1, kRcx);
    e.xr({.opcode = 0xC1, .w = true}, 4, kT1);  // shl
    e.byte(kUncanonicalBits);
    e.xr({.opcode = 0xC1, .w = true}, 7, kT1);  // sar
    e.byte(kUncanonicalBits);
    e.rr({.opcode = 0x3B, .w = true}, kT1, kRcx);
    a.interpret_if(e.jcc(cc::kNE));
    look_up_at_other_level(a);
    a.settle_stack();
    e.load(kT0, {.base = kT0, .disp = 8});
    e.store(at_rsp(layout::kTarget), kT0);

    e.mov32(kT0, kR11);
    e.alu_imm(4, kT0, kLoadedFlags, false);
    store_rflags(e, kT0, kT1);
    open_interrupt_window(e);
    e.load32(kT0, at_rsp(layout::kStar + 4));
    e.xr({.opcode = 0xC1}, 5, kT0);  // shr
    e.byte(16);
    e.alu_imm(0, kT0, 8, false);
    e.alu_imm(1, kT0, 3, false);  // or
    load_flat(e, SS, flat_stack_segment(0, 3));
    e.alu_imm(0, kT0, 8, false);
    load_flat(e, CS, flat_code_segment(0, 3, FlatCode::Bits64));
    change_level(e, 3);
    e.jmp_mem(at_rsp(layout::kTarget));
    return true;
}

}  // namespace

bool carry_over_syscall(Assembly& a) {
    switch (a.insn().op) {
    case Op::SYSCALL: return syscall(a);
    case Op::SYSRET: return sysret(a);
    default: return false;
    }
}

}  // namespace droste::jit
