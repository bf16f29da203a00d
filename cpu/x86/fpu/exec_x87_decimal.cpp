// FBLD. The native unit could do it, but the manual leaves open what digits above 9 give. FBSTP is
// defined and runs on the native unit (exec_x87_arith.cpp).

#include "cpu/x86/fpu/exec_x87.hpp"
#include "cpu/x86/fpu/x87_number.hpp"

#include <array>

namespace droste {
namespace {

// The sum of digit * 10^position, digits above 9 at their face value; the sign alone of byte 9 counts.
X87State::Register from_packed_decimal(const std::array<u8, 10>& bytes) {
    u64 magnitude = 0;
    for (unsigned i = 9; i-- > 0;) {
        magnitude = magnitude * 100 + (u64{bytes[i]} >> 4) * 10 + (bytes[i] & 0xFU);
    }
    const bool negative = (bytes[9] & 0x80) != 0;
    if (magnitude == 0) {
        return x87::zero(negative);
    }
    const wide::Number number = wide::normalized(negative, 127, magnitude);
    return x87::round_to_register(number, true, x87::kInitialControl).value;
}

// FBLD m80bcd: pushes the decimal integer.
Status exec_fbld(Vcpu& cpu, const Insn& insn) {
    if (const Status status = x87_ready(cpu); status != Status::Next) [[unlikely]] {
        return status;
    }
    std::array<u8, 10> bytes{};
    if (const Status status = load(cpu, insn, bytes); status != Status::Next) [[unlikely]] {
        return status;
    }
    x87_push(cpu.state.x87, from_packed_decimal(bytes));
    x87::note_pointers(cpu, insn);
    return Status::Next;
}

}  // namespace

ExecFn select_fbld(Vcpu& /*cpu*/, Insn& /*insn*/) {
    return exec_fbld;
}

}  // namespace droste
