#include "jit/vector_state.hpp"

#include "jit/layout.hpp"

namespace droste::jit {

namespace {

constexpr unsigned kRegisters = 16;
constexpr u8 kLoad = 0x10, kStore = 0x11;       // (V)MOVUPS
constexpr unsigned kLdmxcsr = 2, kStmxcsr = 3;  // group 15

// Without AVX below nothing sets the upper halves.
void move_registers(Emitter& e, u8 opcode, bool avx) {
    for (unsigned i = 0; i < kRegisters; ++i) {
        if (avx) {
            e.vex_rm({.opcode = opcode, .l = true}, i, at_rsp(layout::ymm(i)));
        } else {
            e.rm({.opcode = opcode, .map = OpcodeMap::Map0F}, i, at_rsp(layout::ymm(i)));
        }
    }
}

void mxcsr(Emitter& e, unsigned extension, i32 place) {
    e.xm({.opcode = 0xAE, .map = OpcodeMap::Map0F}, extension, at_rsp(place));
}

}  // namespace

void load_vector(Emitter& e, bool avx) {
    move_registers(e, kLoad, avx);
    mxcsr(e, kLdmxcsr, layout::kMxcsr);
    e.store_imm8(at_rsp(layout::kVectorNative), 1);
}

void store_vector_if_native(Emitter& e, bool avx) {
    e.compare_imm8(at_rsp(layout::kVectorNative), 0);
    u8* in_memory = e.jcc(cc::kE);
    move_registers(e, kStore, avx);
    mxcsr(e, kStmxcsr, layout::kMxcsr);
    mxcsr(e, kLdmxcsr, layout::kNativeMxcsr);
    if (avx) {
        // VZEROUPPER: SSE code behind dirty upper halves is slow on some processors.
        e.byte(0xC5);
        e.byte(0xF8);
        e.byte(0x77);
    }
    e.store_imm8(at_rsp(layout::kVectorNative), 0);
    e.lands_here(in_memory);
}

}  // namespace droste::jit
