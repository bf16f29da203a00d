// The generator of random instructions: each row it offers can be encoded, and comes back from the
// decoder as what was asked for.

#include "tests/decode/insn_generator.hpp"
#include "tests/unit/decode/decode_support.hpp"

using namespace droste;
using namespace droste::test;

namespace {

GeneratorFilter everything() {
    GeneratorFilter filter;
    filter.features = every_feature();
    return filter;
}

Insn decode_generated(const GeneratedInsn& generated) {
    Insn insn;
    CHECK(decode({generated.bytes.data(), generated.length}, kMode64, every_feature(), insn) ==
          DecodeResult::Ok);
    return insn;
}

}  // namespace

TEST_CASE("Every admitted row can be generated, and decodes to its Op", "[decode][generator]") {
    const InsnGenerator generator(everything());
    CHECK(generator.candidates().size() > 1000);
    Rng rng(1);
    for (const InsnGenerator::Candidate& candidate : generator.candidates()) {
        INFO(mnemonic(candidate.row->op()) << " opcode " << unsigned{candidate.row->opcode});
        unsigned generated_count = 0;
        for (unsigned i = 0; i < 30; ++i) {
            GeneratedInsn generated;
            if (!generator.generate(rng, candidate, generated)) {
                continue;
            }
            ++generated_count;
            const Insn insn = decode_generated(generated);
            const bool as_asked = insn.op == candidate.row->op() &&
                                  insn.length == generated.length &&
                                  insn.mem() == generated.has_mem && generated.row == candidate.row;
            if (!as_asked) {
                CHECK(as_asked);
            }
        }
        CHECK(generated_count == 30);
    }
}

TEST_CASE("Memory operands use the caller's registers and range", "[decode][generator]") {
    GeneratorFilter filter = everything();
    filter.registers = false;
    filter.base = R13;
    filter.index = R12;
    filter.rip_relative = true;
    filter.disp_min = -64;
    filter.disp_max = 63;
    filter.rip_disp = 0x1000;
    const InsnGenerator generator(filter);
    Rng rng(2);
    unsigned bases = 0;
    unsigned indexes = 0;
    unsigned rip = 0;
    unsigned wrong = 0;
    for (unsigned i = 0; i < 20'000; ++i) {
        GeneratedInsn generated;
        REQUIRE(generator.generate(rng, generated));
        if (!generated.has_mem) {
            continue;
        }
        const Insn insn = decode_generated(generated);
        if (insn.base == kRipSlot) {
            ++rip;
            wrong += insn.disp < 0x1000 - 64 || insn.disp > 0x1000 + 63;
        } else {
            ++bases;
            indexes += insn.index == R12;
            wrong += insn.base != R13 || insn.disp < -64 || insn.disp > 63 ||
                     (insn.index != R12 && insn.index != kZeroSlot);
        }
    }
    CHECK(wrong == 0);
    CHECK(bases > 1000);
    CHECK(indexes > 1000);
    CHECK(rip > 1000);
}

TEST_CASE("Forbidden registers are never operands, and families stay apart",
          "[decode][generator]") {
    GeneratorFilter filter = everything();
    filter.families = {InsnFamily::Integer};
    filter.memory = false;
    filter.forbidden_gprs = 1U << RSP | 1U << RBX | 1U << R8;
    const InsnGenerator generator(filter);
    Rng rng(3);
    unsigned wrong = 0;
    for (unsigned i = 0; i < 20'000; ++i) {
        GeneratedInsn generated;
        REQUIRE(generator.generate(rng, generated));
        const Insn insn = decode_generated(generated);
        wrong += insn.mem() || (insn.flags & kInsnNative) != 0 || insn.map == OpcodeMap::X87;
        for (const u8 forbidden : {u8{RSP}, u8{RBX}, u8{R8}, u8{23} /* BH */}) {
            wrong += insn.form == Form::GE && (insn.reg == forbidden || insn.rm == forbidden);
            wrong += insn.form == Form::EG && (insn.reg == forbidden || insn.rm == forbidden);
            wrong += insn.form == Form::E && insn.rm == forbidden;
        }
    }
    CHECK(wrong == 0);
}

TEST_CASE("The same seed gives the same instructions", "[decode][generator]") {
    const InsnGenerator generator(everything());
    Rng first(4);
    Rng second(4);
    for (unsigned i = 0; i < 100; ++i) {
        GeneratedInsn a;
        GeneratedInsn b;
        REQUIRE(generator.generate(first, a));
        REQUIRE(generator.generate(second, b));
        CHECK(a.length == b.length);
        CHECK(a.bytes == b.bytes);
    }
}
