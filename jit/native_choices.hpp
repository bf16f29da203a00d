#pragma once
// What the native CPU does where the manual leaves status flags or results open, asked of it by
// running the instructions. Processors differ, those of one maker too: BSF of a Zen 3 sets SF and PF
// where a Zen 4 clears them. An instruction that doesn't do what docs/x86/undefined.md says is
// executed by the interpreter, so that a run is the same on any machine.
//
// An answer is a hash over many runs from fixed inputs. What it must be is a table, and a unit test
// asks the interpreter the same (tests/unit/interp/native_choices_test.cpp).
//
// Rejected: a list of processors (it had Zen 3 wrong, and ends with today's); running the interpreter
// beside the native CPU at start (needs a machine to run it on).

#include "core/types.hpp"
#include "cpu/x86/decode/insn.hpp"
#include "cpu/x86/model/native_features.hpp"
#include "cpu/x86/state/features.hpp"

#include <array>
#include <bit>
#include <bitset>
#include <functional>
#include <optional>
#include <span>
#include <vector>

namespace droste::jit {

// What the instructions of the table work on.
struct ChoiceRegisters {
    u64 rax = 0;
    u64 rcx = 0;
    u64 rdx = 0;
    u64 flags = 0;  // the six status flags
};

struct ChoiceHash {
    u32 results = 0;
    u32 flags = 0;
    bool operator==(const ChoiceHash&) const = default;
};

enum class ChoiceWidths : u8 {
    All,       // the byte form's opcode is one less
    Divide,    // the same, with inputs that don't fault
    Words,     // 2, 4 and 8 bytes
    Vex,       // 4 and 8 bytes, by VEX.W
    WordOnly,  // 2 bytes
};

struct ChoiceRow {
    Op op;
    ChoiceWidths widths;
    std::optional<Feature> feature;  // without which there is no such instruction
    u8 length;
    std::array<u8, 5> code;          // of the 4-byte form
    std::array<ChoiceHash, 4> ours;  // of 1, 2, 4 and 8 bytes
};

std::span<const ChoiceRow> choice_rows();
// The instruction's bytes with an operand of 1 << log2 bytes; empty if it has no such form.
std::vector<u8> choice_code(const ChoiceRow& row, unsigned log2);
// What `run` makes of the inputs of a row.
ChoiceHash
choice_hash(const ChoiceRow& row, unsigned log2, const std::function<void(ChoiceRegisters&)>& run);

class NativeChoices {
  public:
    // Those of the CPU we run on. Traits that are hidden are taken for other than ours:
    // UndefinedResults with the condition codes of the x87.
    explicit NativeChoices(const NativeFeatures& native);

    // Whether the flags (the results) of all forms of an instruction with an operand of `width`
    // bytes are ours.
    bool flags_are_ours(Op op, unsigned width) const { return !other_flags_[at(op, width)]; }
    bool results_are_ours(Op op, unsigned width) const { return !other_results_[at(op, width)]; }
    // Whether x87 instructions that leave C0, C2 and C3 undefined leave them unchanged, and FCOMI
    // also C1, which the manual has it clear.
    bool conditions_are_ours() const { return conditions_are_ours_; }

  private:
    NativeChoices() = default;
    // Asks the CPU; once, because processors don't change. Without executable memory all is taken for
    // other than ours.
    static NativeChoices ask();

    static constexpr std::size_t kWidths = 4;  // 1, 2, 4 and 8 bytes
    static std::size_t at(Op op, unsigned width) {
        const auto log2 = static_cast<std::size_t>(std::countr_zero(width | 8));
        return static_cast<std::size_t>(op) * kWidths + log2;
    }
    using Forms = std::bitset<static_cast<std::size_t>(Op::kCount) * kWidths>;
    static Forms all_forms();  // of the table
    Forms other_flags_;
    Forms other_results_;
    bool conditions_are_ours_ = true;
};

}  // namespace droste::jit
