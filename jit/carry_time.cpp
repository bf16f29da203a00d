// RDTSC and RDTSCP: virtual time is a line over the count of instructions (core/clock.hpp), so the
// code reads it off where it stands. What VMX may intercept or shift is the interpreter's.

#include "core/clock.hpp"
#include "jit/layout.hpp"
#include "jit/system_state.hpp"

namespace droste::jit {

namespace {

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Winvalid-offsetof"
Mem of_line(u8 line, std::size_t offset) {
    return {.base = line, .disp = static_cast<i32>(offset)};
}

// EDX:EAX := Clock::ns_at(instructions retired before this one) + CpuState::tsc_offset.
bool rdtsc(Assembly& a) {
    Emitter& e = a.emitter();
    a.clobber_status();
    if (!at_level_0(a)) {
        test(e, flag_byte(layout::kCr4, cr4::kTsd));
        a.interpret_if(e.jcc(cc::kNE));
    }
    e.alu_imm(7, at_rsp(layout::kIntercepts), 0);
    a.interpret_if(e.jcc(cc::kNE));
    e.load(kT1, at_rsp(layout::kClockLine));
    e.rr({.opcode = 0x85, .w = true}, kT1, kT1);  // test
    a.interpret_if(e.jcc(cc::kE));
    e.load(kRax, at_rsp(layout::kEnd));
    e.rr({.opcode = 0x2B, .w = true}, kRax, kBudget);  // sub
    const auto left = static_cast<i32>(a.count() - a.index());
    e.lea(kRax, {.base = kRax, .disp = -left});
    e.rm({.opcode = 0x2B, .w = true}, kRax, of_line(kT1, offsetof(Clock::Line, base_count)));
    e.rm({.opcode = 0xAF, .map = OpcodeMap::Map0F, .w = true}, kRax,
         of_line(kT1, offsetof(Clock::Line, rate)));  // imul
    e.xr({.opcode = 0xC1, .w = true}, 5, kRax);       // shr
    e.byte(Clock::kRateShift);
    e.rm({.opcode = 0x03, .w = true}, kRax, of_line(kT1, offsetof(Clock::Line, base_ns)));
    e.rm({.opcode = 0x03, .w = true}, kRax, at_rsp(layout::kTscOffset));
    e.mov(kRdx, kRax);
    e.xr({.opcode = 0xC1, .w = true}, 5, kRdx);  // shr
    e.byte(32);
    e.mov32(kRax, kRax);
    return true;
}
#pragma GCC diagnostic pop

}  // namespace

bool carry_over_time(Assembly& a) {
    switch (a.insn().op) {
    case Op::RDTSC: return rdtsc(a);
    case Op::RDTSCP:
        if (!rdtsc(a)) {
            return false;
        }
        a.emitter().load32(kRcx, at_rsp(layout::kTscAux));
        return true;
    default: return false;
    }
}

}  // namespace droste::jit
