#pragma once
// A decoded instruction: what the decoder yields, the block cache keeps and a handler executes.
//
// The decoder normalizes operands so that one handler serves many rows: `ADD AL, Ib` is EI with
// rm = 0; `INC r32` (40+r), `PUSH r64` (50+r), `XCHG rAX, r`, `MOV r, imm` (B8+r), BSWAP are E / EI
// / EG with rm = the register; `MOV AL, Ob` is GE with a memory operand that is only a
// displacement; shifts by 1 are EI with imm = 1.

#include "core/types.hpp"
#include "cpu/x86/state/exception.hpp"
#include "cpu/x86/state/regs.hpp"

namespace droste {

class Vcpu;
struct Insn;

using ExecFn = Status (*)(Vcpu& cpu, const Insn& insn);

// One enumerator for each instruction that behaves on its own; see ops.inc for the naming rule.
enum class Op : u16 {
#define DROSTE_OP(name) name,
#include "cpu/x86/decode/ops.inc"
#undef DROSTE_OP
    kCount
};

// Which explicit operands there are, destination first.
// E = register-or-memory (rm or memory fields), G = ModRM.reg, B = VEX.vvvv, I = immediate, C = CL.
// For vector instructions E/G/B are W/V/H (or Q/P) in the same places.
enum class Form : u8 {
    None,  // implicit operands only
    E,
    G,
    I,
    EG,
    GE,
    EI,
    EC,
    GI,
    GEI,
    EGI,
    EGC,
    GBE,
    GEB,
    BE,
    GBEI,
    EBG,
    BEI,
};

enum class OpcodeMap : u8 { OneByte = 0, Map0F = 1, Map0F38 = 2, Map0F3A = 3, X87 = 4 };

// Insn::flags
inline constexpr u16 kInsnMem = 1U << 0;     // E is a memory operand
inline constexpr u16 kInsnLock = 1U << 1;    // F0 present (and legal, or the decoder said #UD)
inline constexpr u16 kInsnRep = 1U << 2;     // F3 present (also when it is a mandatory prefix)
inline constexpr u16 kInsnRepne = 1U << 3;   // F2 present (also when it is a mandatory prefix)
inline constexpr u16 kInsnOpSize = 1U << 4;  // 66 present
inline constexpr u16 kInsnRex = 1U << 5;     // any REX present
inline constexpr u16 kInsnVex = 1U << 6;
inline constexpr u16 kInsnW = 1U << 7;     // REX.W or VEX.W
inline constexpr u16 kInsnVexL = 1U << 8;  // VEX.L: 256-bit
inline constexpr u16 kInsnSegOverride = 1U << 9;
inline constexpr u16 kInsnRipRelative = 1U << 10;
// set from the row: control flow, or state a block depends on
inline constexpr u16 kInsnEndsBlock = 1U << 11;
// may observe virtual time or I/O (also ends a block)
inline constexpr u16 kInsnReadsTime = 1U << 12;
inline constexpr u16 kInsnNative = 1U << 13;  // the row says kNative: a native thunk executes it
// the memory operand must be aligned to mem_bytes (16 or 32), else #GP(0)
inline constexpr u16 kInsnAligned = 1U << 14;
inline constexpr u16 kInsnNoTrack = 1U << 15;  // 3E is the last segment prefix (NOTRACK)

struct Insn {
    ExecFn exec = nullptr;
    u64 imm = 0;   // immediate, sign-extended to 64 bits where the manual sign-extends it to the
                   // operand size; J: the displacement; ptr16:16/32: the offset; ENTER: Iw
    i64 disp = 0;  // displacement of the memory operand. RIP-relative: counted from the *start* of
                   // the instruction (length already added). moffs: the offset
    Op op{};
    u16 flags = 0;
    // ptr16:xx: the selector; ENTER: the nesting level; EXTRQ/INSERTQ/is4: second immediate
    u16 imm2 = 0;
    u8 length = 0;  // bytes, 1..15
    // Bytes of the first operand: 1, 2, 4, 8 (integer); 16, 32 (vector length; 8 with MMX operands
    // only); 0 when not meaningful. MOVZX, MOVSX, MOVSXD, LAR, LSL: the destination, mem_bytes has
    // the source. CRC32: the source. MOV_SREG_FROM, SLDT, STR, SMSW: opsize with a register, 2 with
    // memory. MOV CR/DR, VMREAD, INVEPT ...: 8 in 64-bit mode, else 4. PUSH_SREG, POP_SREG
    // (Form::G, reg = Sreg), PUSH I, far transfers, near branches: opsize.
    u8 width = 0;
    Form form = Form::None;
    u8 reg = 0;   // G: register number with REX.R. Byte registers AH CH DH BH are 20..23 (only
                  // without REX). Sreg/CRn/DRn/opcode extension of a group row: the ModRM.reg value
                  // (with REX.R for CR/DR)
    u8 rm = 0;    // E when it is a register, with REX.B; byte registers as in `reg`
    u8 vvvv = 0;  // B: VEX.vvvv (already complemented)
    u8 base = kZeroSlot;   // 0..15, kZeroSlot, kRipSlot
    u8 index = kZeroSlot;  // 0..15, kZeroSlot
    u8 scale = 0;          // shift count 0..3
    u8 seg = DS;           // segment of the memory operand after defaults and override
    u8 opsize = 4;  // effective operand size in bytes: 2, 4, 8 (PUSH, CALL etc. in 64-bit mode: 8)
    u8 addrsize = 4;  // effective address size in bytes: 2, 4, 8
    OpcodeMap map = OpcodeMap::OneByte;
    u8 opcode = 0;  // last opcode byte; condition code / x87 group in its low bits
    u8 modrm = 0;   // raw ModRM (0 if none)
    // Size of E in bytes, whether it is memory or a register (0: E has no size of its own, as in
    // LEA, PREFETCH, INVLPG, FXSAVE). LES etc. and far m16:xx: opsize + 2; BOUND: twice opsize;
    // LGDT etc.: 6 or 10.
    u8 mem_bytes = 0;

    u8 classes = 0;  // register files of G, E, B: see g_class()

    // Register file of an operand that is a register.
    enum class RegClass : u8 { Gpr = 0, Mmx = 1, Xmm = 2, Other = 3 /* Sreg, CR, DR, x87 stack */ };
    RegClass g_class() const { return static_cast<RegClass>(classes & 3); }
    RegClass e_class() const { return static_cast<RegClass>((classes >> 2) & 3); }
    RegClass b_class() const { return static_cast<RegClass>((classes >> 4) & 3); }

    bool mem() const { return (flags & kInsnMem) != 0; }
    bool lock() const { return (flags & kInsnLock) != 0; }
    bool rep() const { return (flags & kInsnRep) != 0; }
    bool repne() const { return (flags & kInsnRepne) != 0; }
    bool rex_w() const { return (flags & kInsnW) != 0; }
    bool vex() const { return (flags & kInsnVex) != 0; }
    bool ends_block() const { return (flags & kInsnEndsBlock) != 0; }
};
static_assert(sizeof(Insn) <= 64);

}  // namespace droste
