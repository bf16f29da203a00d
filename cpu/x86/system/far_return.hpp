#pragma once
// Steps that RET far and IRET have in common.

#include "core/types.hpp"
#include "cpu/x86/state/exception.hpp"
#include "cpu/x86/vcpu.hpp"

namespace droste {

struct ReturnTarget {
    Segment code;
    Segment stack;       // only when the stack is popped too
    unsigned level = 0;  // the CPL to return to
};

// CS as popped: #GP(0), #GP(selector), #NP(selector).
Status check_return_segment(Vcpu& cpu, u16 selector, ReturnTarget& out);
// SS as popped: #GP(0), #GP(selector), #SS(selector). Null is legal when returning to 64-bit code
// below level 3.
Status check_return_stack(Vcpu& cpu, u16 selector, ReturnTarget& target);
// Loads CS:RIP and SS:RSP; outward, drops data segments the new level may not use.
void commit_return_with_stack(Vcpu& cpu, const ReturnTarget& target, u64 rip, u64 rsp);

}  // namespace droste
