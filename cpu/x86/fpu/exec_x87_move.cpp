// x87 instructions that move, classify or re-sign whole registers: no rounding, so no native unit;
// only stack faults.

#include "cpu/x86/fpu/exec_x87.hpp"

namespace droste {

bool stack_fault(X87State& fpu, bool overflow) {
    fpu.status = static_cast<u16>(fpu.status | x87::kIe | x87::kSf);
    x87::set_c1(fpu, overflow);
    x87::update_summary(fpu);
    return (fpu.control & x87::kIe) != 0;
}

void x87_push(X87State& fpu, const X87State::Register& value) {
    if (!x87::empty(fpu, 7)) [[unlikely]] {
        if (stack_fault(fpu, true)) {
            x87::push(fpu) = kRealIndefinite;
        }
        return;
    }
    x87::set_c1(fpu, false);
    x87::push(fpu) = value;
}

namespace {

using Register = X87State::Register;

// Handlers that cannot fault after x87_ready(): `operate` changes the state, pointers are noted
// afterwards.
template <typename Operate>
Status on_stack(Vcpu& cpu, const Insn& insn, Operate&& operate) {
    if (const Status status = x87_ready(cpu); status != Status::Next) [[unlikely]] {
        return status;
    }
    operate(cpu.state.x87);
    x87::note_pointers(cpu, insn);
    return Status::Next;
}

// FLD ST(i)
Status exec_fld_register(Vcpu& cpu, const Insn& insn) {
    return on_stack(cpu, insn, [&](X87State& fpu) {
        const unsigned i = insn.modrm & 7U;
        if (x87::empty(fpu, i)) [[unlikely]] {
            if (stack_fault(fpu, false)) {
                x87::push(fpu) = kRealIndefinite;
            }
            return;
        }
        x87_push(fpu, Register{x87::st(fpu, i)});
    });
}

// The ten bytes of an extended real in memory.
using Extended = std::array<u8, 10>;

Status exec_fld_m80(Vcpu& cpu, const Insn& insn) {
    if (const Status status = x87_ready(cpu); status != Status::Next) [[unlikely]] {
        return status;
    }
    Extended bytes;
    if (const Status status = load(cpu, insn, bytes); status != Status::Next) [[unlikely]] {
        return status;
    }
    Register value;
    std::memcpy(&value.significand, bytes.data(), 8);
    std::memcpy(&value.sign_exponent, bytes.data() + 8, 2);
    x87_push(cpu.state.x87, value);
    x87::note_pointers(cpu, insn);
    return Status::Next;
}

// FSTP m80fp
Status exec_fstp_m80(Vcpu& cpu, const Insn& insn) {
    if (const Status status = x87_ready(cpu); status != Status::Next) [[unlikely]] {
        return status;
    }
    X87State& fpu = cpu.state.x87;
    const bool underflow = x87::empty(fpu, 0);
    if (!underflow || (fpu.control & x87::kIe) != 0) {
        const Register& value = underflow ? kRealIndefinite : x87::st(fpu, 0);
        Extended bytes;
        std::memcpy(bytes.data(), &value.significand, 8);
        std::memcpy(bytes.data() + 8, &value.sign_exponent, 2);
        if (const Status status = store_tbyte(cpu, insn, bytes.data()); status != Status::Next)
            [[unlikely]] {
            return status;
        }
    }
    x87::set_c1(fpu, false);
    if (!underflow || stack_fault(fpu, false)) {
        x87::pop(fpu);
    }
    x87::note_pointers(cpu, insn);
    return Status::Next;
}

// FST ST(i), FSTP ST(i)
template <bool Pop>
Status exec_fst_register(Vcpu& cpu, const Insn& insn) {
    return on_stack(cpu, insn, [&](X87State& fpu) {
        const unsigned i = insn.modrm & 7U;
        x87::set_c1(fpu, false);
        const bool underflow = x87::empty(fpu, 0);
        if (underflow && !stack_fault(fpu, false)) [[unlikely]] {
            return;
        }
        x87::st(fpu, i) = underflow ? kRealIndefinite : x87::st(fpu, 0);
        x87::set_valid(fpu, i);
        if (Pop) {
            x87::pop(fpu);
        }
    });
}

// D9 D8+i, not in the manual: FSTP ST(i) that raises no stack underflow; with ST(0) empty it only
// pops.
Status exec_fstp_no_check(Vcpu& cpu, const Insn& insn) {
    return on_stack(cpu, insn, [&](X87State& fpu) {
        const unsigned i = insn.modrm & 7U;
        x87::set_c1(fpu, false);
        if (!x87::empty(fpu, 0)) {
            x87::st(fpu, i) = x87::st(fpu, 0);
            x87::set_valid(fpu, i);
        }
        x87::pop(fpu);
    });
}

// An empty register a masked stack underflow makes readable.
void fill_if_empty(X87State& fpu, unsigned i) {
    if (x87::empty(fpu, i)) {
        x87::st(fpu, i) = kRealIndefinite;
        x87::set_valid(fpu, i);
    }
}

Status exec_fxch(Vcpu& cpu, const Insn& insn) {
    return on_stack(cpu, insn, [&](X87State& fpu) {
        const unsigned i = insn.modrm & 7U;
        x87::set_c1(fpu, false);
        if (x87::empty(fpu, 0) || x87::empty(fpu, i)) [[unlikely]] {
            if (!stack_fault(fpu, false)) {
                return;
            }
            fill_if_empty(fpu, 0);
            fill_if_empty(fpu, i);
        }
        std::swap(x87::st(fpu, 0), x87::st(fpu, i));
    });
}

// FCMOVcc: opcode DA or DB, condition in ModRM.reg: B, E, BE, U and their negations. C1 is kept
// unless the stack underflows.
bool fcmov_condition(const LazyFlags& flags, const Insn& insn) {
    bool met = false;
    switch ((insn.modrm >> 3) & 3) {
    case 0: met = flags.cf(); break;
    case 1: met = flags.zf(); break;
    case 2: met = flags.cf() || flags.zf(); break;
    default: met = flags.pf(); break;
    }
    return met != (insn.opcode == 0xDB);
}

Status exec_fcmov(Vcpu& cpu, const Insn& insn) {
    return on_stack(cpu, insn, [&](X87State& fpu) {
        const unsigned i = insn.modrm & 7U;
        if (x87::empty(fpu, 0) || x87::empty(fpu, i)) [[unlikely]] {
            if (stack_fault(fpu, false)) {
                x87::st(fpu, 0) = kRealIndefinite;
                x87::set_valid(fpu, 0);
            }
            return;
        }
        if (fcmov_condition(cpu.state.flags, insn)) {
            x87::st(fpu, 0) = x87::st(fpu, i);
        }
    });
}

// FCHS, FABS
template <bool Absolute>
Status exec_sign(Vcpu& cpu, const Insn& insn) {
    return on_stack(cpu, insn, [&](X87State& fpu) {
        x87::set_c1(fpu, false);
        Register& value = x87::st(fpu, 0);
        if (x87::empty(fpu, 0)) [[unlikely]] {
            if (stack_fault(fpu, false)) {
                value = kRealIndefinite;
                x87::set_valid(fpu, 0);
            }
            return;
        }
        constexpr u32 kSign = 0x8000;
        value.sign_exponent =
            static_cast<u16>(Absolute ? value.sign_exponent & ~kSign : value.sign_exponent ^ kSign);
    });
}

// FXAM: SDM Vol. 2A, "FXAM—Examine Floating-Point". C1 := sign, also of an empty register.
u16 classify(const X87State& fpu) {
    using namespace x87;
    const Register& value = fpu.st[physical(fpu, 0)];
    const unsigned exponent = value.sign_exponent & 0x7FFFU;
    const bool integer_bit = (value.significand >> 63) != 0;
    if (empty(fpu, 0)) {
        return kC3 | kC0;
    }
    if (exponent == 0) {
        return value.significand == 0 ? kC3 : kC3 | kC2;  // zero; denormal and pseudo-denormal
    }
    if (!integer_bit) {
        return 0;  // unsupported
    }
    if (exponent == 0x7FFF) {
        return (value.significand << 1) == 0 ? kC2 | kC0 : kC0;  // infinity, NaN
    }
    return kC2;
}

Status exec_fxam(Vcpu& cpu, const Insn& insn) {
    return on_stack(cpu, insn, [&](X87State& fpu) {
        const bool sign = (x87::st(fpu, 0).sign_exponent & 0x8000) != 0;
        fpu.status = static_cast<u16>((fpu.status & ~u32{x87::kConditions}) | classify(fpu) |
                                      (sign ? x87::kC1 : 0));
    });
}

Status exec_fincstp(Vcpu& cpu, const Insn& insn) {
    return on_stack(cpu, insn, [](X87State& fpu) {
        x87::set_c1(fpu, false);
        x87::set_top(fpu, x87::top(fpu) + 1);
    });
}
Status exec_fdecstp(Vcpu& cpu, const Insn& insn) {
    return on_stack(cpu, insn, [](X87State& fpu) {
        x87::set_c1(fpu, false);
        x87::set_top(fpu, x87::top(fpu) - 1);
    });
}
Status exec_ffree(Vcpu& cpu, const Insn& insn) {
    return on_stack(cpu, insn, [&](X87State& fpu) {
        x87::set_c1(fpu, false);
        x87::set_empty(fpu, insn.modrm & 7U);
    });
}
// FFREEP is FFREE, then a pop.
Status exec_ffreep(Vcpu& cpu, const Insn& insn) {
    return on_stack(cpu, insn, [&](X87State& fpu) {
        x87::set_c1(fpu, false);
        x87::set_empty(fpu, insn.modrm & 7U);
        x87::pop(fpu);
    });
}
Status exec_fnop(Vcpu& cpu, const Insn& insn) {
    return on_stack(cpu, insn, [](X87State&) {});
}

}  // namespace

ExecFn select_fld(Vcpu& cpu, Insn& insn) {
    if (!insn.mem()) {
        return exec_fld_register;
    }
    return insn.mem_bytes == 10 ? exec_fld_m80 : select_x87_arith(cpu, insn);
}
ExecFn select_fst(Vcpu& cpu, Insn& insn) {
    if (!insn.mem()) {
        if (insn.opcode == 0xD9) {
            return exec_fstp_no_check;
        }
        return insn.op == Op::FSTP ? exec_fst_register<true> : exec_fst_register<false>;
    }
    return insn.mem_bytes == 10 ? exec_fstp_m80 : select_x87_arith(cpu, insn);
}
ExecFn select_fxch(Vcpu& /*cpu*/, Insn& /*insn*/) {
    return exec_fxch;
}
ExecFn select_fcmov(Vcpu& /*cpu*/, Insn& /*insn*/) {
    return exec_fcmov;
}
ExecFn select_sign(Vcpu& /*cpu*/, Insn& insn) {
    return insn.op == Op::FABS ? exec_sign<true> : exec_sign<false>;
}
ExecFn select_fxam(Vcpu& /*cpu*/, Insn& /*insn*/) {
    return exec_fxam;
}
ExecFn select_stack(Vcpu& /*cpu*/, Insn& insn) {
    switch (insn.op) {
    case Op::FINCSTP: return exec_fincstp;
    case Op::FDECSTP: return exec_fdecstp;
    case Op::FFREE: return exec_ffree;
    case Op::FFREEP: return exec_ffreep;
    default: return exec_fnop;
    }
}

}  // namespace droste
