// exec_rows_x87(): which family executes which x87 instruction.

#include "cpu/x86/exec/exec_table.hpp"
#include "cpu/x86/fpu/exec_x87.hpp"

namespace droste {
namespace {

// clang-format off
constexpr auto kRows = std::to_array<ExecRow>({
    // Data transfer
    {Op::FLD, select_fld}, {Op::FST, select_fst}, {Op::FSTP, select_fst}, {Op::FXCH, select_fxch},
    {Op::FILD, select_x87_arith}, {Op::FIST, select_x87_arith}, {Op::FISTP, select_x87_arith}, {Op::FISTTP, select_x87_arith},
    {Op::FBLD, select_fbld}, {Op::FBSTP, select_x87_arith},
    {Op::FCMOVB, select_fcmov}, {Op::FCMOVE, select_fcmov}, {Op::FCMOVBE, select_fcmov}, {Op::FCMOVU, select_fcmov},
    {Op::FCMOVNB, select_fcmov}, {Op::FCMOVNE, select_fcmov}, {Op::FCMOVNBE, select_fcmov}, {Op::FCMOVNU, select_fcmov},
    // Basic arithmetic
    {Op::FADD, select_x87_arith}, {Op::FADDP, select_x87_arith}, {Op::FIADD, select_x87_arith},
    {Op::FSUB, select_x87_arith}, {Op::FSUBP, select_x87_arith}, {Op::FISUB, select_x87_arith},
    {Op::FSUBR, select_x87_arith}, {Op::FSUBRP, select_x87_arith}, {Op::FISUBR, select_x87_arith},
    {Op::FMUL, select_x87_arith}, {Op::FMULP, select_x87_arith}, {Op::FIMUL, select_x87_arith},
    {Op::FDIV, select_x87_arith}, {Op::FDIVP, select_x87_arith}, {Op::FIDIV, select_x87_arith},
    {Op::FDIVR, select_x87_arith}, {Op::FDIVRP, select_x87_arith}, {Op::FIDIVR, select_x87_arith},
    {Op::FPREM, select_x87_arith}, {Op::FPREM1, select_x87_arith}, {Op::FABS, select_sign}, {Op::FCHS, select_sign},
    {Op::FRNDINT, select_x87_arith}, {Op::FSCALE, select_x87_arith}, {Op::FSQRT, select_x87_arith}, {Op::FXTRACT, select_x87_arith},
    // Comparison
    {Op::FCOM, select_x87_arith}, {Op::FCOMP, select_x87_arith}, {Op::FCOMPP, select_x87_arith},
    {Op::FUCOM, select_x87_arith}, {Op::FUCOMP, select_x87_arith}, {Op::FUCOMPP, select_x87_arith},
    {Op::FICOM, select_x87_arith}, {Op::FICOMP, select_x87_arith}, {Op::FCOMI, select_x87_arith}, {Op::FUCOMI, select_x87_arith},
    {Op::FCOMIP, select_x87_arith}, {Op::FUCOMIP, select_x87_arith}, {Op::FTST, select_x87_arith}, {Op::FXAM, select_fxam},
    // Transcendental
    {Op::FSIN, select_x87_transcendental}, {Op::FCOS, select_x87_transcendental}, {Op::FSINCOS, select_x87_transcendental}, {Op::FPTAN, select_x87_transcendental},
    {Op::FPATAN, select_x87_transcendental}, {Op::F2XM1, select_x87_transcendental}, {Op::FYL2X, select_x87_transcendental}, {Op::FYL2XP1, select_x87_transcendental},
    // Constants
    {Op::FLD1, select_x87_arith}, {Op::FLDZ, select_x87_arith}, {Op::FLDPI, select_x87_arith}, {Op::FLDL2E, select_x87_arith},
    {Op::FLDLN2, select_x87_arith}, {Op::FLDL2T, select_x87_arith}, {Op::FLDLG2, select_x87_arith},
    // Control
    {Op::FINCSTP, select_stack}, {Op::FDECSTP, select_stack}, {Op::FFREE, select_stack}, {Op::FFREEP, select_stack},
    {Op::FNOP, select_stack}, {Op::FNINIT, select_x87_control}, {Op::FNCLEX, select_x87_control},
    {Op::FNSTCW, select_x87_control}, {Op::FLDCW, select_x87_control}, {Op::FNSTSW, select_x87_control},
    {Op::FNENI, select_x87_control}, {Op::FNDISI, select_x87_control}, {Op::FNSETPM, select_x87_control},
    {Op::FNSTENV, select_x87_environment}, {Op::FLDENV, select_x87_environment},
    {Op::FNSAVE, select_x87_environment}, {Op::FRSTOR, select_x87_environment},
});
// clang-format on

}  // namespace

std::span<const ExecRow> exec_rows_x87() {
    return kRows;
}

}  // namespace droste
