#pragma once
// Code for what kernel instructions change: single flags, the status flags as RFLAGS has them, the
// interrupt window.

#include "cpu/x86/state/regs.hpp"
#include "jit/assembly.hpp"

namespace droste::jit {

// The byte of a word that has the one bit `flag`, and that bit in it.
struct FlagByte {
    Mem at;
    u8 bit;
};
inline FlagByte flag_byte(i32 word, u64 flag) {
    i32 byte = 0;
    while (flag > 0xFF) {
        flag >>= 8;
        ++byte;
    }
    return {at_rsp(word + byte), static_cast<u8>(flag)};
}
// Of RFLAGS, but for the status flags.
inline FlagByte system_flag(u64 flag) {
    return flag_byte(layout::kSystemFlags, flag);
}

// Change flags.
inline void set(Emitter& e, const FlagByte& flag) {
    e.xm({.opcode = 0x80}, 1, flag.at);  // or
    e.byte(flag.bit);
}
inline void clear(Emitter& e, const FlagByte& flag) {
    e.xm({.opcode = 0x80}, 4, flag.at);  // and
    e.byte(static_cast<u8>(~flag.bit));
}
inline void test(Emitter& e, const FlagByte& flag) {
    e.xm({.opcode = 0xF6}, 0, flag.at);
    e.byte(flag.bit);
}

// The bits of TranslatedCode::status that stand in AH for SF, ZF, AF, PF and CF; OF's place.
inline constexpr i32 kStatusInAh = 0xD5;
inline constexpr u8 kAhShift = 8, kOverflowShift = 11;

// to := the status flags where RFLAGS has them, from TranslatedCode::status.
inline void load_status(Emitter& e, u8 to, u8 scratch) {
    e.load32(to, at_rsp(layout::kStatus));
    e.mov32(scratch, to);
    e.xr({.opcode = 0xC1}, 5, scratch);  // shr
    e.byte(kAhShift);
    e.alu_imm(4, scratch, kStatusInAh, false);
    e.alu_imm(4, to, 1, false);
    e.xr({.opcode = 0xC1}, 4, to);  // shl
    e.byte(kOverflowShift);
    e.rr({.opcode = 0x0B}, to, scratch);  // or
}
// The other way round; `flags` is lost.
inline void store_status(Emitter& e, u8 flags, u8 scratch) {
    e.mov32(scratch, flags);
    e.alu_imm(4, scratch, kStatusInAh, false);
    e.xr({.opcode = 0xC1}, 4, scratch);  // shl
    e.byte(kAhShift);
    e.xr({.opcode = 0xC1}, 5, flags);  // shr
    e.byte(kOverflowShift);
    e.alu_imm(4, flags, 1, false);
    e.rr({.opcode = 0x0B}, scratch, flags);  // or
    e.store32(at_rsp(layout::kStatus), scratch);
}
// RFLAGS := flags, which has no reserved bit set but perhaps bit 1; `flags` is lost.
inline void store_rflags(Emitter& e, u8 flags, u8 scratch) {
    e.mov32(scratch, flags);
    e.alu_imm(4, scratch, ~static_cast<i32>(rflags::kStatus), false);
    e.alu_imm(1, scratch, rflags::kFixed1, false);
    e.store(at_rsp(layout::kSystemFlags), scratch);
    store_status(e, flags, scratch);
}

// What IF lets through.
inline constexpr i32 kMaskable = attention::kInterrupt | attention::kInterruptWindow;

// IF was cleared: of what waits for it, only what VMX forces stays in the mask. Uses kT0.
inline void close_interrupt_window(Emitter& e) {
    e.load32(kT0, at_rsp(layout::kAttentionForced));
    e.alu_imm(1, kT0, ~kMaskable, false);
    e.rm({.opcode = 0x21}, kT0, at_rsp(layout::kAttentionMask));  // and
}
inline void open_interrupt_window(Emitter& e) {
    e.alu_imm(1, at_rsp(layout::kAttentionMask), kMaskable, false);
}

inline bool at_level_0(const Assembly& a) {
    return (a.translation().key & (mode_key::kUser | kKeyMiddleLevel)) == 0;
}

}  // namespace droste::jit
