#pragma once
// Port accesses as IN, OUT, INS and OUTS make them.

#include "core/types.hpp"
#include "cpu/x86/decode/insn.hpp"
#include "cpu/x86/state/exception.hpp"

namespace droste {

class Vcpu;

// May the present privilege level touch [port, port + bytes)? #GP(0) by Fault if not.
// SDM Vol. 1, "Protected-Mode I/O".
Status io_permitted(Vcpu& cpu, u16 port, unsigned bytes);

// The access itself, counted and seen by I/O breakpoints; no checks. `bytes` is 1, 2 or 4.
u32 port_read(Vcpu& cpu, u16 port, unsigned bytes);
void port_write(Vcpu& cpu, u16 port, unsigned bytes, u32 value);

// Are I/O breakpoints armed (CR4.DE, and DR7 enables one)? Repetitions then stop after each
// element.
bool io_breakpoints_armed(const Vcpu& cpu);

// Opcode bit 0 clear = byte; else a word or doubleword (there are no 64-bit ports).
inline unsigned io_width(const Insn& insn) {
    if ((insn.opcode & 1) == 0) {
        return 1;
    }
    return insn.opsize == 2 ? 2 : 4;
}

}  // namespace droste
