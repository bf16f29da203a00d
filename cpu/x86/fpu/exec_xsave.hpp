#pragma once
// The handlers behind exec_rows_xsave().

#include "cpu/x86/decode/insn.hpp"
#include "cpu/x86/state/exception.hpp"

namespace droste {

// exec_fxsave.cpp
Status exec_fxsave(Vcpu& cpu, const Insn& insn);
Status exec_fxrstor(Vcpu& cpu, const Insn& insn);

// What the six extended instructions share.
enum class XsaveKind : u8 { XSAVE, XSAVEOPT, XSAVEC, XSAVES };
// #UD without CR4.OSXSAVE, #NM with CR0.TS; XSAVES and XRSTORS: their VMX control, CPL 0 and their
// VM exit.
Status xsave_ready(Vcpu& cpu, const Insn& insn, bool supervisor);

// exec_xsave.cpp
ExecFn select_xsave(Vcpu& cpu, Insn& insn);
// exec_xrstor.cpp
ExecFn select_xrstor(Vcpu& cpu, Insn& insn);

// State components not in their initial configuration. SDM Vol. 1, "Processor Tracking of
// XSAVE-Managed State".
u64 xinuse(const Vcpu& cpu);
// The instruction mask EDX:EAX.
u64 instruction_mask(const Vcpu& cpu);

}  // namespace droste
