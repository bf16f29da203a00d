#include "cpu/vmx/exit_trace.hpp"

#include "core/clock.hpp"
#include "cpu/vmx/vmx_state.hpp"

#include <algorithm>
#include <vector>

#include <fmt/format.h>

namespace droste {

namespace {

bool starts_a_guest(ExitReason reason) {
    return reason == ExitReason::VMLAUNCH || reason == ExitReason::VMRESUME;
}

}  // namespace

unsigned ExitTrace::level_of(u64 vmcs_pointer, u64 ept_pointer) {
    const auto same = [&](const Lineage& lineage) {
        return lineage.vmcs_pointer == vmcs_pointer && lineage.ept_pointer == ept_pointer;
    };
    if (!same(lineages_[last_lineage_])) {
        auto found = std::find_if(lineages_.begin(), lineages_.end(), same);
        if (found == lineages_.end()) {
            found = std::min_element(
                lineages_.begin(), lineages_.end(),
                [](const Lineage& a, const Lineage& b) { return a.last_use < b.last_use; });
            *found = {vmcs_pointer, ept_pointer, 0, std::min(launching_ + 1, kMaxLevels - 1)};
        }
        last_lineage_ = static_cast<std::size_t>(found - lineages_.begin());
    }
    Lineage& lineage = lineages_[last_lineage_];
    lineage.last_use = ++use_counter_;
    return lineage.level;
}

void ExitTrace::entered(VmxState& vmx) {
    const u64 now_ns = vmx.cpu.clock.now_ns();
    level_ = level_of(vmx.current_pointer(), vmx.cpu.ept_root);
    if (level_ > launching_) {
        launching_ = 1;  // the launch has been answered
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
    last_exit_.level = entry_failure ? level_of(vmx.current_pointer(), 0) : level_;
    last_exit_.reason = info.reason;
    last_exit_.entry_failure = entry_failure;
    last_exit_.qualification = info.qualification;
    last_exit_.guest_rip = vmx.vmcs().guest_rip;
    last_exit_.vmcs_pointer = vmx.current_pointer();
    last_exit_.guest_ns = entry_failure ? 0 : now_ns - vmx.guest.entry_ns;
    last_exit_.guest_instructions = entry_failure ? 0 : cpu.icount - vmx.guest.entry_icount;
    last_exit_.exit_ns = now_ns;
    last_exit_.vmcs = &vmx.vmcs();
    ++costs_[last_exit_.level][static_cast<std::size_t>(info.reason)].count;
    if (starts_a_guest(info.reason)) {
        launching_ = std::max(launching_, last_exit_.level);
    }
    if (sink_ != nullptr) {
        sink_->vm_exit(last_exit_);
    }
    last_exit_.vmcs = nullptr;
    exit_icount_ = cpu.icount;
    between_ = true;
    level_ = 1;
}

std::string ExitTrace::table() const {
    struct Line {
        unsigned level;
        unsigned reason;
        const ExitCost* cost;
    };
    std::vector<Line> lines;
    for (unsigned level = 0; level < kMaxLevels; ++level) {
        for (unsigned reason = 0; reason < kExitReasonLimit; ++reason) {
            if (costs_[level][reason].count != 0) {
                lines.push_back({level, reason, &costs_[level][reason]});
            }
        }
    }
    std::stable_sort(lines.begin(), lines.end(), [](const Line& a, const Line& b) {
        return a.level != b.level ? a.level < b.level : a.cost->count > b.cost->count;
    });
    std::string text;
    for (const Line& line : lines) {
        const ExitCost& cost = *line.cost;
        text +=
            fmt::format("L{}  {:<24} {:>12} exits {:>10.1f} instructions {:>10.1f} ns each\n",
                        line.level, name_of(static_cast<ExitReason>(line.reason)), cost.count,
                        static_cast<double>(cost.instructions) / static_cast<double>(cost.count),
                        static_cast<double>(cost.ns) / static_cast<double>(cost.count));
    }
    return text;
}

}  // namespace droste
