// Prefixes: order, repetition, what they mean together, where they are illegal, and the length
// limit.

#include "tests/unit/decode/decode_support.hpp"

using namespace droste;
using namespace droste::test;

TEST_CASE("The last segment override counts, and only FS and GS in 64-bit mode", "[decode]") {
    CHECK(d32({0x26, 0x2E, 0x8B, 0x00}).seg == CS);  // mov eax, dword cs:[eax]
    CHECK(d32({0x36, 0x64, 0x8B, 0x00}).seg == FS);  // mov eax, dword fs:[eax]
    CHECK(d64({0x64, 0x65, 0x8B, 0x00}).seg == GS);  // mov eax, dword gs:[rax]
    CHECK(d64({0x64, 0x3E, 0x8B, 0x00}).seg ==       // mov eax, dword ds:[rax]
          FS);  // DS is no override here, so it does not undo FS either
    CHECK(d64({0x2E, 0x8B, 0x00}).seg == DS);                        // mov eax, dword cs:[rax]
    CHECK((d64({0x2E, 0x8B, 0x00}).flags & kInsnSegOverride) == 0);  // mov eax, dword cs:[rax]
    CHECK(d64({0x3E, 0x8B, 0x04, 0x24}).seg == SS);                  // mov eax, dword ds:[rsp]
}

TEST_CASE("Of F2 and F3 the last one counts", "[decode]") {
    CHECK(d64({0xF2, 0xF3, 0x0F, 0x58, 0xC1}).op == Op::ADDSS);
    CHECK(d64({0xF3, 0xF2, 0x0F, 0x58, 0xC1}).op == Op::ADDSD);
    CHECK(d64({0xF3, 0xF2, 0xA6}).repne());        // repne cmpsb byte [rsi], byte [rdi]
    CHECK_FALSE(d64({0xF3, 0xF2, 0xA6}).rep());    // repne cmpsb byte [rsi], byte [rdi]
    CHECK(d64({0xF2, 0xF3, 0xA6}).rep());          // repe cmpsb byte [rsi], byte [rdi]
    CHECK_FALSE(d64({0xF2, 0xF3, 0xA6}).repne());  // repe cmpsb byte [rsi], byte [rdi]
}

TEST_CASE("F2 and F3 win over 66 as mandatory prefix", "[decode]") {
    CHECK(d64({0x66, 0xF3, 0x0F, 0x10, 0xC1}).op == Op::MOVSS);
    CHECK(d64({0xF2, 0x66, 0x0F, 0x10, 0xC1}).op == Op::MOVSD);
    CHECK(d64({0x66, 0xF3, 0x0F, 0xB8, 0xC1}).op == Op::POPCNT);
    CHECK(d64({0x66, 0xF3, 0x0F, 0xB8, 0xC1}).width == 2);  // popcnt ax, cx
}

TEST_CASE("REX counts only directly before the opcode", "[decode]") {
    CHECK(d64({0x48, 0x01, 0xC0}).width == 8);           // add rax, rax
    CHECK(d64({0x48, 0x66, 0x01, 0xC0}).width == 2);     // add ax, ax
    CHECK_FALSE(d64({0x48, 0x66, 0x01, 0xC0}).rex_w());  // add ax, ax
    CHECK(d64({0x48, 0x41, 0x01, 0xC0}).width == 4);     // the last REX replaces the first
    CHECK(d64({0x48, 0x41, 0x01, 0xC0}).rm == R8);       // add r8d, eax
    CHECK(d64({0x48, 0x66, 0x88, 0xE0}).reg == 20);      // an ignored REX does not turn AH into SPL
}

TEST_CASE("REX.W makes 66 meaningless", "[decode]") {
    const Insn insn = d64({0x66, 0x48, 0x05, 1, 0, 0, 0});  // add rax, 1
    CHECK(insn.width == 8);
    CHECK(insn.opsize == 8);
    CHECK(insn.imm == 1);
}

TEST_CASE("Operand and address size by code segment", "[decode]") {
    CHECK(d16({0x01, 0xC0}).width == 2);           // add ax, ax
    CHECK(d16({0x66, 0x01, 0xC0}).width == 4);     // add eax, eax
    CHECK(d32({0x01, 0xC0}).width == 4);           // add eax, eax
    CHECK(d32({0x66, 0x01, 0xC0}).width == 2);     // add ax, ax
    CHECK(d16({0x8B, 0x00}).addrsize == 2);        // mov ax, word [bx + si]
    CHECK(d16({0x67, 0x8B, 0x00}).addrsize == 4);  // mov ax, word [eax]
    CHECK(d32({0x67, 0x8B, 0x00}).addrsize == 2);  // mov eax, dword [bx + si]
    CHECK(d64({0x8B, 0x00}).addrsize == 8);        // mov eax, dword [rax]
    CHECK(d64({0x67, 0x8B, 0x00}).addrsize == 4);  // mov eax, dword [eax]
}

TEST_CASE("Stack instructions default to 64 bits in 64-bit mode; 66 makes them 16", "[decode]") {
    CHECK(d64({0x50}).opsize == 8);                             // push rax
    CHECK(d64({0x66, 0x50}).opsize == 2);                       // push ax
    CHECK(d64({0x66, 0x48, 0x50}).opsize == 8);                 // push rax
    CHECK(d64({0x68, 0xFF, 0xFF, 0xFF, 0xFF}).imm == ~u64{0});  // push -1
    CHECK(d64({0x66, 0x68, 0xFF, 0xFF}).opsize == 2);           // push 0xffff
    CHECK(d64({0x9C}).opsize == 8);                             // pushfq
    CHECK(d64({0xC9}).opsize == 8);                             // leave
    CHECK(d64({0xFF, 0xF0}).opsize == 8);                       // push rax
    CHECK(d64({0x8F, 0xC0}).opsize == 8);                       // pop rax
    CHECK(d64({0x0F, 0xA0}).opsize == 8);                       // push fs
    CHECK(d64({0x0F, 0xA0}).form == Form::G);                   // push fs
    CHECK(d64({0x0F, 0xA0}).reg == FS);                         // push fs
}

TEST_CASE("Near branches ignore 66 in 64-bit mode, and take 16 bits with it elsewhere",
          "[decode]") {
    CHECK(d64({0x66, 0xE8, 1, 0, 0, 0}).opsize == 8);  // call $ + 5; add byte [rax], al
    // jmp $ (66 is ignored)
    CHECK(d64({0x66, 0xE9, 0xFB, 0xFF, 0xFF, 0xFF}).imm == static_cast<u64>(-5));
    CHECK(d64({0x66, 0x0F, 0x84, 1, 0, 0, 0}).op == Op::Jcc);
    CHECK(d64({0x66, 0xC3}).opsize == 8);                              // ret
    CHECK(d64({0x66, 0xFF, 0xE0}).width == 8);                         // jmp rax
    CHECK(d32({0x66, 0xE8, 0xFE, 0xFF}).imm == static_cast<u64>(-2));  // call $ + 2
    CHECK(d32({0x66, 0xE8, 0xFE, 0xFF}).opsize == 2);                  // call $ + 2
    CHECK(d64({0x67, 0xE3, 0x10}).addrsize == 4);                      // JECXZ
}

TEST_CASE("LOCK is legal only on listed instructions with a memory destination", "[decode]") {
    CHECK(d64({0xF0, 0x01, 0x07}).lock());  // lock add dword [rdi], eax
    CHECK(op_of(kMode64, {0xF0, 0x01, 0xC7}) == Op::UD);
    CHECK(op_of(kMode64, {0xF0, 0x03, 0x07}) == Op::UD);  // memory is the source
    CHECK(op_of(kMode64, {0xF0, 0x39, 0x07}) == Op::UD);  // CMP
    CHECK(op_of(kMode64, {0xF0, 0x89, 0x07}) == Op::UD);
    CHECK(op_of(kMode64, {0xF0, 0x90}) == Op::UD);
    CHECK(op_of(kMode64, {0xF0, 0x83, 0x3F, 0}) == Op::UD);
    for (unsigned digit = 0; digit < 7; ++digit) {
        CHECK(op_of(kMode64, {0xF0, 0x83, static_cast<u8>(digit << 3 | 7), 0}) != Op::UD);
    }
    CHECK(d64({0xF0, 0x0F, 0xBA, 0x2F, 3}).op == Op::BTS);
    CHECK(op_of(kMode64, {0xF0, 0x0F, 0xBA, 0x27, 3}) == Op::UD);  // BT
    CHECK(d64({0xF0, 0x0F, 0xB1, 0x0F}).op == Op::CMPXCHG);
    CHECK(d64({0xF0, 0x0F, 0xC1, 0x0F}).op == Op::XADD);
    CHECK(d64({0xF0, 0x87, 0x0F}).op == Op::XCHG);
    CHECK(d64({0xF2, 0xF0, 0x87, 0x0F}).op == Op::XCHG);  // XACQUIRE, which this CPU ignores
}

TEST_CASE("An illegal instruction keeps the length it has", "[decode]") {
    // lock mov dword [rsp + 0x4030201], 0x8070605
    const Insn insn = d64({0xF0, 0xC7, 0x84, 0x24, 1, 2, 3, 4, 5, 6, 7, 8});
    CHECK(insn.op == Op::UD);
    CHECK(insn.ends_block());
}

TEST_CASE("Fifteen bytes are an instruction, sixteen are #GP", "[decode]") {
    const CpuFeatures features = every_feature();
    for (unsigned prefixes = 0; prefixes < 20; ++prefixes) {
        std::vector<u8> code(prefixes, 0x66);
        code.push_back(0x90);
        code.resize(32, 0x90);
        Insn insn;
        const DecodeResult result = decode(code, kMode64, features, insn);
        CHECK(result == (prefixes < 15 ? DecodeResult::Ok : DecodeResult::TooLong));
    }
    // 66 x 8, lock add qword [rax + rbx + disp32], imm32: 8 + 1 + 1 + 1 + 1 + 1 + 4 + 4 = 21
    std::vector<u8> code(8, 0x66);
    code.insert(code.end(), {0xF0, 0x48, 0x81, 0x84, 0x18, 1, 2, 3, 4, 5, 6, 7, 8});
    Insn insn;
    CHECK(decode(code, kMode64, features, insn) == DecodeResult::TooLong);
}

TEST_CASE("NeedBytes until the last byte is there", "[decode]") {
    const std::vector<u8> code = {0xF0, 0x48, 0x81, 0x84, 0x18, 1, 2, 3, 4, 5, 6, 7, 8};
    const CpuFeatures features = every_feature();
    for (std::size_t size = 0; size <= code.size(); ++size) {
        Insn insn;
        const DecodeResult result = decode({code.data(), size}, kMode64, features, insn);
        CHECK(result == (size < code.size() ? DecodeResult::NeedBytes : DecodeResult::Ok));
    }
}

TEST_CASE("VEX outside 64-bit mode needs mod = 11b, else it is LES or LDS", "[decode]") {
    CHECK(d32({0xC5, 0xF8, 0x58, 0xC1}).op == Op::VADDPS);
    CHECK(d32({0xC5, 0x07}).op == Op::LDS);
    CHECK(d32({0xC4, 0x07}).op == Op::LES);
    CHECK(d32({0xC4, 0x07}).mem_bytes == 6);        // les eax, [edi]
    CHECK(d64({0xC5, 0x78, 0x58, 0xC1}).reg == 8);  // vaddps xmm8, xmm0, xmm1
    CHECK(op_of(kReal, {0xC5, 0xF8, 0x58, 0xC1}) == Op::UD);
    CHECK(decode_as(kReal, {0xC5, 0x07}).op == Op::LDS);
}

TEST_CASE("VEX with 66, F2, F3, LOCK or REX is #UD; with a segment or 67 it is not", "[decode]") {
    for (const unsigned prefix : {0x66U, 0xF2U, 0xF3U, 0xF0U, 0x48U}) {
        CHECK(op_of(kMode64, {static_cast<u8>(prefix), 0xC5, 0xF8, 0x58, 0x00}) == Op::UD);
    }
    // vaddps xmm0, xmm0, xmmword fs:[rax]
    CHECK(op_of(kMode64, {0x48, 0x64, 0xC5, 0xF8, 0x58, 0x00}) ==
          Op::VADDPS);                                     // that REX is ignored
    CHECK(d64({0x64, 0xC5, 0xF8, 0x58, 0x00}).seg == FS);  // vaddps xmm0, xmm0, xmmword fs:[rax]
    CHECK(d64({0x67, 0xC5, 0xF8, 0x58, 0x00}).addrsize == 4);  // vaddps xmm0, xmm0, xmmword [eax]
}

TEST_CASE("VEX.vvvv must be 1111b when it is not an operand", "[decode]") {
    CHECK(d64({0xC5, 0xF8, 0x28, 0xC1}).op == Op::VMOVAPS);
    CHECK(op_of(kMode64, {0xC5, 0xF0, 0x28, 0xC1}) == Op::UD);
    CHECK(d32({0xC4, 0xE1, 0x38, 0x28, 0xC1}).op ==
          Op::VMOVAPS);  // its top bit is ignored outside 64-bit mode
    CHECK(op_of(kMode64, {0xC4, 0xE1, 0x38, 0x28, 0xC1}) == Op::UD);
}

TEST_CASE("VEX.mmmmm names maps 1 to 3", "[decode]") {
    CHECK(op_of(kMode64, {0xC4, 0xE0, 0x78, 0x58, 0xC1}) == Op::UD);
    CHECK(op_of(kMode64, {0xC4, 0xE1, 0x78, 0x58, 0xC1}) == Op::VADDPS);
    CHECK(op_of(kMode64, {0xC4, 0xE4, 0x78, 0x58, 0xC1}) == Op::UD);
}
