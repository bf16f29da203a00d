// REP STOS and REP MOVS of 64-bit code where they are one piece of plain memory: forwards, within a
// page for each operand, and paid for by what is left of the budget. Kernels clear and copy most of
// what is small by them. Native REP does the same, element by element from low to high, on the
// registers that are the guest's; the address of the page's native place is added before and taken
// off behind. All else is the interpreter's: what crosses a page, runs downwards, misses the TLB.
//
// It counts as the interpreter counts it (charge_elements): n elements are as many instructions as
// kElementsPerInsn goes into n, rounded up. The first is the translation's own.

#include "cpu/x86/exec/string_ops.hpp"
#include "jit/registers.hpp"
#include "jit/system_state.hpp"

#include <bit>

namespace droste::jit {

namespace {

constexpr unsigned kElementsShift = std::countr_zero(kElementsPerInsn);

// kT1 := what the elements cost beyond the instruction.
void charge(Emitter& e) {
    e.lea(kT1, {.base = kRcx, .disp = -1});
    e.xr({.opcode = 0xC1, .w = true}, 5, kT1);  // shr
    e.byte(kElementsShift);
}

// To the interpreter unless what the register points to ends in its page.
void stay_in_page(Assembly& a, u8 pointer, u8 scale) {
    Emitter& e = a.emitter();
    e.mov32(kT0, pointer);
    e.alu_imm(4, kT0, static_cast<i32>(kPageBytes - 1), false);  // and
    e.lea(kT0, {.base = kT0, .index = kRcx, .scale = scale});
    e.alu_imm(7, kT0, static_cast<i32>(kPageBytes));
    a.interpret_if(e.jcc(cc::kA));
}

// kT0 := the addend of the register's page.
void find_page(Assembly& a, u8 pointer, bool write) {
    a.emitter().mov(kT1, pointer);
    a.interpret_if(probe(a, {.bytes = 1, .write = write}));
}

bool repeated(Assembly& a, bool reads) {
    const Insn& insn = a.insn();
    if (!repeats(insn) || !a.code64() || insn.addrsize != 8 || (reads && insn.seg >= FS)) {
        return false;
    }
    const unsigned width = string_width(insn);
    const auto scale = static_cast<u8>(std::countr_zero(width));
    Emitter& e = a.emitter();
    a.clobber_status();
    test(e, system_flag(rflags::kDf));
    a.interpret_if(e.jcc(cc::kNE));
    e.lea(kT1, {.base = kRcx, .disp = -1});
    e.alu_imm(7, kT1, static_cast<i32>(kPageBytes / width - 1));  // cmp; none is too many
    a.interpret_if(e.jcc(cc::kA));
    charge(e);
    e.rr({.opcode = 0x3B, .w = true}, kT1, kBudget);  // cmp
    a.interpret_if(e.jcc(cc::kA));
    stay_in_page(a, kRdi, scale);
    if (reads) {
        stay_in_page(a, kRsi, scale);
        find_page(a, kRsi, false);
        e.store(at_rsp(layout::kScratch), kT0);
    }
    find_page(a, kRdi, true);
    charge(e);
    e.rr({.opcode = 0x2B, .w = true}, kBudget, kT1);  // sub
    e.rr({.opcode = 0x03, .w = true}, kRdi, kT0);     // add
    if (reads) {
        e.rm({.opcode = 0x03, .w = true}, kRsi, at_rsp(layout::kScratch));
    }
    e.byte(0xF3);
    if (width == 2) {
        e.byte(0x66);
    } else if (width == 8) {
        e.byte(0x48);
    }
    e.byte((reads ? 0xA4U : 0xAAU) | (width == 1 ? 0U : 1U));
    e.rr({.opcode = 0x2B, .w = true}, kRdi, kT0);  // sub
    if (reads) {
        e.rm({.opcode = 0x2B, .w = true}, kRsi, at_rsp(layout::kScratch));
    }
    e.xm({.opcode = 0xC7, .w = true}, 0, at_rsp(layout::kRepeatingAt));  // mov
    e.dword(static_cast<u32>(kNoTag));
    return true;
}

}  // namespace

bool carry_over_string(Assembly& a) {
    switch (a.insn().op) {
    case Op::MOVS: return repeated(a, true);
    case Op::STOS: return repeated(a, false);
    default: return false;
    }
}

}  // namespace droste::jit
