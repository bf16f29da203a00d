// x87 instructions under every control word, unmasked exceptions and empty registers included,
// against the CPU: the same state by FXRSTOR, the same instruction, FXSAVE (which does not wait, so
// that a pending exception stays pending). What the manual leaves open is compared within its bounds.

#include "cpu/x86/fpu/x87_native.hpp"
#include "cpu/x86/fpu/x87_state.hpp"
#include "jit/native_choices.hpp"
#include "tests/differential/exceptions.hpp"
#include "tests/differential/state_pair.hpp"
#include "tests/unit/fpu/fpu_test_support.hpp"

#include <catch2/catch.hpp>

#include <fmt/format.h>

namespace droste::test {
namespace {

using differential::Rng;
using Execute = void (*)(void* image, void* memory);

// clang-format off
#define DROSTE_NATIVE_X87(text)                                                                                    \
    [](void* image, void* memory) {                                                                                \
        asm volatile("fxrstor64 (%0)\n" text "\nfxsave64 (%0)\nfninit"                                            \
                     :                                                                                             \
                     : "r"(image), "D"(memory)                                                                     \
                     : "memory", "st", "st(1)", "st(2)", "st(3)", "st(4)", "st(5)", "st(6)", "st(7)", "xmm0",     \
                       "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11",    \
                       "xmm12", "xmm13", "xmm14", "xmm15", "cc");                                                  \
    }
// clang-format on

struct Row {
    const char* name;
    std::initializer_list<u8> bytes;  // memory operand: [rdi]
    Execute native;
};

// clang-format off
const Row kRows[] = {
    {"fadd st, st(2)", {0xD8, 0xC2}, DROSTE_NATIVE_X87("fadd %%st(2), %%st")},
    {"fadd st(3), st", {0xDC, 0xC3}, DROSTE_NATIVE_X87("fadd %%st, %%st(3)")},
    {"faddp st(1), st", {0xDE, 0xC1}, DROSTE_NATIVE_X87("faddp %%st, %%st(1)")},
    {"fadd m32", {0xD8, 0x07}, DROSTE_NATIVE_X87("fadds (%%rdi)")},
    {"fadd m64", {0xDC, 0x07}, DROSTE_NATIVE_X87("faddl (%%rdi)")},
    {"fiadd m16", {0xDE, 0x07}, DROSTE_NATIVE_X87("fiadds (%%rdi)")},
    {"fimul m32", {0xDA, 0x0F}, DROSTE_NATIVE_X87("fimull (%%rdi)")},
    {"fmulp st(1), st", {0xDE, 0xC9}, DROSTE_NATIVE_X87("fmulp %%st, %%st(1)")},
    {"fsub st, st(1)", {0xD8, 0xE1}, DROSTE_NATIVE_X87(".byte 0xD8, 0xE1")},
    {"fsubr m64", {0xDC, 0x2F}, DROSTE_NATIVE_X87("fsubrl (%%rdi)")},
    {"fsubp st(2), st", {0xDE, 0xEA}, DROSTE_NATIVE_X87(".byte 0xDE, 0xEA")},
    {"fsubrp st(2), st", {0xDE, 0xE2}, DROSTE_NATIVE_X87(".byte 0xDE, 0xE2")},
    {"fdiv st, st(1)", {0xD8, 0xF1}, DROSTE_NATIVE_X87("fdiv %%st(1), %%st")},
    {"fdiv st(1), st", {0xDC, 0xF9}, DROSTE_NATIVE_X87(".byte 0xDC, 0xF9")},
    {"fdivp st(1), st", {0xDE, 0xF9}, DROSTE_NATIVE_X87(".byte 0xDE, 0xF9")},
    {"fidivr m16", {0xDE, 0x3F}, DROSTE_NATIVE_X87("fidivrs (%%rdi)")},
    {"fcom st(1)", {0xD8, 0xD1}, DROSTE_NATIVE_X87("fcom %%st(1)")},
    {"fcomp m64", {0xDC, 0x1F}, DROSTE_NATIVE_X87("fcompl (%%rdi)")},
    {"fcompp", {0xDE, 0xD9}, DROSTE_NATIVE_X87("fcompp")},
    {"ficomp m32", {0xDA, 0x1F}, DROSTE_NATIVE_X87("ficompl (%%rdi)")},
    {"fucom st(1)", {0xDD, 0xE1}, DROSTE_NATIVE_X87("fucom %%st(1)")},
    {"fucompp", {0xDA, 0xE9}, DROSTE_NATIVE_X87("fucompp")},
    {"fcomi st, st(1)", {0xDB, 0xF1}, DROSTE_NATIVE_X87("fcomi %%st(1), %%st")},
    {"fucomip st, st(1)", {0xDF, 0xE9}, DROSTE_NATIVE_X87("fucomip %%st(1), %%st")},
    {"ftst", {0xD9, 0xE4}, DROSTE_NATIVE_X87("ftst")},
    {"fxam", {0xD9, 0xE5}, DROSTE_NATIVE_X87("fxam")},
    {"fld m32", {0xD9, 0x07}, DROSTE_NATIVE_X87("flds (%%rdi)")},
    {"fld m64", {0xDD, 0x07}, DROSTE_NATIVE_X87("fldl (%%rdi)")},
    {"fld m80", {0xDB, 0x2F}, DROSTE_NATIVE_X87("fldt (%%rdi)")},
    {"fld st(2)", {0xD9, 0xC2}, DROSTE_NATIVE_X87("fld %%st(2)")},
    {"fild m64", {0xDF, 0x2F}, DROSTE_NATIVE_X87("fildll (%%rdi)")},
    {"fbld", {0xDF, 0x27}, DROSTE_NATIVE_X87("fbld (%%rdi)")},
    {"fldpi", {0xD9, 0xEB}, DROSTE_NATIVE_X87("fldpi")},
    {"fldl2t", {0xD9, 0xE9}, DROSTE_NATIVE_X87("fldl2t")},
    {"fst m32", {0xD9, 0x17}, DROSTE_NATIVE_X87("fsts (%%rdi)")},
    {"fstp m32", {0xD9, 0x1F}, DROSTE_NATIVE_X87("fstps (%%rdi)")},
    {"fstp m64", {0xDD, 0x1F}, DROSTE_NATIVE_X87("fstpl (%%rdi)")},
    {"fstp m80", {0xDB, 0x3F}, DROSTE_NATIVE_X87("fstpt (%%rdi)")},
    {"fst st(2)", {0xDD, 0xD2}, DROSTE_NATIVE_X87("fst %%st(2)")},
    {"fstp st(2)", {0xDD, 0xDA}, DROSTE_NATIVE_X87("fstp %%st(2)")},
    {"fist m16", {0xDF, 0x17}, DROSTE_NATIVE_X87("fists (%%rdi)")},
    {"fistp m32", {0xDB, 0x1F}, DROSTE_NATIVE_X87("fistpl (%%rdi)")},
    {"fistp m64", {0xDF, 0x3F}, DROSTE_NATIVE_X87("fistpll (%%rdi)")},
    {"fisttp m64", {0xDD, 0x0F}, DROSTE_NATIVE_X87("fisttpll (%%rdi)")},
    {"fbstp", {0xDF, 0x37}, DROSTE_NATIVE_X87("fbstp (%%rdi)")},
    {"fxch st(3)", {0xD9, 0xCB}, DROSTE_NATIVE_X87("fxch %%st(3)")},
    {"fchs", {0xD9, 0xE0}, DROSTE_NATIVE_X87("fchs")},
    {"fabs", {0xD9, 0xE1}, DROSTE_NATIVE_X87("fabs")},
    {"fsqrt", {0xD9, 0xFA}, DROSTE_NATIVE_X87("fsqrt")},
    {"frndint", {0xD9, 0xFC}, DROSTE_NATIVE_X87("frndint")},
    {"fscale", {0xD9, 0xFD}, DROSTE_NATIVE_X87("fscale")},
    {"fprem", {0xD9, 0xF8}, DROSTE_NATIVE_X87("fprem")},
    {"fprem1", {0xD9, 0xF5}, DROSTE_NATIVE_X87("fprem1")},
    {"fxtract", {0xD9, 0xF4}, DROSTE_NATIVE_X87("fxtract")},
    {"fsin", {0xD9, 0xFE}, DROSTE_NATIVE_X87("fsin")},
    {"fcos", {0xD9, 0xFF}, DROSTE_NATIVE_X87("fcos")},
    {"fsincos", {0xD9, 0xFB}, DROSTE_NATIVE_X87("fsincos")},
    {"fptan", {0xD9, 0xF2}, DROSTE_NATIVE_X87("fptan")},
    {"fpatan", {0xD9, 0xF3}, DROSTE_NATIVE_X87("fpatan")},
    {"f2xm1", {0xD9, 0xF0}, DROSTE_NATIVE_X87("f2xm1")},
    {"fyl2x", {0xD9, 0xF1}, DROSTE_NATIVE_X87("fyl2x")},
    {"fyl2xp1", {0xD9, 0xF9}, DROSTE_NATIVE_X87("fyl2xp1")},
    {"fincstp", {0xD9, 0xF7}, DROSTE_NATIVE_X87("fincstp")},
    {"fdecstp", {0xD9, 0xF6}, DROSTE_NATIVE_X87("fdecstp")},
    {"ffree st(1)", {0xDD, 0xC1}, DROSTE_NATIVE_X87("ffree %%st(1)")},
};
// clang-format on

X87State::Register random_register(Rng& rng) {
    const u64 significand = rng.next() | (u64{1} << 63);
    const auto sign = static_cast<u16>(rng.below(2) << 15);
    switch (rng.below(10)) {
    case 0: return {0, sign};
    case 1: return {u64{1} << 63, static_cast<u16>(sign | 0x7FFF)};
    case 2: return {significand, static_cast<u16>(sign | 0x7FFF)};
    case 3: return {significand >> (1 + rng.below(60)), sign};  // denormal
    case 4: return {rng.next(), static_cast<u16>(rng.next())};  // anything
    case 5:
        return {significand, static_cast<u16>(sign | (0x7FFE - rng.below(4)))};  // nearly overflow
    case 6: return {significand, static_cast<u16>(sign | (1 + rng.below(4)))};   // nearly underflow
    default: return {significand, static_cast<u16>(sign | (0x3FFF - 20 + rng.below(90)))};
    }
}

X87State random_state(Rng& rng) {
    X87State fpu;
    const u64 masks = rng.one_in(3) ? 0x3F : rng.next() & 0x3F;
    fpu.control = x87::loadable_control(static_cast<u16>((rng.next() & 0xF00) | masks));
    fpu.status = static_cast<u16>(rng.next() & (x87::kTopMask | x87::kConditions));
    fpu.tag_valid = rng.one_in(2) ? u8{0x7F} : static_cast<u8>(rng.next() | rng.next());
    if (rng.one_in(2)) {  // the usual case: room for a push
        fpu.tag_valid = static_cast<u8>(~(1U << ((x87::top(fpu) + 7) & 7)));
    }
    for (X87State::Register& value : fpu.st) {
        value = random_register(rng);
    }
    return fpu;
}

std::string difference(const X87State& guest, const X87State& native) {
    std::string text;
    const auto compare = [&](const std::string& name, u64 a, u64 b) {
        if (a != b) {
            text += fmt::format("  {} droste {:#x} native {:#x}\n", name, a, b);
        }
    };
    compare("status", guest.status, native.status);
    compare("control", guest.control, native.control);
    compare("tags", guest.tag_valid, native.tag_valid);
    for (unsigned i = 0; i < 8; ++i) {
        compare(fmt::format("r{} significand", i), guest.st[i].significand,
                native.st[i].significand);
        compare(fmt::format("r{} exponent", i), guest.st[i].sign_exponent,
                native.st[i].sign_exponent);
    }
    return text;
}

Op op_of(std::initializer_list<u8> bytes) {
    Insn insn;
    REQUIRE(decode({bytes.begin(), bytes.size()}, {64, false}, all_features(), insn) ==
            DecodeResult::Ok);
    return insn.op;
}

// Makes equal what the manual leaves open; true if it leaves everything open.
bool forget_open_results(Op op, const X87State& before, const X87State& guest, X87State& native) {
    u16 open = 0;
    if (differential::bounded_by_the_manual(op)) {
        if (differential::undefined_argument(op, before.st[x87::physical(before, 0)])) {
            return true;
        }
        for (unsigned i = 0; i < 8; ++i) {
            if (differential::last_bits_agree(guest.st[i], native.st[i])) {
                native.st[i] = guest.st[i];
            }
        }
        // Of an exact result the CPU may say that it is not.
        open = x87::kC1 | x87::kPe | x87::kUe | x87::kEs | x87::kBusy;
    }
    static const jit::NativeChoices kChoices{NativeFeatures{}};
    if (!kChoices.conditions_are_ours()) {
        open |= differential::open_conditions(op);
    }
    native.status = static_cast<u16>((native.status & ~open) | (guest.status & open));
    return false;
}

TEST_CASE("x87 under random control words and tags does what the CPU does", "[fpu][x87][native]") {
    FpuGuest guest;
    Rng rng(20240229);
    for (const Row& row : kRows) {
        const Op op = op_of(row.bytes);
        for (unsigned round = 0; round < 1500; ++round) {
            const X87State before = random_state(rng);
            alignas(16) std::array<u64, 2> memory = {rng.next(), rng.next()};
            if (rng.one_in(2)) {
                memory = {random_register(rng).significand, random_register(rng).sign_exponent};
            }
            X87Image image;
            fill_image(before, image);
            guest.state().x87 = before;
            guest.state().set_rflags(rflags::kFixed1 | (rng.next() & rflags::kStatus));
            guest.poke(FpuGuest::kData, memory);

            row.native(&image, memory.data());
            const int raised = guest.fault(row.bytes);

            X87State native = before;
            native.control = static_cast<u16>(image.bytes[0] | image.bytes[1] << 8);
            take_image(image, native);
            if (forget_open_results(op, before, guest.state().x87, native)) {
                continue;
            }
            const std::string text = difference(guest.state().x87, native);
            const bool memory_equal = guest.peek<std::array<u64, 2>>(FpuGuest::kData) == memory;
            if (raised != kNone || !text.empty() || !memory_equal) {
                FAIL_CHECK(row.name << " round " << round << " control " << std::hex
                                    << before.control << " tags " << unsigned{before.tag_valid}
                                    << " raised " << std::dec << raised
                                    << (memory_equal ? "" : " memory differs") << "\n"
                                    << text);
            }
        }
    }
}

}  // namespace
}  // namespace droste::test
