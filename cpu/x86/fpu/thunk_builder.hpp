#pragma once
// Code of one vector thunk. Used by ThunkCache only.

#include "cpu/x86/fpu/native_emitter.hpp"
#include "cpu/x86/fpu/thunk_cache.hpp"

namespace droste {

// What an instruction does beyond its explicit operands, by encoding.
struct EncodingTraits {
    static constexpr u8 kMxcsr = 1U << 0;      // floating point: reads and may set MXCSR
    static constexpr u8 kFlags = 1U << 1;      // writes RFLAGS
    static constexpr u8 kReadsXmm0 = 1U << 2;  // implicit mask operand
    static constexpr u8 kWritesXmm0 = 1U << 3;
    static constexpr u8 kReadsLengths = 1U << 4;  // EAX/RAX and EDX/RDX
    static constexpr u8 kWritesEcx = 1U << 5;
};
u8 encoding_traits(const ThunkKey& key);

// Which operands a form has; the first one is the destination.
constexpr bool form_has_g(Form form) {
    using enum Form;
    return form == G || form == EG || form == GE || form == GI || form == GEI || form == EGI ||
           form == EGC || form == GBE || form == GEB || form == GBEI || form == EBG;
}
constexpr bool form_has_e(Form form) {
    using enum Form;
    return form != None && form != G && form != I && form != GI;
}
constexpr bool form_has_b(Form form) {
    using enum Form;
    return form == GBE || form == GEB || form == BE || form == GBEI || form == EBG || form == BEI;
}
enum class Operand : u8 { None, G, E, B };
constexpr Operand first_operand(Form form) {
    using enum Form;
    switch (form) {
    case E:
    case EG:
    case EI:
    case EC:
    case EGI:
    case EGC:
    case EBG: return Operand::E;
    case BE:
    case BEI: return Operand::B;
    case None:
    case I: return Operand::None;
    default: return Operand::G;
    }
}

void build_vector_thunk(const ThunkKey& key, NativeEmitter& emit);
// Where a thunk continues after an unmasked SIMD floating-point exception.
void build_fault_landing(NativeEmitter& emit, bool native_avx);

}  // namespace droste
