#pragma once
// Opcode extensions: what ModRM.reg selects. SDM Vol. 2D, A.4, Table A-6 "Opcode Extensions for
// One- and Two-byte Opcodes by Group Number".
//
// The first column is ModRM.reg. Operands left out are those of the opcode's own row ("Grp1 Eb,
// Ib"); its attributes apply too. Group 3 is two lists here because TEST alone takes an immediate.
// Group 17 is VEX only: opcode_map_vex_0f38.cpp.

#include "cpu/x86/decode/row.hpp"

namespace droste::opcode_map {

namespace groups {

using enum Operand;

// clang-format off
// 80..83
inline constexpr auto kGrp1 = std::to_array<Row>({
    {0, Op::ADD, {}, kLock},
    {1, Op::OR,  {}, kLock},
    {2, Op::ADC, {}, kLock},
    {3, Op::SBB, {}, kLock},
    {4, Op::AND, {}, kLock},
    {5, Op::SUB, {}, kLock},
    {6, Op::XOR, {}, kLock},
    {7, Op::CMP},
});
// 8F. A memory operand based on rSP is addressed with the rSP after the pop.
inline constexpr auto kGrp1A = std::to_array<Row>({
    {0, Op::POP, {}, kDefault64},
});
// C0, C1, D0..D3
inline constexpr auto kGrp2 = std::to_array<Row>({
    {0, Op::ROL},
    {1, Op::ROR},
    {2, Op::RCL},
    {3, Op::RCR},
    {4, Op::SHL},
    {5, Op::SHR},
    {6, Op::SHL},  // not in the table; every processor since the 8086 shifts left
    {7, Op::SAR},
});
// F6
inline constexpr auto kGrp3b = std::to_array<Row>({
    {0, Op::TEST, {Eb, Ib}},
    {1, Op::TEST, {Eb, Ib}},  // not in the table; an alias of /0 on every processor
    {2, Op::NOT,  {}, kLock},
    {3, Op::NEG,  {}, kLock},
    {4, Op::MUL},
    {5, Op::IMUL},
    {6, Op::DIV},
    {7, Op::IDIV},
});
// F7
inline constexpr auto kGrp3v = std::to_array<Row>({
    {0, Op::TEST, {Ev, Iz}},
    {1, Op::TEST, {Ev, Iz}},  // as in F6
    {2, Op::NOT,  {}, kLock},
    {3, Op::NEG,  {}, kLock},
    {4, Op::MUL},
    {5, Op::IMUL},
    {6, Op::DIV},
    {7, Op::IDIV},
});
// FE
inline constexpr auto kGrp4 = std::to_array<Row>({
    {0, Op::INC, {Eb}, kLock},
    {1, Op::DEC, {Eb}, kLock},
});
// FF
inline constexpr auto kGrp5 = std::to_array<Row>({
    {0, Op::INC,       {Ev}, kLock},
    {1, Op::DEC,       {Ev}, kLock},
    {2, Op::CALL_NEAR, {Ev}, kForce64 | kEndsBlock},
    {3, Op::CALL_FAR,  {Mp}, kEndsBlock},
    {4, Op::JMP_NEAR,  {Ev}, kForce64 | kEndsBlock},
    {5, Op::JMP_FAR,   {Mp}, kEndsBlock},
    {6, Op::PUSH,      {Ev}, kDefault64},
});
// 0F 00
inline constexpr auto kGrp6 = std::to_array<Row>({
    {0, Op::SLDT, {RvMw}, kNotReal},
    {1, Op::STR,  {RvMw}, kNotReal},
    {2, Op::LLDT, {Ew},   kNotReal | kEndsBlock},
    {3, Op::LTR,  {Ew},   kNotReal | kEndsBlock},
    {4, Op::VERR, {Ew},   kNotReal},
    {5, Op::VERW, {Ew},   kNotReal},
});
// 0F 01
inline constexpr auto kGrp7 = std::to_array<Row>({
    {0, Op::SGDT,      {Ms},   kForce64},
    {0, Op::VMCALL,    {},     kNP | kModReg | rm(1) | kEndsBlock, Feature::VMX},
    {0, Op::VMLAUNCH,  {},     kNP | kModReg | rm(2) | kEndsBlock, Feature::VMX},
    {0, Op::VMRESUME,  {},     kNP | kModReg | rm(3) | kEndsBlock, Feature::VMX},
    {0, Op::VMXOFF,    {},     kNP | kModReg | rm(4) | kEndsBlock, Feature::VMX},
    {1, Op::SIDT,      {Ms},   kForce64},
    {1, Op::MONITOR,   {},     kNP | kModReg | rm(0), Feature::MONITOR},
    {1, Op::MWAIT,     {},     kNP | kModReg | rm(1) | kEndsBlock | kReadsTime, Feature::MONITOR},
    {1, Op::CLAC,      {},     kNP | kModReg | rm(2) | kEndsBlock, Feature::SMAP},
    {1, Op::STAC,      {},     kNP | kModReg | rm(3) | kEndsBlock, Feature::SMAP},
    {2, Op::LGDT,      {Ms},   kForce64 | kEndsBlock},
    {2, Op::XGETBV,    {},     kNP | kModReg | rm(0), Feature::XSAVE},
    {2, Op::XSETBV,    {},     kNP | kModReg | rm(1) | kEndsBlock, Feature::XSAVE},
    {2, Op::VMFUNC,    {},     kNP | kModReg | rm(4) | kEndsBlock, Feature::VMX},
    {3, Op::LIDT,      {Ms},   kForce64 | kEndsBlock},
    {4, Op::SMSW,      {RvMw}},
    {5, Op::SERIALIZE, {},     kNP | kModReg | rm(0) | kEndsBlock, Feature::SERIALIZE},
    {5, Op::SETSSBSY,    {},   kF3 | kModReg | rm(0) | kNotReal, Feature::CET_SS},
    {5, Op::SAVEPREVSSP, {},   kF3 | kModReg | rm(2) | kNotReal, Feature::CET_SS},
    {5, Op::RSTORSSP,    {Mq}, kF3 | kNotReal, Feature::CET_SS},
    {5, Op::RDPKRU,    {},     kNP | kModReg | rm(6), Feature::PKU},
    {5, Op::WRPKRU,    {},     kNP | kModReg | rm(7) | kEndsBlock, Feature::PKU},
    {6, Op::LMSW,      {Ew},   kEndsBlock},
    {7, Op::INVLPG,    {M},    kEndsBlock},
    {7, Op::SWAPGS,    {},     kModReg | rm(0) | kOnly64 | kEndsBlock},
    {7, Op::RDTSCP,    {},     kModReg | rm(1) | kReadsTime, Feature::RDTSCP},
});
// 0F BA
inline constexpr auto kGrp8 = std::to_array<Row>({
    {4, Op::BT},
    {5, Op::BTS, {}, kLock},
    {6, Op::BTR, {}, kLock},
    {7, Op::BTC, {}, kLock},
});
// 0F C7
inline constexpr auto kGrp9 = std::to_array<Row>({
    {1, Op::CMPXCHG8B,  {Mq},   kLock | kW0, Feature::CX8},
    {1, Op::CMPXCHG16B, {Mdq},  kLock | kW1, Feature::CX16},
    {3, Op::XRSTORS,    {Mfpx}, kNP | kEndsBlock, Feature::XSAVES},
    {4, Op::XSAVEC,     {Mfpx}, kNP, Feature::XSAVEC},
    {5, Op::XSAVES,     {Mfpx}, kNP, Feature::XSAVES},
    {6, Op::VMPTRLD,    {Mq},   kNP | kEndsBlock, Feature::VMX},
    {6, Op::VMCLEAR,    {Mq},   k66 | kEndsBlock, Feature::VMX},
    {6, Op::VMXON,      {Mq},   kF3 | kEndsBlock, Feature::VMX},
    {6, Op::RDRAND,     {Rv},   kNP | k66, Feature::RDRAND},
    {7, Op::VMPTRST,    {Mq},   kNP, Feature::VMX},
    {7, Op::RDSEED,     {Rv},   kNP | k66, Feature::RDSEED},
    {7, Op::RDPID,      {Ry},   kF3 | kForce64, Feature::RDPID},
});
// 0F B9: Group 10 is UD1 for every ModRM; its row is in opcode_map_0f.cpp.
// C6, C7. /7 with ModRM = F8 is XABORT and XBEGIN, #UD on a CPU without RTM.
inline constexpr auto kGrp11 = std::to_array<Row>({
    {0, Op::MOV},
});
// 0F 71
inline constexpr auto kGrp12 = std::to_array<Row>({
    {2, Op::PSRLW, {Nq, Ib},  kNP | kNative, Feature::MMX},
    {2, Op::PSRLW, {Udq, Ib}, k66 | kNative, Feature::SSE2},
    {4, Op::PSRAW, {Nq, Ib},  kNP | kNative, Feature::MMX},
    {4, Op::PSRAW, {Udq, Ib}, k66 | kNative, Feature::SSE2},
    {6, Op::PSLLW, {Nq, Ib},  kNP | kNative, Feature::MMX},
    {6, Op::PSLLW, {Udq, Ib}, k66 | kNative, Feature::SSE2},
});
// 0F 72
inline constexpr auto kGrp13 = std::to_array<Row>({
    {2, Op::PSRLD, {Nq, Ib},  kNP | kNative, Feature::MMX},
    {2, Op::PSRLD, {Udq, Ib}, k66 | kNative, Feature::SSE2},
    {4, Op::PSRAD, {Nq, Ib},  kNP | kNative, Feature::MMX},
    {4, Op::PSRAD, {Udq, Ib}, k66 | kNative, Feature::SSE2},
    {6, Op::PSLLD, {Nq, Ib},  kNP | kNative, Feature::MMX},
    {6, Op::PSLLD, {Udq, Ib}, k66 | kNative, Feature::SSE2},
});
// 0F 73
inline constexpr auto kGrp14 = std::to_array<Row>({
    {2, Op::PSRLQ,  {Nq, Ib},  kNP | kNative, Feature::MMX},
    {2, Op::PSRLQ,  {Udq, Ib}, k66 | kNative, Feature::SSE2},
    {3, Op::PSRLDQ, {Udq, Ib}, k66 | kNative, Feature::SSE2},
    {6, Op::PSLLQ,  {Nq, Ib},  kNP | kNative, Feature::MMX},
    {6, Op::PSLLQ,  {Udq, Ib}, k66 | kNative, Feature::SSE2},
    {7, Op::PSLLDQ, {Udq, Ib}, k66 | kNative, Feature::SSE2},
});
// 0F AE
inline constexpr auto kGrp15 = std::to_array<Row>({
    {0, Op::FXSAVE,     {Mfpx}, kNP, Feature::FXSR},
    {0, Op::RDFSBASE,   {Ry},   kF3 | kOnly64, Feature::FSGSBASE},
    {1, Op::FXRSTOR,    {Mfpx}, kNP, Feature::FXSR},
    {1, Op::RDGSBASE,   {Ry},   kF3 | kOnly64, Feature::FSGSBASE},
    {2, Op::LDMXCSR,    {Md},   kNP, Feature::SSE},
    {2, Op::WRFSBASE,   {Ry},   kF3 | kOnly64, Feature::FSGSBASE},
    {3, Op::STMXCSR,    {Md},   kNP, Feature::SSE},
    {3, Op::WRGSBASE,   {Ry},   kF3 | kOnly64, Feature::FSGSBASE},
    {4, Op::XSAVE,      {Mfpx}, kNP, Feature::XSAVE},
    {5, Op::XRSTOR,     {Mfpx}, kNP | kEndsBlock, Feature::XSAVE},
    {5, Op::LFENCE,     {},     kNP | kModReg, Feature::SSE2},
    {5, Op::INCSSP,     {Ry},   kF3 | kNotReal, Feature::CET_SS},
    {6, Op::XSAVEOPT,   {Mfpx}, kNP, Feature::XSAVEOPT},
    {6, Op::CLWB,       {Mb},   k66, Feature::CLWB},
    {6, Op::CLRSSBSY,   {Mq},   kF3 | kNotReal, Feature::CET_SS},
    {6, Op::MFENCE,     {},     kNP | kModReg, Feature::SSE2},
    {6, Op::TPAUSE,     {Rd},   k66 | kReadsTime, Feature::WAITPKG},
    {6, Op::UMONITOR,   {Ry},   kF3 | kForce64, Feature::WAITPKG},  // the register holds an address: see addrsize
    {6, Op::UMWAIT,     {Rd},   kF2 | kReadsTime, Feature::WAITPKG},
    {7, Op::CLFLUSH,    {Mb},   kNP, Feature::CLFSH},
    {7, Op::CLFLUSHOPT, {Mb},   k66, Feature::CLFLUSHOPT},
    {7, Op::SFENCE,     {},     kNP | kModReg, Feature::SSE},
});
// 0F 18. What is not a prefetch here is a hint NOP.
inline constexpr auto kGrp16 = std::to_array<Row>({
    {0, Op::PREFETCH, {Mb}, {}, Feature::SSE},  // PREFETCHNTA
    {0, Op::NOP,      {Ev}},
    {1, Op::PREFETCH, {Mb}, {}, Feature::SSE},  // PREFETCHT0
    {1, Op::NOP,      {Ev}},
    {2, Op::PREFETCH, {Mb}, {}, Feature::SSE},  // PREFETCHT1
    {2, Op::NOP,      {Ev}},
    {3, Op::PREFETCH, {Mb}, {}, Feature::SSE},  // PREFETCHT2
    {3, Op::NOP,      {Ev}},
    {4, Op::NOP,      {Ev}},
    {5, Op::NOP,      {Ev}},
    {6, Op::NOP,      {Ev}},
    {7, Op::NOP,      {Ev}},
});
// 0F 0D. The other values are NOPs on Intel processors.
inline constexpr auto kGrpP = std::to_array<Row>({
    {0, Op::NOP,       {Ev}},
    {1, Op::PREFETCHW, {Mb}, kElseNop, Feature::PREFETCHW},
    {1, Op::NOP,       {Ev}},
    {2, Op::NOP,       {Ev}},
    {3, Op::NOP,       {Ev}},
    {4, Op::NOP,       {Ev}},
    {5, Op::NOP,       {Ev}},
    {6, Op::NOP,       {Ev}},
    {7, Op::NOP,       {Ev}},
});
// clang-format on

}  // namespace groups

constexpr std::span<const Row> group_rows(Group group) {
    switch (group) {
    case Group::Ungrouped: return {};
    case Group::Grp1: return groups::kGrp1;
    case Group::Grp1A: return groups::kGrp1A;
    case Group::Grp2: return groups::kGrp2;
    case Group::Grp3b: return groups::kGrp3b;
    case Group::Grp3v: return groups::kGrp3v;
    case Group::Grp4: return groups::kGrp4;
    case Group::Grp5: return groups::kGrp5;
    case Group::Grp6: return groups::kGrp6;
    case Group::Grp7: return groups::kGrp7;
    case Group::Grp8: return groups::kGrp8;
    case Group::Grp9: return groups::kGrp9;
    case Group::Grp11: return groups::kGrp11;
    case Group::Grp12: return groups::kGrp12;
    case Group::Grp13: return groups::kGrp13;
    case Group::Grp14: return groups::kGrp14;
    case Group::Grp15: return groups::kGrp15;
    case Group::Grp16: return groups::kGrp16;
    case Group::GrpP: return groups::kGrpP;
    }
    return {};
}

// A row of a group as a row of the opcode map that refers to it.
constexpr Row group_member(const Row& opcode_row, Row member) {
    member.attributes = opcode_row.attributes | member.attributes | reg(member.opcode);
    member.opcode = opcode_row.opcode;
    if (member.operands == Operands{} && opcode_row.operands != Operands{}) {
        member.operands = opcode_row.operands;
    }
    if (member.feature == Feature::kNone) {
        member.feature = opcode_row.feature;
    }
    return member;
}

}  // namespace droste::opcode_map
