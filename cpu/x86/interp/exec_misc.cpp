// What fits no other family: CPUID, time stamps, cache hints and fences, PAUSE, FS/GS bases, NOPs,
// FWAIT. SDM Vol. 2, the pages of that name.
//
// Caches do not exist here, so CLFLUSH and its relatives only check their operand, and prefetches
// and fences do nothing. Checks come in the order #UD, #GP by privilege, VM exit (SDM Vol. 3C,
// "Relative Priority of Faults and VM Exits").

#include "cpu/x86/exec/exec_table.hpp"
#include "cpu/x86/exec/operands.hpp"
#include "cpu/x86/fpu/x87.hpp"
#include "cpu/x86/mmu/paging.hpp"
#include "cpu/x86/model/cpuid.hpp"
#include "cpu/x86/seams/intercept.hpp"

namespace droste {
namespace {

// Did VMX turn the instruction into a VM exit?
inline bool intercepted(Vcpu& cpu, const Insn& insn, Interceptable kind) {
    return cpu.non_root.intercepts != nullptr &&
           cpu.non_root.intercepts->instruction(cpu, insn, kind, 0);
}
// In VMX non-root operation some instructions are #UD unless a control enables them.
inline bool disabled_by_vmx(const Vcpu& cpu, Interceptable kind) {
    return cpu.non_root.intercepts != nullptr &&
           !cpu.non_root.intercepts->instruction_enabled(cpu, kind);
}

Status exec_nop(Vcpu& /*cpu*/, const Insn& /*insn*/) {
    return Status::Next;
}

Status exec_serialize(Vcpu& /*cpu*/, const Insn& /*insn*/) {
    return Status::Sync;
}

// A spin-wait hint: another vCPU may make better use of the time.
Status exec_pause(Vcpu& cpu, const Insn& insn) {
    if (intercepted(cpu, insn, Interceptable::PAUSE)) {
        return Status::Switched;
    }
    if (!cpu.others_wait) {
        return Status::Next;
    }
    cpu.yield_requested = true;
    return Status::Sync;
}

Status exec_cpuid(Vcpu& cpu, const Insn& insn) {
    if (intercepted(cpu, insn, Interceptable::CPUID)) {
        return Status::Switched;
    }
    const CpuidResult result =
        cpuid(cpu, static_cast<u32>(cpu.state.gpr[RAX]), static_cast<u32>(cpu.state.gpr[RCX]));
    cpu.state.gpr[RAX] = result.eax;
    cpu.state.gpr[RBX] = result.ebx;
    cpu.state.gpr[RCX] = result.ecx;
    cpu.state.gpr[RDX] = result.edx;
    return Status::Next;
}

// --- time stamps --------------------------------------------------------------------------------

inline bool tsc_denied(const Vcpu& cpu) {
    return (cpu.state.cr4 & cr4::kTsd) != 0 && cpu.mode.cpl != 0;
}
inline void read_tsc(Vcpu& cpu) {
    const u64 tsc = cpu.non_root.intercepts != nullptr
                        ? cpu.non_root.intercepts->guest_tsc(cpu, cpu.tsc())
                        : cpu.tsc();
    cpu.state.gpr[RAX] = static_cast<u32>(tsc);
    cpu.state.gpr[RDX] = tsc >> 32;
}

Status exec_rdtsc(Vcpu& cpu, const Insn& insn) {
    if (tsc_denied(cpu)) {
        return raise(cpu, Exception::GP, 0);
    }
    if (intercepted(cpu, insn, Interceptable::RDTSC)) {
        return Status::Switched;
    }
    read_tsc(cpu);
    return Status::Next;
}

Status exec_rdtscp(Vcpu& cpu, const Insn& insn) {
    if (disabled_by_vmx(cpu, Interceptable::RDTSCP)) {
        return raise(cpu, Exception::UD);
    }
    if (tsc_denied(cpu)) {
        return raise(cpu, Exception::GP, 0);
    }
    if (intercepted(cpu, insn, Interceptable::RDTSCP)) {
        return Status::Switched;
    }
    read_tsc(cpu);
    cpu.state.gpr[RCX] = static_cast<u32>(cpu.state.tsc_aux);
    return Status::Next;
}

// RDPID: "enable RDTSCP" governs it too.
Status exec_rdpid(Vcpu& cpu, const Insn& insn) {
    if (disabled_by_vmx(cpu, Interceptable::RDTSCP)) {
        return raise(cpu, Exception::UD);
    }
    cpu.state.gpr[insn.rm] = static_cast<u32>(cpu.state.tsc_aux);
    return Status::Next;
}

// CPUID.0AH reports no performance counters, so every index in ECX is an invalid one.
Status exec_rdpmc(Vcpu& cpu, const Insn& insn) {
    if (cpu.mode.cpl != 0 && (cpu.state.cr4 & cr4::kPce) == 0) {
        return raise(cpu, Exception::GP, 0);
    }
    if (intercepted(cpu, insn, Interceptable::RDPMC)) {
        return Status::Switched;
    }
    return raise(cpu, Exception::GP, 0);
}

// --- cache lines --------------------------------------------------------------------------------

// CLFLUSH, CLFLUSHOPT, CLWB: "subject to all permission checking and faults associated with a byte
// load".
Status exec_flush_line(Vcpu& cpu, const Insn& insn) {
    const auto seg = static_cast<SegReg>(insn.seg);
    LinearAddr linear = 0;
    if (const Status status =
            linear_address(cpu, seg, effective_offset(cpu, insn), 1, false, linear);
        status != Status::Next) {
        return status;
    }
    return probe_load(cpu, linear, 1, seg);
}

// --- FS and GS bases ----------------------------------------------------------------------------

inline bool base_instructions_exist(const Vcpu& cpu) {
    return cpu.mode.long_mode64 && (cpu.state.cr4 & cr4::kFsgsbase) != 0;
}

template <SegReg kSeg>
Status exec_read_base(Vcpu& cpu, const Insn& insn) {
    if (!base_instructions_exist(cpu)) {
        return raise(cpu, Exception::UD);
    }
    const u64 base = cpu.state.seg[kSeg].base;
    cpu.state.gpr[insn.rm] = insn.rex_w() ? base : static_cast<u32>(base);
    return Status::Next;
}

// "If the source register contains a non-canonical address and the operand size is 64 bits":
// #GP(0).
template <SegReg kSeg>
Status exec_write_base(Vcpu& cpu, const Insn& insn) {
    if (!base_instructions_exist(cpu)) {
        return raise(cpu, Exception::UD);
    }
    const u64 source = cpu.state.gpr[insn.rm];
    const u64 base = insn.rex_w() ? source : static_cast<u32>(source);
    if (!is_canonical_register(cpu, base)) {
        return raise(cpu, Exception::GP, 0);
    }
    cpu.state.seg[kSeg].base = base;
    return Status::Next;
}

// --- FWAIT --------------------------------------------------------------------------------------

Status exec_fwait(Vcpu& cpu, const Insn& /*insn*/) {
    constexpr u64 kBoth = cr0::kMp | cr0::kTs;
    if ((cpu.state.cr0 & kBoth) == kBoth) {
        return raise(cpu, Exception::NM);
    }
    return x87_check_pending(cpu);
}

constexpr auto kRows = std::to_array<ExecRow>({
    {Op::NOP, always<exec_nop>},
    {Op::PAUSE, always<exec_pause>},
    {Op::CPUID, always<exec_cpuid>},
    {Op::RDTSC, always<exec_rdtsc>},
    {Op::RDTSCP, always<exec_rdtscp>},
    {Op::RDPMC, always<exec_rdpmc>},
    {Op::RDPID, always<exec_rdpid>},
    {Op::CLFLUSH, always<exec_flush_line>},
    {Op::CLFLUSHOPT, always<exec_flush_line>},
    {Op::CLWB, always<exec_flush_line>},
    {Op::CLDEMOTE, always<exec_nop>},
    {Op::PREFETCH, always<exec_nop>},
    {Op::PREFETCHW, always<exec_nop>},
    {Op::LFENCE, always<exec_nop>},
    {Op::MFENCE, always<exec_nop>},
    {Op::SFENCE, always<exec_nop>},
    {Op::SERIALIZE, always<exec_serialize>},
    {Op::RDFSBASE, always<exec_read_base<FS>>},
    {Op::RDGSBASE, always<exec_read_base<GS>>},
    {Op::WRFSBASE, always<exec_write_base<FS>>},
    {Op::WRGSBASE, always<exec_write_base<GS>>},
    {Op::FWAIT, always<exec_fwait>},
});

}  // namespace

std::span<const ExecRow> exec_rows_misc() {
    return kRows;
}

}  // namespace droste
