#pragma once
// Delivery of exceptions and interrupts through the IVT or IDT, in every mode; double and triple
// faults. SDM Vol. 3A, "Interrupt and Exception Handling"; deliver_{real,protected,long}.cpp.

#include "cpu/x86/state/exception.hpp"
#include "cpu/x86/vcpu.hpp"

namespace droste {

// Delivers `event` (asking Intercepts::event() first when non-null), including CR2, DR6, and faults
// met on the way: contributory rules, #DF, shutdown. When it returns, the vCPU is at the handler,
// in shutdown, or in VMX root after an exit.
void deliver(Vcpu& cpu, const Event& event);
// deliver() for cpu.fault after Status::Fault (or Intercepts::take_pending_exit()).
void deliver_fault(Vcpu& cpu);
// Goes on with a delivery that the end of the budget interrupted (attention::kUndelivered).
void resume_delivery(Vcpu& cpu);

// One attempt at one event, without the nesting rules: Fault leaves the state unchanged and the new
// fault in cpu.fault.
Status deliver_real(Vcpu& cpu, const Event& event);
Status deliver_protected(Vcpu& cpu, const Event& event);
Status deliver_long(Vcpu& cpu, const Event& event);

}  // namespace droste
