// MOV to and from control and debug registers, SMSW, LMSW, CLTS.
// SDM Vol. 2B, "MOV—Move to/from Control Registers", "MOV—Move to/from Debug Registers".
//
// VMX looks at an access after the privilege check and before the value is judged; MOV DR is the
// exception: its exit comes before everything but #UD of the encoding. SDM Vol. 3C, "Relative
// Priority of Faults and VM Exits", "Instructions That Cause VM Exits Conditionally".

#include "core/bits.hpp"
#include "cpu/x86/apic/local_apic.hpp"
#include "cpu/x86/system/control_regs.hpp"
#include "cpu/x86/system/debug_traps.hpp"
#include "cpu/x86/system/exec_system.hpp"

namespace droste {

namespace {

using CrAccess = Intercepts::CrAccess;

bool cr_intercepted(Vcpu& cpu, const Insn& insn, CrAccess access, unsigned cr, u64& value) {
    return cpu.non_root.intercepts != nullptr &&
           cpu.non_root.intercepts->cr_access(cpu, insn, access, static_cast<u8>(cr), value);
}

Status write_cr8_or_virtual_tpr(Vcpu& cpu, u64 value) {
    Status status = Status::Next;
    if (cpu.non_root.intercepts != nullptr &&
        cpu.non_root.intercepts->virtual_tpr_write(cpu, value, status)) {
        return status;
    }
    return write_cr8(cpu, value);
}

u64 read_cr8_or_virtual_tpr(Vcpu& cpu) {
    u64 value = 0;
    if (cpu.non_root.intercepts != nullptr &&
        cpu.non_root.intercepts->virtual_tpr_read(cpu, value)) {
        return value;
    }
    return read_cr8(cpu);
}

u64 visible_cr0(const Vcpu& cpu) {
    return cpu.non_root.intercepts != nullptr ? cpu.non_root.intercepts->shadowed_cr0(cpu)
                                              : cpu.state.cr0;
}

// Next becomes Sync: the mode or the mappings may have changed.
Status synced(Status status) {
    return status == Status::Next ? Status::Sync : status;
}

}  // namespace

Status exec_mov_cr_to(Vcpu& cpu, const Insn& insn) {
    u64 value = read_gpr_sized(cpu, insn.rm, insn.width);
    const unsigned cr = insn.reg;
    if (cr != 0 && cr != 2 && cr != 3 && cr != 4 && cr != 8) {
        return raise(cpu, Exception::UD);
    }
    if (const Status status = require_cpl0(cpu); status != Status::Next) {
        return status;
    }
    if (cr_intercepted(cpu, insn, CrAccess::MovTo, cr, value)) {
        return Status::Switched;
    }
    switch (cr) {
    case 0: return synced(write_cr0(cpu, value));
    case 2: cpu.state.cr2 = value; return Status::Next;
    case 3: return synced(write_cr3(cpu, value));
    case 4: return synced(write_cr4(cpu, value));
    default: return synced(write_cr8_or_virtual_tpr(cpu, value));
    }
}

Status exec_mov_cr_from(Vcpu& cpu, const Insn& insn) {
    const CpuState& s = cpu.state;
    const unsigned cr = insn.reg;
    if (cr != 0 && cr != 2 && cr != 3 && cr != 4 && cr != 8) {
        return raise(cpu, Exception::UD);
    }
    if (const Status status = require_cpl0(cpu); status != Status::Next) {
        return status;
    }
    u64 value = 0;
    if (cr_intercepted(cpu, insn, CrAccess::MovFrom, cr, value)) {
        return Status::Switched;
    }
    switch (cr) {
    case 0: value = visible_cr0(cpu); break;
    case 2: value = s.cr2; break;
    case 3: value = s.cr3; break;
    case 4:
        value =
            cpu.non_root.intercepts != nullptr ? cpu.non_root.intercepts->shadowed_cr4(cpu) : s.cr4;
        break;
    default: value = read_cr8_or_virtual_tpr(cpu); break;
    }
    write_gpr_sized(cpu, insn.rm, insn.width, value);
    return Status::Next;
}

// --- machine status word -------------------------------------------------------------------------

Status exec_smsw(Vcpu& cpu, const Insn& insn) {
    if (const Status status = check_umip(cpu); status != Status::Next) {
        return status;
    }
    const u64 value = visible_cr0(cpu);
    if (insn.mem()) {
        return store(cpu, insn, static_cast<u16>(value));
    }
    write_gpr_sized(cpu, insn.rm, insn.width, value);
    return Status::Next;
}

// LMSW loads PE, MP, EM and TS; it can set PE but not clear it. The hook sees, and may change, the
// source operand.
Status exec_lmsw(Vcpu& cpu, const Insn& insn) {
    if (const Status status = require_cpl0(cpu); status != Status::Next) {
        return status;
    }
    u16 source = 0;
    if (const Status status = read_e(cpu, insn, source); status != Status::Next) {
        return status;
    }
    u64 value = source;
    if (cr_intercepted(cpu, insn, CrAccess::Lmsw, 0, value)) {
        return Status::Switched;
    }
    constexpr u64 kLoaded = cr0::kPe | cr0::kMp | cr0::kEm | cr0::kTs;
    const u64 kept_pe = cpu.state.cr0 & cr0::kPe;
    return synced(write_cr0(cpu, (cpu.state.cr0 & ~kLoaded) | (value & kLoaded) | kept_pe));
}

// The hook sees, and may change, the new CR0.
Status exec_clts(Vcpu& cpu, const Insn& insn) {
    if (const Status status = require_cpl0(cpu); status != Status::Next) {
        return status;
    }
    u64 value = cpu.state.cr0 & ~cr0::kTs;
    if (cr_intercepted(cpu, insn, CrAccess::Clts, 0, value)) {
        return Status::Switched;
    }
    cpu.state.cr0 = value;
    mode_changed(cpu);
    return Status::Sync;
}

// --- debug registers -----------------------------------------------------------------------------

namespace {

// DR4 and DR5 stand for DR6 and DR7 unless CR4.DE makes them #UD; DR7.GD makes any access a #DB
// fault.
Status check_dr_access(Vcpu& cpu, const Insn& insn, unsigned& dr) {
    dr = insn.reg;
    if (dr > 7) {
        return raise(cpu, Exception::UD);
    }
    if (cpu.non_root.intercepts != nullptr && cpu.non_root.intercepts->dr_access(cpu, insn)) {
        return Status::Switched;
    }
    const bool alias = dr == 4 || dr == 5;
    if (alias && (cpu.state.cr4 & cr4::kDe) != 0) {
        return raise(cpu, Exception::UD);
    }
    if (const Status status = require_cpl0(cpu); status != Status::Next) {
        return status;
    }
    if ((cpu.state.dr7 & dr7::kGd) != 0) {
        (void)raise(cpu, Exception::DB);
        cpu.fault.payload = dr6::kBd;
        return Status::Fault;
    }
    dr += alias ? 2 : 0;
    return Status::Next;
}

constexpr u64 kDr6Writable = kDebugConditions;
constexpr u64 kDr7Writable = 0xFFFF'23FF;

}  // namespace

Status exec_mov_dr_to(Vcpu& cpu, const Insn& insn) {
    CpuState& s = cpu.state;
    unsigned dr = 0;
    if (const Status status = check_dr_access(cpu, insn, dr); status != Status::Next) {
        return status;
    }
    const u64 value = read_gpr_sized(cpu, insn.rm, insn.width);
    if (dr >= 6 && (value >> 32) != 0) {
        return raise(cpu, Exception::GP, 0);
    }
    if (dr == 6) {
        s.dr6 = (value & kDr6Writable) | dr6::kReset;
        return Status::Next;
    }
    if (dr == 7) {
        s.dr7 = (value & kDr7Writable) | dr7::kReset;
    } else {
        s.dr[dr] = value;
    }
    debug_registers_changed(cpu);
    return Status::Sync;
}

Status exec_mov_dr_from(Vcpu& cpu, const Insn& insn) {
    const CpuState& s = cpu.state;
    unsigned dr = 0;
    if (const Status status = check_dr_access(cpu, insn, dr); status != Status::Next) {
        return status;
    }
    const u64 value = dr == 6 ? s.dr6 : dr == 7 ? s.dr7 : s.dr[dr];
    write_gpr_sized(cpu, insn.rm, insn.width, value);
    return Status::Next;
}

}  // namespace droste
