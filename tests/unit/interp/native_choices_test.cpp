// jit/native_choices.inc holds what the interpreter does where the manual leaves flags and results
// open, for the translator to ask the native CPU whether it does the same. Here the interpreter is
// asked.

#include "cpu/x86/state/regs.hpp"
#include "jit/native_choices.hpp"
#include "tests/differential/state_pair.hpp"

#include <catch2/catch.hpp>

#include <memory>

namespace {

using namespace droste;
using namespace droste::differential;

struct Guest {
    GuestRunner runner;
    Outcome start{};
    Outcome end{};

    void run(std::span<const u8> insn, jit::ChoiceRegisters& registers) {
        start.state.gpr[RAX] = registers.rax;
        start.state.gpr[RCX] = registers.rcx;
        start.state.gpr[RDX] = registers.rdx;
        start.state.rflags = registers.flags | rflags::kFixed1;
        runner.run(start, insn, kCodeAddress + 64, end);
        REQUIRE(end.state.vector == kNoFault);
        registers = {end.state.gpr[RAX], end.state.gpr[RCX], end.state.gpr[RDX], end.state.rflags};
    }
};

}  // namespace

TEST_CASE("what the native CPU is asked for is what the interpreter does", "[interp][native]") {
    const auto guest = std::make_unique<Guest>();
    unsigned forms = 0;
    for (const jit::ChoiceRow& row : jit::choice_rows()) {
        for (unsigned log2 = 0; log2 < row.ours.size(); ++log2) {
            const std::vector<u8> code = jit::choice_code(row, log2);
            if (code.empty()) {
                continue;
            }
            const jit::ChoiceHash hash = jit::choice_hash(
                row, log2, [&](jit::ChoiceRegisters& registers) { guest->run(code, registers); });
            INFO("ROW " << &row - jit::choice_rows().data() << " " << log2 << " " << std::hex
                        << hash.results << " " << hash.flags);
            CHECK(hash == row.ours[log2]);
            ++forms;
        }
    }
    CHECK(forms > 120);
}

TEST_CASE("what the native CPU leaves undefined can be taken for another's", "[interp][native]") {
    NativeFeatures native;
    (void)native.hide("undefined-flags");
    (void)native.hide("undefined-results");
    const jit::NativeChoices other{native};
    CHECK_FALSE(other.flags_are_ours(Op::SHL, 4));
    CHECK_FALSE(other.results_are_ours(Op::BSF, 4));
    CHECK_FALSE(other.conditions_are_ours());
    CHECK(other.flags_are_ours(Op::ADD, 4));
    CHECK(other.results_are_ours(Op::ADD, 4));

    // It is this machine's that is hidden, not the next one's.
    (void)native.show("undefined-results");
    const jit::NativeChoices less{native};
    CHECK_FALSE(less.flags_are_ours(Op::SHL, 4));
    CHECK(less.results_are_ours(Op::SHL, 4));
    CHECK(less.conditions_are_ours() == jit::NativeChoices{NativeFeatures{}}.conditions_are_ours());
}
