// x87: memory formats by ModRM, stack forms, environment sizes, aliases.

#include "tests/unit/decode/decode_support.hpp"

using namespace droste;
using namespace droste::test;

TEST_CASE("x87 memory operands have the size of their format", "[decode]") {
    CHECK(d64({0xD9, 0x00}).op == Op::FLD);
    CHECK(d64({0xD9, 0x00}).map == OpcodeMap::X87);  // fld dword [rax]
    CHECK(d64({0xD9, 0x00}).form == Form::E);        // fld dword [rax]
    CHECK(d64({0xD9, 0x00}).mem_bytes == 4);         // fld dword [rax]
    CHECK(d64({0xDD, 0x00}).mem_bytes == 8);         // fld qword [rax]
    CHECK(d64({0xDB, 0x28}).mem_bytes == 10);        // fld xword [rax]
    CHECK(d64({0xDF, 0x20}).op == Op::FBLD);
    CHECK(d64({0xDF, 0x20}).mem_bytes == 10);  // fbld tbyte [rax]
    CHECK(d64({0xDE, 0x00}).op == Op::FIADD);
    CHECK(d64({0xDE, 0x00}).mem_bytes == 2);  // fiadd word [rax]
    CHECK(d64({0xDF, 0x28}).op == Op::FILD);
    CHECK(d64({0xDF, 0x28}).mem_bytes == 8);  // fild qword [rax]
    CHECK(d64({0xDB, 0x08}).op == Op::FISTTP);
    CHECK(d64({0xD9, 0x28}).op == Op::FLDCW);
    CHECK(d64({0xD9, 0x28}).mem_bytes == 2);  // fldcw word [rax]
}

TEST_CASE("Environment and state depend on the operand size", "[decode]") {
    CHECK(d64({0xD9, 0x30}).mem_bytes == 28);         // fnstenv [rax]
    CHECK(d64({0x66, 0xD9, 0x30}).mem_bytes == 14);   // fnstenv [rax]
    CHECK(d16({0xD9, 0x20}).mem_bytes == 14);         // fldenv [bx + si]
    CHECK(d32({0xDD, 0x30}).mem_bytes == 108);        // fnsave dword [eax]
    CHECK(d32({0x66, 0xDD, 0x20}).mem_bytes == 94);   // frstor dword [eax]
    CHECK(d64({0x48, 0xDD, 0x20}).mem_bytes == 108);  // frstor dword [rax]
}

TEST_CASE("Stack forms: destination first", "[decode]") {
    const Insn to_top = d64({0xD8, 0xC3});  // fadd st, st(3)
    CHECK(to_top.op == Op::FADD);
    CHECK(to_top.form == Form::GE);
    CHECK(to_top.reg == 0);
    CHECK(to_top.rm == 3);
    const Insn to_i = d64({0xDC, 0xEB});  // fsub st(3), st
    CHECK(to_i.op == Op::FSUB);
    CHECK(to_i.form == Form::EG);
    CHECK(to_i.rm == 3);
    CHECK(d64({0xDC, 0xE3}).op == Op::FSUBR);
    CHECK(d64({0xD8, 0xE3}).op == Op::FSUB);
    CHECK(d64({0xDE, 0xF1}).op == Op::FDIVRP);
    CHECK(d64({0xDE, 0xF9}).op == Op::FDIVP);
    CHECK(d64({0xD9, 0xC9}).op == Op::FXCH);
    CHECK(d64({0xD9, 0xC9}).form == Form::E);  // fxch st(1)
    CHECK(d64({0x41, 0xD9, 0xC9}).rm == 1);    // REX.B is ignored
    CHECK(d64({0xDA, 0xC2}).op == Op::FCMOVB);
    CHECK(d64({0xDF, 0xF2}).op == Op::FCOMIP);
    CHECK(d64({0xDE, 0xD9}).op == Op::FCOMPP);
    CHECK(op_of(kMode64, {0xDE, 0xD8}) == Op::UD);
    CHECK(d64({0xDA, 0xE9}).op == Op::FUCOMPP);
}

TEST_CASE("x87 instructions without operands", "[decode]") {
    CHECK(d64({0xD9, 0xEB}).op == Op::FLDPI);
    CHECK(d64({0xD9, 0xEB}).form == Form::None);  // fldpi
    CHECK(d64({0xD9, 0xFF}).op == Op::FCOS);
    CHECK(d64({0xDB, 0xE3}).op == Op::FNINIT);
    CHECK(d64({0xDB, 0xE2}).op == Op::FNCLEX);
    CHECK(d64({0xD9, 0xD0}).op == Op::FNOP);
    CHECK(op_of(kMode64, {0xD9, 0xD1}) == Op::UD);
    CHECK(op_of(kMode64, {0xD9, 0xEF}) == Op::UD);
    CHECK(op_of(kMode64, {0xDB, 0xE5}) == Op::UD);
    CHECK(d64({0x9B}).op == Op::FWAIT);
}

TEST_CASE("FNSTSW AX is a general register", "[decode]") {
    const Insn insn = d64({0xDF, 0xE0});  // fnstsw ax
    CHECK(insn.op == Op::FNSTSW);
    CHECK(insn.form == Form::E);
    CHECK_FALSE(insn.mem());
    CHECK(insn.e_class() == Insn::RegClass::Gpr);
    CHECK(insn.rm == RAX);
    CHECK(insn.mem_bytes == 2);
    CHECK(op_of(kMode64, {0xDF, 0xE1}) == Op::UD);
}

TEST_CASE("Undocumented aliases behave as on every processor", "[decode]") {
    CHECK(d64({0xDC, 0xD1}).op == Op::FCOM);
    CHECK(d64({0xDC, 0xD9}).op == Op::FCOMP);
    CHECK(d64({0xDD, 0xC9}).op == Op::FXCH);
    CHECK(d64({0xDF, 0xC1}).op == Op::FFREEP);
    CHECK(d64({0xDF, 0xD1}).op == Op::FSTP);
    CHECK(d64({0xD9, 0xD9}).op == Op::FSTP);
}
