// Instructions that raise events: INT n, INT3, INTO, INT1, BOUND.
// SDM Vol. 2A, "INT n/INTO/INT3/INT1—Call to Interrupt Procedure", "BOUND—Check Array Index Against
// Bounds".
//
// What an INT may do in the present mode (gate DPL, IOPL and the redirection bitmap of virtual-8086
// mode, VM exits) is decided by deliver(), which raises #GP at this instruction where it may not.

#include "cpu/x86/exec/exec_table.hpp"
#include "cpu/x86/exec/operands.hpp"
#include "cpu/x86/system/deliver.hpp"

#include <type_traits>
#include <utility>

namespace droste {
namespace {

Status
software_event(Vcpu& cpu, const Insn& insn, EventType type, u8 vector, u64 debug_conditions = 0) {
    Event event;
    event.type = type;
    event.vector = vector;
    event.payload = debug_conditions;
    event.insn_length = insn.length;
    cpu.step.fault_insn_length = insn.length;
    deliver(cpu, event);
    return Status::Switched;
}

Status exec_int(Vcpu& cpu, const Insn& insn) {
    return software_event(cpu, insn, EventType::SoftwareInterrupt, static_cast<u8>(insn.imm));
}
Status exec_int3(Vcpu& cpu, const Insn& insn) {
    return software_event(cpu, insn, EventType::SoftwareException, static_cast<u8>(Exception::BP));
}
Status exec_into(Vcpu& cpu, const Insn& insn) {
    if (!cpu.state.flags.of()) {
        return Status::Next;
    }
    return software_event(cpu, insn, EventType::SoftwareException, static_cast<u8>(Exception::OF));
}
// A trap of its own type: no gate DPL check. It is the debug exception, so what MOV SS held back
// comes with it and not once more behind it.
Status exec_int1(Vcpu& cpu, const Insn& insn) {
    const u64 held_back = std::exchange(cpu.state.pending_debug, 0);
    return software_event(cpu, insn, EventType::PrivilegedSoftwareException,
                          static_cast<u8>(Exception::DB), held_back);
}

// BOUND: #BR if the signed index is below the lower bound or above the upper one, which follows it
// in memory.
struct Bound {
    template <typename T>
    static Status exec(Vcpu& cpu, const Insn& insn) {
        using S = std::make_signed_t<T>;
        const auto seg = static_cast<SegReg>(insn.seg);
        const u64 offset = effective_offset(cpu, insn);
        S bounds[2] = {};
        for (unsigned i = 0; i < 2; ++i) {
            LinearAddr linear = 0;
            const u64 at = (offset + i * sizeof(T)) & size_mask(insn.addrsize);
            Status status = linear_address(cpu, seg, at, sizeof(T), false, linear);
            if (status == Status::Next) {
                status = load_linear(cpu, linear, bounds[i], seg);
            }
            if (status != Status::Next) {
                return status;
            }
        }
        const auto index = static_cast<S>(read_gpr<T>(cpu, insn.reg));
        return index < bounds[0] || index > bounds[1] ? raise(cpu, Exception::BR) : Status::Next;
    }
};

ExecFn select_bound(Vcpu& /*cpu*/, Insn& insn) {
    return insn.opsize == 2 ? &Bound::exec<u16> : &Bound::exec<u32>;
}

constexpr auto kRows = std::to_array<ExecRow>({
    {Op::INT, always<exec_int>},
    {Op::INT3, always<exec_int3>},
    {Op::INTO, always<exec_into>},
    {Op::INT1, always<exec_int1>},
    {Op::BOUND, select_bound},
});

}  // namespace

std::span<const ExecRow> exec_rows_interrupt() {
    return kRows;
}

}  // namespace droste
