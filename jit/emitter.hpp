#pragma once
// Writes native instructions: the encodings that carried-over guest instructions and the code
// around them need. Guest instructions keep their opcode and are given other registers, so this is
// an encoder of prefixes, ModRM and displacement, and no assembler; SDM Vol. 2A, "Instruction
// Format".

#include "core/assert.hpp"
#include "core/types.hpp"
#include "cpu/x86/decode/insn.hpp"

#include <cstddef>
#include <cstring>

namespace droste::jit {

// Native registers, by their number in encodings. AH, CH, DH and BH are 20 to 23, as in Insn.
inline constexpr u8 kRax = 0, kRcx = 1, kRdx = 2, kRbx = 3, kRsp = 4, kRbp = 5, kRsi = 6, kRdi = 7,
                    kR12 = 12, kR13 = 13, kR14 = 14, kR15 = 15, kNoReg = 0xFF;

// Whether an instruction can hold the value as a sign-extended 32-bit immediate or displacement.
inline bool fits32(u64 value) {
    return static_cast<u64>(static_cast<i64>(static_cast<i32>(value))) == value;
}

struct Mem {
    u8 base = kNoReg;
    u8 index = kNoReg;
    u8 scale = 0;  // shift count
    i32 disp = 0;
};

// What stands before ModRM.
struct Opcode {
    u8 opcode = 0;
    OpcodeMap map = OpcodeMap::OneByte;
    u8 prefix = 0;         // 0, F2 or F3
    bool opsize = false;   // 66
    bool w = false;        // REX.W
    bool byte = false;     // its registers are byte registers: reg, and rm unless `byte_reg_only`
    bool byte_rm = false;  // rm alone is a byte register
    bool lock = false;
};

// An integer opcode by operand width: `opcode` is the byte form, `opcode` | 1 the others.
inline Opcode by_width(u8 opcode, unsigned width, OpcodeMap map = OpcodeMap::OneByte) {
    return {.opcode = static_cast<u8>(width == 1 ? opcode : opcode | 1),
            .map = map,
            .opsize = width == 2,
            .w = width == 8,
            .byte = width == 1};
}
// One that has no byte form.
inline Opcode by_word(u8 opcode, unsigned width, OpcodeMap map = OpcodeMap::OneByte) {
    return {.opcode = opcode, .map = map, .opsize = width == 2, .w = width == 8};
}

struct VexOpcode {
    u8 opcode = 0;
    OpcodeMap map = OpcodeMap::Map0F;
    u8 pp = 0;  // 0, 1 = 66, 2 = F3, 3 = F2
    bool w = false;
    bool l = false;
    u8 vvvv = 0;
};

// Conditions by the low nibble of Jcc.
namespace cc {
inline constexpr u8 kO = 0, kNO = 1, kB = 2, kAE = 3, kE = 4, kNE = 5, kBE = 6, kA = 7, kS = 8,
                    kNS = 9, kP = 10, kL = 12;
}  // namespace cc

class Emitter {
  public:
    Emitter(u8* at, std::size_t bytes) : begin_(at), at_(at), end_(at + bytes) {}

    std::size_t size() const { return static_cast<std::size_t>(at_ - begin_); }
    std::size_t room() const { return static_cast<std::size_t>(end_ - at_); }
    u8* at() const { return at_; }
    u8* begin() const { return begin_; }

    void byte(unsigned value) {
        DROSTE_DEBUG_ASSERT(at_ < end_);
        *at_++ = static_cast<u8>(value);
    }
    void word(u16 value) { put(value); }
    void dword(u32 value) { put(value); }
    void qword(u64 value) { put(value); }

    // op reg, rm and op rm, reg.
    void rr(const Opcode& op, unsigned reg, unsigned rm) {
        const bool rex_free =
            (op.byte && (needs_rex(reg) || needs_rex(rm))) || (op.byte_rm && needs_rex(rm));
        head(op, number(reg), 0, number(rm), rex_free);
        byte(0xC0 | (number(reg) & 7) << 3 | (number(rm) & 7));
    }
    void rm(const Opcode& op, unsigned reg, const Mem& mem) {
        const bool rex_free = op.byte && needs_rex(reg);
        head(op, number(reg), mem.index == kNoReg ? 0 : mem.index,
             mem.base == kNoReg ? 0 : mem.base, rex_free);
        modrm(number(reg), mem);
    }
    // With an opcode extension in ModRM.reg.
    void xr(const Opcode& op, unsigned extension, unsigned rm) {
        head(op, 0, 0, number(rm), (op.byte || op.byte_rm) && needs_rex(rm));
        byte(0xC0 | extension << 3 | (number(rm) & 7));
    }
    void xm(const Opcode& op, unsigned extension, const Mem& mem) {
        head(op, 0, mem.index == kNoReg ? 0 : mem.index, mem.base == kNoReg ? 0 : mem.base, false);
        modrm(extension, mem);
    }
    void vex_rr(const VexOpcode& op, unsigned reg, unsigned rm) {
        vex_head(op, reg, 0, rm);
        byte(0xC0 | (reg & 7) << 3 | (rm & 7));
    }
    void vex_rm(const VexOpcode& op, unsigned reg, const Mem& mem) {
        vex_head(op, reg, mem.index == kNoReg ? 0 : mem.index, mem.base == kNoReg ? 0 : mem.base);
        modrm(reg, mem);
    }

    // --- what the code around guest instructions is made of ------------------------------------

    void mov(unsigned to, unsigned from) { rr({.opcode = 0x8B, .w = true}, to, from); }
    void mov32(unsigned to, unsigned from) { rr({.opcode = 0x8B}, to, from); }
    void load(unsigned to, const Mem& mem) { rm({.opcode = 0x8B, .w = true}, to, mem); }
    void load32(unsigned to, const Mem& mem) { rm({.opcode = 0x8B}, to, mem); }
    void store(const Mem& mem, unsigned from) { rm({.opcode = 0x89, .w = true}, from, mem); }
    void store32(const Mem& mem, unsigned from) { rm({.opcode = 0x89}, from, mem); }
    void store_imm32(const Mem& mem, u32 value) {
        xm({.opcode = 0xC7}, 0, mem);
        dword(value);
    }
    void store_imm8(const Mem& mem, u8 value) {
        xm({.opcode = 0xC6}, 0, mem);
        byte(value);
    }
    void compare_imm8(const Mem& mem, u8 value) {
        xm({.opcode = 0x80}, 7, mem);
        byte(value);
    }
    void lea(unsigned to, const Mem& mem, bool w = true) { rm({.opcode = 0x8D, .w = w}, to, mem); }
    // LEA r64, [RIP + ...]: the address of code written here.
    u8* lea_rip(unsigned to, const u8* target = nullptr) {
        head({.opcode = 0x8D, .w = true}, to, 0, 0, false);
        byte((to & 7) << 3 | 5);
        return rel32(target);
    }
    // The shortest form of MOV r64, imm.
    void load_imm(unsigned to, u64 value) {
        if (value <= 0xFFFF'FFFF) {
            head({}, 0, 0, to, false, true);
            byte(0xB8 | (to & 7));
            dword(static_cast<u32>(value));
        } else if (fits32(value)) {
            xr({.opcode = 0xC7, .w = true}, 0, to);
            dword(static_cast<u32>(value));
        } else {
            head({.w = true}, 0, 0, to, false, true);
            byte(0xB8 | (to & 7));
            qword(value);
        }
    }
    // `group1`: ADD 0, OR 1, ADC 2, SBB 3, AND 4, SUB 5, XOR 6, CMP 7.
    void alu_imm(unsigned group1, unsigned to, i32 value, bool w = true) {
        const bool small = value >= -128 && value < 128;
        xr({.opcode = static_cast<u8>(small ? 0x83 : 0x81), .w = w}, group1, to);
        imm(value, small);
    }
    void alu_imm(unsigned group1, const Mem& mem, i32 value, bool w = true) {
        const bool small = value >= -128 && value < 128;
        xm({.opcode = static_cast<u8>(small ? 0x83 : 0x81), .w = w}, group1, mem);
        imm(value, small);
    }

    // Branches with a 32-bit displacement; they return where it stands.
    u8* jcc(unsigned condition, const u8* target = nullptr) {
        byte(0x0F);
        byte(0x80 | condition);
        return rel32(target);
    }
    u8* jmp(const u8* target = nullptr) {
        byte(0xE9);
        return rel32(target);
    }
    void jmp_mem(const Mem& mem) { xm({.opcode = 0xFF}, 4, mem); }
    // Whether the condition holds, into a byte register.
    void setcc(unsigned condition, unsigned to) {
        xr({.opcode = static_cast<u8>(0x90 | condition), .map = OpcodeMap::Map0F, .byte = true}, 0,
           to);
    }
    // The branch, whose displacement this is, leads here.
    void lands_here(u8* displacement) { patch(displacement, displacement, at_); }
    static void patch(u8* displacement, const u8* place, const u8* target) {
        const auto distance = static_cast<i32>(target - (place + 4));
        std::memcpy(displacement, &distance, 4);
    }

  private:
    template <typename T>
    void put(T value) {
        DROSTE_DEBUG_ASSERT(room() >= sizeof(T));
        std::memcpy(at_, &value, sizeof(T));
        at_ += sizeof(T);
    }
    void imm(i32 value, bool small) {
        if (small) {
            byte(static_cast<u8>(value));
        } else {
            dword(static_cast<u32>(value));
        }
    }
    u8* rel32(const u8* target) {
        u8* place = at_;
        dword(0);
        if (target != nullptr) {
            patch(place, place, target);
        }
        return place;
    }
    static unsigned number(unsigned reg) { return reg >= 20 ? reg - 16 : reg; }
    // SPL, BPL, SIL and DIL exist only with a REX prefix.
    static bool needs_rex(unsigned reg) { return reg >= 4 && reg < 8; }

    void head(const Opcode& op,
              unsigned reg,
              unsigned index,
              unsigned base,
              bool rex_free,
              bool no_opcode = false) {
        if (op.lock) {
            byte(0xF0);
        }
        if (op.opsize) {
            byte(0x66);
        }
        if (op.prefix != 0) {
            byte(op.prefix);
        }
        const unsigned rex =
            (op.w ? 8U : 0U) | (reg >> 3 & 1) << 2 | (index >> 3 & 1) << 1 | (base >> 3 & 1);
        if (rex != 0 || rex_free) {
            byte(0x40 | rex);
        }
        if (no_opcode) {
            return;
        }
        if (op.map != OpcodeMap::OneByte) {
            byte(0x0F);
            if (op.map == OpcodeMap::Map0F38) {
                byte(0x38);
            } else if (op.map == OpcodeMap::Map0F3A) {
                byte(0x3A);
            }
        }
        byte(op.opcode);
    }
    void vex_head(const VexOpcode& op, unsigned reg, unsigned index, unsigned base) {
        byte(0xC4);
        byte((reg >= 8 ? 0 : 0x80U) | (index >= 8 ? 0 : 0x40U) | (base >= 8 ? 0 : 0x20U) |
             static_cast<unsigned>(op.map));
        byte((op.w ? 0x80U : 0U) | (~unsigned{op.vvvv} & 0xFU) << 3 | (op.l ? 4U : 0U) | op.pp);
        byte(op.opcode);
    }
    void modrm(unsigned reg, const Mem& mem) {
        const unsigned field = (reg & 7) << 3;
        if (mem.base == kNoReg) {
            // [index * scale + disp32], or [disp32] by a SIB byte without either.
            byte(field | 4);
            const unsigned index = mem.index == kNoReg ? 4U : mem.index & 7U;
            byte(unsigned{mem.scale} << 6 | index << 3 | 5);
            dword(static_cast<u32>(mem.disp));
            return;
        }
        const unsigned base = mem.base & 7;
        const bool sib = mem.index != kNoReg || base == 4;
        const bool none = mem.disp == 0 && base != 5;
        const bool small = mem.disp >= -128 && mem.disp < 128;
        const unsigned mod = none ? 0U : small ? 0x40U : 0x80U;
        byte(mod | field | (sib ? 4 : base));
        if (sib) {
            const unsigned index = mem.index == kNoReg ? 4U : mem.index & 7U;
            byte(unsigned{mem.scale} << 6 | index << 3 | base);
        }
        if (!none) {
            imm(mem.disp, small);
        }
    }

    u8* begin_;
    u8* at_;
    u8* end_;
};

}  // namespace droste::jit
