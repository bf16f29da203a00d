#pragma once
// A byte emitter for thunks: the dozen native instructions they are made of, and the re-encoding of
// a vector instruction with other registers. Deliberately not an assembler; the instruction itself
// comes from the guest and is only renumbered.

#include "core/assert.hpp"
#include "core/types.hpp"
#include "cpu/x86/decode/insn.hpp"

#include <array>
#include <cstddef>
#include <initializer_list>
#include <span>

namespace droste {

// Native general registers by their encoding. Pointers arrive as the System V ABI passes them.
enum class NativeReg : u8 { Rax = 0, Rcx = 1, Rdx = 2, Rsp = 4, Rsi = 6, Rdi = 7, R8 = 8, R9 = 9 };

// VEX.pp
enum class Pp : u8 { None = 0, P66 = 1, PF3 = 2, PF2 = 3 };

class NativeEmitter {
  public:
    void bytes(std::initializer_list<u8> list) {
        for (const u8 byte : list) {
            put(byte);
        }
    }
    void put(u8 byte) {
        DROSTE_ASSERT(size_ < code_.size());
        code_[size_++] = byte;
    }
    void put32(u32 value) {
        for (unsigned shift = 0; shift < 32; shift += 8) {
            put(static_cast<u8>(value >> shift));
        }
    }

    // `op reg, [base + displacement]` or the store form of the same shape: legacy encoding, base
    // not RSP.
    void memory(Pp pp,
                bool w,
                OpcodeMap map,
                u8 opcode,
                unsigned reg,
                NativeReg base,
                u32 displacement = 0);
    // The same with a VEX prefix and 256-bit length.
    void vex256_memory(Pp pp, u8 opcode, unsigned reg, NativeReg base, u32 displacement = 0);
    void ret() { put(0xC3); }

    std::span<const u8> code() const { return {code_.data(), size_}; }

    void legacy_prefixes(Pp pp, bool w, bool r, bool b, OpcodeMap map);
    void vex_prefix(Pp pp, bool w, bool l, unsigned vvvv, bool r, bool b, OpcodeMap map);
    void modrm_memory(unsigned reg, NativeReg base, u32 displacement);
    void modrm_register(unsigned reg, unsigned rm) {
        put(static_cast<u8>(0xC0 | ((reg & 7) << 3) | (rm & 7)));
    }

  private:
    std::array<u8, 256> code_{};
    std::size_t size_ = 0;
};

inline void NativeEmitter::legacy_prefixes(Pp pp, bool w, bool r, bool b, OpcodeMap map) {
    constexpr std::array<u8, 4> kPrefix = {0, 0x66, 0xF3, 0xF2};
    if (pp != Pp::None) {
        put(kPrefix[static_cast<unsigned>(pp)]);
    }
    if (w || r || b) {
        put(static_cast<u8>(0x40 | (w ? 8 : 0) | (r ? 4 : 0) | (b ? 1 : 0)));
    }
    if (map == OpcodeMap::OneByte || map == OpcodeMap::X87) {
        return;
    }
    put(0x0F);
    if (map == OpcodeMap::Map0F38) {
        put(0x38);
    } else if (map == OpcodeMap::Map0F3A) {
        put(0x3A);
    }
}

inline void
NativeEmitter::vex_prefix(Pp pp, bool w, bool l, unsigned vvvv, bool r, bool b, OpcodeMap map) {
    put(0xC4);
    put(static_cast<u8>((r ? 0 : 0x80) | 0x40 | (b ? 0 : 0x20) | static_cast<unsigned>(map)));
    put(static_cast<u8>((w ? 0x80U : 0U) | ((~vvvv & 0xFU) << 3) | (l ? 4U : 0U) |
                        static_cast<unsigned>(pp)));
}

inline void NativeEmitter::modrm_memory(unsigned reg, NativeReg base, u32 displacement) {
    DROSTE_ASSERT(base != NativeReg::Rsp);
    const unsigned low = static_cast<unsigned>(base) & 7;
    if (displacement == 0) {
        put(static_cast<u8>(((reg & 7) << 3) | low));
    } else {
        put(static_cast<u8>(0x80 | ((reg & 7) << 3) | low));
        put32(displacement);
    }
}

inline void NativeEmitter::memory(
    Pp pp, bool w, OpcodeMap map, u8 opcode, unsigned reg, NativeReg base, u32 displacement) {
    legacy_prefixes(pp, w, reg >= 8, static_cast<unsigned>(base) >= 8, map);
    put(opcode);
    modrm_memory(reg, base, displacement);
}

inline void
NativeEmitter::vex256_memory(Pp pp, u8 opcode, unsigned reg, NativeReg base, u32 displacement) {
    vex_prefix(pp, false, true, 0, reg >= 8, static_cast<unsigned>(base) >= 8, OpcodeMap::Map0F);
    put(opcode);
    modrm_memory(reg, base, displacement);
}

}  // namespace droste
