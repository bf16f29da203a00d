// MSR access, SWAPGS, protection keys, cache control, RSM; and the rows of all system instructions.

#include "cpu/x86/system/exec_system.hpp"

#include "cpu/x86/exec/exec_table.hpp"
#include "cpu/x86/exec/operands.hpp"
#include "cpu/x86/mmu/paging.hpp"
#include "cpu/x86/model/msr.hpp"

#include <array>
#include <utility>

namespace droste {

namespace {

bool in_x2apic_range(u32 msr) {
    return msr >= 0x800 && msr <= 0x8FF;
}

// RDMSR: EDX:EAX := MSR[ECX].
Status exec_rdmsr(Vcpu& cpu, const Insn& insn) {
    CpuState& s = cpu.state;
    if (const Status status = require_cpl0(cpu); status != Status::Next) {
        return status;
    }
    const auto index = static_cast<u32>(s.gpr[RCX]);
    u64 value = 0;
    Status status = Status::Next;
    if (cpu.non_root.intercepts != nullptr && cpu.non_root.intercepts->rdmsr(cpu, insn, index)) {
        return Status::Switched;
    }
    const bool virtualized = cpu.non_root.intercepts != nullptr && in_x2apic_range(index) &&
                             cpu.non_root.intercepts->x2apic_read(cpu, index, value, status);
    if (!virtualized) {
        status = read_msr(cpu, index, value);
    }
    if (status == Status::Next) {
        s.gpr[RAX] = static_cast<u32>(value);
        s.gpr[RDX] = value >> 32;
    }
    return status;
}

// WRMSR: MSR[ECX] := EDX:EAX.
Status exec_wrmsr(Vcpu& cpu, const Insn& insn) {
    const CpuState& s = cpu.state;
    if (const Status status = require_cpl0(cpu); status != Status::Next) {
        return status;
    }
    const auto index = static_cast<u32>(s.gpr[RCX]);
    const u64 value = (s.gpr[RDX] << 32) | static_cast<u32>(s.gpr[RAX]);
    Status status = Status::Next;
    if (cpu.non_root.intercepts != nullptr &&
        cpu.non_root.intercepts->wrmsr(cpu, insn, index, value)) {
        return Status::Switched;
    }
    const bool virtualized = cpu.non_root.intercepts != nullptr && in_x2apic_range(index) &&
                             cpu.non_root.intercepts->x2apic_write(cpu, index, value, status);
    if (!virtualized) {
        status = write_msr(cpu, index, value);
    }
    return status == Status::Next ? Status::Sync : status;
}

Status exec_swapgs(Vcpu& cpu, const Insn& /*insn*/) {
    if (!cpu.mode.long_mode64) {
        return raise(cpu, Exception::UD);
    }
    if (const Status status = require_cpl0(cpu); status != Status::Next) {
        return status;
    }
    std::swap(cpu.state.seg[GS].base, cpu.state.kernel_gs_base);
    return Status::Next;
}

Status exec_rdpkru(Vcpu& cpu, const Insn& /*insn*/) {
    CpuState& s = cpu.state;
    if ((s.cr4 & cr4::kPke) == 0) {
        return raise(cpu, Exception::UD);
    }
    if (static_cast<u32>(s.gpr[RCX]) != 0) {
        return raise(cpu, Exception::GP, 0);
    }
    s.gpr[RAX] = s.pkru;
    s.gpr[RDX] = 0;
    return Status::Next;
}

Status exec_wrpkru(Vcpu& cpu, const Insn& /*insn*/) {
    CpuState& s = cpu.state;
    if ((s.cr4 & cr4::kPke) == 0) {
        return raise(cpu, Exception::UD);
    }
    if (static_cast<u32>(s.gpr[RCX]) != 0 || static_cast<u32>(s.gpr[RDX]) != 0) {
        return raise(cpu, Exception::GP, 0);
    }
    write_pkru(cpu, static_cast<u32>(s.gpr[RAX]));
    return Status::Sync;
}

// There are no caches to write back.
template <Interceptable Kind>
Status exec_cache_flush(Vcpu& cpu, const Insn& insn) {
    if (const Status status = require_cpl0(cpu); status != Status::Next) {
        return status;
    }
    return intercepted(cpu, insn, Kind) ? Status::Switched : Status::Next;
}

// Outside system-management mode, which does not exist here, RSM is undefined.
Status exec_rsm(Vcpu& cpu, const Insn& /*insn*/) {
    return raise(cpu, Exception::UD);
}

constexpr auto kRows = std::to_array<ExecRow>({
    {Op::MOV_CR_TO, always<exec_mov_cr_to>},
    {Op::MOV_CR_FROM, always<exec_mov_cr_from>},
    {Op::MOV_DR_TO, always<exec_mov_dr_to>},
    {Op::MOV_DR_FROM, always<exec_mov_dr_from>},
    {Op::SGDT, always<exec_sgdt>},
    {Op::SIDT, always<exec_sidt>},
    {Op::LGDT, always<exec_lgdt>},
    {Op::LIDT, always<exec_lidt>},
    {Op::SMSW, always<exec_smsw>},
    {Op::LMSW, always<exec_lmsw>},
    {Op::CLTS, always<exec_clts>},
    {Op::INVLPG, always<exec_invlpg>},
    {Op::INVPCID, always<exec_invpcid>},
    {Op::INVD, always<exec_cache_flush<Interceptable::INVD>>},
    {Op::WBINVD, always<exec_cache_flush<Interceptable::WBINVD>>},
    {Op::HLT, always<exec_hlt>},
    {Op::RSM, always<exec_rsm>},
    {Op::RDMSR, always<exec_rdmsr>},
    {Op::WRMSR, always<exec_wrmsr>},
    {Op::SWAPGS, always<exec_swapgs>},
    {Op::MONITOR, always<exec_monitor>},
    {Op::MWAIT, always<exec_mwait>},
    {Op::UMONITOR, always<exec_umonitor>},
    {Op::UMWAIT, always<exec_umwait>},
    {Op::TPAUSE, always<exec_tpause>},
    {Op::RDPKRU, always<exec_rdpkru>},
    {Op::WRPKRU, always<exec_wrpkru>},
});

}  // namespace

std::span<const ExecRow> exec_rows_system() {
    return kRows;
}

}  // namespace droste
