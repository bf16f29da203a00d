// The table from Op to handler is complete and says each thing once.

#include "cpu/x86/decode/decoder.hpp"
#include "tests/unit/interp/insn_runner.hpp"

#include <array>
#include <set>
#include <string>

namespace {

using namespace droste;

constexpr std::size_t kOps = static_cast<std::size_t>(Op::kCount);

// Ops the families in this folder's exec_*.cpp must serve: everything before the system family in
// ops.inc.
bool is_integer_op(Op op) {
    return op < Op::MOV_CR_TO || op == Op::IN || op == Op::OUT;
}

std::array<unsigned, kOps> rows_for_each_op() {
    std::array<unsigned, kOps> count{};
    for (const auto family : exec_families()) {
        for (const ExecRow& row : family) {
            ++count[static_cast<std::size_t>(row.op)];
        }
    }
    return count;
}

}  // namespace

TEST_CASE("no Op has two rows", "[interp][table]") {
    const auto count = rows_for_each_op();
    for (std::size_t op = 0; op < kOps; ++op) {
        INFO(mnemonic(static_cast<Op>(op)));
        CHECK(count[op] <= 1);
    }
}

TEST_CASE("every integer Op has a row", "[interp][table]") {
    const auto count = rows_for_each_op();
    for (std::size_t op = 0; op < kOps; ++op) {
        if (is_integer_op(static_cast<Op>(op))) {
            INFO(mnemonic(static_cast<Op>(op)));
            CHECK(count[op] == 1);
        }
    }
}

TEST_CASE("an Op without a handler raises #UD", "[interp][table]") {
    test::InsnRunner runner;
    Insn insn;
    insn.op = Op::UD;
    select_exec(runner.cpu(), insn);
    REQUIRE(insn.exec != nullptr);
    CHECK(insn.exec(runner.cpu(), insn) == Status::Fault);
    CHECK(runner.raised(Exception::UD));
}
