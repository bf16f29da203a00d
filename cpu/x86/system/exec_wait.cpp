// Instructions that wait: HLT, MONITOR/MWAIT, UMONITOR/UMWAIT/TPAUSE.
//
// The manual lets MWAIT and UMWAIT end at any time for reasons of the implementation. They end at
// once here, and the vCPU yields to the others: nothing has to watch stores, and no wake-up can be
// missed. docs/x86/events.md.

#include "cpu/x86/model/msr.hpp"
#include "cpu/x86/system/exec_system.hpp"

namespace droste {

Status exec_hlt(Vcpu& cpu, const Insn& insn) {
    CpuState& s = cpu.state;
    if (const Status status = require_cpl0(cpu); status != Status::Next) {
        return status;
    }
    if (intercepted(cpu, insn, Interceptable::HLT)) {
        return Status::Switched;
    }
    s.rip() = (s.rip() + insn.length) & cpu.mode.rip_mask;
    s.interruptibility &= ~(blocking::kSti | blocking::kMovSs);
    s.activity = Activity::Hlt;
    ++cpu.counters.halts;
    update_attention(cpu);
    return Status::Switched;
}

namespace {

// The address MONITOR and UMONITOR take is checked as a load of one byte.
Status probe_monitored_address(Vcpu& cpu, const Insn& insn, u64 offset) {
    const auto seg = static_cast<SegReg>(insn.seg);
    LinearAddr linear = 0;
    if (const Status status = linear_address(cpu, seg, offset, 1, false, linear);
        status != Status::Next) {
        return status;
    }
    return probe_load(cpu, linear, 1, seg);
}

u64 truncate_address(const Insn& insn, u64 value) {
    return insn.addrsize == 8   ? value
           : insn.addrsize == 4 ? static_cast<u32>(value)
                                : static_cast<u16>(value);
}

}  // namespace

// MONITOR: SDM Vol. 2B, "MONITOR—Set Up Monitor Address". #UD above level 0 and with
// IA32_MISC_ENABLE[18] = 0.
Status exec_monitor(Vcpu& cpu, const Insn& insn) {
    if (cpu.mode.cpl != 0 || !misc_enable_bit(cpu, kMiscEnableMonitor)) {
        return raise(cpu, Exception::UD);
    }
    if (intercepted(cpu, insn, Interceptable::MONITOR)) {
        return Status::Switched;
    }
    if (static_cast<u32>(cpu.state.gpr[RCX]) != 0) {
        return raise(cpu, Exception::GP, 0);
    }
    return probe_monitored_address(cpu, insn, truncate_address(insn, cpu.state.gpr[RAX]));
}

// MWAIT: ECX[0] = treat masked interrupts as break events; other bits are reserved.
Status exec_mwait(Vcpu& cpu, const Insn& insn) {
    if (cpu.mode.cpl != 0 || !misc_enable_bit(cpu, kMiscEnableMonitor)) {
        return raise(cpu, Exception::UD);
    }
    if (intercepted(cpu, insn, Interceptable::MWAIT)) {
        return Status::Switched;
    }
    if ((static_cast<u32>(cpu.state.gpr[RCX]) & ~1U) != 0) {
        return raise(cpu, Exception::GP, 0);
    }
    cpu.yield_requested = true;
    return Status::Sync;
}

// UMONITOR r: the address is in the register, of the address size.
Status exec_umonitor(Vcpu& cpu, const Insn& insn) {
    if (cpu.non_root.intercepts != nullptr &&
        !cpu.non_root.intercepts->instruction_enabled(cpu, Interceptable::UMWAIT)) {
        return raise(cpu, Exception::UD);
    }
    return probe_monitored_address(cpu, insn, truncate_address(insn, cpu.state.gpr[insn.rm]));
}

namespace {

// UMWAIT and TPAUSE. CF reports that the operating system's time limit ended the wait; ours never
// does.
Status wait_in_user_mode(Vcpu& cpu, const Insn& insn, Interceptable kind) {
    if (cpu.non_root.intercepts != nullptr &&
        !cpu.non_root.intercepts->instruction_enabled(cpu, kind)) {
        return raise(cpu, Exception::UD);
    }
    const bool time_stamp_disabled = cpu.mode.cpl != 0 && (cpu.state.cr4 & cr4::kTsd) != 0;
    if (time_stamp_disabled) {
        return raise(cpu, Exception::GP, 0);
    }
    if (intercepted(cpu, insn, kind)) {
        return Status::Switched;
    }
    if ((static_cast<u32>(cpu.state.gpr[insn.rm]) & ~1U) != 0) {
        return raise(cpu, Exception::GP, 0);
    }
    cpu.state.flags = LazyFlags::from_status(0);
    cpu.yield_requested = true;
    return Status::Sync;
}

}  // namespace

Status exec_umwait(Vcpu& cpu, const Insn& insn) {
    return wait_in_user_mode(cpu, insn, Interceptable::UMWAIT);
}

Status exec_tpause(Vcpu& cpu, const Insn& insn) {
    return wait_in_user_mode(cpu, insn, Interceptable::TPAUSE);
}

}  // namespace droste
