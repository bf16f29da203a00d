#pragma once
// Random valid 64- or 32-bit user-mode instructions, made from the rows of the opcode maps.
//
// Random bytes, filtered by the decoder, seldom hit an opcode behind three escapes or with a
// required VEX.W; here every row is as likely as any other. What comes out has no effect outside
// registers and its one explicit memory operand, whose base (and index) register the caller chose,
// so that it can point into a buffer. Left out are therefore branches, the stack, strings, gathers,
// the masked byte stores, bit offsets into memory, and whatever reads or changes system state.

#include "cpu/x86/decode/row.hpp"
#include "cpu/x86/state/features.hpp"

#include <array>
#include <random>
#include <span>
#include <vector>

namespace droste::test {

using Rng = std::mt19937_64;

enum class InsnFamily : u8 { Integer, X87, Mmx, Sse, Avx };

struct GeneratorFilter {
    std::vector<InsnFamily> families = {InsnFamily::Integer, InsnFamily::X87, InsnFamily::Mmx,
                                        InsnFamily::Sse, InsnFamily::Avx};
    CpuFeatures features;  // instructions this CPU lacks are not generated
    // 32: instructions of 32-bit code. Then RIP + disp is not used.
    unsigned code_bits = 64;
    bool memory = true;     // memory operands
    bool registers = true;  // register operands where there could be memory
    // FLDCW, FLDENV, FRSTOR, FNSTENV, FNSAVE: they load or store more than an operand.
    bool x87_environment = false;
    // bit n: never a general-register operand (base and index apart)
    u16 forbidden_gprs = 1U << RSP;
    // Memory operands are [base + disp], [base + index * scale + disp] or [RIP + disp].
    u8 base = RBX;
    u8 index = kZeroSlot;       // kZeroSlot: the form with an index is not used
    bool rip_relative = false;  // may be used; then it is the only form that ignores `base`
    i32 disp_min = -128;
    i32 disp_max = 127;
    i32 rip_disp = 0;  // displacement from the *start* of the instruction to the buffer's middle
};

struct GeneratedInsn {
    std::array<u8, 15> bytes{};
    u8 length = 0;
    const opcode_map::Row* row = nullptr;
    bool has_mem = false;
};

class InsnGenerator {
  public:
    explicit InsnGenerator(const GeneratorFilter& filter);

    // A row the filter admits, and how it is encoded.
    struct Candidate {
        const opcode_map::Row* row;
        OpcodeMap map;
        bool vex;
    };
    std::span<const Candidate> candidates() const { return candidates_; }

    // One instruction of a random row, or of the given one. False: the filter admits no row, or no
    // encoding of this one (memory form wanted, but it has none).
    bool generate(Rng& rng, GeneratedInsn& out) const;
    bool generate(Rng& rng, const Candidate& candidate, GeneratedInsn& out) const;

  private:
    GeneratorFilter filter_;
    std::vector<Candidate> candidates_;
};

}  // namespace droste::test
