#pragma once
// x87 arithmetic on the native unit.
//
// Two routines are generated for each instruction.
//
// The full one loads all of the guest's x87 state (FXRSTOR), executes the guest's instruction as it
// stands and stores the state (FXSAVE). Exact in everything, stack faults and unmasked exceptions
// included, at some 300 cycles.
//
// The quick one loads only the operands, executes, and stores the results, at 50 cycles. It may be
// called when every operand is present, room is there for what is pushed and no exception is
// pending; it gives up, having changed nothing, when an unmasked exception occurs or a partial
// result would have left the stack in another shape.
//
// The native unit is left empty, with the native control word. Of the guest's only masked exception
// flags may stay behind.

#include "core/types.hpp"
#include "cpu/x86/decode/insn.hpp"
#include "cpu/x86/fpu/native_emitter.hpp"
#include "cpu/x86/state/cpu_state.hpp"

#include <array>

namespace droste {

// What an instruction does to the stack.
enum class X87Shape : u8 {
    ToTop,       // ST(0) := ST(0) op E                        FADD ST(0),ST(i); FADD m32fp; FIADD
    ToRegister,  // ST(i) := ST(i) op ST(0), then pops         FADD ST(i),ST(0); FADDP
    Compare,     // ST(0) with E (or 0), then pops             FCOM .. FUCOMPP, FICOM, FTST
    CompareInt,  // the same, result in RFLAGS                 FCOMI .. FUCOMIP
    Unary,       // ST(0) := f(ST(0))                          FSQRT, FRNDINT
    WithNext,    // ST(0) := f(ST(0), ST(1))                   FPREM, FSCALE
    Push,        // push f(E) or a constant                    FLD m32fp, FILD, FLDPI
    Split,       // ST(0) := f(ST(0)), push g(ST(0))           FXTRACT
    Store,       // memory := ST(0), then pops                 FST, FIST, FISTTP, FBSTP
};

struct X87Spec {
    Op op;
    X87Shape shape;
    u8 pops;         // 0, 1, 2
    u16 conditions;  // C0..C3 that the instruction writes
};

// One instruction with its native code; owned by the ThunkCache.
struct X87Operation {
    // full(image, memory operand buffer, RFLAGS in) -> RFLAGS out. The image is FXSAVE64's.
    using Full = u64 (*)(void* image, void* memory, u64 rflags);
    // quick(ST(0) or the register pushed, the other register or the memory buffer,
    // X87State::control)
    // -> status word; RFLAGS in bits 63:32 for CompareInt; kGaveUp
    using Quick = u64 (*)(void* top, void* other, const u16* control);
    static constexpr u64 kGaveUp = 1U << 31;

    const X87Spec* spec = nullptr;
    Full full = nullptr;
    Quick quick = nullptr;
};

void build_x87_full(const Insn& insn, const X87Spec& spec, NativeEmitter& emit);
void build_x87_quick(const Insn& insn, const X87Spec& spec, NativeEmitter& emit);

// The low 160 bytes of FXSAVE64's image, which is all the x87 has.
struct alignas(64) X87Image {
    std::array<u8, 512> bytes{};
};
void fill_image(const X87State& fpu, X87Image& image);
// Everything but the pointers; exception flags and SF are added to those `fpu` has.
void take_image(const X87Image& image, X87State& fpu);

}  // namespace droste
