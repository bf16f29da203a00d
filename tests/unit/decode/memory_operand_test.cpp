// ModRM, SIB, displacement, default segments, RIP-relative and absolute addresses.

#include "tests/unit/decode/decode_support.hpp"

using namespace droste;
using namespace droste::test;

TEST_CASE("Base and displacement", "[decode]") {
    const Insn insn = d64({0x8B, 0x48, 0xF8});  // mov ecx, [rax - 8]
    CHECK(insn.mem());
    CHECK(insn.base == RAX);
    CHECK(insn.index == kZeroSlot);
    CHECK(insn.disp == -8);
    CHECK(insn.seg == DS);
    CHECK(insn.mem_bytes == 4);
}

TEST_CASE("SIB: index 4 is none unless REX.X makes it r12", "[decode]") {
    const Insn insn = d64({0x8B, 0x04, 0xD8});  // [rax + rbx * 8]
    CHECK(insn.base == RAX);
    CHECK(insn.index == RBX);
    CHECK(insn.scale == 3);
    CHECK(d64({0x8B, 0x04, 0x24}).index == kZeroSlot);  // mov eax, dword [rsp]
    CHECK(d64({0x42, 0x8B, 0x04, 0x20}).index == R12);  // mov eax, dword [rax + r12]
    CHECK(d64({0x8B, 0x04, 0xE0}).scale == 0);          // no index: no scale
}

TEST_CASE("SIB with base 5 and mod 0 has no base", "[decode]") {
    // mov eax, dword [0x80001000]
    const Insn insn = d64({0x8B, 0x04, 0x25, 0x00, 0x10, 0x00, 0x80});
    CHECK(insn.base == kZeroSlot);
    CHECK(insn.disp == i64{-0x7FFF'F000});
    CHECK_FALSE((insn.flags & kInsnRipRelative) != 0);
    CHECK(d64({0x41, 0x8B, 0x04, 0x25, 0, 0, 0, 0}).base ==  // mov eax, dword [0]
          kZeroSlot);                                        // REX.B does not change that
    CHECK(d64({0x41, 0x8B, 0x44, 0x25, 0}).base == R13);     // mov eax, dword [r13]
}

TEST_CASE("rBP and rSP as base default to SS, r12 and r13 to DS", "[decode]") {
    CHECK(d64({0x8B, 0x45, 0x08}).seg == SS);              // mov eax, dword [rbp + 8]
    CHECK(d64({0x8B, 0x04, 0x24}).seg == SS);              // mov eax, dword [rsp]
    CHECK(d64({0x41, 0x8B, 0x45, 0x08}).seg == DS);        // mov eax, dword [r13 + 8]
    CHECK(d64({0x41, 0x8B, 0x04, 0x24}).seg == DS);        // mov eax, dword [r12]
    CHECK(d32({0x8B, 0x04, 0x2D, 0, 0, 0, 0}).seg == DS);  // ebp as index
    CHECK(d32({0x3E, 0x8B, 0x45, 0x08}).seg == DS);        // mov eax, dword ds:[ebp + 8]
    CHECK(d64({0x64, 0x8B, 0x45, 0x08}).seg == FS);        // mov eax, dword fs:[rbp + 8]
}

TEST_CASE("RIP-relative counts from the start of the instruction", "[decode]") {
    // mov rax, qword [rip + 0x10]
    const Insn load = d64({0x48, 0x8B, 0x05, 0x10, 0x00, 0x00, 0x00});
    CHECK(load.base == kRipSlot);
    CHECK(load.disp == 0x10 + 7);
    CHECK((load.flags & kInsnRipRelative) != 0);
    // the immediate counts too
    const Insn store = d64({0xC7, 0x05, 0xF0, 0xFF, 0xFF, 0xFF, 1, 2, 3, 4});
    CHECK(store.disp == -0x10 + 10);
    CHECK(store.imm == 0x0403'0201);
    CHECK(d64({0x67, 0x8B, 0x05, 0, 0, 0, 0}).addrsize == 4);   // mov eax, dword [eip]
    CHECK(d32({0x8B, 0x05, 0, 0, 0, 0x80}).base == kZeroSlot);  // mov eax, dword [0x80000000]
}

TEST_CASE("16-bit addressing", "[decode]") {
    const Insn bx_si = d16({0x8B, 0x00});  // mov ax, word [bx + si]
    CHECK(bx_si.base == RBX);
    CHECK(bx_si.index == RSI);
    CHECK(bx_si.seg == DS);
    CHECK(d16({0x8B, 0x03}).base == RBP);                    // mov ax, word [bp + di]
    CHECK(d16({0x8B, 0x03}).seg == SS);                      // mov ax, word [bp + di]
    CHECK(d16({0x8B, 0x02}).base == RBP);                    // mov ax, word [bp + si]
    CHECK(d16({0x8B, 0x02}).seg == SS);                      // mov ax, word [bp + si]
    CHECK(d16({0x8B, 0x01}).base == RBX);                    // mov ax, word [bx + di]
    CHECK(d16({0x8B, 0x01}).seg == DS);                      // mov ax, word [bx + di]
    CHECK(d16({0x8B, 0x06, 0x34, 0x12}).base == kZeroSlot);  // mov ax, word [0x1234]
    CHECK(d16({0x8B, 0x06, 0x34, 0x12}).disp == 0x1234);     // mov ax, word [0x1234]
    CHECK(d16({0x8B, 0x06, 0x34, 0x12}).seg == DS);          // mov ax, word [0x1234]
    CHECK(d16({0x8B, 0x46, 0xFE}).base == RBP);              // mov ax, word [bp - 2]
    CHECK(d16({0x8B, 0x46, 0xFE}).disp == -2);               // mov ax, word [bp - 2]
    CHECK(d16({0x8B, 0x46, 0xFE}).seg == SS);                // mov ax, word [bp - 2]
    CHECK(d16({0x8B, 0x87, 0x34, 0x12}).base == RBX);        // mov ax, word [bx + 0x1234]
    CHECK(d16({0x67, 0x8B, 0x04, 0x24}).base == RSP);        // mov ax, word [esp]
}

TEST_CASE("moffs is a memory operand of a displacement alone", "[decode]") {
    const Insn load = d64({0xA1, 1, 2, 3, 4, 5, 6, 7, 8});  // movabs eax, dword [0x807060504030201]
    CHECK(load.form == Form::GE);
    CHECK(load.mem());
    CHECK(load.base == kZeroSlot);
    CHECK(load.disp == 0x0807'0605'0403'0201);
    CHECK(load.reg == RAX);
    CHECK(load.width == 4);
    CHECK(d64({0x67, 0xA1, 1, 2, 3, 0x84}).disp == 0x8403'0201);  // mov eax, dword [0x84030201]
    CHECK(d32({0xA2, 1, 2, 3, 4}).form == Form::EG);              // mov byte [0x4030201], al
    CHECK(d32({0xA2, 1, 2, 3, 4}).width == 1);                    // mov byte [0x4030201], al
    CHECK(d16({0xA3, 1, 0x82}).disp == 0x8201);                   // mov word [0x8201], ax
    CHECK(d32({0x65, 0xA1, 0, 0, 0, 0}).seg == GS);               // mov eax, dword gs:[0]
}

TEST_CASE("VSIB: the index is a vector register, 4 among them, and all three registers differ",
          "[decode]") {
    // vpgatherdd xmm1, [rax + xmm4*4], xmm2
    const Insn insn = d64({0xC4, 0xE2, 0x69, 0x90, 0x0C, 0xA0});
    CHECK(insn.op == Op::VPGATHERDD);
    CHECK(insn.form == Form::GEB);
    CHECK(insn.index == 4);
    CHECK(insn.scale == 2);
    CHECK(insn.base == RAX);
    CHECK(insn.mem_bytes == 4);
    CHECK(insn.width == 16);
    CHECK(d64({0xC4, 0xE2, 0xED, 0x90, 0x0C, 0xA0}).op == Op::VPGATHERDQ);
    // vpgatherdq ymm1, qword [rax + xmm4*4], ymm2
    CHECK(d64({0xC4, 0xE2, 0xED, 0x90, 0x0C, 0xA0}).mem_bytes == 8);
    CHECK(op_of(kMode64, {0xC4, 0xE2, 0x69, 0x90, 0x08}) == Op::UD);  // no SIB
    // vpgatherdd xmm1, dword [rax + xmm4*4], xmm1
    CHECK(op_of(kMode64, {0xC4, 0xE2, 0x71, 0x90, 0x0C, 0xA0}) ==
          Op::UD);  // mask is the destination
    CHECK(op_of(kMode64, {0xC4, 0xE2, 0x59, 0x90, 0x0C, 0xA0}) == Op::UD);  // mask is the index
    // vpgatherdd xmm4, dword [rax + xmm4*4], xmm2
    CHECK(op_of(kMode64, {0xC4, 0xE2, 0x69, 0x90, 0x24, 0xA0}) ==
          Op::UD);  // index is the destination
}
