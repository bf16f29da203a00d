#include "jit/x87_state.hpp"

#include "cpu/x86/fpu/x87_state.hpp"
#include "jit/layout.hpp"

#include <cstring>

namespace droste::jit {

namespace {

// The 32-bit protected-mode image: control, status and tag words in four bytes each, and pointers,
// which the native unit is not asked for.
constexpr i32 kEnvironmentControl = 0, kEnvironmentStatus = 4, kEnvironmentTags = 8;

// An instruction of the 0Fh map or of the x87 with a memory operand.
void map_0f(Emitter& e, u8 opcode, unsigned extension, i32 place, bool w = false) {
    e.xm({.opcode = opcode, .map = OpcodeMap::Map0F, .w = w}, extension, at_rsp(place));
}
void escape(Emitter& e, u8 opcode, unsigned extension, i32 place) {
    e.xm({.opcode = opcode}, extension, at_rsp(place));
}
// MOVZX t1, word [...]
void load_word(Emitter& e, i32 place) {
    e.rm({.opcode = 0xB7, .map = OpcodeMap::Map0F}, kT1, at_rsp(place));
}

}  // namespace

void write_tag_table(Emitter& e) {
    for (unsigned valid = 0; valid < 256; ++valid) {
        unsigned tags = 0;
        for (unsigned i = 0; i < 8; ++i) {
            tags |= (valid >> i & 1) != 0 ? 0 : 3U << (2 * i);
        }
        e.word(static_cast<u16>(tags));
    }
}

void load_x87(Emitter& e, const u8* tags) {
    e.store(at_rsp(layout::kScratch), kT0);
    // Eight pushes end where they began, which must be with TOP 0, as physical registers are wanted.
    escape(e, 0xDD, 7, layout::kX87Environment);  // fnstsw [...]
    load_word(e, layout::kX87Environment);
    e.alu_imm(4, kT1, x87::kTopMask, false);
    e.byte(0x74);  // jz
    e.byte(2);
    e.byte(0xDB);  // fninit
    e.byte(0xE3);
    for (unsigned i = 8; i-- > 0;) {
        escape(e, 0xDB, 5, layout::x87_register(i));  // fld tword [...]
    }
    load_word(e, layout::kX87Control);
    e.store32(at_rsp(layout::kX87Environment + kEnvironmentControl), kT1);
    load_word(e, layout::kX87Status);
    e.store32(at_rsp(layout::kX87Environment + kEnvironmentStatus), kT1);
    e.rm({.opcode = 0xB6, .map = OpcodeMap::Map0F}, kT1, at_rsp(layout::kX87Tags));
    e.lea_rip(kT0, tags);
    e.rm({.opcode = 0xB7, .map = OpcodeMap::Map0F}, kT1, {.base = kT0, .index = kT1, .scale = 1});
    e.store32(at_rsp(layout::kX87Environment + kEnvironmentTags), kT1);
    escape(e, 0xD9, 4, layout::kX87Environment);  // fldenv [...]
    e.store_imm32(at_rsp(layout::kX87Native), 1);
    e.load(kT0, at_rsp(layout::kScratch));
}

void store_x87_if_native(Emitter& e) {
    e.alu_imm(7, at_rsp(layout::kX87Native), 0, false);
    u8* in_memory = e.jcc(cc::kE);
    map_0f(e, 0xAE, 0, layout::kX87Image, true);  // fxsave64 [...]
    e.byte(0x0F);                                 // emms
    e.byte(0x77);
    e.store_imm32(at_rsp(layout::kScratch), x87::kInitialControl);
    escape(e, 0xD9, 5, layout::kScratch);  // fldcw [...]
    Emitter::patch(in_memory, in_memory, e.at());
}

void take_x87(Vcpu& cpu) {
    if (cpu.translated.x87_native == 0) {
        return;
    }
    cpu.translated.x87_native = 0;
    const u8* image = cpu.translated.x87_image.data();
    X87State& fpu = cpu.state.x87;
    std::memcpy(&fpu.control, image, 2);
    std::memcpy(&fpu.status, image + 2, 2);
    fpu.tag_valid = image[4];
    for (unsigned i = 0; i < 8; ++i) {
        X87State::Register& value = fpu.st[x87::physical(fpu, i)];
        std::memcpy(&value.significand, image + 32 + 16 * i, 8);
        std::memcpy(&value.sign_exponent, image + 40 + 16 * i, 2);
    }
}

}  // namespace droste::jit
