#include "cpu/vmx/explain/exit_trace.hpp"

#include "core/clock.hpp"
#include "cpu/vmx/vmcs/controls.hpp"
#include "cpu/vmx/vmx_state.hpp"

#include <algorithm>

namespace droste {

namespace {

bool starts_a_guest(ExitReason reason) {
    return reason == ExitReason::VMLAUNCH || reason == ExitReason::VMRESUME;
}

GuestIdentity identity_of(const VmxState& vmx) {
    const ActiveControls controls = active_controls(vmx.vmcs());
    return {vmx.current_pointer(),
            controls.has2(proc2::kEnableEpt) ? vmx.vmcs().ept_pointer : u64{0},
            controls.has2(proc2::kEnableVpid) ? vmx.vmcs().vpid : u16{0}};
}

}  // namespace

GuestLevels::Guest& ExitTrace::guest_of(const VmxState& vmx) {
    return levels_->find(identity_of(vmx), launching_, hint_);
}

unsigned ExitTrace::level_of_current(const VmxState& vmx) const {
    if (vmx.non_root) {
        return level_;
    }
    const unsigned known = levels_->level_of_vmcs(vmx.current_pointer());
    return known != 0 ? known : std::min(launching_ + 1, kMaxLevels - 1);
}

void ExitTrace::entered(VmxState& vmx) {
    const u64 now_ns = vmx.cpu.clock.now_ns();
    const GuestLevels::Guest& guest = guest_of(vmx);
    level_ = guest.level;
    // The launch has been answered, or its instruction failed.
    if (level_ > launching_ || guest.identity == launcher_) {
        launching_ = 1;
        launcher_ = {};
    }
    ++entries_[level_];
    if (between_) {
        between_ = false;
        const u64 instructions = vmx.cpu.icount - exit_icount_;
        const u64 ns = now_ns - last_exit_.exit_ns;
        ExitCost& cost = costs_[last_exit_.level][static_cast<std::size_t>(last_exit_.reason)];
        cost.instructions += instructions;
        cost.ns += ns;
        if (sink_ != nullptr) {
            sink_->vm_entry(last_exit_, level_, instructions, ns, now_ns);
        }
    }
    vmx.guest.entry_icount = vmx.cpu.icount;
    vmx.guest.entry_ns = now_ns;
}

void ExitTrace::exited(VmxState& vmx, const ExitInfo& info, bool entry_failure) {
    Vcpu& cpu = vmx.cpu;
    const u64 now_ns = cpu.clock.now_ns();
    last_exit_ = {};
    last_exit_.vcpu = cpu.index;
    last_exit_.level = entry_failure ? level_of_current(vmx) : level_;
    last_exit_.reason = info.reason;
    last_exit_.entry_failure = entry_failure;
    last_exit_.qualification = info.qualification;
    last_exit_.guest_rip = vmx.vmcs().guest_rip;
    last_exit_.vmcs_pointer = vmx.current_pointer();
    last_exit_.guest_ns = entry_failure ? 0 : now_ns - vmx.guest.entry_ns;
    last_exit_.guest_instructions = entry_failure ? 0 : cpu.icount - vmx.guest.entry_icount;
    last_exit_.exit_ns = now_ns;
    last_exit_.vmcs = &vmx.vmcs();
    last_exit_.cpu = entry_failure ? nullptr : &cpu;
    ++costs_[last_exit_.level][static_cast<std::size_t>(info.reason)].count;
    if (starts_a_guest(info.reason) && last_exit_.level >= launching_) {
        launching_ = last_exit_.level;
        launcher_ = identity_of(vmx);
    }
    if (sink_ != nullptr) {
        sink_->vm_exit(last_exit_);
    }
    last_exit_.vmcs = nullptr;
    last_exit_.cpu = nullptr;
    exit_icount_ = cpu.icount;
    between_ = true;
    level_ = 1;
}

void ExitTrace::reset() {
    level_ = 1;
    launching_ = 1;
    launcher_ = {};
    between_ = false;
}

}  // namespace droste
