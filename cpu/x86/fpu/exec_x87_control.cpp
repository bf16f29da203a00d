// x87 control instructions: none of them moves the instruction and data pointers.

#include "cpu/x86/fpu/exec_x87.hpp"

namespace droste {
namespace {

// FNINIT: "Initialize Floating-Point Unit". Does not wait.
Status exec_fninit(Vcpu& cpu, const Insn& /*insn*/) {
    if (const Status status = require_x87(cpu); status != Status::Next) {
        return status;
    }
    x87_initialize(cpu.state.x87);
    x87::update_error_line(cpu);
    return Status::Next;
}

// FNCLEX: "Clear Exceptions". Does not wait.
Status exec_fnclex(Vcpu& cpu, const Insn& /*insn*/) {
    if (const Status status = require_x87(cpu); status != Status::Next) {
        return status;
    }
    constexpr u32 kCleared = x87::kExceptions | x87::kSf | x87::kEs | x87::kBusy;
    cpu.state.x87.status = static_cast<u16>(cpu.state.x87.status & ~kCleared);
    x87::update_error_line(cpu);
    return Status::Next;
}

// FLDCW: may make an exception pending, which the next waiting instruction raises.
Status exec_fldcw(Vcpu& cpu, const Insn& insn) {
    if (const Status status = x87_ready(cpu); status != Status::Next) {
        return status;
    }
    u16 value = 0;
    if (const Status status = load(cpu, insn, value); status != Status::Next) {
        return status;
    }
    cpu.state.x87.control = x87::loadable_control(value);
    x87::update_error_line(cpu);
    return Status::Next;
}

Status exec_fnstcw(Vcpu& cpu, const Insn& insn) {
    const Status status = require_x87(cpu);
    return status == Status::Next ? store(cpu, insn, cpu.state.x87.control) : status;
}

// FNSTSW m2byte, FNSTSW AX
Status exec_fnstsw(Vcpu& cpu, const Insn& insn) {
    const Status status = require_x87(cpu);
    return status == Status::Next ? write_e<u16>(cpu, insn, cpu.state.x87.status) : status;
}

// FNENI, FNDISI (8087) and FNSETPM (80287).
Status exec_obsolete(Vcpu& cpu, const Insn& /*insn*/) {
    return require_x87(cpu);
}

}  // namespace

ExecFn select_x87_control(Vcpu& /*cpu*/, Insn& insn) {
    switch (insn.op) {
    case Op::FNINIT: return exec_fninit;
    case Op::FNCLEX: return exec_fnclex;
    case Op::FLDCW: return exec_fldcw;
    case Op::FNSTCW: return exec_fnstcw;
    case Op::FNSTSW: return exec_fnstsw;
    default: return exec_obsolete;
    }
}

}  // namespace droste
