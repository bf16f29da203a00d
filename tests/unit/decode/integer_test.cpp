// General-purpose instructions: which Op and Form, how wide, which registers, which immediate.

#include "tests/unit/decode/decode_support.hpp"

using namespace droste;
using namespace droste::test;

TEST_CASE("ADD r/m, r is EG with a LOCKable destination", "[decode]") {
    const Insn insn = d64({0x01, 0xD8});  // add eax, ebx
    CHECK(insn.op == Op::ADD);
    CHECK(insn.form == Form::EG);
    CHECK(insn.width == 4);
    CHECK(insn.rm == RAX);
    CHECK(insn.reg == RBX);
    CHECK(insn.flags == 0);
    CHECK(insn.opcode == 0x01);
    CHECK(insn.modrm == 0xD8);
}

TEST_CASE("ADD r, r/m is GE", "[decode]") {
    const Insn insn = d64({0x4C, 0x03, 0xC1});  // add r8, rcx
    CHECK(insn.form == Form::GE);
    CHECK(insn.width == 8);
    CHECK(insn.reg == R8);
    CHECK(insn.rm == RCX);
    CHECK(insn.rex_w());
}

TEST_CASE("Accumulator forms are EI with rm = 0", "[decode]") {
    CHECK(d64({0x04, 0x80}).form == Form::EI);  // add al, 0x80
    CHECK(d64({0x04, 0x80}).imm == 0x80);       // a byte operation: nothing to extend to
    CHECK(d64({0x04, 0x80}).width == 1);        // add al, 0x80
    const Insn insn = d64({0x48, 0x05, 0xFF, 0xFF, 0xFF, 0xFF});  // add rax, -1
    CHECK(insn.form == Form::EI);
    CHECK(insn.rm == RAX);
    CHECK(insn.width == 8);
    CHECK(insn.imm == ~u64{0});
    CHECK(d64({0xA8, 0x01}).op == Op::TEST);
    CHECK(d64({0xA8, 0x01}).form == Form::EI);  // test al, 1
}

TEST_CASE("Group 1: the immediate byte of 83 is sign-extended, that of 80 is not", "[decode]") {
    CHECK(d64({0x83, 0xF8, 0xFF}).imm == ~u64{0});  // cmp eax, -1
    CHECK(d64({0x83, 0xF8, 0xFF}).op == Op::CMP);
    CHECK(d64({0x80, 0xC8, 0xFF}).imm == 0xFF);                               // or al, 0xff
    CHECK(d64({0x66, 0x81, 0xC0, 0x34, 0x82}).imm == 0xFFFF'FFFF'FFFF'8234);  // add ax, 0x8234
    CHECK(d32({0x82, 0xC8, 0xFF}).op == Op::OR);
    CHECK(op_of(kMode64, {0x82, 0xC8, 0xFF}) == Op::UD);
}

TEST_CASE("Byte registers: AH CH DH BH without REX, SPL BPL SIL DIL with", "[decode]") {
    CHECK(d64({0x88, 0xE1}).reg == 20);         // mov cl, ah
    CHECK(d64({0x88, 0xCF}).rm == 23);          // mov bh, cl
    CHECK(d64({0x40, 0x88, 0xE1}).reg == RSP);  // mov cl, spl
    CHECK(d64({0x41, 0x88, 0xC4}).rm == R12);   // mov r12b, al
    CHECK(d64({0xB4, 0x01}).rm == 20);          // mov ah, 1
    CHECK(d64({0x40, 0xB4, 0x01}).rm == RSP);   // mov spl, 1
}

TEST_CASE("Registers in the opcode are E", "[decode]") {
    const Insn push = d64({0x41, 0x57});  // push r15
    CHECK(push.op == Op::PUSH);
    CHECK(push.form == Form::E);
    CHECK(push.rm == R15);
    CHECK(push.width == 8);
    CHECK(push.opsize == 8);
    const Insn inc = d32({0x43});  // inc ebx
    CHECK(inc.op == Op::INC);
    CHECK(inc.form == Form::E);
    CHECK(inc.rm == RBX);
    CHECK(inc.width == 4);
    const Insn xchg = d64({0x48, 0x91});  // xchg rcx, rax
    CHECK(xchg.form == Form::EG);
    CHECK(xchg.rm == RCX);
    CHECK(xchg.reg == RAX);
    CHECK(d64({0x49, 0x0F, 0xC9}).op == Op::BSWAP);
    CHECK(d64({0x49, 0x0F, 0xC9}).rm == R9);  // bswap r9
}

TEST_CASE("MOV r, imm takes an immediate of the full operand size", "[decode]") {
    // movabs rax, 0x8807060504030201
    CHECK(d64({0x48, 0xB8, 1, 2, 3, 4, 5, 6, 7, 0x88}).imm == 0x8807'0605'0403'0201);
    CHECK(d64({0xB8, 0xFF, 0xFF, 0xFF, 0xFF}).imm == 0xFFFF'FFFF);          // mov eax, 0xffffffff
    CHECK(d64({0x66, 0xB8, 0xFF, 0xFF}).imm == 0xFFFF);                     // mov ax, 0xffff
    CHECK(d64({0x48, 0xC7, 0xC0, 0xFF, 0xFF, 0xFF, 0xFF}).imm == ~u64{0});  // mov rax, -1
}

TEST_CASE("90h: NOP, PAUSE, or XCHG when REX.B makes it r8", "[decode]") {
    CHECK(d64({0x90}).op == Op::NOP);
    CHECK(d64({0xF3, 0x90}).op == Op::PAUSE);
    CHECK(d64({0x41, 0x90}).op == Op::XCHG);
    CHECK(d64({0x41, 0x90}).rm == R8);  // xchg eax, r8d
    CHECK(d64({0xF3, 0x41, 0x90}).op == Op::PAUSE);
    CHECK(d64({0xF2, 0x41, 0x90}).op == Op::XCHG);
    CHECK(d64({0x48, 0x90}).op == Op::NOP);
    CHECK(d32({0x66, 0x90}).op == Op::NOP);
}

TEST_CASE("Shifts: by 1 is EI with imm 1, by CL is EC", "[decode]") {
    CHECK(d64({0xD1, 0xE0}).op == Op::SHL);
    CHECK(d64({0xD1, 0xE0}).form == Form::EI);  // shl eax, 1
    CHECK(d64({0xD1, 0xE0}).imm == 1);          // shl eax, 1
    CHECK(d64({0xD3, 0xF8}).op == Op::SAR);
    CHECK(d64({0xD3, 0xF8}).form == Form::EC);            // sar eax, cl
    CHECK(d64({0xC0, 0xF0, 3}).op == Op::SHL);            // /6, an alias
    CHECK(d64({0x0F, 0xA4, 0xC8, 5}).form == Form::EGI);  // shld eax, ecx, 5
    CHECK(d64({0x0F, 0xAD, 0xC8}).form == Form::EGC);     // shrd eax, ecx, cl
}

TEST_CASE("Group 3: TEST alone has an immediate, /1 is an alias", "[decode]") {
    CHECK(d64({0xF6, 0xC8, 0x7F}).op == Op::TEST);
    CHECK(d64({0xF7, 0xC0, 1, 0, 0, 0}).form == Form::EI);  // test eax, 1
    CHECK(d64({0xF7, 0xD8}).op == Op::NEG);
    CHECK(d64({0xF7, 0xD8}).form == Form::E);  // neg eax
    CHECK(d64({0xF7, 0xE9}).op == Op::IMUL);
    CHECK(d64({0xF7, 0xE9}).form == Form::E);          // imul ecx
    CHECK(d64({0x6B, 0xC1, 0xFE}).form == Form::GEI);  // imul eax, ecx, -2
    CHECK(d64({0x0F, 0xAF, 0xC1}).form == Form::GE);   // imul eax, ecx
}

TEST_CASE("MOVZX, MOVSX, MOVSXD: width is the destination's, mem_bytes the source's", "[decode]") {
    const Insn movzx = d64({0x48, 0x0F, 0xB6, 0xC4});  // movzx rax, spl
    CHECK(movzx.width == 8);
    CHECK(movzx.mem_bytes == 1);
    CHECK(movzx.rm == RSP);
    CHECK(d64({0x0F, 0xB6, 0xC4}).rm == 20);        // movzx eax, ah
    CHECK(d64({0x0F, 0xBF, 0x07}).mem_bytes == 2);  // movsx eax, word [rdi]
    CHECK(d64({0x48, 0x63, 0xC1}).op == Op::MOVSXD);
    CHECK(d64({0x48, 0x63, 0xC1}).mem_bytes == 4);  // movsxd rax, ecx
    CHECK(d64({0x66, 0x63, 0xC1}).mem_bytes == 2);  // movsxd rax, ecx
    CHECK(d64({0x66, 0x63, 0xC1}).width == 2);      // movsxd rax, ecx
    CHECK(d32({0x63, 0xC1}).op == Op::ARPL);
    CHECK(op_of(kReal, {0x63, 0xC1}) == Op::UD);
}

TEST_CASE("CRC32: width is the source's; MOVBE without F2", "[decode]") {
    const Insn byte = d64({0xF2, 0x48, 0x0F, 0x38, 0xF0, 0xC4});  // crc32 rax, spl
    CHECK(byte.op == Op::CRC32);
    CHECK(byte.width == 1);
    CHECK(byte.reg == RAX);
    CHECK(d64({0xF2, 0x0F, 0x38, 0xF0, 0xE4}).rm == 20);          // crc32 esp, ah
    CHECK(d64({0x66, 0xF2, 0x0F, 0x38, 0xF1, 0xC1}).width == 2);  // crc32 eax, cx
    CHECK(d64({0xF2, 0x48, 0x0F, 0x38, 0xF1, 0xC1}).width == 8);  // crc32 rax, rcx
    CHECK(d64({0x0F, 0x38, 0xF0, 0x07}).op == Op::MOVBE);
    CHECK(d64({0x66, 0x0F, 0x38, 0xF1, 0x07}).form == Form::EG);  // movbe word [rdi], ax
    CHECK(d64({0x66, 0x0F, 0x38, 0xF1, 0x07}).width == 2);        // movbe word [rdi], ax
    CHECK(op_of(kMode64, {0xF3, 0x0F, 0x38, 0xF0, 0x07}) == Op::UD);
}

TEST_CASE("BMI: general registers in VEX instructions", "[decode]") {
    const Insn andn = d64({0xC4, 0xE2, 0xF0, 0xF2, 0xC2});  // andn rax, rcx, rdx
    CHECK(andn.op == Op::ANDN);
    CHECK(andn.form == Form::GBE);
    CHECK(andn.width == 8);
    CHECK(andn.vvvv == RCX);
    CHECK(andn.b_class() == Insn::RegClass::Gpr);
    CHECK((andn.flags & kInsnNative) == 0);
    CHECK(d64({0xC4, 0xE2, 0x70, 0xF3, 0xDA}).op == Op::BLSI);
    CHECK(d64({0xC4, 0xE2, 0x70, 0xF3, 0xDA}).form == Form::BE);  // blsi ecx, edx
    CHECK(d64({0xC4, 0xE2, 0x71, 0xF7, 0xC2}).op == Op::SHLX);
    CHECK(d64({0xC4, 0xE2, 0x71, 0xF7, 0xC2}).form == Form::GEB);  // shlx eax, edx, ecx
    CHECK(d64({0xC4, 0xE3, 0x7B, 0xF0, 0xC2, 7}).op == Op::RORX);
    CHECK(d64({0xC4, 0xE3, 0x7B, 0xF0, 0xC2, 7}).form == Form::GEI);  // rorx eax, edx, 7
    CHECK(d32({0xC4, 0xE2, 0xF0, 0xF2, 0xC2}).width == 4);  // W is ignored outside 64-bit mode
    CHECK(d16({0xC4, 0xE2, 0x70, 0xF2, 0xC2}).width == 4);  // andn eax, ecx, edx
    CHECK(op_of(kReal, {0xC4, 0xE2, 0x70, 0xF2, 0xC2}) == Op::UD);
    CHECK(op_of(kMode64, {0xC4, 0xE2, 0x74, 0xF2, 0xC2}) == Op::UD);  // L = 1
}

TEST_CASE("CMPXCHG8B becomes CMPXCHG16B with REX.W", "[decode]") {
    CHECK(d64({0x0F, 0xC7, 0x0F}).op == Op::CMPXCHG8B);
    CHECK(d64({0x0F, 0xC7, 0x0F}).mem_bytes == 8);  // cmpxchg8b qword [rdi]
    CHECK(d64({0xF0, 0x48, 0x0F, 0xC7, 0x0F}).op == Op::CMPXCHG16B);
    CHECK(d64({0x48, 0x0F, 0xC7, 0x0F}).mem_bytes == 16);  // cmpxchg16b xmmword [rdi]
    CHECK(op_of(kMode64, {0x0F, 0xC7, 0xCF}) == Op::UD);
}

TEST_CASE("String instructions: width is the element's, seg the source's", "[decode]") {
    CHECK(d64({0xF3, 0x48, 0xA5}).op == Op::MOVS);
    CHECK(d64({0xF3, 0x48, 0xA5}).width == 8);          // rep movsq qword [rdi], qword [rsi]
    CHECK(d64({0xF3, 0x48, 0xA5}).rep());               // rep movsq qword [rdi], qword [rsi]
    CHECK(d64({0xF3, 0x48, 0xA5}).form == Form::None);  // rep movsq qword [rdi], qword [rsi]
    CHECK(d64({0xF2, 0xAE}).repne());                   // repne scasb al, byte [rdi]
    CHECK(d64({0x64, 0xAC}).seg == FS);                 // lodsb al, byte fs:[rsi]
    CHECK(d64({0xAC}).seg == DS);                       // lodsb al, byte [rsi]
    CHECK(d64({0x48, 0x6D}).width == 4);                // INS has no 64-bit form
    CHECK(d64({0x66, 0x6F}).width == 2);                // outsw dx, word [rsi]
    CHECK_FALSE(d64({0xA5}).mem());                     // movsd dword [rdi], dword [rsi]
}

TEST_CASE("IN and OUT: I with a port, None with DX; width is the data's", "[decode]") {
    CHECK(d64({0xE4, 0xF0}).form == Form::I);          // in al, 0xf0
    CHECK(d64({0xE4, 0xF0}).imm == 0xF0);              // in al, 0xf0
    CHECK(d64({0xE4, 0xF0}).width == 1);               // in al, 0xf0
    CHECK(d64({0xE7, 0x10}).width == 4);               // out 0x10, eax
    CHECK(d64({0x48, 0xEF}).width == 4);               // out dx, eax
    CHECK(d64({0x66, 0xED}).width == 2);               // in ax, dx
    CHECK(d64({0xEC}).form == Form::None);             // in al, dx
    CHECK((d64({0xEC}).flags & kInsnReadsTime) != 0);  // in al, dx
}

TEST_CASE("ENTER has two immediates, INT and AAM one", "[decode]") {
    const Insn enter = d64({0xC8, 0x34, 0x82, 0x05});  // enter -0x7dcc, 5
    CHECK(enter.imm == 0x8234);
    CHECK(enter.imm2 == 5);
    CHECK(enter.form == Form::I);
    CHECK(d64({0xCD, 0x80}).imm == 0x80);  // int 0x80
    CHECK(d32({0xD4, 0x0A}).op == Op::AAM);
    CHECK(op_of(kMode64, {0xD4, 0x0A}) == Op::UD);
}

TEST_CASE("SALC, INT1 and the undefined opcodes", "[decode]") {
    CHECK(d32({0xD6}).op == Op::SALC);
    CHECK(op_of(kMode64, {0xD6}) == Op::UD);
    CHECK(d64({0xF1}).op == Op::INT1);
    CHECK(d64({0x0F, 0x0B}).op == Op::UD2);
    CHECK(d64({0x0F, 0xB9, 0x44, 0x24, 0x08}).op == Op::UD1);
    CHECK(d64({0x0F, 0xFF, 0xC0}).op == Op::UD0);
    CHECK(op_of(kMode64, {0x0F, 0x0F, 0xC0, 0x0D}) == Op::UD);  // 3DNow!
    CHECK(op_of(kMode64, {0x62, 0xF1, 0x7C, 0x48, 0x58, 0xC0}) == Op::UD);
    CHECK(op_of(kMode32, {0x62, 0xF1, 0x7C, 0x48, 0x58, 0xC0}) == Op::UD);
    CHECK(d32({0x62, 0x07}).op == Op::BOUND);
    CHECK(d32({0x62, 0x07}).mem_bytes == 8);              // bound eax, qword [edi]
    CHECK(op_of(kMode64, {0xC6, 0xF8, 0x00}) == Op::UD);  // XABORT
    CHECK(op_of(kMode64, {0x8F, 0xC8}) == Op::UD);
    CHECK(op_of(kMode64, {0xFE, 0xD0}) == Op::UD);
    CHECK(op_of(kMode64, {0xFF, 0xF8}) == Op::UD);
    CHECK(op_of(kMode64, {0x8D, 0xC0}) == Op::UD);  // LEA of a register
}

TEST_CASE("Hint NOPs have a ModRM byte; ENDBR64 is one of them", "[decode]") {
    CHECK(d64({0x0F, 0x1F, 0x44, 0x00, 0x00}).op == Op::NOP);
    CHECK(d64({0x66, 0x0F, 0x1F, 0x84, 0x00, 0, 0, 0, 0}).op == Op::NOP);
    CHECK(d64({0xF3, 0x0F, 0x1E, 0xFA}).op == Op::ENDBR);
    CHECK(d64({0xF3, 0x0F, 0x1E, 0xFB}).op == Op::ENDBR);
    CHECK(d64({0x0F, 0x1E, 0xFA}).op == Op::NOP);
    CHECK(d64({0x0F, 0x18, 0x07}).op == Op::PREFETCH);
    CHECK(d64({0x0F, 0x18, 0xC7}).op == Op::NOP);
    CHECK(d64({0x0F, 0x0D, 0x0F}).op == Op::PREFETCHW);
}
