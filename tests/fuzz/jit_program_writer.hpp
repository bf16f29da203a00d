#pragma once
// What the writers of 64- and 32-bit programs share: pieces and what they refer to, registers with a
// purpose, regions. A derived class says what one piece may be.

#include "tests/fuzz/jit_program.hpp"

#include <algorithm>
#include <array>
#include <initializer_list>
#include <span>

namespace droste::test {

class ProgramWriter {
  protected:
    using Bytes = std::vector<u8>;
    using Reference = Piece::Reference;

    static constexpr u32 kRoutine = 0x8000'0000;  // Piece::target while no routine is written yet
    static constexpr unsigned kRoutines = 3;

    ProgramWriter(u64 seed, const CpuFeatures& features) : rng_(seed), features_(features) {
        program_.seed = seed;
    }
    virtual ~ProgramWriter() = default;

    // Writes one piece or a few, of a region that lies so deep in loops.
    virtual void one(unsigned depth) = 0;

    static void put(Bytes& bytes, u64 value, unsigned count) {
        for (unsigned i = 0; i < count; ++i) {
            bytes.push_back(static_cast<u8>(value >> (8 * i)));
        }
    }
    u64 below(u64 bound) { return rng_() % bound; }
    bool one_in(u64 n) { return below(n) == 0; }
    std::vector<Piece>& pieces() { return program_.pieces; }
    u32 here() { return static_cast<u32>(pieces().size()); }
    Piece& piece(std::initializer_list<u8> bytes) {
        pieces().push_back({});
        pieces().back().bytes = bytes;
        return pieces().back();
    }
    // The last of its bytes refer to `target`.
    Piece& branch(std::initializer_list<u8> opcode, Reference reference, u32 target) {
        Piece& p = piece(opcode);
        p.reference = reference;
        p.at = static_cast<u8>(p.bytes.size());
        p.target = target;
        put(p.bytes, 0, reference == Reference::Rel8 ? 1 : reference == Reference::Abs64 ? 8 : 4);
        return p;
    }

    // Purposes for some of the registers.
    void choose_registers(std::span<u8> of) {
        std::shuffle(of.begin(), of.end(), rng_);
        base1_ = of[0];
        base2_ = of[1];
        index_ = of[2];
        counter_ = of[3];
    }
    u32 kept() const { return 1U << RSP | 1U << base1_ | 1U << base2_ | 1U << index_; }
    // Of the wanted code; by the base registers, or `relative` to RIP.
    void make_generators(GeneratorFilter filter, bool relative) {
        filter.features = features_;
        filter.families = {InsnFamily::Integer};
        const auto reserved = static_cast<u16>(kept() | 1U << counter_);
        filter.forbidden_gprs = reserved;
        filter.disp_min = -300;
        filter.disp_max = 300;
        filter.base = base1_;
        filter.index = index_;
        generators_.emplace_back(filter);
        filter.base = base2_;
        filter.index = kZeroSlot;
        filter.rip_relative = relative;
        generators_.emplace_back(filter);
        filter.rip_relative = false;
        filter.base = RSP;
        filter.index = index_;
        generators_.emplace_back(filter);
        filter.base = base1_;
        filter.forbidden_gprs = 0;
        generators_.emplace_back(filter);
        filter.forbidden_gprs = reserved;
        filter.families = {InsnFamily::X87, InsnFamily::Mmx, InsnFamily::Sse, InsnFamily::Avx};
        generators_.emplace_back(filter);
    }

    void region(unsigned count, unsigned depth) {
        const u32 first = here();
        for (unsigned i = 0; i < count; ++i) {
            one(depth);
        }
        for (u32 i = first; i < here(); ++i) {
            Piece& p = pieces()[i];
            if (p.target < kRoutine && p.target > here()) {
                p.target = here();
            }
        }
    }
    // The program, whose routines begin at these pieces.
    Program finish(const std::vector<u32>& routines) {
        for (Piece& p : pieces()) {
            if (p.target >= kRoutine) {
                p.target = routines[p.target - kRoutine];
            }
            p.target = std::min(p.target, here() - 1);
        }
        return std::move(program_);
    }

    void plain() {
        static constexpr std::array<u8, 16> kOften = {0, 0, 0, 0, 0, 0, 0, 1,
                                                      1, 1, 1, 1, 2, 2, 3, 4};
        GeneratedInsn insn;
        if (generators_[kOften[below(kOften.size())]].generate(rng_, insn)) {
            Piece& p = piece({});
            p.bytes.assign(insn.bytes.begin(), insn.bytes.begin() + insn.length);
            if (p.bytes.back() == 0x9F) {                           // lahf
                p.bytes.insert(p.bytes.end(), {0x80, 0xE4, 0xEF});  // and ah, ~AF
            }
        }
    }
    // push imm32; popf: status flags, DF, AC, ID, and seldom IF off or TF
    void load_flags() {
        u32 image = static_cast<u32>(rng_()) & 0x2408D5;
        image |= one_in(4) ? 0x400U : 0U;
        image |= one_in(4) ? 0U : 0x200U;
        image |= one_in(16) ? 0x100U : 0U;
        image &= one_in(2) ? ~0x4'0000U : ~0U;
        put(piece({0x68}).bytes, image, 4);
        pieces().back().bytes.push_back(0x9D);
    }
    // Into a byte of another piece: mostly the last one, which is often a constant. MOV byte [...],
    // imm8, whose operand without a register is `reference`. A CMP follows that stays as it is:
    // flags that are dead at the store must not be read by what it makes of the code behind it
    // (docs/quirks.md, dead-status-flags).
    void store_to_code(Reference reference) {
        u32 target =
            one_in(2) ? here() + static_cast<u32>(below(4)) : static_cast<u32>(below(here() + 1));
        target += target == here() + 1 ? 1 : 0;
        Piece& p = branch({0xC6, 0x05}, reference, target);
        const u32 known = target < here() - 1 ? target : here() - 1;
        const std::size_t bytes = pieces()[known].bytes.size();
        p.target_at =
            one_in(6) ? static_cast<u32>(below(12)) : static_cast<u32>(bytes == 0 ? 0 : bytes - 1);
        p.bytes.push_back(one_in(2) ? static_cast<u8>(below(16)) : static_cast<u8>(rng_()));
        Piece& compare = piece({0x3C, static_cast<u8>(rng_())});
        compare.fixed = true;
    }

    Rng rng_;
    const CpuFeatures& features_;
    Program program_;
    u8 base1_ = 0, base2_ = 0, index_ = 0, counter_ = 0;
    std::vector<InsnGenerator> generators_;
};

}  // namespace droste::test
