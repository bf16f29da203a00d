// Branches, far transfers, segment, control and debug registers, system and VMX instructions,
// missing features.

#include "tests/unit/decode/decode_support.hpp"

using namespace droste;
using namespace droste::test;

TEST_CASE("Near branches: I with the displacement, E when indirect; all end a block", "[decode]") {
    const Insn jcc = d64({0x75, 0xFE});  // jne $
    CHECK(jcc.op == Op::Jcc);
    CHECK(jcc.form == Form::I);
    CHECK(jcc.imm == static_cast<u64>(-2));
    CHECK((jcc.opcode & 15) == 5);
    CHECK(jcc.ends_block());
    CHECK(jcc.opsize == 8);
    CHECK(d64({0xFF, 0x20}).op == Op::JMP_NEAR);
    CHECK(d64({0xFF, 0x20}).form == Form::E);  // jmp qword [rax]
    CHECK(d64({0xFF, 0x20}).mem_bytes == 8);   // jmp qword [rax]
    CHECK(d64({0xFF, 0xD0}).op == Op::CALL_NEAR);
    CHECK(d64({0xC2, 0xF8, 0xFF}).imm == 0xFFF8);  // ret 0xfff8
    CHECK(d64({0xE3, 0x80}).op == Op::JrCXZ);
    CHECK(d64({0xE0, 0x80}).op == Op::LOOPNE);
    CHECK((d64({0x0F, 0x4F, 0xC1}).opcode & 15) == 15);  // cmovg eax, ecx
    CHECK(d64({0x0F, 0x9F, 0xC1}).width == 1);           // setg cl
}

TEST_CASE("Far transfers: ptr16:xx in imm2:imm, m16:xx as E", "[decode]") {
    const Insn jmp = d32({0xEA, 0x78, 0x56, 0x34, 0x82, 0x10, 0x00});  // ljmp 0x10:0x82345678
    CHECK(jmp.op == Op::JMP_FAR);
    CHECK(jmp.form == Form::I);
    CHECK(jmp.imm == 0x8234'5678);
    CHECK(jmp.imm2 == 0x10);
    CHECK(d16({0x9A, 0x34, 0x82, 0x10, 0x00}).imm == 0x8234);  // lcall 0x10:0x8234
    CHECK(op_of(kMode64, {0xEA, 0, 0, 0, 0, 0, 0}) == Op::UD);
    const Insn far = d64({0x48, 0xFF, 0x28});  // ljmp [rax]
    CHECK(far.op == Op::JMP_FAR);
    CHECK(far.mem_bytes == 10);
    CHECK(far.width == 8);
    CHECK(d64({0xFF, 0x18}).op == Op::CALL_FAR);
    CHECK(d64({0xFF, 0x18}).mem_bytes == 6);  // lcall [rax]
    CHECK(op_of(kMode64, {0xFF, 0xE8}) == Op::UD);
    CHECK(d64({0xCB}).opsize == 4);        // retf
    CHECK(d64({0x48, 0xCF}).opsize == 8);  // iretq
}

TEST_CASE("Segment registers: MOV, PUSH, LxS", "[decode]") {
    CHECK(d64({0x8E, 0xD8}).op == Op::MOV_SREG_TO);
    CHECK(d64({0x8E, 0xD8}).reg == DS);                           // mov ds, eax
    CHECK(d64({0x8E, 0xD8}).form == Form::GE);                    // mov ds, eax
    CHECK(d64({0x8E, 0xD8}).g_class() == Insn::RegClass::Other);  // mov ds, eax
    CHECK(d64({0x44, 0x8E, 0xD8}).reg == DS);                     // REX.R is ignored
    CHECK(op_of(kMode64, {0x8E, 0xC8}) == Op::UD);                // CS
    CHECK(op_of(kMode64, {0x8E, 0xF0}) == Op::UD);
    CHECK(op_of(kMode64, {0x8C, 0xF8}) == Op::UD);
    CHECK(d64({0x48, 0x8C, 0xC8}).width == 8);      // mov rax, cs
    CHECK(d64({0x48, 0x8C, 0x08}).width == 2);      // to memory always a word
    CHECK(d64({0x48, 0x8C, 0x08}).mem_bytes == 2);  // mov word [rax], cs
    CHECK(d32({0x16}).op == Op::PUSH_SREG);
    CHECK(d32({0x16}).reg == SS);  // push ss
    CHECK(d32({0x1F}).reg == DS);  // pop ds
    CHECK(op_of(kMode64, {0x16}) == Op::UD);
    CHECK(d64({0x48, 0x0F, 0xB2, 0x00}).op == Op::LSS);
    CHECK(d64({0x48, 0x0F, 0xB2, 0x00}).mem_bytes == 10);  // lss rax, [rax]
    CHECK(op_of(kMode64, {0x0F, 0xB2, 0xC0}) == Op::UD);
}

TEST_CASE("MOV CR and DR ignore mod, and know which registers exist", "[decode]") {
    CHECK(d64({0x0F, 0x22, 0xC0}).op == Op::MOV_CR_TO);
    CHECK(d64({0x0F, 0x22, 0xC0}).width == 8);             // mov cr0, rax
    CHECK(d64({0x0F, 0x20, 0x05}).op == Op::MOV_CR_FROM);  // mod = 0, rm = 5: no displacement
    CHECK(d64({0x0F, 0x20, 0x05}).rm == RBP);              // mov rbp, cr0
    CHECK(d64({0x44, 0x0F, 0x22, 0xC0}).reg == 8);         // mov cr8, rax
    CHECK(d32({0x66, 0x0F, 0x22, 0xD8}).width == 4);       // mov cr3, eax
    for (const unsigned reg : {1U, 5U, 6U, 7U}) {
        CHECK(op_of(kMode64, {0x0F, 0x20, static_cast<u8>(0xC0 | reg << 3)}) == Op::UD);
    }
    CHECK(op_of(kMode64, {0x44, 0x0F, 0x20, 0xC8}) == Op::UD);  // CR9
    CHECK(d64({0x0F, 0x23, 0xE0}).op == Op::MOV_DR_TO);         // DR4: CR4.DE decides at execution
    CHECK(op_of(kMode64, {0x44, 0x0F, 0x23, 0xC0}) == Op::UD);  // DR8
    CHECK(op_of(kMode64, {0xF0, 0x0F, 0x22, 0xC0}) == Op::UD);
}

TEST_CASE("Groups 6 and 7: descriptor tables, machine status word, register forms", "[decode]") {
    CHECK(d64({0x0F, 0x01, 0x10}).op == Op::LGDT);
    CHECK(d64({0x0F, 0x01, 0x10}).mem_bytes == 10);        // lgdt [rax]
    CHECK(d64({0x66, 0x0F, 0x01, 0x10}).mem_bytes == 10);  // lgdt [rax]
    CHECK(d32({0x0F, 0x01, 0x18}).mem_bytes == 6);         // lidt [eax]
    CHECK(d32({0x66, 0x0F, 0x01, 0x18}).opsize == 2);      // lidt [eax]
    CHECK(d64({0x48, 0x0F, 0x01, 0xE0}).width == 8);       // smsw rax
    CHECK(d64({0x48, 0x0F, 0x01, 0x20}).width == 2);       // smsw word [rax]
    CHECK(d64({0x0F, 0x01, 0xF0}).op == Op::LMSW);
    CHECK(d64({0x0F, 0x01, 0x38}).op == Op::INVLPG);
    CHECK(d64({0x0F, 0x01, 0x38}).mem_bytes == 0);  // invlpg byte [rax]
    CHECK(d64({0x0F, 0x01, 0xF8}).op == Op::SWAPGS);
    CHECK(op_of(kMode32, {0x0F, 0x01, 0xF8}) == Op::UD);
    CHECK(d64({0x0F, 0x01, 0xF9}).op == Op::RDTSCP);
    CHECK(d64({0x0F, 0x01, 0xC1}).op == Op::VMCALL);
    CHECK(d64({0x0F, 0x01, 0xC3}).op == Op::VMRESUME);
    CHECK(d64({0x0F, 0x01, 0xC8}).op == Op::MONITOR);
    CHECK(d64({0x0F, 0x01, 0xCA}).op == Op::CLAC);
    CHECK(d64({0x0F, 0x01, 0xD1}).op == Op::XSETBV);
    CHECK(op_of(kMode64, {0x0F, 0x01, 0xC0}) == Op::UD);
    CHECK(op_of(kMode64, {0x0F, 0x01, 0xD8}) == Op::UD);  // VMRUN
    CHECK(op_of(kMode64, {0x66, 0x0F, 0x01, 0xC1}) == Op::UD);
    CHECK(d32({0x0F, 0x00, 0xD8}).op == Op::LTR);
    CHECK(op_of(kReal, {0x0F, 0x00, 0xD8}) == Op::UD);
    CHECK(op_of(kReal, {0x0F, 0x02, 0xC0}) == Op::UD);
    CHECK(d64({0x48, 0x0F, 0x02, 0xC1}).width == 8);      // lar rax, ecx
    CHECK(d64({0x48, 0x0F, 0x02, 0xC1}).mem_bytes == 2);  // lar rax, ecx
}

TEST_CASE("Group 9 and 15 by prefix and mod", "[decode]") {
    CHECK(d64({0x0F, 0xC7, 0x30}).op == Op::VMPTRLD);
    CHECK(d64({0x66, 0x0F, 0xC7, 0x30}).op == Op::VMCLEAR);
    CHECK(d64({0xF3, 0x0F, 0xC7, 0x30}).op == Op::VMXON);
    CHECK(d64({0x0F, 0xC7, 0x38}).op == Op::VMPTRST);
    CHECK(d64({0x48, 0x0F, 0xC7, 0xF1}).op == Op::RDRAND);
    CHECK(d64({0x66, 0x0F, 0xC7, 0xF9}).op == Op::RDSEED);
    CHECK(d64({0x66, 0x0F, 0xC7, 0xF9}).width == 2);  // rdseed cx
    CHECK(d64({0xF3, 0x0F, 0xC7, 0xF9}).op == Op::RDPID);
    CHECK(d64({0xF3, 0x0F, 0xC7, 0xF9}).width == 8);  // rdseed ecx
    CHECK(d64({0x0F, 0xC7, 0x28}).op == Op::XSAVES);
    CHECK(d64({0x0F, 0xAE, 0x00}).op == Op::FXSAVE);
    CHECK(d64({0x0F, 0xAE, 0xE8}).op == Op::LFENCE);
    CHECK(d64({0x0F, 0xAE, 0xF7}).op == Op::MFENCE);
    CHECK(d64({0x0F, 0xAE, 0x30}).op == Op::XSAVEOPT);
    CHECK(d64({0x66, 0x0F, 0xAE, 0x30}).op == Op::CLWB);
    CHECK(d64({0x66, 0x0F, 0xAE, 0x38}).op == Op::CLFLUSHOPT);
    CHECK(d64({0x0F, 0xAE, 0x38}).op == Op::CLFLUSH);
    CHECK(d64({0x66, 0x0F, 0xAE, 0xF1}).op == Op::TPAUSE);
    CHECK(d64({0xF3, 0x48, 0x0F, 0xAE, 0xD0}).op == Op::WRFSBASE);
    CHECK(op_of(kMode32, {0xF3, 0x0F, 0xAE, 0xD0}) == Op::UD);
}

TEST_CASE("Shadow-stack instructions, and what their encodings are on a CPU without them",
          "[decode]") {
    struct Case {
        std::vector<u8> bytes;
        Op op;
        Op otherwise;
        unsigned width;  // 0: no operand
    };
    const auto cases = std::to_array<Case>({
        {{0xF3, 0x0F, 0x1E, 0xC8}, Op::RDSSP, Op::NOP, 4},
        {{0xF3, 0x48, 0x0F, 0x1E, 0xC8}, Op::RDSSP, Op::NOP, 8},
        {{0xF3, 0x0F, 0xAE, 0xE8}, Op::INCSSP, Op::UD, 4},
        {{0xF3, 0x48, 0x0F, 0xAE, 0xE8}, Op::INCSSP, Op::UD, 8},
        {{0xF3, 0x0F, 0x01, 0x28}, Op::RSTORSSP, Op::UD, 8},
        {{0xF3, 0x0F, 0x01, 0xEA}, Op::SAVEPREVSSP, Op::UD, 0},
        {{0xF3, 0x0F, 0x01, 0xE8}, Op::SETSSBSY, Op::UD, 0},
        {{0xF3, 0x0F, 0xAE, 0x30}, Op::CLRSSBSY, Op::UD, 8},
        {{0x0F, 0x38, 0xF6, 0x08}, Op::WRSS, Op::UD, 4},
        {{0x48, 0x0F, 0x38, 0xF6, 0x08}, Op::WRSS, Op::UD, 8},
        {{0x66, 0x48, 0x0F, 0x38, 0xF5, 0x08}, Op::WRUSS, Op::UD, 8},
    });
    CpuFeatures without = every_feature();
    without.enable(Feature::CET_SS, false);
    for (const Case& c : cases) {
        CAPTURE(c.bytes);
        Insn insn;
        REQUIRE(decode(c.bytes, kMode64, every_feature(), insn) == DecodeResult::Ok);
        CHECK(insn.op == c.op);
        CHECK((c.width == 0 || insn.width == c.width));
        REQUIRE(decode(c.bytes, kMode64, without, insn) == DecodeResult::Ok);
        CHECK(insn.op == c.otherwise);
    }
    CHECK(op_of(kMode64, {0x0F, 0x38, 0xF6, 0xC8}) == Op::UD);  // WRSS to a register
    CHECK(op_of(kReal, {0xF3, 0x0F, 0xAE, 0xE8}) == Op::UD);
    CHECK(op_of(kMode64, {0x66, 0x0F, 0xAE, 0x30}) == Op::CLWB);  // beside CLRSSBSY
    CHECK(op_of(kMode64, {0xF3, 0x0F, 0xAE, 0xF0}) == Op::UMONITOR);
    CHECK((d64({0x3E, 0xFF, 0xE0}).flags & kInsnNoTrack) != 0);        // jmp rax
    CHECK((d64({0x3E, 0x2E, 0xFF, 0xE0}).flags & kInsnNoTrack) == 0);  // jmp rax
    CHECK((d64({0xFF, 0xE0}).flags & kInsnNoTrack) == 0);              // jmp rax
}

TEST_CASE("VMREAD, VMWRITE and INVEPT have 64-bit operands in 64-bit mode", "[decode]") {
    CHECK(d64({0x0F, 0x78, 0xC1}).op == Op::VMREAD);
    CHECK(d64({0x0F, 0x78, 0xC1}).form == Form::EG);          // vmread rcx, rax
    CHECK(d64({0x0F, 0x78, 0xC1}).width == 8);                // vmread rcx, rax
    CHECK(d32({0x0F, 0x79, 0xC1}).width == 4);                // vmwrite eax, ecx
    CHECK(d32({0x0F, 0x79, 0xC1}).form == Form::GE);          // vmwrite eax, ecx
    const Insn invept = d64({0x66, 0x0F, 0x38, 0x80, 0x08});  // invept rcx, xmmword [rax]
    CHECK(invept.op == Op::INVEPT);
    CHECK(invept.mem_bytes == 16);
    CHECK(invept.width == 8);
    CHECK(d64({0x66, 0x0F, 0x38, 0x82, 0x08}).op == Op::INVPCID);
}

TEST_CASE("SYSCALL and SYSRET exist in 64-bit mode only", "[decode]") {
    CHECK(d64({0x0F, 0x05}).op == Op::SYSCALL);
    CHECK(d64({0x48, 0x0F, 0x07}).op == Op::SYSRET);
    CHECK(op_of(kMode32, {0x0F, 0x05}) == Op::UD);
    CHECK(d32({0x0F, 0x34}).op == Op::SYSENTER);
}

TEST_CASE("A missing feature is #UD, the older instruction, or a NOP", "[decode]") {
    CHECK(decode_as(kMode64, {0xF3, 0x0F, 0xBC, 0xC1}).op == Op::TZCNT);
    CHECK(decode_as(kMode64, {0xF3, 0x0F, 0xBC, 0xC1}, every_feature_but(Feature::BMI1)).op ==
          Op::BSF);
    CHECK(decode_as(kMode64, {0xF3, 0x0F, 0xBD, 0xC1}, every_feature_but(Feature::LZCNT)).op ==
          Op::BSR);
    CHECK(decode_as(kMode64, {0x0F, 0x0D, 0x0F}, every_feature_but(Feature::PREFETCHW)).op ==
          Op::NOP);
    CHECK(decode_as(kMode64, {0x0F, 0x1C, 0x07}, every_feature_but(Feature::CLDEMOTE)).op ==
          Op::NOP);
    CHECK(decode_as(kMode64, {0x0F, 0xC7, 0xF1}, every_feature_but(Feature::RDRAND)).op == Op::UD);
    CHECK(decode_as(kMode64, {0x0F, 0x01, 0xC1}, every_feature_but(Feature::VMX)).op == Op::UD);
    CHECK(decode_as(kMode64, {0xC5, 0xFD, 0xFE, 0xC1}, every_feature_but(Feature::AVX2)).op ==
          Op::UD);
    CHECK(decode_as(kMode64, {0xC5, 0xF9, 0xFE, 0xC1}, every_feature_but(Feature::AVX2)).op ==
          Op::VPADDD);
    CHECK(decode_as(kMode64, {0xC4, 0xE2, 0x70, 0xF2, 0xC2}, every_feature_but(Feature::BMI1)).op ==
          Op::UD);
}
