#pragma once
// The x87 FPU as other parts of the CPU reach it. X87State (cpu_state.hpp) is the truth between
// instructions; nothing of the guest's stays in the native x87 unit.

#include "core/types.hpp"
#include "cpu/x86/state/exception.hpp"
#include "cpu/x86/vcpu.hpp"

namespace droste {

// Status and control word bits. SDM Vol. 1, "x87 FPU Status Register" and "x87 FPU Control Word".
namespace x87 {
inline constexpr u16 kIe = 1U << 0, kDe = 1U << 1, kZe = 1U << 2, kOe = 1U << 3, kUe = 1U << 4,
                     kPe = 1U << 5, kSf = 1U << 6, kEs = 1U << 7, kC0 = 1U << 8, kC1 = 1U << 9,
                     kC2 = 1U << 10, kC3 = 1U << 14, kBusy = 1U << 15;
inline constexpr u16 kExceptions = 0x3F;  // in the status word: flags; in the control word: masks
inline constexpr u16 kConditions = kC0 | kC1 | kC2 | kC3;
inline constexpr u16 kTopMask = 7U << 11;
inline constexpr unsigned kTopShift = 11;
inline constexpr u16 kInitialControl = 0x37F;
inline constexpr u16 kControlDefined = 0x1F7F;  // bits FLDCW keeps; bit 6 reads as 1
}  // namespace x87

// What every waiting x87 instruction (FWAIT too), and every MMX instruction, does first: a pending
// unmasked exception raises #MF, or with CR0.NE = 0 asserts FERR# and goes on as if IGNNE# were
// asserted. SDM Vol. 1, "x87 FPU Exception Synchronization"; the caller has checked CR0.EM/TS/MP.
Status x87_check_pending(Vcpu& cpu);

// FNINIT and reset: control 37F, status 0, all registers empty, no pointers.
void x87_initialize(X87State& fpu);

}  // namespace droste
