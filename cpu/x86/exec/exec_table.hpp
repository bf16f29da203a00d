#pragma once
// Which handler executes an Op. Each exec_*.cpp exports rows; exec_table.cpp joins them and a test
// checks that every Op has exactly one. "Select" picks among a handler's instantiations (width,
// register or memory) and may replace Insn::imm by a pointer to prepared data (native thunks do).

#include "cpu/x86/decode/insn.hpp"

#include <span>

namespace droste {

using SelectFn = ExecFn (*)(Vcpu& cpu, Insn& insn);

struct ExecRow {
    Op op;
    SelectFn select;
};

// One span per exec_*.cpp, declared here in one list.
std::span<const ExecRow>
exec_rows_arith();  // ADD..CMP, INC, DEC, NEG, MUL, DIV, BCD, ADX, CRC32 ...
std::span<const ExecRow>
exec_rows_bits();  // shifts, rotates, BT*, BSF.., BMI, POPCNT, MOVBE, BSWAP
std::span<const ExecRow>
exec_rows_move();  // MOV, MOVZX, XCHG, CMPXCHG*, XADD, LEA, CMOVcc, SETcc, PUSH, POP, ENTER ...
std::span<const ExecRow>
exec_rows_branch();  // JMP, Jcc, CALL, RET near, LOOP, JrCXZ, INT*, BOUND, UD*
std::span<const ExecRow> exec_rows_string();  // MOVS .. OUTS with REP
std::span<const ExecRow> exec_rows_flags();   // CLC.., LAHF, PUSHF, POPF, CLI, STI
std::span<const ExecRow>
exec_rows_misc();  // CPUID, RDTSC, RDRAND, CLFLUSH, hints, PAUSE, fences, XLAT ...
std::span<const ExecRow>
exec_rows_system();  // MOV CR/DR, LGDT.., LMSW, INVLPG, HLT, RDMSR, SWAPGS, MONITOR ...
std::span<const ExecRow> exec_rows_segment();  // MOV Sreg, LxS, LAR, LSL, VERR, ARPL, LLDT, LTR,
                                               // far transfers, IRET, SYSCALL ...
std::span<const ExecRow> exec_rows_cet();      // RDSSP, INCSSP, WRSS ...
std::span<const ExecRow> exec_rows_io();       // IN, OUT
std::span<const ExecRow> exec_rows_x87();
std::span<const ExecRow>
exec_rows_vector();  // what is not a plain native thunk: moves, state, masks, gathers ...
std::span<const ExecRow> exec_rows_xsave();  // FXSAVE .. XSAVES, XGETBV
std::span<const ExecRow>
exec_rows_vmx();  // #UD unless cpu.vmx; forwards to the handlers cpu/vmx installed

// The larger families take two or three files.
std::span<const ExecRow> exec_rows_multiply();     // of arith: MUL, IMUL, DIV, IDIV, MULX
std::span<const ExecRow> exec_rows_decimal();      // of arith: AAA..DAS
std::span<const ExecRow> exec_rows_shift();        // of bits: SHL..RCR, SHLD, SHRD
std::span<const ExecRow> exec_rows_bmi();          // of bits: BMI1 and BMI2
std::span<const ExecRow> exec_rows_conditional();  // of move: CMOVcc, SETcc
std::span<const ExecRow> exec_rows_stack();        // of move: PUSH, POP, PUSHA, ENTER, LEAVE ...
std::span<const ExecRow> exec_rows_interrupt();    // of branch: INT*, BOUND
std::span<const ExecRow> exec_rows_endbranch();    // of branch: ENDBR
std::span<const ExecRow> exec_rows_string_io();    // of string: INS, OUTS
std::span<const ExecRow> exec_rows_random();       // of misc: RDRAND, RDSEED

// All of the above, for the test that counts them.
std::span<const std::span<const ExecRow>> exec_families();

// Vector arithmetic carried out by a generated native thunk; serves every Op whose decode row is
// marked kNative.
ExecFn select_native_thunk(Vcpu& cpu, Insn& insn);

// Sets insn.exec. Never null afterwards.
void select_exec(Vcpu& cpu, Insn& insn);

}  // namespace droste
