#pragma once
// The VMX-preemption timer. SDM Vol. 3C, "VMX-Preemption Timer".
//
// It counts down once each time bit X of the TSC changes, X = IA32_VMX_MISC[4:0]. The count is
// never stepped: start value and start time are kept, expiry is a deadline on the machine's event
// queue. The queue's timer is armed lazily: a VM exit leaves it, a later VM entry re-arms it only
// if its deadline is earlier, and a callback that comes too early arms it again.

#include "core/types.hpp"

namespace droste {

class VmxState;

void start_preemption_timer(VmxState& vmx);  // VM entry with the control set
void preemption_timer_fired(VmxState& vmx);  // event-queue callback
bool preemption_timer_expired(const VmxState& vmx);
u32 remaining_preemption_timer(const VmxState& vmx);

}  // namespace droste
