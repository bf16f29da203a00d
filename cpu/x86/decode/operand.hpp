#pragma once
// What an operand code of the opcode maps means: where the operand is, which registers, how big.

#include "core/types.hpp"
#include "cpu/x86/decode/insn.hpp"
#include "cpu/x86/state/regs.hpp"

#include <array>

namespace droste::opcode_map {

// Where an operand is encoded.
enum class Place : u8 {
    None,
    RegOrMem,   // ModRM.r/m
    MemOnly,    // ModRM.r/m, mod = 11b is another instruction or #UD
    RegOnly,    // ModRM.r/m, mod = 11b only
    RegAnyMod,  // ModRM.r/m, always a register: mod is ignored
    Vsib,       // ModRM.r/m with a SIB byte whose index is a vector register
    OpcodeReg,  // low three opcode bits
    FixedE,     // register 0, as E
    Moffs,      // a displacement of the address size follows the opcode
    Reg,        // ModRM.reg
    SegReg,     // ModRM.reg, a segment register
    Control,    // ModRM.reg, a control register
    Debug,      // ModRM.reg, a debug register
    FixedG,     // a register by name, as G
    Accumulator,
    Vvvv,
    Count,  // CL
    Imm,
    StringX,
    StringY,
    Implicit,
};

// How big an operand is. What is not a constant depends on the operand size or on VEX.L.
enum class Size : u8 {
    None,
    B1,
    B2,
    B4,
    B8,
    B10,
    B16,
    B32,
    V,                 // 2, 4, 8: the operand size
    Z,                 // 2, 4, 4
    Y,                 // 4, 4, 8
    Far,               // 4, 6, 10: offset and selector
    Pair,              // 4, 8, 16: BOUND's limits
    PseudoDescriptor,  // 6, 6, 10
    FpuEnvironment,    // 14, 28, 28
    FpuState,          // 94, 108, 108
    X,
    X2,
    X4,
    X8,  // vector length, half, quarter, eighth
    kCount
};

enum class Operand : u8 {
    None,
#define DROSTE_OPERAND(code, place, file, reg_size, mem_size) code,
#include "cpu/x86/decode/operand_codes.inc"
#undef DROSTE_OPERAND
};

struct OperandInfo {
    const char* code;
    Place place;
    Insn::RegClass file;
    Size reg_size;
    Size mem_size;
};

inline constexpr auto kOperandInfo = std::to_array<OperandInfo>({
    {"", Place::None, Insn::RegClass::Gpr, Size::None, Size::None},
#define DROSTE_OPERAND(code, place, file, reg_size, mem_size) \
    {#code, Place::place, Insn::RegClass::file, Size::reg_size, Size::mem_size},
#include "cpu/x86/decode/operand_codes.inc"
#undef DROSTE_OPERAND
});

constexpr const OperandInfo& info(Operand operand) {
    return kOperandInfo[static_cast<std::size_t>(operand)];
}

// Bytes of each Size for operand sizes 2, 4, 8, without and with VEX.L: kSizeBytes[size][index of
// opsize + 3 * L].
using SizeRow = std::array<u8, 6>;
inline constexpr std::array<SizeRow, static_cast<std::size_t>(Size::kCount)> kSizeBytes = {{
    {0, 0, 0, 0, 0, 0},           {1, 1, 1, 1, 1, 1},       {2, 2, 2, 2, 2, 2},
    {4, 4, 4, 4, 4, 4},           {8, 8, 8, 8, 8, 8},       {10, 10, 10, 10, 10, 10},
    {16, 16, 16, 16, 16, 16},     {32, 32, 32, 32, 32, 32}, {2, 4, 8, 2, 4, 8},
    {2, 4, 4, 2, 4, 4},           {4, 4, 8, 4, 4, 8},       {4, 6, 10, 4, 6, 10},
    {4, 8, 16, 4, 8, 16},         {6, 6, 10, 6, 6, 10},     {14, 28, 28, 14, 28, 28},
    {94, 108, 108, 94, 108, 108}, {16, 16, 16, 32, 32, 32}, {8, 8, 8, 16, 16, 16},
    {4, 4, 4, 8, 8, 8},           {2, 2, 2, 4, 4, 4},
}};

}  // namespace droste::opcode_map
