// exec_rows_vector(): the vector instructions that are not native thunks, and here those that
// change state rather than data.

#include "cpu/x86/exec/exec_table.hpp"
#include "cpu/x86/fpu/exec_vector.hpp"
#include "cpu/x86/fpu/fpu_access.hpp"
#include "cpu/x86/fpu/x87_state.hpp"

#include <algorithm>
#include <array>

namespace droste {
namespace {

// EMMS: "Empty MMX Technology State". The manual's operation leaves TOP; Intel's and AMD's
// processors clear it.
Status exec_emms(Vcpu& cpu, const Insn& /*insn*/) {
    if (const Status status = require_mmx(cpu); status != Status::Next) {
        return status;
    }
    cpu.state.x87.tag_valid = 0;
    x87::set_top(cpu.state.x87, 0);
    return Status::Next;
}

// Only the eight registers a mode can name.
std::size_t register_count(const Vcpu& cpu) {
    return cpu.mode.long_mode64 ? 16 : 8;
}

// VZEROUPPER: bits MAXVL-1:128 of every register := 0.
Status exec_vzeroupper(Vcpu& cpu, const Insn& insn) {
    if (const Status status = require_vector(cpu, insn); status != Status::Next) {
        return status;
    }
    for (std::size_t i = 0; i < register_count(cpu); ++i) {
        std::fill(cpu.state.ymm[i].bytes.begin() + 16, cpu.state.ymm[i].bytes.end(), u8{0});
    }
    return Status::Next;
}

// VZEROALL
Status exec_vzeroall(Vcpu& cpu, const Insn& insn) {
    if (const Status status = require_vector(cpu, insn); status != Status::Next) {
        return status;
    }
    for (std::size_t i = 0; i < register_count(cpu); ++i) {
        cpu.state.ymm[i].bytes.fill(0);
    }
    return Status::Next;
}

// LDMXCSR: "Load MXCSR Register". Reserved bits -> #GP(0).
Status exec_ldmxcsr(Vcpu& cpu, const Insn& insn) {
    if (const Status status = require_vector(cpu, insn); status != Status::Next) {
        return status;
    }
    u32 value = 0;
    if (const Status status = load(cpu, insn, value); status != Status::Next) {
        return status;
    }
    if ((value & ~kMxcsrMask) != 0) {
        return raise(cpu, Exception::GP, 0);
    }
    cpu.state.mxcsr = value;
    return Status::Next;
}

Status exec_stmxcsr(Vcpu& cpu, const Insn& insn) {
    if (const Status status = require_vector(cpu, insn); status != Status::Next) {
        return status;
    }
    return store(cpu, insn, cpu.state.mxcsr);
}

template <ExecFn kExec>
ExecFn always(Vcpu& /*cpu*/, Insn& /*insn*/) {
    return kExec;
}

constexpr auto kRows = std::to_array<ExecRow>({
    {Op::EMMS, always<exec_emms>},
    {Op::VZEROUPPER, always<exec_vzeroupper>},
    {Op::VZEROALL, always<exec_vzeroall>},
    {Op::MASKMOVQ, select_maskmov_implicit},
    {Op::MASKMOVDQU, select_maskmov_implicit},
    {Op::VMASKMOVDQU, select_maskmov_implicit},
    {Op::VMASKMOVPS, select_maskmov},
    {Op::VMASKMOVPD, select_maskmov},
    {Op::VPMASKMOVD, select_maskmov},
    {Op::VPMASKMOVQ, select_maskmov},
    {Op::VGATHERDPS, select_gather},
    {Op::VGATHERDPD, select_gather},
    {Op::VGATHERQPS, select_gather},
    {Op::VGATHERQPD, select_gather},
    {Op::VPGATHERDD, select_gather},
    {Op::VPGATHERDQ, select_gather},
    {Op::VPGATHERQD, select_gather},
    {Op::VPGATHERQQ, select_gather},
    {Op::VLDMXCSR, select_ldmxcsr},
    {Op::VSTMXCSR, select_stmxcsr},
});

}  // namespace

ExecFn select_ldmxcsr(Vcpu& /*cpu*/, Insn& /*insn*/) {
    return exec_ldmxcsr;
}
ExecFn select_stmxcsr(Vcpu& /*cpu*/, Insn& /*insn*/) {
    return exec_stmxcsr;
}

std::span<const ExecRow> exec_rows_vector() {
    return kRows;
}

}  // namespace droste
