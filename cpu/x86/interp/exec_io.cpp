// IN and OUT. SDM Vol. 2, "IN—Input from Port", "OUT—Output to Port"; Vol. 1, "Input/Output".

#include "cpu/x86/interp/exec_io.hpp"

#include "core/bits.hpp"
#include "core/bus.hpp"
#include "cpu/x86/exec/exec_table.hpp"
#include "cpu/x86/exec/operands.hpp"
#include "cpu/x86/mmu/paging.hpp"
#include "cpu/x86/seams/intercept.hpp"
#include "cpu/x86/system/debug_traps.hpp"
#include "cpu/x86/system/protection.hpp"

namespace droste {
namespace {

constexpr unsigned kTssIoMapBase = 0x66;  // SDM Vol. 3A, Figure "32-Bit Task-State Segment (TSS)"

// SDM Vol. 1, "I/O Permission Bit Map": every bit of the ports accessed must be 0. "The processor
// reads two bytes from the I/O permission bit map for every access to an I/O port", both of which
// must lie within the TSS limit.
Status check_io_bitmap(Vcpu& cpu, u16 port, unsigned bytes) {
    const Segment& tr = cpu.state.tr;
    const bool tss32 = !tr.unusable() && tr.present() && (tr.type() & 8) != 0;
    if (!tss32 || tr.limit < kTssIoMapBase + 1) {
        return raise(cpu, Exception::GP, 0);
    }
    const auto tss_address = [&](u64 offset) { return system_linear(cpu, tr.base + offset); };
    u16 base = 0;
    if (const Status status = load_system(cpu, tss_address(kTssIoMapBase), base);
        status != Status::Next) {
        return status;
    }
    const u64 offset = u64{base} + port / 8U;
    if (offset + 1 > tr.limit) {
        return raise(cpu, Exception::GP, 0);
    }
    u16 map = 0;
    if (const Status status = load_system(cpu, tss_address(offset), map); status != Status::Next) {
        return status;
    }
    return bits(map, port % 8U, port % 8U + bytes - 1) == 0 ? Status::Next
                                                            : raise(cpu, Exception::GP, 0);
}

// E4-E7: the port is the immediate byte; EC-EF: DX.
inline u16 port_of(const Vcpu& cpu, const Insn& insn) {
    return (insn.opcode & 8) != 0 ? read_gpr<u16>(cpu, RDX) : static_cast<u8>(insn.imm);
}

// Permission and interception, in this order. SDM Vol. 3C, "Relative Priority of Faults and VM
// Exits".
inline Status admit(Vcpu& cpu, const Insn& insn, u16 port, unsigned bytes, IoDirection direction) {
    if (const Status status = io_permitted(cpu, port, bytes); status != Status::Next) {
        return status;
    }
    if (cpu.non_root.intercepts != nullptr &&
        cpu.non_root.intercepts->io(cpu, insn, port, bytes, direction, 0)) {
        return Status::Switched;
    }
    return Status::Next;
}

template <typename T>
Status exec_in(Vcpu& cpu, const Insn& insn) {
    const u16 port = port_of(cpu, insn);
    if (const Status status = admit(cpu, insn, port, sizeof(T), IoDirection::In);
        status != Status::Next) {
        return status;
    }
    write_gpr<T>(cpu, RAX, static_cast<T>(port_read(cpu, port, sizeof(T))));
    return Status::Sync;
}

template <typename T>
Status exec_out(Vcpu& cpu, const Insn& insn) {
    const u16 port = port_of(cpu, insn);
    if (const Status status = admit(cpu, insn, port, sizeof(T), IoDirection::Out);
        status != Status::Next) {
        return status;
    }
    port_write(cpu, port, sizeof(T), read_gpr<T>(cpu, RAX));
    return Status::Sync;
}

ExecFn select_in(Vcpu& /*cpu*/, Insn& insn) {
    switch (io_width(insn)) {
    case 1: return exec_in<u8>;
    case 2: return exec_in<u16>;
    default: return exec_in<u32>;
    }
}
ExecFn select_out(Vcpu& /*cpu*/, Insn& insn) {
    switch (io_width(insn)) {
    case 1: return exec_out<u8>;
    case 2: return exec_out<u16>;
    default: return exec_out<u32>;
    }
}

void note_port_access(Vcpu& cpu, u16 port, unsigned bytes) {
    ++cpu.counters.pio_accesses;
    charge_dma(cpu);
    if (io_breakpoints_armed(cpu)) {
        note_io_access(cpu, port, bytes);
        update_attention(cpu);
    }
}

constexpr auto kRows = std::to_array<ExecRow>({
    {Op::IN, select_in},
    {Op::OUT, select_out},
});

}  // namespace

Status io_permitted(Vcpu& cpu, u16 port, unsigned bytes) {
    if (!cpu.mode.protected_mode) {
        return Status::Next;
    }
    const auto iopl = static_cast<unsigned>((cpu.state.rflags_system & rflags::kIopl) >> 12);
    if (!cpu.mode.virtual8086 && cpu.mode.cpl <= iopl) {
        return Status::Next;
    }
    return check_io_bitmap(cpu, port, bytes);
}

bool io_breakpoints_armed(const Vcpu& cpu) {
    constexpr u64 kEnables = 0xFF;
    return (cpu.state.dr7 & kEnables) != 0 && (cpu.state.cr4 & cr4::kDe) != 0;
}

u32 port_read(Vcpu& cpu, u16 port, unsigned bytes) {
    const u32 value = cpu.bus.pio_read(port, bytes);
    note_port_access(cpu, port, bytes);
    return value;
}

void port_write(Vcpu& cpu, u16 port, unsigned bytes, u32 value) {
    cpu.bus.pio_write(port, bytes, value);
    note_port_access(cpu, port, bytes);
}

std::span<const ExecRow> exec_rows_io() {
    return kRows;
}

}  // namespace droste
