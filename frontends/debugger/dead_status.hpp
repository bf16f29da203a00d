#pragma once
// Status flags that nobody reads before they are overwritten: translated code need not have them
// right, and a handler or a hypervisor may see them (docs/jit/flags.md). --lockstep asks here
// before it takes two values of RFLAGS for different.

#include "core/types.hpp"
#include "cpu/x86/vcpu.hpp"

namespace droste {

// The status flags that the code at `rip` may read before it overwrites them, as the translator
// decides it. In the address space that is current now.
u64 live_status(Vcpu& cpu, u64 rip);

// Two values of RFLAGS that differ in status flags only.
bool images_of_rflags(u64 one, u64 other);

}  // namespace droste
