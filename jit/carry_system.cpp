// Kernel instructions on RFLAGS, segment selectors and GS whose common case needs nothing but a few
// words of the vCPU. What is not common goes to the interpreter, from the state before the
// instruction: another level than 0, an event that waits, a mode where the instruction faults.
//
// Each does what its handler and update_attention() or mode_changed() would do to derived state
// (cpu/x86/interp/exec_flags.cpp, cpu/x86/system/boundary.cpp, mode.cpp); debug builds compare at
// every boundary.
//
// STI sets IF only while nothing waits for attention, so nothing is to be taken behind the
// instruction in its shadow. The shadow itself is kept all the same (that instruction may leave
// translated code, and a VM exit tells of it), and ends behind that instruction: Assembly knows.
//
// VMX intercepts none of them but PAUSE.

#include "cpu/x86/interp/branch.hpp"
#include "cpu/x86/state/regs.hpp"
#include "jit/registers.hpp"
#include "jit/system_state.hpp"

namespace droste::jit {

namespace {

// CLI: IF := 0. Of what waits for IF, only what VMX forces stays in the mask.
bool cli(Assembly& a) {
    if (!at_level_0(a)) {
        return false;
    }
    Emitter& e = a.emitter();
    a.clobber_status();
    clear(e, system_flag(rflags::kIf));
    close_interrupt_window(e);
    return true;
}

// STI: IF := 1; the next instruction is in its shadow if IF was 0.
bool sti(Assembly& a) {
    if (!at_level_0(a) || !a.shadow_can_end()) {
        return false;
    }
    Emitter& e = a.emitter();
    a.clobber_status();
    e.alu_imm(7, at_rsp(layout::kInterruptibility), 0, false);
    a.interpret_if(e.jcc(cc::kNE));
    test(e, system_flag(rflags::kIf));
    u8* enabled = e.jcc(cc::kNE);
    e.alu_imm(7, at_rsp(layout::kAttention), 0, false);
    a.interpret_if(e.jcc(cc::kNE));
    set(e, system_flag(rflags::kIf));
    open_interrupt_window(e);
    e.store_imm32(at_rsp(layout::kInterruptibility), blocking::kSti);
    e.lands_here(enabled);
    a.begin_shadow();
    return true;
}

bool direction(Assembly& a) {
    Emitter& e = a.emitter();
    a.clobber_status();
    if (a.insn().op == Op::STD) {
        set(e, system_flag(rflags::kDf));
    } else {
        clear(e, system_flag(rflags::kDf));
    }
    return true;
}

// STAC, CLAC: AC changes the class of data accesses, if SMAP is on. What page slots hold stays in
// reach: none is filled under AC.
bool access_control(Assembly& a) {
    if (!at_level_0(a)) {
        return false;
    }
    Emitter& e = a.emitter();
    const bool sets = a.insn().op == Op::STAC;
    constexpr auto kTableBytes = static_cast<i32>(sizeof(DataTlb));
    static_assert(static_cast<int>(PrivilegeClass::SupervisorAc) ==
                  static_cast<int>(PrivilegeClass::Supervisor) + 1);
    a.clobber_status();
    test(e, flag_byte(layout::kCr4, cr4::kSmap));
    a.interpret_if(e.jcc(cc::kE));
    test(e, system_flag(rflags::kAc));
    u8* as_before = e.jcc(sets ? cc::kNE : cc::kE);
    if (sets) {
        set(e, system_flag(rflags::kAc));
        e.alu_imm(0, at_rsp(layout::kDataTlb), kTableBytes);  // add
    } else {
        clear(e, system_flag(rflags::kAc));
        e.alu_imm(5, at_rsp(layout::kDataTlb), kTableBytes);  // sub
    }
    e.lands_here(as_before);
    return true;
}

bool swapgs(Assembly& a) {
    if (!at_level_0(a)) {
        return false;
    }
    Emitter& e = a.emitter();
    e.load(kT0, at_rsp(layout::segment_base(GS)));
    e.load(kT1, at_rsp(layout::kKernelGsBase));
    e.store(at_rsp(layout::segment_base(GS)), kT1);
    e.store(at_rsp(layout::kKernelGsBase), kT0);
    return true;
}

// Only where it is nothing at all: nobody waits for the turn of this vCPU, no hypervisor to ask.
bool pause(Assembly& a) {
    Emitter& e = a.emitter();
    a.clobber_status();
    e.alu_imm(7, at_rsp(layout::kIntercepts), 0);
    a.interpret_if(e.jcc(cc::kNE));
    e.compare_imm8(at_rsp(layout::kOthersWait), 0);
    a.interpret_if(e.jcc(cc::kNE));
    return true;
}

// PUSHF in 64-bit mode: RFLAGS as they are; VM and RF are 0 in translated code.
bool pushf(Assembly& a) {
    if (a.insn().opsize != 8) {
        return false;
    }
    Emitter& e = a.emitter();
    a.need_saved_status();
    a.clobber_status();
    const Mem mem = check_stack(a, -8, {.bytes = 8, .write = true});
    e.lea(kT0, mem);
    e.store(at_rsp(layout::kScratch), kT0);
    load_status(e, kT1, kT0);
    e.rm({.opcode = 0x0B, .w = true}, kT1, at_rsp(layout::kSystemFlags));
    e.load(kT0, at_rsp(layout::kScratch));
    e.store({.base = kT0}, kT1);
    a.move_stack(-8);
    return true;
}

// POPF that changes no flag on which events or the mode depend.
bool popf(Assembly& a) {
    if (a.insn().opsize != 8) {
        return false;
    }
    constexpr u64 kOthers = rflags::kTf | rflags::kIf | rflags::kIopl | rflags::kAc;
    constexpr u64 kTaken = rflags::kDf | rflags::kNt | rflags::kId;
    Emitter& e = a.emitter();
    e.load(kT1, check_stack(a, 0, {.bytes = 8, .write = false}));
    a.clobber_status();
    e.mov32(kT0, kT1);
    e.rm({.opcode = 0x33}, kT0, at_rsp(layout::kSystemFlags));  // xor
    e.xr({.opcode = 0xF7}, 0, kT0);                             // test
    e.dword(static_cast<u32>(kOthers));
    a.interpret_if(e.jcc(cc::kNE));
    e.alu_imm(4, kT0, static_cast<i32>(kTaken), false);
    e.rm({.opcode = 0x31}, kT0, at_rsp(layout::kSystemFlags));  // xor
    store_status(e, kT1, kT0);
    a.set_status(StatusPlace::Saved);
    a.move_stack(8);
    return true;
}

bool mov_from_segment(Assembly& a) {
    const Insn& insn = a.insn();
    Emitter& e = a.emitter();
    if (insn.mem() || insn.reg >= kSegRegCount) {
        return false;
    }
    const Opcode load{.opcode = 0xB7, .map = OpcodeMap::Map0F};  // movzx
    const Mem selector = at_rsp(layout::selector(insn.reg));
    if (insn.width != 2) {
        e.rm(load, in_register(a, insn.rm, kT0, false), selector);
        written(a, insn.rm, kT0);
        return true;
    }
    e.rm(load, kT0, selector);
    const Opcode move{.opcode = 0x89, .opsize = true};
    if (in_memory(insn.rm)) {
        e.rm(move, kT0, slot(insn.rm));
    } else {
        e.rr(move, kT0, native(insn.rm));
    }
    return true;
}

}  // namespace

bool carry_over_system(Assembly& a) {
    switch (a.insn().op) {
    case Op::CLI: return cli(a);
    case Op::STI: return sti(a);
    case Op::CLD:
    case Op::STD: return direction(a);
    case Op::CLAC:
    case Op::STAC: return access_control(a);
    case Op::SWAPGS: return swapgs(a);
    case Op::PAUSE: return pause(a);
    case Op::PUSHF: return pushf(a);
    case Op::POPF: return popf(a);
    case Op::MOV_SREG_FROM: return mov_from_segment(a);
    default: return false;
    }
}

}  // namespace droste::jit
