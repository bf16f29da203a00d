// CMOVcc and SETcc, one instantiation for each condition so that the flag test folds.
// SDM Vol. 2, "CMOVcc—Conditional Move", "SETcc—Set Byte on Condition".

#include "cpu/x86/exec/exec_table.hpp"
#include "cpu/x86/exec/operands.hpp"

#include <utility>

namespace droste {
namespace {

// The source is read, and a 32-bit destination zero-extended, whether or not the condition is met.
template <unsigned kCondition>
struct Cmov {
    template <typename T, Place P>
    static Status exec(Vcpu& cpu, const Insn& insn) {
        T source = 0;
        if (const Status status = load_operand<T, P>(cpu, insn, source); status != Status::Next)
            [[unlikely]] {
            return give_up<Cmov, T, P>(cpu, insn, status);
        }
        const T dest = read_gpr<T>(cpu, insn.reg);
        write_gpr<T>(cpu, insn.reg, condition(cpu.state.flags, kCondition) ? source : dest);
        return Status::Next;
    }
};

template <unsigned kCondition>
struct Setcc {
    template <typename T, Place P>
    static Status exec(Vcpu& cpu, const Insn& insn) {
        const T value = condition(cpu.state.flags, kCondition) ? 1 : 0;
        const Status status = store_operand<T, P>(cpu, insn, value);
        return status == Status::Next ? status : give_up<Setcc, T, P>(cpu, insn, status);
    }
};

template <unsigned kCondition>
ExecFn select_cmov(Vcpu& cpu, Insn& insn) {
    return by_word_width_and_place<Cmov<kCondition>>(cpu, insn, insn.opsize);
}
template <unsigned kCondition>
ExecFn select_setcc(Vcpu& cpu, Insn& insn) {
    return by_place<Setcc<kCondition>, u8>(cpu, insn);
}

using ByCondition = std::array<SelectFn, 16>;

template <unsigned... kConditions>
constexpr ByCondition cmov_table(std::integer_sequence<unsigned, kConditions...> /*all*/) {
    return {select_cmov<kConditions>...};
}
template <unsigned... kConditions>
constexpr ByCondition setcc_table(std::integer_sequence<unsigned, kConditions...> /*all*/) {
    return {select_setcc<kConditions>...};
}
constexpr ByCondition kCmov = cmov_table(std::make_integer_sequence<unsigned, 16>{});
constexpr ByCondition kSetcc = setcc_table(std::make_integer_sequence<unsigned, 16>{});

ExecFn select_any_cmov(Vcpu& cpu, Insn& insn) {
    return kCmov[insn.opcode & 0xF](cpu, insn);
}
ExecFn select_any_setcc(Vcpu& cpu, Insn& insn) {
    return kSetcc[insn.opcode & 0xF](cpu, insn);
}

constexpr auto kRows = std::to_array<ExecRow>({
    {Op::CMOVcc, select_any_cmov},
    {Op::SETcc, select_any_setcc},
});

}  // namespace

std::span<const ExecRow> exec_rows_conditional() {
    return kRows;
}

}  // namespace droste
