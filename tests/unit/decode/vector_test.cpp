// MMX, SSE and AVX: register files, vector length, size of the memory operand, alignment, and what
// makes a native thunk.

#include "tests/unit/decode/decode_support.hpp"

using namespace droste;
using namespace droste::test;

using RegClass = Insn::RegClass;

TEST_CASE("ADDPS: aligned 16-byte memory in the legacy form, free in the VEX form", "[decode]") {
    const Insn sse = d64({0x0F, 0x58, 0x08});  // addps xmm1, xmmword [rax]
    CHECK(sse.op == Op::ADDPS);
    CHECK(sse.form == Form::GE);
    CHECK(sse.width == 16);
    CHECK(sse.mem_bytes == 16);
    CHECK((sse.flags & kInsnAligned) != 0);
    CHECK((sse.flags & kInsnNative) != 0);
    CHECK(sse.g_class() == RegClass::Xmm);
    CHECK(sse.e_class() == RegClass::Xmm);
    const Insn avx = d64({0xC5, 0xEC, 0x58, 0x08});  // vaddps ymm1, ymm2, [rax]
    CHECK(avx.op == Op::VADDPS);
    CHECK(avx.form == Form::GBE);
    CHECK(avx.width == 32);
    CHECK(avx.mem_bytes == 32);
    CHECK(avx.vvvv == 2);
    CHECK((avx.flags & kInsnAligned) == 0);
    CHECK((avx.flags & kInsnVexL) != 0);
    CHECK((d64({0x0F, 0x58, 0xC1}).flags & kInsnAligned) == 0);  // no memory
    CHECK((d64({0x0F, 0x10, 0x08}).flags & kInsnAligned) == 0);  // MOVUPS
}

TEST_CASE("Aligned moves are aligned with VEX too, to the vector length", "[decode]") {
    CHECK((d64({0xC5, 0xFC, 0x28, 0x08}).flags & kInsnAligned) != 0);  // vmovaps ymm1, [rax]
    CHECK(d64({0xC5, 0xFC, 0x28, 0x08}).mem_bytes == 32);  // vmovaps ymm1, ymmword [rax]
    CHECK((d64({0xC5, 0xFD, 0xE7, 0x08}).flags & kInsnAligned) != 0);  // vmovntdq
    CHECK((d64({0xC5, 0xFE, 0x6F, 0x08}).flags & kInsnAligned) == 0);  // vmovdqu
    // movntdqa xmm1, xmmword [rax]
    CHECK((d64({0x66, 0x0F, 0x38, 0x2A, 0x08}).flags & kInsnAligned) != 0);
}

TEST_CASE("Scalars ignore VEX.L", "[decode]") {
    const Insn insn = d64({0xC5, 0xEE, 0x58, 0x08});  // vaddss with L = 1
    CHECK(insn.op == Op::VADDSS);
    CHECK(insn.width == 16);
    CHECK(insn.mem_bytes == 4);
    CHECK((insn.flags & kInsnVexL) == 0);
    CHECK((insn.flags & kInsnRep) != 0);  // VEX.pp shows as the prefix it stands for
    CHECK(op_of(kMode64, {0xC5, 0xFD, 0x6E, 0xC0}) == Op::UD);  // VMOVD wants L = 0
}

TEST_CASE("MMX registers ignore REX and are 8 bytes wide", "[decode]") {
    const Insn insn = d64({0x4D, 0x0F, 0xFC, 0xCA});  // paddb mm1, mm2
    CHECK(insn.op == Op::PADDB);
    CHECK(insn.reg == 1);
    CHECK(insn.rm == 2);
    CHECK(insn.width == 8);
    CHECK(insn.g_class() == RegClass::Mmx);
    CHECK(d64({0x0F, 0x60, 0x08}).mem_bytes == 4);     // PUNPCKLBW mm, m32
    CHECK(d64({0x0F, 0x68, 0x08}).mem_bytes == 8);     // punpckhbw mm1, qword [rax]
    CHECK(d64({0x66, 0x0F, 0xFC, 0xCA}).width == 16);  // paddb xmm1, xmm2
    CHECK(op_of(kMode64, {0xF3, 0x0F, 0xFC, 0xCA}) == Op::UD);
}

TEST_CASE("MOVD and MOVQ by REX.W, between files", "[decode]") {
    const Insn movq = d64({0x66, 0x48, 0x0F, 0x6E, 0xC8});  // movq xmm1, rax
    CHECK(movq.op == Op::MOVQ);
    CHECK(movq.e_class() == RegClass::Gpr);
    CHECK(movq.g_class() == RegClass::Xmm);
    CHECK(movq.mem_bytes == 8);
    CHECK(d64({0x66, 0x0F, 0x6E, 0xC8}).op == Op::MOVD);
    CHECK(d64({0x66, 0x0F, 0x6E, 0xC8}).mem_bytes == 4);        // movd xmm1, eax
    CHECK(d64({0x0F, 0x7E, 0xC8}).g_class() == RegClass::Mmx);  // movd eax, mm1
    CHECK(d64({0xF3, 0x0F, 0x7E, 0x08}).op == Op::MOVQ);
    CHECK(d64({0xF3, 0x0F, 0x7E, 0x08}).mem_bytes == 8);  // movq xmm1, qword [rax]
    CHECK(d64({0xC4, 0xE1, 0xF9, 0x6E, 0xC8}).op == Op::VMOVQ);
    CHECK(d32({0xC4, 0xE1, 0xF9, 0x6E, 0xC8}).op == Op::VMOVD);  // W is ignored outside 64-bit mode
    CHECK(d32({0xC4, 0xE1, 0xF9, 0x6E, 0xC8}).mem_bytes == 4);   // vmovd xmm1, eax
}

TEST_CASE("mod tells MOVLPS from MOVHLPS and MOVSS load from merge", "[decode]") {
    CHECK(d64({0x0F, 0x12, 0x08}).op == Op::MOVLPS);
    CHECK(d64({0x0F, 0x12, 0x08}).mem_bytes == 8);  // movlps xmm1, qword [rax]
    CHECK(d64({0x0F, 0x12, 0xC8}).op == Op::MOVHLPS);
    CHECK(d64({0x0F, 0x16, 0xC8}).op == Op::MOVLHPS);
    CHECK(op_of(kMode64, {0x66, 0x0F, 0x12, 0xC8}) == Op::UD);
    CHECK(d64({0xC5, 0xFA, 0x10, 0x08}).form == Form::GE);      // vmovss xmm1, dword [rax]
    CHECK(d64({0xC5, 0xEA, 0x10, 0xC8}).form == Form::GBE);     // vmovss xmm1, xmm2, xmm0
    CHECK(d64({0xC5, 0xEA, 0x11, 0xC8}).form == Form::EBG);     // vmovss xmm0, xmm2, xmm1
    CHECK(op_of(kMode64, {0xC5, 0xEA, 0x10, 0x08}) == Op::UD);  // the load has no second source
}

TEST_CASE("Widening moves read part of a vector", "[decode]") {
    CHECK(d64({0x66, 0x0F, 0x38, 0x20, 0x08}).mem_bytes == 8);      // pmovsxbw xmm1, qword [rax]
    CHECK(d64({0x66, 0x0F, 0x38, 0x22, 0x08}).mem_bytes == 2);      // pmovsxbq xmm1, word [rax]
    CHECK(d64({0xC4, 0xE2, 0x7D, 0x20, 0x08}).mem_bytes == 16);     // vpmovsxbw ymm1, xmmword [rax]
    CHECK(d64({0xC4, 0xE2, 0x7D, 0x32, 0x08}).mem_bytes == 4);      // vpmovzxbq ymm1, dword [rax]
    CHECK(d64({0xC5, 0xFC, 0x5A, 0x08}).mem_bytes == 16);           // vcvtps2pd ymm, m128
    CHECK(d64({0xC5, 0xFD, 0x5A, 0x08}).mem_bytes == 32);           // vcvtpd2ps xmm, m256
    CHECK(d64({0xC4, 0xE3, 0x7D, 0x1D, 0x08, 0}).mem_bytes == 16);  // vcvtps2ph m128, ymm
    // vcvtps2ph xmmword [rax], ymm1, 0
    CHECK(d64({0xC4, 0xE3, 0x7D, 0x1D, 0x08, 0}).form == Form::EGI);
    CHECK(d64({0xC5, 0xFB, 0x12, 0x08}).mem_bytes == 8);   // vmovddup xmm
    CHECK(d64({0xC5, 0xFF, 0x12, 0x08}).mem_bytes == 32);  // vmovddup ymm
    CHECK(d64({0xC5, 0xED, 0xD1, 0x08}).mem_bytes == 16);  // vpsrlw ymm: the count is 128 bits
    CHECK(d64({0xC5, 0xED, 0xD1, 0x08}).width == 32);      // vpsrlw ymm1, ymm2, xmmword [rax]
}

TEST_CASE("Conversions and moves with general registers", "[decode]") {
    const Insn to = d64({0xF2, 0x48, 0x0F, 0x2A, 0xC8});  // cvtsi2sd xmm1, rax
    CHECK(to.op == Op::CVTSI2SD);
    CHECK(to.e_class() == RegClass::Gpr);
    CHECK(to.mem_bytes == 8);
    CHECK(to.width == 16);
    CHECK(d64({0xF3, 0x0F, 0x2D, 0xC8}).g_class() == RegClass::Gpr);  // cvtss2si ecx, xmm0
    CHECK(d64({0x66, 0x0F, 0x3A, 0x14, 0x08, 3}).mem_bytes == 1);     // pextrb byte [rax], xmm1, 3
    CHECK(d64({0x66, 0x0F, 0x3A, 0x14, 0xE0, 3}).reg == 4);           // pextrb eax, xmm4, 3
    CHECK(d64({0x66, 0x0F, 0x3A, 0x14, 0xCC, 3}).rm == RSP);          // a 32-bit register, never AH
    CHECK(d64({0x66, 0x0F, 0xC4, 0x08, 3}).mem_bytes == 2);           // pinsrw xmm1, word [rax], 3
    CHECK(d64({0x66, 0x0F, 0xC5, 0xC8, 3}).form == Form::GEI);        // pextrw ecx, xmm0, 3
    CHECK(d64({0x66, 0x0F, 0x50, 0xC8}).op == Op::MOVMSKPD);
}

TEST_CASE("Shift by immediate: EI, and BEI with VEX", "[decode]") {
    const Insn sse = d64({0x66, 0x41, 0x0F, 0x73, 0xDA, 4});  // psrldq xmm10, 4
    CHECK(sse.op == Op::PSRLDQ);
    CHECK(sse.form == Form::EI);
    CHECK(sse.rm == 10);
    CHECK(sse.imm == 4);
    const Insn avx = d64({0xC5, 0xED, 0x72, 0xF1, 4});  // vpslld ymm2, ymm1, 4
    CHECK(avx.op == Op::VPSLLD);
    CHECK(avx.form == Form::BEI);
    CHECK(avx.vvvv == 2);
    CHECK(avx.rm == 1);
    CHECK(op_of(kMode64, {0x66, 0x0F, 0x71, 0x10, 4}) == Op::UD);  // memory
    CHECK(op_of(kMode64, {0x0F, 0x73, 0xD8, 4}) == Op::UD);        // PSRLDQ has no MMX form
}

TEST_CASE("A register in the immediate byte", "[decode]") {
    // vblendvps xmm0, xmm2, xmm1, xmm11
    const Insn insn = d64({0xC4, 0xE3, 0x69, 0x4A, 0xC1, 0xB5});
    CHECK(insn.op == Op::VBLENDVPS);
    CHECK(insn.form == Form::GBEI);
    CHECK(insn.imm == 0xB5);
    CHECK(insn.imm2 == 11);
    CHECK(d32({0xC4, 0xE3, 0x69, 0x4A, 0xC1, 0xB5}).imm2 ==  // vblendvps xmm0, xmm2, xmm1, xmm11
          3);                                                // bit 7 is ignored outside 64-bit mode
    CHECK(op_of(kMode64, {0xC4, 0xE3, 0xE9, 0x4A, 0xC1, 0xB5}) == Op::UD);  // W = 1
}

TEST_CASE("W and L choose among VEX instructions", "[decode]") {
    CHECK(d64({0xC4, 0xE2, 0x69, 0x98, 0xC1}).op == Op::VFMADD132PS);
    CHECK(d64({0xC4, 0xE2, 0xE9, 0x98, 0xC1}).op == Op::VFMADD132PD);
    CHECK(d64({0xC4, 0xE2, 0xE9, 0xBF, 0x00}).op == Op::VFNMSUB231SD);
    // vfnmsub231sd xmm0, xmm2, qword [rax]
    CHECK(d64({0xC4, 0xE2, 0xE9, 0xBF, 0x00}).mem_bytes == 8);
    CHECK(d64({0xC5, 0xF8, 0x77}).op == Op::VZEROUPPER);
    CHECK(d64({0xC5, 0xFC, 0x77}).op == Op::VZEROALL);
    CHECK(op_of(kMode64, {0xC4, 0xE3, 0x6D, 0x18, 0xC1, 1}) == Op::VINSERTF128);
    CHECK(op_of(kMode64, {0xC4, 0xE3, 0x69, 0x18, 0xC1, 1}) == Op::UD);
    // vinsertf128 ymm0, ymm2, xmmword [rax], 1
    CHECK(d64({0xC4, 0xE3, 0x6D, 0x18, 0x00, 1}).mem_bytes == 16);
    // vinsertf128 ymm0, ymm2, xmmword [rax], 1
    CHECK(d64({0xC4, 0xE3, 0x6D, 0x18, 0x00, 1}).width == 32);
}

TEST_CASE("What no thunk can do is not native", "[decode]") {
    for (const Insn& insn :
         {d64({0x0F, 0x77}), d64({0x66, 0x0F, 0xF7, 0xC1}), d64({0xC5, 0xF8, 0x77}),  // emms
          d64({0x0F, 0xAE, 0x10}), d64({0xC4, 0xE2, 0x69, 0x2C, 0x08}),  // ldmxcsr dword [rax]
          // vpgatherdd xmm1, dword [rax + xmm4*4], xmm2
          d64({0xC4, 0xE2, 0x69, 0x90, 0x0C, 0xA0}), d64({0x0F, 0xC3, 0x08})}) {
        CAPTURE(insn.op);
        CHECK(insn.op != Op::UD);
        CHECK((insn.flags & kInsnNative) == 0);
    }
    CHECK((d64({0x66, 0x0F, 0xD7, 0xC1}).flags & kInsnNative) != 0);  // pmovmskb eax, xmm1
    CHECK((d64({0x0F, 0x29, 0x08}).flags & kInsnNative) != 0);        // movaps xmmword [rax], xmm1
}
