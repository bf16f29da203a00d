// Code generation for x87 instructions. See x87_native.hpp.

#include "cpu/x86/fpu/x87_native.hpp"

#include "cpu/x86/fpu/x87_state.hpp"

#include <cstddef>
#include <cstring>

namespace droste {
namespace {

constexpr u32 kNativeMxcsr = 0x1F80;

constexpr u8 fixed_modrm(unsigned reg, unsigned rm) {
    return static_cast<u8>(0xC0 | (reg << 3) | rm);
}
constexpr u8 memory_modrm(unsigned reg) {  // [rsi]
    return static_cast<u8>((reg << 3) | 6);
}
unsigned reg_field(const Insn& insn) {
    return (insn.modrm >> 3) & 7U;
}

// FSTP tbyte [rdi], FSTP tbyte [rsi], FSTP ST(0)
void store_top(NativeEmitter& emit) {
    emit.bytes({0xDB, 0x3F});
}
void store_other(NativeEmitter& emit) {
    emit.bytes({0xDB, 0x3E});
}
void drop(NativeEmitter& emit) {
    emit.bytes({0xDD, 0xD8});
}

bool reads_top(X87Shape shape) {
    return shape != X87Shape::Push;
}
bool reads_other(X87Shape shape, bool mem, Op op) {
    switch (shape) {
    case X87Shape::ToTop:
    case X87Shape::ToRegister:
    case X87Shape::CompareInt:
    case X87Shape::WithNext: return !mem;
    case X87Shape::Compare: return !mem && op != Op::FTST;
    default: return false;
    }
}

// The instruction on ST(0) and ST(1), in the form that does not pop where there is one.
void quick_instruction(const Insn& insn, const X87Spec& spec, NativeEmitter& emit) {
    const unsigned reg = reg_field(insn);
    const bool popping_store = spec.shape == X87Shape::Store;
    switch (spec.shape) {
    case X87Shape::ToTop:
        emit.bytes({insn.mem() ? insn.opcode : u8{0xD8},
                    insn.mem() ? memory_modrm(reg) : fixed_modrm(reg, 1)});
        break;
    case X87Shape::ToRegister: emit.bytes({0xDC, fixed_modrm(reg, 1)}); break;
    case X87Shape::Compare:
        if (insn.mem()) {
            emit.bytes({insn.opcode, memory_modrm(2)});  // FCOM, FICOM
        } else if (spec.op == Op::FTST) {
            emit.bytes({0xD9, 0xE4});
        } else if (spec.op == Op::FUCOM || spec.op == Op::FUCOMP || spec.op == Op::FUCOMPP) {
            emit.bytes({0xDD, 0xE1});
        } else {
            emit.bytes({0xD8, 0xD1});
        }
        break;
    case X87Shape::CompareInt:
        emit.bytes({0xDB, spec.op == Op::FUCOMI || spec.op == Op::FUCOMIP ? u8{0xE9} : u8{0xF1}});
        break;
    default:
        if (insn.mem()) {  // FST and FIST become FSTP and FISTP
            emit.bytes({insn.opcode, memory_modrm(popping_store && reg == 2 ? 3 : reg)});
        } else {
            emit.bytes({insn.opcode, insn.modrm});
        }
        break;
    }
}

void quick_results(const X87Spec& spec, bool has_other, NativeEmitter& emit) {
    switch (spec.shape) {
    case X87Shape::ToTop:
    case X87Shape::WithNext:
    case X87Shape::Unary:
        store_top(emit);
        if (has_other) {
            drop(emit);
        }
        break;
    case X87Shape::ToRegister:
        drop(emit);
        store_other(emit);
        break;
    case X87Shape::Compare:
    case X87Shape::CompareInt:
        drop(emit);
        if (has_other) {
            drop(emit);
        }
        break;
    case X87Shape::Push: store_top(emit); break;
    case X87Shape::Split:
        store_other(emit);
        store_top(emit);
        break;
    case X87Shape::Store: break;
    }
}

// Exception flags stay set in the native unit from one quick routine to the next, because FNCLEX
// takes longer than all the rest. That is right as long as this guest has them set too; otherwise
// they would appear in its status word, or raise #MF under its control word. RDX points to its
// control word, which its status word follows.
static_assert(offsetof(X87State, status) == offsetof(X87State, control) + 2);
void drop_foreign_flags(NativeEmitter& emit) {
    emit.bytes({0xDF, 0xE0,                         // FNSTSW AX
                0x0F, 0xB7, 0x4A, 2,                // MOVZX ECX, word [RDX + 2]
                0xF7, 0xD1,                         // NOT ECX
                0x21, 0xC8,                         // AND EAX, ECX
                0xA8, x87::kExceptions | x87::kSf,  // TEST AL, flags
                0x74, 2, 0xDB, 0xE2});              // JZ +2; FNCLEX
}

// PUSH 37Fh; FLDCW [RSP]; POP RDX
void restore_native_control(NativeEmitter& emit) {
    emit.put(0x68);
    emit.put32(x87::kInitialControl);
    emit.bytes({0xD9, 0x2C, 0x24, 0x5A});
}

// Status bits after which the quick routine's results are not the whole story.
u16 gives_up_on(X87Shape shape) {
    // FPREM: an invalid operation leaves C0, C2 and C3 alone.
    return shape == X87Shape::WithNext ? x87::kEs | x87::kIe : x87::kEs;
}

bool touches_rflags(const Insn& insn) {
    const u8 row = insn.modrm;
    const bool fcmov = (insn.opcode == 0xDA || insn.opcode == 0xDB) && row >= 0xC0 && row < 0xE0;
    const bool fcomi = (insn.opcode == 0xDB || insn.opcode == 0xDF) && row >= 0xE8 && row < 0xF8;
    return !insn.mem() && (fcmov || fcomi);
}

}  // namespace

void build_x87_quick(const Insn& insn, const X87Spec& spec, NativeEmitter& emit) {
    const bool has_other = reads_other(spec.shape, insn.mem(), spec.op);
    drop_foreign_flags(emit);
    emit.bytes({0xD9, 0x2A});  // FLDCW [RDX]
    if (has_other) {
        emit.bytes({0xDB, 0x2E});  // FLD tbyte [RSI]
    }
    if (reads_top(spec.shape)) {
        emit.bytes({0xDB, 0x2F});  // FLD tbyte [RDI]
    }
    quick_instruction(insn, spec, emit);
    if (spec.shape == X87Shape::CompareInt) {
        emit.bytes({0x9C, 0x59, 0x48, 0xC1, 0xE1, 32});  // PUSHFQ; POP RCX; SHL RCX, 32
    }
    emit.bytes({0x31, 0xC0, 0xDF, 0xE0});  // XOR EAX, EAX; FNSTSW AX
    const u16 gives_up = gives_up_on(spec.shape);
    NativeEmitter tail;
    quick_results(spec, has_other, tail);
    restore_native_control(tail);
    if (spec.shape == X87Shape::CompareInt) {
        tail.bytes({0x48, 0x09, 0xC8});  // OR RAX, RCX
    }
    tail.ret();
    const auto tail_bytes = static_cast<u8>(tail.code().size());
    emit.put(0xA9);  // TEST EAX, imm32
    emit.put32(gives_up);
    emit.bytes({0x75, tail_bytes});  // JNZ give_up
    for (const u8 byte : tail.code()) {
        emit.put(byte);
    }
    // give_up:
    emit.bytes({0xDB, 0xE3, 0xB8});  // FNINIT; MOV EAX, kGaveUp
    emit.put32(static_cast<u32>(X87Operation::kGaveUp));
    emit.ret();
}

void build_x87_full(const Insn& insn, const X87Spec& /*spec*/, NativeEmitter& emit) {
    const bool flags = touches_rflags(insn);
    emit.bytes({0x48, 0x0F, 0xAE, 0x0F});  // FXRSTOR64 [RDI]
    if (flags) {
        emit.bytes({0x52, 0x9D});  // PUSH RDX; POPFQ
    }
    emit.bytes({insn.opcode, insn.mem() ? memory_modrm(reg_field(insn)) : insn.modrm});
    if (flags) {
        emit.bytes({0x9C, 0x58});  // PUSHFQ; POP RAX
    }
    emit.bytes({0x48, 0x0F, 0xAE, 0x07});  // FXSAVE64 [RDI]
    emit.bytes({0xDB, 0xE3});              // FNINIT
    emit.ret();
}

void fill_image(const X87State& fpu, X87Image& image) {
    u8* bytes = image.bytes.data();
    // No flag may be set: with its mask clear the native unit would raise #MF before the
    // instruction.
    const auto status = static_cast<u16>(fpu.status & (x87::kTopMask | x87::kConditions));
    std::memcpy(bytes, &fpu.control, 2);
    std::memcpy(bytes + 2, &status, 2);
    bytes[4] = fpu.tag_valid;
    std::memcpy(bytes + 24, &kNativeMxcsr, 4);
    u8* slot = bytes + 32;
    for (unsigned i = 0; i < 8; ++i, slot += 16) {
        const X87State::Register& value = fpu.st[x87::physical(fpu, i)];
        std::memcpy(slot, &value.significand, 8);
        std::memcpy(slot + 8, &value.sign_exponent, 2);
    }
}

void take_image(const X87Image& image, X87State& fpu) {
    const u8* bytes = image.bytes.data();
    u16 status = 0;
    std::memcpy(&status, bytes + 2, 2);
    constexpr u16 kSticky = x87::kExceptions | x87::kSf;
    fpu.status = static_cast<u16>((status & (x87::kTopMask | x87::kConditions | kSticky)) |
                                  (fpu.status & kSticky));
    fpu.tag_valid = bytes[4];
    const u8* slot = bytes + 32;
    for (unsigned i = 0; i < 8; ++i, slot += 16) {
        X87State::Register& value = fpu.st[x87::physical(fpu, i)];
        std::memcpy(&value.significand, slot, 8);
        std::memcpy(&value.sign_exponent, slot + 8, 2);
    }
    x87::update_summary(fpu);
}

}  // namespace droste
