#pragma once
// What ExitTrace does at every VM entry and VM exit, for those two alone: a few additions, in line
// with them.

#include "core/clock.hpp"
#include "cpu/vmx/entry/entry_checks.hpp"
#include "cpu/vmx/explain/exit_trace.hpp"
#include "cpu/vmx/vmx_state.hpp"

namespace droste {

inline void ExitTrace::entering(VmxState& vmx) {
    const BoundVmcs& bound = *vmx.current;
    if ((bound.stale_checks & kStaleGuestSide) == 0 &&
        levels_->same_again(bound.traced, vmx.cpu.state.cr3)) [[likely]] {
        target_ = bound.traced.guest;
    } else {
        entering_anew(vmx);
    }
}

inline void ExitTrace::entered(VmxState& vmx) {
    const Vcpu& cpu = vmx.cpu;
    const u64 now_ns = cpu.clock.ns_at(cpu.icount);
    guest_ = target_;
    ++entries_[guest_.level];
    if (between_ != nullptr) {
        const u64 instructions = cpu.icount - exit_icount_;
        const u64 ns = now_ns - last_exit_.exit_ns;
        between_->instructions += instructions;
        between_->ns += ns;
        between_ = nullptr;
        if (sink_ != nullptr) [[unlikely]] {
            sink_->vm_entry(last_exit_, guest_.level, instructions, ns, now_ns);
        }
    }
    vmx.guest.entry_icount = cpu.icount;
    vmx.guest.entry_ns = now_ns;
}

inline void ExitTrace::exited(VmxState& vmx, const ExitInfo& info, bool entry_failure) {
    const Vcpu& cpu = vmx.cpu;
    const unsigned level = entry_failure ? target_.level : guest_.level;
    last_exit_.exit_ns = cpu.clock.ns_at(cpu.icount);
    between_ = &costs_[level][static_cast<std::size_t>(info.reason)];
    ++between_->count;
    if (info.reason == ExitReason::VMLAUNCH || info.reason == ExitReason::VMRESUME) [[unlikely]] {
        launched(vmx);
    }
    if (sink_ != nullptr) [[unlikely]] {
        report(vmx, info, level, entry_failure);
    }
    exit_icount_ = cpu.icount;
    guest_ = {};
}

}  // namespace droste
