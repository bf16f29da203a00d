#pragma once
// Guest registers as operands of native instructions.

#include "jit/assembly.hpp"

namespace droste::jit {

inline bool in_memory(unsigned guest) {
    return guest >= 12 && guest < 16;
}
// AH, CH, DH, BH: not beside a REX prefix.
inline bool high_byte(unsigned guest) {
    return guest >= 20;
}
inline u8 native(unsigned guest) {
    return guest >= 20 ? static_cast<u8>(guest) : kHome[guest];
}
inline Mem slot(unsigned guest) {
    return at_rsp(layout::gpr(guest));
}

// The register where the guest's is, or `scratch` after loading it there.
inline u8 in_register(Assembly& a, unsigned guest, u8 scratch, bool load = true) {
    if (!in_memory(guest)) {
        return native(guest);
    }
    if (load) {
        a.emitter().load(scratch, slot(guest));
    }
    return scratch;
}
// After an instruction wrote the register that in_register() gave. A 32-bit write has cleared the
// upper half of `scratch` too.
inline void written(Assembly& a, unsigned guest, u8 scratch) {
    if (in_memory(guest)) {
        a.emitter().store(slot(guest), scratch);
    }
}

// Whether an encoding needs a REX prefix for this register.
inline bool takes_rex(unsigned guest) {
    return !high_byte(guest) && (in_memory(guest) || native(guest) >= 8);
}

// ModRM.reg of shifts and rotates.
constexpr unsigned shift_extension(Op op) {
    switch (op) {
    case Op::ROL: return 0;
    case Op::ROR: return 1;
    case Op::RCL: return 2;
    case Op::RCR: return 3;
    case Op::SHL: return 4;
    case Op::SHR: return 5;
    default: return 7;  // SAR
    }
}

// Writes the immediate of an instruction with a `width`-byte operand, at most 4 bytes.
inline void immediate(Assembly& a, unsigned width, u64 value) {
    switch (width) {
    case 1: a.emitter().byte(static_cast<u8>(value)); break;
    case 2: a.emitter().word(static_cast<u16>(value)); break;
    default: a.emitter().dword(static_cast<u32>(value)); break;
    }
}

// Before an instruction that reads flags, or keeps some that are still needed.
inline void provide_status(Assembly& a, bool reads) {
    const Item& item = a.item();
    if (reads || (item.effect.keeps() && item.status_live_before && !a.keeps_saved_status())) {
        a.need_native_status();
    }
}
inline void status_written(Assembly& a) {
    if (a.item().effect.writes) {
        a.set_status(StatusPlace::Native);
    }
}

}  // namespace droste::jit
