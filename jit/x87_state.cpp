#include "jit/x87_state.hpp"

#include "cpu/x86/fpu/x87_state.hpp"
#include "jit/layout.hpp"

#include <cstring>

namespace droste::jit {

namespace {

// FLDENV's 32-bit protected-mode image: control, status and tag words in four bytes each, then
// pointers, which the native unit is not asked for.
constexpr i32 kControl = 0, kStatus = 4, kTags = 8, kPointers = 12;

void escape(Emitter& e, u8 opcode, unsigned extension, const Mem& mem) {
    e.xm({.opcode = opcode}, extension, mem);
}
// MOVZX t1, word [...]
void load_word(Emitter& e, const Mem& mem) {
    e.rm({.opcode = 0xB7, .map = OpcodeMap::Map0F}, kT1, mem);
}
Mem environment(i32 field) {
    return {.base = kT0, .disp = layout::frame::kX87Environment + field};
}

// The image that FXSAVE64 wrote, to CpuState.
void take_x87(Vcpu& cpu, const u8* image) {
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
    e.load(kT0, at_rsp(layout::kNativeStack));
    // Eight pushes end where they began, which must be with TOP 0, as physical registers are wanted.
    escape(e, 0xDD, 7, environment(kStatus));  // fnstsw
    load_word(e, environment(kStatus));
    e.alu_imm(4, kT1, x87::kTopMask, false);
    e.byte(0x74);  // jz
    e.byte(2);
    e.byte(0xDB);  // fninit
    e.byte(0xE3);
    for (unsigned i = 8; i-- > 0;) {
        escape(e, 0xDB, 5, at_rsp(layout::x87_register(i)));  // fld tword
    }
    load_word(e, at_rsp(layout::kX87Control));
    e.store32(environment(kControl), kT1);
    load_word(e, at_rsp(layout::kX87Status));
    e.store32(environment(kStatus), kT1);
    for (i32 pointer = 0; pointer < 4; ++pointer) {
        e.store_imm32(environment(kPointers + 4 * pointer), 0);
    }
    e.rm({.opcode = 0xB6, .map = OpcodeMap::Map0F}, kT1, at_rsp(layout::kX87Tags));
    e.lea_rip(kT0, tags);
    load_word(e, {.base = kT0, .index = kT1, .scale = 1});
    e.load(kT0, at_rsp(layout::kNativeStack));
    e.store32(environment(kTags), kT1);
    escape(e, 0xD9, 4, environment(0));  // fldenv
    e.store_imm8(at_rsp(layout::kX87Native), 1);
    e.load(kT0, at_rsp(layout::kScratch));
}

void store_x87_if_native(Emitter& e) {
    e.compare_imm8(at_rsp(layout::kX87Native), 0);
    u8* in_memory = e.jcc(cc::kE);
    e.store_imm8(at_rsp(layout::kX87Native), 0);
    e.load(kRsi, at_rsp(layout::kNativeStack));
    e.xm({.opcode = 0xAE, .map = OpcodeMap::Map0F, .w = true}, 0,
         {.base = kRsi, .disp = layout::frame::kX87Image});  // fxsave64
    e.byte(0x0F);                                            // emms
    e.byte(0x77);
    e.store_imm32(at_rsp(layout::kScratch), x87::kInitialControl);
    escape(e, 0xD9, 5, at_rsp(layout::kScratch));  // fldcw
    e.mov(kRbx, kRsp);
    e.mov(kRdi, kRsp);
    e.mov(kRsp, kRsi);
    e.load_imm(kRax, reinterpret_cast<std::uintptr_t>(&take_x87));
    e.xr({.opcode = 0xFF}, 2, kRax);  // call rax
    e.mov(kRsp, kRbx);
    e.lands_here(in_memory);
}

}  // namespace droste::jit
