// One table from Op to select function, joined from the rows of every exec_*.cpp.

#include "cpu/x86/exec/exec_table.hpp"

#include "core/assert.hpp"
#include "cpu/x86/exec/operands.hpp"

#include <array>

namespace droste {
namespace {

using RowsFn = std::span<const ExecRow> (*)();

constexpr auto kFamilies = std::to_array<RowsFn>({
    exec_rows_arith,     exec_rows_multiply, exec_rows_decimal,   exec_rows_bits,
    exec_rows_shift,     exec_rows_bmi,      exec_rows_move,      exec_rows_conditional,
    exec_rows_stack,     exec_rows_branch,   exec_rows_interrupt, exec_rows_string,
    exec_rows_string_io, exec_rows_flags,    exec_rows_misc,      exec_rows_random,
    exec_rows_system,    exec_rows_segment,  exec_rows_io,        exec_rows_x87,
    exec_rows_vector,    exec_rows_xsave,    exec_rows_vmx,       exec_rows_endbranch,
    exec_rows_cet,
});

constexpr std::size_t kOpCount = static_cast<std::size_t>(Op::kCount);
using SelectTable = std::array<SelectFn, kOpCount>;

SelectTable join_rows() {
    SelectTable table;
    table.fill(always<exec_undefined>);
    for (const RowsFn rows : kFamilies) {
        for (const ExecRow& row : rows()) {
            SelectFn& slot = table[static_cast<std::size_t>(row.op)];
            DROSTE_DEBUG_ASSERT(slot == always<exec_undefined>);
            slot = row.select;
        }
    }
    return table;
}

}  // namespace

Status exec_undefined(Vcpu& cpu, const Insn& /*insn*/) {
    return raise(cpu, Exception::UD);
}

std::span<const std::span<const ExecRow>> exec_families() {
    static const std::array<std::span<const ExecRow>, kFamilies.size()> kRows = [] {
        std::array<std::span<const ExecRow>, kFamilies.size()> rows;
        for (std::size_t i = 0; i < rows.size(); ++i) {
            rows[i] = kFamilies[i]();
        }
        return rows;
    }();
    return kRows;
}

void select_exec(Vcpu& cpu, Insn& insn) {
    static const SelectTable kTable = join_rows();
    ExecFn exec = nullptr;
    if ((insn.flags & kInsnNative) != 0) {
        exec = select_native_thunk(cpu, insn);
    } else if (static_cast<std::size_t>(insn.op) < kOpCount) {
        exec = kTable[static_cast<std::size_t>(insn.op)](cpu, insn);
    }
    insn.exec = exec != nullptr ? exec : exec_undefined;
}

}  // namespace droste
