#include "frontends/debugger/vmx_report.hpp"

#include "cpu/vmx/explain/vmcs_dump.hpp"

#include <vector>

#include <fmt/format.h>

namespace droste {

namespace {

constexpr std::string_view kNoVmx =
    "this CPU has no VMX: -cpu MODEL,+vmx (droste nested status says more)\n";

std::string_view feature_control_text(u64 value) {
    constexpr u64 kEnabled = kFeatureControlLock | kFeatureControlVmxOutsideSmx;
    return (value & kEnabled) == kEnabled       ? "locked, VMX allowed"
           : (value & kFeatureControlLock) != 0 ? "locked, VMX not allowed"
                                                : "not locked";
}

std::string describe_one(const VmxState& vmx) {
    std::string text = fmt::format(
        "CPU#{}: {}, L{}\n  IA32_FEATURE_CONTROL  {:#x} ({})\n", vmx.cpu.index,
        !vmx.in_operation ? "outside VMX operation"
        : vmx.non_root    ? "VMX non-root operation"
                          : "VMX root operation",
        vmx.trace.current_level(), vmx.feature_control, feature_control_text(vmx.feature_control));
    if (!vmx.in_operation) {
        return text;
    }
    text += fmt::format("  VMXON region          {:#x}\n", vmx.vmxon_pointer);
    text += vmx.current == nullptr
                ? "  current VMCS          none\n"
                : fmt::format("  current VMCS          {:#x}\n", vmx.current->address);
    if (vmx.non_root) {
        text += fmt::format("  VPID, EPT pointer     {:#x}, {:#x}\n", vmx.cpu.non_root.vpid,
                            vmx.cpu.non_root.second_stage != nullptr ? vmx.ept.pointer() : 0);
    }
    for (const BoundVmcs& vmcs : vmx.cache.entries()) {
        if (vmcs.bound()) {
            const unsigned level = vmx.trace.levels().level_of_vmcs(vmcs.address);
            text +=
                fmt::format("  active VMCS           {:#x} {}{}{}, RIP {:#x}\n", vmcs.address,
                            vmcs.launch_state == LaunchState::Launched ? "launched" : "clear",
                            vmcs.shadow ? ", shadow" : "",
                            level != 0 ? fmt::format(", L{}", level) : "", vmcs.fields.guest_rip);
        }
    }
    return text;
}

std::string dump(const VmxState& vmx, const BoundVmcs& vmcs) {
    const bool runs = vmx.non_root && &vmcs == vmx.current;
    return fmt::format(
        "CPU#{}{}\n{}", vmx.cpu.index,
        runs ? ": its guest runs, the guest-state area is that of the last VM exit or VMWRITE" : "",
        dump_vmcs(vmcs.fields, vmx.caps, vmcs.address, vmcs.last_good.get()));
}

}  // namespace

std::string describe_vmx(const Pc& pc) {
    std::string text;
    for (const auto& vmx : pc.vmx()) {
        text += describe_one(*vmx);
    }
    return text.empty() ? std::string(kNoVmx) : text;
}

std::string describe_vmcs(const Pc& pc, std::optional<u64> address) {
    if (pc.vmx().empty()) {
        return std::string(kNoVmx);
    }
    std::string text;
    for (const auto& vmx : pc.vmx()) {
        if (!address && vmx->current == nullptr) {
            text += fmt::format("CPU#{}: no current VMCS\n", vmx->cpu.index);
        }
        for (const BoundVmcs& vmcs : vmx->cache.entries()) {
            if (vmcs.bound() && (address ? vmcs.address == *address : &vmcs == vmx->current)) {
                text += dump(*vmx, vmcs);
            }
        }
    }
    return text.empty() ? fmt::format("no VMCS at {:#x} is active; info vmx lists them\n", *address)
                        : text;
}

std::string describe_exits(Pc& pc) {
    std::vector<const ExitTrace*> traces;
    for (const auto& vmx : pc.vmx()) {
        traces.push_back(&vmx->trace);
    }
    return exit_table(traces, static_cast<double>(pc.clock().now_ns()) / 1e9);
}

}  // namespace droste
