#pragma once
// Which general registers an instruction writes, and which memory it reaches by which address, for
// deciding how long an address that was checked stays checked (windows.hpp).

#include "core/types.hpp"
#include "cpu/x86/decode/insn.hpp"

#include <array>

namespace droste::jit {

// A memory access of an instruction at [base + index << scale + disp].
struct OperandAccess {
    u8 base = kZeroSlot;
    u8 index = kZeroSlot;
    u8 scale = 0;
    i64 disp = 0;
    unsigned bytes = 0;  // 0: of a kind that shares no check
    bool write = false;
    bool aligned = false;  // must be, to `bytes`
};

struct RegisterEffect {
    bool known = false;   // else: anything may happen
    u16 writes = 0;       // general registers, a bit each; RSP only if it is not just moved
    i32 moves_stack = 0;  // RSP is changed by so much
    // So is another register, which is one of those written: the whole of it, in 64-bit code.
    u8 stepped = kZeroSlot;
    i32 step = 0;
    std::array<OperandAccess, 2> accesses;  // in the order in which they are checked
    unsigned count = 0;
};

// What addresses and the stack are like.
struct CodeMode {
    unsigned word = 8;  // bytes of an address, and of what is pushed
    // By SegReg, a bit each: addresses in it are linear addresses, and none is beyond its limit.
    unsigned flat_segments = 0;
};

RegisterEffect register_effect(const Insn& insn, const CodeMode& mode);

// What an x87 instruction does with its memory operand, if it is carried over (carry_x87.cpp).
enum class X87Memory : u8 { Unknown, Read, Write };
X87Memory x87_memory(Op op);

}  // namespace droste::jit
