// INS and OUTS. SDM Vol. 2, "INS/INSB/INSW/INSD—Input from Port to String",
// "OUTS/OUTSB/OUTSW/OUTSD—Output String to Port".
//
// A port access cannot be taken back, so the memory operand is checked first: INS probes its
// destination before it reads the port. The order of checks is I/O permission, VM exit, memory (SDM
// Vol. 3C, "Relative Priority of Faults and VM Exits").

#include "core/guest_memory.hpp"
#include "cpu/x86/exec/exec_table.hpp"
#include "cpu/x86/exec/string_ops.hpp"
#include "cpu/x86/interp/exec_io.hpp"
#include "cpu/x86/seams/intercept.hpp"

namespace droste {
namespace {

// The linear address a VM exit reports: base plus offset, whatever the segment checks would say.
LinearAddr reported_address(const Vcpu& cpu, const Insn& insn, SegReg seg, Gpr reg) {
    const u64 offset = string_offset(cpu, insn, reg);
    if (cpu.mode.long_mode64) {
        return seg >= FS ? offset + cpu.state.seg[seg].base : offset;
    }
    return static_cast<u32>(offset + cpu.state.seg[seg].base);
}

template <typename T>
Status input_one(Vcpu& cpu, const Insn& insn, u16 port) {
    LinearAddr linear = 0;
    Status status = linear_address(cpu, ES, string_offset(cpu, insn, RDI), sizeof(T), true, linear);
    if (status == Status::Next) {
        status = probe_store(cpu, linear, sizeof(T), ES);
    }
    if (status != Status::Next) {
        return status;
    }
    const T value = static_cast<T>(port_read(cpu, port, sizeof(T)));
    status = store_linear(cpu, linear, value, ES);
    if (status == Status::Next) {
        advance<T>(cpu, insn, RDI, 1);
    }
    return status;
}

template <typename T>
Status output_one(Vcpu& cpu, const Insn& insn, u16 port) {
    T value = 0;
    if (const Status status = load_source<T>(cpu, insn, value); status != Status::Next) {
        return status;
    }
    port_write(cpu, port, sizeof(T), value);
    advance<T>(cpu, insn, RSI, 1);
    return Status::Next;
}

// Between two elements: is there anything for the engine to look at? The device may have raised an
// interrupt or taken long.
bool pauses(const Vcpu& cpu) {
    return cpu.retired() + 1 >= cpu.icount_limit || cpu.leave != 0 ||
           (cpu.attention.load(std::memory_order_relaxed) & cpu.attention_mask) != 0;
}

template <Op O, typename T>
Status exec_string_io(Vcpu& cpu, const Insn& insn) {
    const u16 port = read_gpr<u16>(cpu, RDX);
    const bool repeated = repeats(insn);
    const u64 count = repeated ? string_offset(cpu, insn, RCX) : 1;
    if (const Status status = io_permitted(cpu, port, sizeof(T)); status != Status::Next) {
        return status;  // even if there is nothing to repeat: docs/x86/undefined.md
    }
    if (count == 0) {
        return Status::Next;
    }
    constexpr bool kInput = O == Op::INS;
    if (cpu.non_root.intercepts != nullptr) {
        const auto seg = kInput ? ES : static_cast<SegReg>(insn.seg);
        const LinearAddr linear = reported_address(cpu, insn, seg, kInput ? RDI : RSI);
        if (cpu.non_root.intercepts->io(cpu, insn, port, sizeof(T),
                                        kInput ? IoDirection::In : IoDirection::Out, linear)) {
            return Status::Switched;
        }
    }
    u64 done = 0;
    Status status = Status::Next;
    while (true) {
        status = kInput ? input_one<T>(cpu, insn, port) : output_one<T>(cpu, insn, port);
        done += status == Status::Next ? 1 : 0;
        if (status != Status::Next || done == count || pauses(cpu)) {
            break;
        }
        ++cpu.icount;  // an element is an instruction of its own
    }
    if (repeated && done != 0) {
        write_gpr_masked(cpu, RCX, insn.addrsize, count - done);
    }
    if (status != Status::Next) {
        return status;
    }
    cpu.step.repeating_at = done == count ? kNoTag : cpu.state.rip();
    return done == count ? Status::Sync : Status::Branch;
}

template <Op O>
ExecFn select_string_io(Vcpu& /*cpu*/, Insn& insn) {
    switch (io_width(insn)) {
    case 1: return exec_string_io<O, u8>;
    case 2: return exec_string_io<O, u16>;
    default: return exec_string_io<O, u32>;
    }
}

constexpr auto kRows = std::to_array<ExecRow>({
    {Op::INS, select_string_io<Op::INS>},
    {Op::OUTS, select_string_io<Op::OUTS>},
});

}  // namespace

std::span<const ExecRow> exec_rows_string_io() {
    return kRows;
}

}  // namespace droste
