// The code of a vector thunk:
//
//     load MXCSR (floating point only) and the operands into their fixed registers
//     the instruction, renumbered
//     store MXCSR, the native one back; store the destination; RFLAGS into RAX if it writes them
//
// Fixed registers: G = xmm1/mm1, E = xmm2/mm2, B = xmm3, the is4 operand = xmm4, implicit XMM0 =
// xmm0, the one general register an instruction may have = rax. A memory operand is [rsi], the
// caller's buffer. VEX forms load and store all 256 bits, so zeroing of the upper half happens as
// the native unit does it; legacy forms touch only the low 128 bits of the guest's register, which
// is what the manual says of them.
//
// The destination is loaded even when it is not a source, and stored even when an instruction
// writes only flags: one shape for all costs less than a table of exceptions.

#include "cpu/x86/fpu/thunk_builder.hpp"

#include <array>
#include <cstddef>

namespace droste {
namespace {

constexpr unsigned kNativeG = 1, kNativeE = 2, kNativeB = 3, kNativeI4 = 4, kNativeGpr = 0;
constexpr u32 kNativeMxcsr = 0x1F80;
constexpr u32 kMxcsrOffset = offsetof(CpuState, mxcsr);
constexpr u32 kXmm0Offset = offsetof(CpuState, ymm);
constexpr u32 gpr_offset(unsigned number) {
    return static_cast<u32>(offsetof(CpuState, gpr) + number * sizeof(u64));
}

struct TraitRow {
    OpcodeMap map;
    u8 first, last;
    enum class When : u8 { Always, Legacy, Vex } when;
    u8 traits;
};

// Everything else moves, permutes or computes on integers and writes its destination only.
// clang-format off
constexpr auto kTraitRows = [] {
    using enum OpcodeMap;
    using enum TraitRow::When;
    using T = EncodingTraits;
    return std::to_array<TraitRow>({
        {Map0F, 0x2A, 0x2A, Always, T::kMxcsr},                         // CVTPI2PS, CVTSI2SD ...
        {Map0F, 0x2C, 0x2D, Always, T::kMxcsr},                         // CVT(T)PS2PI, CVT(T)SD2SI ...
        {Map0F, 0x2E, 0x2F, Always, T::kMxcsr | T::kFlags},             // UCOMISx, COMISx
        {Map0F, 0x51, 0x51, Always, T::kMxcsr},                         // SQRT (RSQRT and RCP raise nothing)
        {Map0F, 0x58, 0x5F, Always, T::kMxcsr},                         // ADD MUL CVT SUB MIN DIV MAX
        {Map0F, 0x7C, 0x7D, Always, T::kMxcsr},                         // HADD, HSUB
        {Map0F, 0xC2, 0xC2, Always, T::kMxcsr},                         // CMP
        {Map0F, 0xD0, 0xD0, Always, T::kMxcsr},                         // ADDSUB
        {Map0F, 0xE6, 0xE6, Always, T::kMxcsr},                         // CVTDQ2PD, CVT(T)PD2DQ
        {Map0F38, 0x0E, 0x0F, Vex, T::kFlags},                          // VTESTPS, VTESTPD
        {Map0F38, 0x10, 0x10, Legacy, T::kReadsXmm0},                   // PBLENDVB
        {Map0F38, 0x13, 0x13, Vex, T::kMxcsr},                          // VCVTPH2PS
        {Map0F38, 0x14, 0x15, Legacy, T::kReadsXmm0},                   // BLENDVPS, BLENDVPD
        {Map0F38, 0x17, 0x17, Always, T::kFlags},                       // PTEST
        {Map0F38, 0x96, 0x9F, Vex, T::kMxcsr},                          // FMA, 132
        {Map0F38, 0xA6, 0xAF, Vex, T::kMxcsr},                          // FMA, 213
        {Map0F38, 0xB6, 0xBF, Vex, T::kMxcsr},                          // FMA, 231
        {Map0F38, 0xCB, 0xCB, Legacy, T::kReadsXmm0},                   // SHA256RNDS2
        {Map0F3A, 0x08, 0x0B, Always, T::kMxcsr},                       // ROUND
        {Map0F3A, 0x1D, 0x1D, Vex, T::kMxcsr},                          // VCVTPS2PH
        {Map0F3A, 0x40, 0x41, Always, T::kMxcsr},                       // DPPS, DPPD
        {Map0F3A, 0x60, 0x60, Always, T::kFlags | T::kReadsLengths | T::kWritesXmm0},  // PCMPESTRM
        {Map0F3A, 0x61, 0x61, Always, T::kFlags | T::kReadsLengths | T::kWritesEcx},   // PCMPESTRI
        {Map0F3A, 0x62, 0x62, Always, T::kFlags | T::kWritesXmm0},      // PCMPISTRM
        {Map0F3A, 0x63, 0x63, Always, T::kFlags | T::kWritesEcx},       // PCMPISTRI
    });
}();
// clang-format on

class VectorThunkBuilder {
  public:
    VectorThunkBuilder(const ThunkKey& key, NativeEmitter& emit)
        : key_(key)
        , emit_(emit)
        , traits_(encoding_traits(key)) {}

    void build() {
        load_operands();
        instruction();
        store_results();
    }

  private:
    using RegClass = Insn::RegClass;
    bool has(u8 trait) const { return (traits_ & trait) != 0; }
    RegClass class_of(Operand operand) const {
        const unsigned shift = operand == Operand::G ? 0 : operand == Operand::E ? 2 : 4;
        return static_cast<RegClass>((key_.classes >> shift) & 3);
    }

    void load_xmm(unsigned native, NativeReg pointer, u32 displacement = 0) {
        if (key_.vex) {
            emit_.vex256_memory(Pp::PF3, 0x6F, native, pointer,
                                displacement);  // VMOVDQU ymm, [pointer]
        } else {
            emit_.memory(Pp::None, false, OpcodeMap::Map0F, 0x28, native, pointer,
                         displacement);  // MOVAPS
        }
    }
    void store_xmm(unsigned native, NativeReg pointer, u32 displacement = 0) {
        if (key_.vex) {
            emit_.vex256_memory(Pp::PF3, 0x7F, native, pointer, displacement);
        } else {
            emit_.memory(Pp::None, false, OpcodeMap::Map0F, 0x29, native, pointer, displacement);
        }
    }
    void load_gpr(NativeReg native, NativeReg pointer, u32 displacement = 0) {
        emit_.memory(Pp::None, true, OpcodeMap::OneByte, 0x8B, static_cast<unsigned>(native),
                     pointer, displacement);
    }
    void store_gpr(NativeReg native, NativeReg pointer, u32 displacement = 0) {
        emit_.memory(Pp::None, true, OpcodeMap::OneByte, 0x89, static_cast<unsigned>(native),
                     pointer, displacement);
    }
    void load(Operand operand, unsigned native, NativeReg pointer) {
        switch (class_of(operand)) {
        case RegClass::Xmm: load_xmm(native, pointer); break;
        case RegClass::Mmx:
            emit_.memory(Pp::None, false, OpcodeMap::Map0F, 0x6F, native, pointer);
            break;  // MOVQ
        default: load_gpr(NativeReg::Rax, pointer); break;
        }
    }
    void store(Operand operand, unsigned native, NativeReg pointer) {
        switch (class_of(operand)) {
        case RegClass::Xmm: store_xmm(native, pointer); break;
        case RegClass::Mmx:
            emit_.memory(Pp::None, false, OpcodeMap::Map0F, 0x7F, native, pointer);
            break;
        default: store_gpr(NativeReg::Rax, pointer); break;
        }
    }
    unsigned native_number(Operand operand, unsigned vector) const {
        const RegClass file = class_of(operand);
        return file == RegClass::Xmm || file == RegClass::Mmx ? vector : kNativeGpr;
    }

    void load_operands() {
        if (has(EncodingTraits::kMxcsr)) {
            emit_.memory(Pp::None, false, OpcodeMap::Map0F, 0xAE, 2, NativeReg::R8,
                         kMxcsrOffset);  // LDMXCSR
        }
        if (form_has_b(key_.form)) {
            load(Operand::B, kNativeB, NativeReg::Rdx);
        }
        if (key_.immediate_is_register) {
            load_xmm(kNativeI4, NativeReg::Rcx);
        }
        if (has(EncodingTraits::kReadsXmm0)) {
            load_xmm(0, NativeReg::R8, kXmm0Offset);
        }
        if (form_has_g(key_.form)) {
            load(Operand::G, kNativeG, NativeReg::Rdi);
        }
        if (form_has_e(key_.form) && !key_.mem) {
            load(Operand::E, kNativeE, NativeReg::Rsi);
        }
        if (has(EncodingTraits::kReadsLengths)) {
            load_gpr(NativeReg::Rax, NativeReg::R8, gpr_offset(RAX));
            load_gpr(NativeReg::Rdx, NativeReg::R8, gpr_offset(RDX));
        }
    }

    void instruction() {
        const auto pp = static_cast<Pp>(key_.prefix);
        if (key_.vex) {
            const unsigned vvvv = form_has_b(key_.form) ? kNativeB : 0;
            emit_.vex_prefix(pp, key_.w, key_.l, vvvv, false, false, key_.map);
        } else {
            emit_.legacy_prefixes(pp, key_.w, false, false, key_.map);
        }
        emit_.put(key_.opcode);
        const unsigned reg =
            form_has_g(key_.form) ? native_number(Operand::G, kNativeG) : key_.extension;
        if (key_.mem) {
            emit_.modrm_memory(reg, NativeReg::Rsi, 0);
        } else {
            emit_.modrm_register(reg, native_number(Operand::E, kNativeE));
        }
        if (key_.immediate_is_register) {
            emit_.put(static_cast<u8>((kNativeI4 << 4) | (key_.immediate & 0xF)));
        } else if (key_.has_immediate) {
            emit_.put(key_.immediate);
        }
    }

    void store_results() {
        if (has(EncodingTraits::kMxcsr)) {
            emit_.memory(Pp::None, false, OpcodeMap::Map0F, 0xAE, 3, NativeReg::R8,
                         kMxcsrOffset);  // STMXCSR
            restore_native_mxcsr(emit_);
        }
        if (has(EncodingTraits::kWritesEcx)) {
            store_gpr(NativeReg::Rcx, NativeReg::R8, gpr_offset(RCX));
        } else if (has(EncodingTraits::kWritesXmm0)) {
            store_xmm(0, NativeReg::R8, kXmm0Offset);
        } else if (!has(EncodingTraits::kFlags)) {
            store_destination();
        }
        if (has(EncodingTraits::kFlags)) {
            emit_.bytes({0x9C, 0x58});  // PUSHFQ; POP RAX
        } else if (has(EncodingTraits::kMxcsr)) {
            emit_.bytes({0x31, 0xC0});  // XOR EAX, EAX
        }
        const auto classes = {class_of(Operand::G), class_of(Operand::E)};
        for (const RegClass file : classes) {
            if (file == RegClass::Mmx) {
                emit_.bytes({0x0F, 0x77});  // EMMS
                break;
            }
        }
        if (key_.vex) {
            emit_.bytes({0xC5, 0xF8, 0x77});  // VZEROUPPER
        }
        emit_.ret();
    }
    void store_destination() {
        switch (first_operand(key_.form)) {
        case Operand::G: store(Operand::G, kNativeG, NativeReg::Rdi); break;
        case Operand::B: store(Operand::B, kNativeB, NativeReg::Rdx); break;
        case Operand::E:
            if (!key_.mem) {
                store(Operand::E, kNativeE, NativeReg::Rsi);
            }
            break;
        case Operand::None: break;
        }
    }

  public:
    // PUSH 1F80h; LDMXCSR [RSP]; POP RDX
    static void restore_native_mxcsr(NativeEmitter& emit) {
        emit.put(0x68);
        emit.put32(kNativeMxcsr);
        emit.bytes({0x0F, 0xAE, 0x14, 0x24, 0x5A});
    }

  private:
    const ThunkKey& key_;
    NativeEmitter& emit_;
    u8 traits_;
};

}  // namespace

u8 encoding_traits(const ThunkKey& key) {
    for (const TraitRow& row : kTraitRows) {
        const bool applies =
            row.when == TraitRow::When::Always || (row.when == TraitRow::When::Vex) == key.vex;
        if (applies && row.map == key.map && key.opcode >= row.first && key.opcode <= row.last) {
            return row.traits;
        }
    }
    return 0;
}

void build_vector_thunk(const ThunkKey& key, NativeEmitter& emit) {
    VectorThunkBuilder(key, emit).build();
}

void build_fault_landing(NativeEmitter& emit, bool native_avx) {
    emit.memory(Pp::None, false, OpcodeMap::Map0F, 0xAE, 3, NativeReg::R8,
                kMxcsrOffset);  // STMXCSR: flags of the exception
    VectorThunkBuilder::restore_native_mxcsr(emit);
    emit.bytes({0x0F, 0x77});  // EMMS
    if (native_avx) {
        emit.bytes({0xC5, 0xF8, 0x77});  // VZEROUPPER
    }
    emit.bytes({0x31, 0xC0, 0x48, 0x0F, 0xBA, 0xE8, 63});  // XOR EAX, EAX; BTS RAX, 63
    emit.ret();
}

}  // namespace droste
