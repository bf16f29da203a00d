#pragma once
// Delivery of exceptions and interrupts through the IVT or IDT, in every mode; double and triple
// faults. SDM Vol. 3A, "Interrupt and Exception Handling"; deliver_{real,protected,long}.cpp.

#include "cpu/x86/exception.hpp"
#include "cpu/x86/vcpu.hpp"

namespace droste {

// Delivers `event` (asking Intercepts::event() first when non-null), including CR2, DR6, and faults
// met on the way: contributory rules, #DF, shutdown. When it returns, the vCPU is at the handler,
// in shutdown, or in VMX root after an exit.
void deliver(Vcpu& cpu, const Event& event);
// deliver() for cpu.fault after Status::Fault (or Intercepts::take_pending_exit()).
void deliver_fault(Vcpu& cpu);

// One attempt at one event, without the nesting rules: Fault leaves the state unchanged and the new
// fault in cpu.fault.
Status deliver_real(Vcpu& cpu, const Event& event);
Status deliver_protected(Vcpu& cpu, const Event& event);
Status deliver_long(Vcpu& cpu, const Event& event);

// Instruction-boundary work in priority order (SDM Vol. 3A, "Prioritization of Concurrent Events"):
// machine check, INIT, pending #DB, NMI, interrupts, code breakpoints. Called by the engine when
// attention & attention_mask is non-zero, and after every instruction in single-step mode. Returns
// true if an event was delivered or the activity state changed.
bool service_boundary(Vcpu& cpu);

// After an instruction retired in step mode: TF trap, shadow expiry, data/I-O breakpoint traps
// collected in pending_debug. `branch_taken`: the instruction went elsewhere than to the next one
// (single-stepping on branches, IA32_DEBUGCTL.BTF).
void after_instruction_in_step_mode(Vcpu& cpu, bool trap_flag_was_set, bool branch_taken = false);
// Before every instruction in step mode: instruction breakpoint (fault class), and a note of which
// shadows and RF the instruction began under, so that after_instruction_in_step_mode() ends those
// and not what the instruction itself set. True if #DB was delivered.
bool code_breakpoint_hit(Vcpu& cpu);
// Does an enabled DR7 data breakpoint cover [linear, linear+bytes)? Records the DR6 bits in
// state.pending_debug.
void note_data_access(Vcpu& cpu, LinearAddr linear, unsigned bytes, bool write);
void note_io_access(Vcpu& cpu, u16 port, unsigned bytes);
bool data_breakpoints_in_page(const Vcpu& cpu, LinearAddr page);
// After any change of DR0-DR3, DR7 or CR4.DE: translations that must not stay on the fast path go,
// kStep is refreshed.
void debug_registers_changed(Vcpu& cpu);

}  // namespace droste
