#pragma once
// What far transfers, events and returns do to shadow stacks. SDM Vol. 1, "Shadow Stack Usage on
// Privilege Level Transitions", "Supervisor Shadow Stack Token"; the operation sections of CALL,
// RET, INT n and IRET in Vol. 2.
//
// Every function is the last of its transfer that may fault, and changes no register before it is
// past that: a transfer calls enter_*() or leave() with all other checks behind it, then commits.

#include "core/types.hpp"
#include "cpu/x86/system/cet.hpp"
#include "cpu/x86/system/segment.hpp"

namespace droste {

// --- near transfers -----------------------------------------------------------------------------

// Pushes `bytes` (4 or 8) at the present privilege level. Requires: shadow stacks are on there.
Status push_shadow(Vcpu& cpu, u64 value, unsigned bytes);
// Reads what a pop would.
Status peek_shadow(Vcpu& cpu, unsigned bytes, u64& value);

// --- supervisor shadow-stack tokens -------------------------------------------------------------

// Locked compare-exchange of the token at `address`, a supervisor access: `matched` says whether it
// was `expected`, and only then it becomes `desired`.
inline constexpr u64 kTokenBusy = 1;
Status exchange_token(Vcpu& cpu, u64 address, u64 expected, u64 desired, bool& matched);

// --- transfers that push CS, LIP and SSP --------------------------------------------------------

// Where a CALL, an INT or an event comes from.
struct ShadowFrame {
    u16 selector = 0;
    u64 linear_rip = 0;  // CS base + return RIP
};
ShadowFrame shadow_frame(const Vcpu& cpu, u64 return_rip);

// What is left to do when nothing can fault any more.
struct ShadowCommit {
    bool saves_user_ssp = false;  // to IA32_PL3_SSP
    bool loads_ssp = false;
    u64 ssp = 0;
};
void commit_shadow(Vcpu& cpu, const ShadowCommit& commit);

// To the same privilege level: the frame goes onto the present shadow stack, or with an IST onto
// that of IA32_INTERRUPT_SSP_TABLE_ADDR.
Status enter_same_level(Vcpu& cpu, const ShadowFrame& frame, unsigned ist, ShadowCommit& out);
// To level `level` < CPL: marks the token of the new shadow stack busy; the frame is pushed unless
// it comes from user mode. `wide`: the target runs in 64-bit mode.
Status enter_inner_level(Vcpu& cpu,
                         unsigned level,
                         const ShadowFrame& frame,
                         unsigned ist,
                         bool wide,
                         ShadowCommit& out);
// "If target is legacy or compatibility mode then the SSP must be in low 4GB": far JMP and CALL at
// the same level.
Status check_ssp_reachable(Vcpu& cpu, bool wide);

// SYSCALL, SYSENTER: the user's SSP is saved, that of level 0 becomes 0. Before CPL changes.
void enter_by_system_call(Vcpu& cpu);
// SYSRET, SYSEXIT.
void leave_by_system_call(Vcpu& cpu);

// --- returns ------------------------------------------------------------------------------------

enum class ShadowReturn : u8 { FarReturn, Iret };
// A return to `code`:`rip` at privilege level `level` >= CPL: compares the frame, frees the token
// of a supervisor shadow stack that is left, loads SSP. Before CPL changes.
Status leave_level(Vcpu& cpu, const Segment& code, unsigned level, u64 rip, ShadowReturn kind);
// IRET to virtual-8086 mode: #GP(0) with CET in user mode.
Status leave_to_virtual8086(Vcpu& cpu);

// --- indirect-branch tracking -------------------------------------------------------------------

// The next instruction at level `cpl` must be ENDBR, whatever was suppressed: far transfers, events
// and system calls. mode_changed() is the caller's next step.
void expect_endbranch_at(Vcpu& cpu, unsigned cpl);

}  // namespace droste
