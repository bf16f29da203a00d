// x87 instructions, opcodes D8 to DF. SDM Vol. 2D, A.5 "Escape Opcode Instructions", Tables A-7 to
// For each opcode and ModRM.reg the memory form stands before the register form. m32fp and so
// on are memory operands as the instruction pages name them; ST(i) is ModRM.r/m.

#include "cpu/x86/decode/map_table.hpp"
#include "cpu/x86/decode/opcode_maps.hpp"

namespace droste::opcode_map {

namespace {

using enum Operand;

// clang-format off
constexpr auto kX87Map = std::to_array<Row>({
    //opcode entry  operands  attributes  feature
    // Tables
    {0xD8, Op::FADD,     {m32fp},       reg(0)},
    {0xD8, Op::FADD,     {ST0, STi},    reg(0)},
    {0xD8, Op::FMUL,     {m32fp},       reg(1)},
    {0xD8, Op::FMUL,     {ST0, STi},    reg(1)},
    {0xD8, Op::FCOM,     {m32fp},       reg(2)},
    {0xD8, Op::FCOM,     {STi},         reg(2)},
    {0xD8, Op::FCOMP,    {m32fp},       reg(3)},
    {0xD8, Op::FCOMP,    {STi},         reg(3)},
    {0xD8, Op::FSUB,     {m32fp},       reg(4)},
    {0xD8, Op::FSUB,     {ST0, STi},    reg(4)},
    {0xD8, Op::FSUBR,    {m32fp},       reg(5)},
    {0xD8, Op::FSUBR,    {ST0, STi},    reg(5)},
    {0xD8, Op::FDIV,     {m32fp},       reg(6)},
    {0xD8, Op::FDIV,     {ST0, STi},    reg(6)},
    {0xD8, Op::FDIVR,    {m32fp},       reg(7)},
    {0xD8, Op::FDIVR,    {ST0, STi},    reg(7)},
    // Tables
    {0xD9, Op::FLD,      {m32fp},       reg(0)},
    {0xD9, Op::FLD,      {STi},         reg(0)},
    {0xD9, Op::FXCH,     {STi},         reg(1)},
    {0xD9, Op::FST,      {m32fp},       reg(2)},
    {0xD9, Op::FNOP,     {},            kModReg | reg(2) | rm(0)},
    {0xD9, Op::FSTP,     {m32fp},       reg(3)},
    {0xD9, Op::FSTP,     {STi},         reg(3)},  // not in the table: an alias (FSTPNCE)
    {0xD9, Op::FLDENV,   {m14_28byte},  reg(4)},
    {0xD9, Op::FCHS,     {},            kModReg | reg(4) | rm(0)},
    {0xD9, Op::FABS,     {},            kModReg | reg(4) | rm(1)},
    {0xD9, Op::FTST,     {},            kModReg | reg(4) | rm(4)},
    {0xD9, Op::FXAM,     {},            kModReg | reg(4) | rm(5)},
    {0xD9, Op::FLDCW,    {m2byte},      reg(5)},
    {0xD9, Op::FLD1,     {},            kModReg | reg(5) | rm(0)},
    {0xD9, Op::FLDL2T,   {},            kModReg | reg(5) | rm(1)},
    {0xD9, Op::FLDL2E,   {},            kModReg | reg(5) | rm(2)},
    {0xD9, Op::FLDPI,    {},            kModReg | reg(5) | rm(3)},
    {0xD9, Op::FLDLG2,   {},            kModReg | reg(5) | rm(4)},
    {0xD9, Op::FLDLN2,   {},            kModReg | reg(5) | rm(5)},
    {0xD9, Op::FLDZ,     {},            kModReg | reg(5) | rm(6)},
    {0xD9, Op::FNSTENV,  {m14_28byte},  reg(6)},
    {0xD9, Op::F2XM1,    {},            kModReg | reg(6) | rm(0)},
    {0xD9, Op::FYL2X,    {},            kModReg | reg(6) | rm(1)},
    {0xD9, Op::FPTAN,    {},            kModReg | reg(6) | rm(2)},
    {0xD9, Op::FPATAN,   {},            kModReg | reg(6) | rm(3)},
    {0xD9, Op::FXTRACT,  {},            kModReg | reg(6) | rm(4)},
    {0xD9, Op::FPREM1,   {},            kModReg | reg(6) | rm(5)},
    {0xD9, Op::FDECSTP,  {},            kModReg | reg(6) | rm(6)},
    {0xD9, Op::FINCSTP,  {},            kModReg | reg(6) | rm(7)},
    {0xD9, Op::FNSTCW,   {m2byte},      reg(7)},
    {0xD9, Op::FPREM,    {},            kModReg | reg(7) | rm(0)},
    {0xD9, Op::FYL2XP1,  {},            kModReg | reg(7) | rm(1)},
    {0xD9, Op::FSQRT,    {},            kModReg | reg(7) | rm(2)},
    {0xD9, Op::FSINCOS,  {},            kModReg | reg(7) | rm(3)},
    {0xD9, Op::FRNDINT,  {},            kModReg | reg(7) | rm(4)},
    {0xD9, Op::FSCALE,   {},            kModReg | reg(7) | rm(5)},
    {0xD9, Op::FSIN,     {},            kModReg | reg(7) | rm(6)},
    {0xD9, Op::FCOS,     {},            kModReg | reg(7) | rm(7)},
    // Tables
    {0xDA, Op::FIADD,    {m32int},      reg(0)},
    {0xDA, Op::FCMOVB,   {ST0, STi},    reg(0), Feature::CMOV},
    {0xDA, Op::FIMUL,    {m32int},      reg(1)},
    {0xDA, Op::FCMOVE,   {ST0, STi},    reg(1), Feature::CMOV},
    {0xDA, Op::FICOM,    {m32int},      reg(2)},
    {0xDA, Op::FCMOVBE,  {ST0, STi},    reg(2), Feature::CMOV},
    {0xDA, Op::FICOMP,   {m32int},      reg(3)},
    {0xDA, Op::FCMOVU,   {ST0, STi},    reg(3), Feature::CMOV},
    {0xDA, Op::FISUB,    {m32int},      reg(4)},
    {0xDA, Op::FISUBR,   {m32int},      reg(5)},
    {0xDA, Op::FUCOMPP,  {},            kModReg | reg(5) | rm(1)},
    {0xDA, Op::FIDIV,    {m32int},      reg(6)},
    {0xDA, Op::FIDIVR,   {m32int},      reg(7)},
    // Tables
    {0xDB, Op::FILD,     {m32int},      reg(0)},
    {0xDB, Op::FCMOVNB,  {ST0, STi},    reg(0), Feature::CMOV},
    {0xDB, Op::FISTTP,   {m32int},      reg(1), Feature::SSE3},
    {0xDB, Op::FCMOVNE,  {ST0, STi},    reg(1), Feature::CMOV},
    {0xDB, Op::FIST,     {m32int},      reg(2)},
    {0xDB, Op::FCMOVNBE, {ST0, STi},    reg(2), Feature::CMOV},
    {0xDB, Op::FISTP,    {m32int},      reg(3)},
    {0xDB, Op::FCMOVNU,  {ST0, STi},    reg(3), Feature::CMOV},
    {0xDB, Op::FNENI,    {},            kModReg | reg(4) | rm(0)},
    {0xDB, Op::FNDISI,   {},            kModReg | reg(4) | rm(1)},
    {0xDB, Op::FNCLEX,   {},            kModReg | reg(4) | rm(2)},
    {0xDB, Op::FNINIT,   {},            kModReg | reg(4) | rm(3)},
    {0xDB, Op::FNSETPM,  {},            kModReg | reg(4) | rm(4)},
    {0xDB, Op::FLD,      {m80fp},       reg(5)},
    {0xDB, Op::FUCOMI,   {ST0, STi},    reg(5), Feature::CMOV},
    {0xDB, Op::FCOMI,    {ST0, STi},    reg(6), Feature::CMOV},
    {0xDB, Op::FSTP,     {m80fp},       reg(7)},
    // Tables. With a register destination the two subtractions and the two divisions change places.
    {0xDC, Op::FADD,     {m64fp},       reg(0)},
    {0xDC, Op::FADD,     {STi, ST0},    reg(0)},
    {0xDC, Op::FMUL,     {m64fp},       reg(1)},
    {0xDC, Op::FMUL,     {STi, ST0},    reg(1)},
    {0xDC, Op::FCOM,     {m64fp},       reg(2)},
    {0xDC, Op::FCOM,     {STi},         reg(2)},  // not in the table: an alias
    {0xDC, Op::FCOMP,    {m64fp},       reg(3)},
    {0xDC, Op::FCOMP,    {STi},         reg(3)},  // not in the table: an alias
    {0xDC, Op::FSUB,     {m64fp},       reg(4)},
    {0xDC, Op::FSUBR,    {STi, ST0},    reg(4)},
    {0xDC, Op::FSUBR,    {m64fp},       reg(5)},
    {0xDC, Op::FSUB,     {STi, ST0},    reg(5)},
    {0xDC, Op::FDIV,     {m64fp},       reg(6)},
    {0xDC, Op::FDIVR,    {STi, ST0},    reg(6)},
    {0xDC, Op::FDIVR,    {m64fp},       reg(7)},
    {0xDC, Op::FDIV,     {STi, ST0},    reg(7)},
    // Tables
    {0xDD, Op::FLD,      {m64fp},       reg(0)},
    {0xDD, Op::FFREE,    {STi},         reg(0)},
    {0xDD, Op::FISTTP,   {m64int},      reg(1), Feature::SSE3},
    {0xDD, Op::FXCH,     {STi},         reg(1)},  // not in the table: an alias
    {0xDD, Op::FST,      {m64fp},       reg(2)},
    {0xDD, Op::FST,      {STi},         reg(2)},
    {0xDD, Op::FSTP,     {m64fp},       reg(3)},
    {0xDD, Op::FSTP,     {STi},         reg(3)},
    {0xDD, Op::FRSTOR,   {m94_108byte}, reg(4)},
    {0xDD, Op::FUCOM,    {STi},         reg(4)},
    {0xDD, Op::FUCOMP,   {STi},         reg(5)},
    {0xDD, Op::FNSAVE,   {m94_108byte}, reg(6)},
    {0xDD, Op::FNSTSW,   {m2byte},      reg(7)},
    // Tables
    {0xDE, Op::FIADD,    {m16int},      reg(0)},
    {0xDE, Op::FADDP,    {STi, ST0},    reg(0)},
    {0xDE, Op::FIMUL,    {m16int},      reg(1)},
    {0xDE, Op::FMULP,    {STi, ST0},    reg(1)},
    {0xDE, Op::FICOM,    {m16int},      reg(2)},
    {0xDE, Op::FCOMP,    {STi},         reg(2)},  // not in the table: an alias
    {0xDE, Op::FICOMP,   {m16int},      reg(3)},
    {0xDE, Op::FCOMPP,   {},            kModReg | reg(3) | rm(1)},
    {0xDE, Op::FISUB,    {m16int},      reg(4)},
    {0xDE, Op::FSUBRP,   {STi, ST0},    reg(4)},
    {0xDE, Op::FISUBR,   {m16int},      reg(5)},
    {0xDE, Op::FSUBP,    {STi, ST0},    reg(5)},
    {0xDE, Op::FIDIV,    {m16int},      reg(6)},
    {0xDE, Op::FDIVRP,   {STi, ST0},    reg(6)},
    {0xDE, Op::FIDIVR,   {m16int},      reg(7)},
    {0xDE, Op::FDIVP,    {STi, ST0},    reg(7)},
    // Tables
    {0xDF, Op::FILD,     {m16int},      reg(0)},
    {0xDF, Op::FFREEP,   {STi},         reg(0)},  // not in the table: FFREE and pop
    {0xDF, Op::FISTTP,   {m16int},      reg(1), Feature::SSE3},
    {0xDF, Op::FXCH,     {STi},         reg(1)},  // not in the table: an alias
    {0xDF, Op::FIST,     {m16int},      reg(2)},
    {0xDF, Op::FSTP,     {STi},         reg(2)},  // not in the table: an alias
    {0xDF, Op::FISTP,    {m16int},      reg(3)},
    {0xDF, Op::FSTP,     {STi},         reg(3)},  // not in the table: an alias
    {0xDF, Op::FBLD,     {m80bcd},      reg(4)},
    {0xDF, Op::FNSTSW,   {AX},          kModReg | reg(4) | rm(0)},
    {0xDF, Op::FILD,     {m64int},      reg(5)},
    {0xDF, Op::FUCOMIP,  {ST0, STi},    reg(5), Feature::CMOV},
    {0xDF, Op::FBSTP,    {m80bcd},      reg(6)},
    {0xDF, Op::FCOMIP,   {ST0, STi},    reg(6), Feature::CMOV},
    {0xDF, Op::FISTP,    {m64int},      reg(7)},
});
// clang-format on
static_assert(sorted_by_opcode(kX87Map), "keep the table in opcode order");

constexpr auto kRows = expand_rows<expanded_count(kX87Map)>(kX87Map);
constexpr auto kTable = build_map<kSplitCells<kRows>>(kRows, {OpcodeMap::X87, false});

}  // namespace

constinit const MapView kX87 = view_of(kTable, kRows);

}  // namespace droste::opcode_map
