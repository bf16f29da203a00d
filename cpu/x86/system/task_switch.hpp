#pragma once
// One task switch, as JMP, CALL, IRET and event delivery ask for it. SDM Vol. 3A, "Task Switching".

#include "core/types.hpp"
#include "cpu/x86/decode/insn.hpp"
#include "cpu/x86/state/exception.hpp"
#include "cpu/x86/system/segment.hpp"

namespace droste {

struct TaskSwitch {
    const Insn* insn = nullptr;  // null for events
    u16 selector = 0;            // of the new TSS
    TaskSwitchSource source = TaskSwitchSource::Jump;
    u64 return_rip = 0;  // EIP and EFLAGS the old task is saved with
    u64 saved_rflags = 0;
    bool has_error_code = false;  // pushed on the new task's stack
    u32 error_code = 0;
    bool exited = false;  // out: a VM exit took the switch's place
};

// Requires: the TSS descriptor passed the checks of its source (gate, privilege, available or busy,
// present). Switched: done. Fault: before the point of no return nothing has changed; after it, the
// fault belongs to the new task, whose state is then loaded as far as it could be.
Status perform_task_switch(Vcpu& cpu, TaskSwitch& request);

}  // namespace droste
