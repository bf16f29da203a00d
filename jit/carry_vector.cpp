// MMX to AVX2: the very instruction with the guest's register numbers, which are the native ones,
// and a checked address. Which rows those are, and what they do beyond their operands, is what the
// interpreter's thunks know (cpu/x86/fpu/thunk_builder.cpp). MMX likewise, in the native x87 unit.
// Left to the interpreter are masked moves and gathers, which touch memory lane by lane, reciprocal
// estimates, which are our own (docs/decisions/0010-own-elementary-functions.md), EMMS, what the
// operating system has blocked, and floating point while MXCSR unmasks an exception.

#include "cpu/x86/fpu/exec_vector.hpp"
#include "cpu/x86/fpu/thunk_builder.hpp"
#include "jit/registers.hpp"
#include "jit/vector_state.hpp"

namespace droste::jit {

namespace {

using RegClass = Insn::RegClass;

bool uses_xmm(const Insn& insn) {
    return insn.vex() || (form_has_g(insn.form) && insn.g_class() == RegClass::Xmm) ||
           (form_has_e(insn.form) && !insn.mem() && insn.e_class() == RegClass::Xmm);
}

// Nothing of CR0, CR4 and XCR0 forbids it. SDM Vol. 2A, "Instruction Exception Specification".
constexpr u32 kBlockMmx = Vcpu::kFpuEm | Vcpu::kFpuTs;
constexpr u32 kBlockSse = kBlockMmx | Vcpu::kFpuNoOsfxsr;
constexpr u32 kBlockAvx = Vcpu::kFpuTs | Vcpu::kFpuNoOsxsave | Vcpu::kFpuNoAvxState;
bool available(const Assembly& a, u32 block) {
    return ((a.translation().key & mode_key::kFpu) >> mode_key::kFpuShift & block) == 0;
}

bool exceptions_masked(const Assembly& a) {
    return (a.translation().key & kKeyMxcsrUnmasked) == 0;
}

bool uses_mmx(const Insn& insn) {
    return (form_has_g(insn.form) && insn.g_class() == RegClass::Mmx) ||
           (form_has_e(insn.form) && !insn.mem() && insn.e_class() == RegClass::Mmx);
}

// CVTPI2PS from memory leaves the x87 alone on Intel's and AMD's processors; by the manual it switches
// to MMX, so that another's may.
bool cvtpi2ps_memory(const Insn& insn, const ThunkKey& key) {
    return insn.mem() && !key.vex && key.map == OpcodeMap::Map0F && key.opcode == 0x2A &&
           key.prefix == 0;
}

// What decides how an instruction is encoded again. Its immediate has given way to the thunk.
ThunkKey encoding_of(const Insn& insn) {
    ThunkKey key = ThunkKey::of(insn);
    if (key.has_immediate) {
        key.immediate =
            reinterpret_cast<const Thunk*>(static_cast<std::uintptr_t>(insn.imm))->immediate;
    }
    return key;
}

void encode(
    Emitter& e, const Insn& insn, const ThunkKey& key, unsigned reg, u8 rm, const Mem& mem) {
    if (key.vex) {
        const VexOpcode op{.opcode = key.opcode,
                           .map = key.map,
                           .pp = key.prefix,
                           .w = key.w,
                           .l = key.l,
                           .vvvv = form_has_b(insn.form) ? insn.vvvv : u8{0}};
        insn.mem() ? e.vex_rm(op, reg, mem) : e.vex_rr(op, reg, rm);
    } else {
        const Opcode op{.opcode = key.opcode,
                        .map = key.map,
                        .prefix = key.prefix == 2   ? u8{0xF3}
                                  : key.prefix == 3 ? u8{0xF2}
                                                    : u8{0},
                        .opsize = key.prefix == 1,
                        .w = key.w};
        insn.mem() ? e.rm(op, reg, mem) : e.rr(op, reg, rm);
    }
    if (key.immediate_is_register) {
        e.byte(unsigned{insn.imm2} << 4 | key.immediate);
    } else if (key.has_immediate) {
        e.byte(key.immediate);
    }
}

bool vector(Assembly& a) {
    const Insn& insn = a.insn();
    if (!available(a, insn.vex() ? kBlockAvx : uses_xmm(insn) ? kBlockSse : kBlockMmx)) {
        return false;
    }
    const ThunkKey key = encoding_of(insn);
    const u8 traits = encoding_traits(key);
    const Operand written_operand = first_operand(insn.form);
    const bool has_g = form_has_g(insn.form);
    const bool g_general = has_g && insn.g_class() == RegClass::Gpr;
    const bool e_general = form_has_e(insn.form) && !insn.mem() && insn.e_class() == RegClass::Gpr;
    const bool mmx = uses_mmx(insn);
    if ((mmx && !x87_may_run(a)) || cvtpi2ps_memory(insn, key) ||
        select_vector_estimate(insn) != nullptr ||
        ((traits & EncodingTraits::kMxcsr) != 0 && !exceptions_masked(a)) ||
        (insn.mem() && !can_address(insn)) || (g_general && written_operand != Operand::G)) {
        return false;
    }
    if (mmx) {
        a.need_x87();
    }
    if (uses_xmm(insn) || (traits & EncodingTraits::kMxcsr) != 0) {
        a.need_vector();
    }
    Mem mem;
    if (insn.mem()) {
        mem = check_operand(a, {.bytes = insn.mem_bytes,
                                .write = written_operand == Operand::E,
                                .aligned = (insn.flags & kInsnAligned) != 0});
    }
    u8 rm = insn.rm;
    if (e_general) {
        rm = in_register(a, insn.rm, kT0, written_operand != Operand::E);
    }
    unsigned reg = has_g ? insn.reg : key.extension;
    if (g_general) {
        reg = in_register(a, insn.reg, kT1, false);
    }
    encode(a.emitter(), insn, key, reg, rm, mem);
    if (g_general) {
        written(a, insn.reg, kT1);
    }
    if (e_general && written_operand == Operand::E) {
        written(a, insn.rm, kT0);
    }
    status_written(a);
    return true;
}

// VZEROUPPER and VZEROALL: in 64-bit code of all sixteen, elsewhere of eight.
bool vzero(Assembly& a, bool all) {
    if (!a.code64()) {
        return false;
    }
    a.need_vector();
    a.emitter().byte(0xC5);
    a.emitter().byte(all ? 0xFC : 0xF8);
    a.emitter().byte(0x77);
    return true;
}

constexpr Opcode kGroup15{.opcode = 0xAE, .map = OpcodeMap::Map0F};

bool stmxcsr(Assembly& a) {
    if (!can_address(a.insn())) {
        return false;
    }
    a.need_vector();
    a.emitter().xm(kGroup15, 3, check_operand(a, {.bytes = 4, .write = true}));
    return true;
}

// Only to a value that is valid and masks all exceptions, as this code assumes.
bool ldmxcsr(Assembly& a) {
    constexpr u32 kReserved = 0xFFFF'0000;
    if (!can_address(a.insn()) || !exceptions_masked(a)) {
        return false;
    }
    Emitter& e = a.emitter();
    a.need_vector();
    e.load32(kT1, check_operand(a, {.bytes = 4, .write = false}));
    a.clobber_status();
    e.mov32(kT0, kT1);
    e.alu_imm(4, kT0, static_cast<i32>(kReserved | kMxcsrMasks), false);
    e.alu_imm(7, kT0, static_cast<i32>(kMxcsrMasks), false);
    a.interpret_if(e.jcc(cc::kNE));
    e.store32(at_rsp(layout::kScratch), kT1);
    e.xm(kGroup15, 2, at_rsp(layout::kScratch));
    return true;
}

}  // namespace

bool carry_over_vector(Assembly& a) {
    const Insn& insn = a.insn();
    if ((insn.flags & kInsnNative) != 0) {
        return vector(a);
    }
    switch (insn.op) {
    case Op::VZEROUPPER: return available(a, kBlockAvx) && vzero(a, false);
    case Op::VZEROALL: return available(a, kBlockAvx) && vzero(a, true);
    case Op::STMXCSR: return available(a, kBlockSse) && stmxcsr(a);
    case Op::VSTMXCSR: return available(a, kBlockAvx) && stmxcsr(a);
    case Op::LDMXCSR: return available(a, kBlockSse) && ldmxcsr(a);
    case Op::VLDMXCSR: return available(a, kBlockAvx) && ldmxcsr(a);
    default: return false;
    }
}

}  // namespace droste::jit
