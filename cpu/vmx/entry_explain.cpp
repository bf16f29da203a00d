// Why a VM entry failed, in words. Reads the row that failed; nothing here decides anything.

#include "cpu/vmx/controls.hpp"
#include "cpu/vmx/entry_checks.hpp"

#include <fmt/format.h>

namespace droste {

namespace {

std::string_view consequence(EntryFailure failure) {
    switch (failure) {
    case EntryFailure::Controls:
        return "VMfailValid, error 7 (VM entry with invalid control field(s))";
    case EntryFailure::HostState:
        return "VMfailValid, error 8 (VM entry with invalid host-state field(s))";
    default: return "exit reason 33 with bit 31 (VM-entry failure due to invalid guest state)";
    }
}

// What would have been allowed, where one word or mask says it.
std::string allowed_values(const EntryContext& context, VmcsField field) {
    const auto controls = [](const VmxCapabilities::Controls& c) {
        return fmt::format("  [must be 1: {:#010x}, may be 1: {:#010x}]", c.must_be_1, c.may_be_1);
    };
    const VmxCapabilities& caps = context.caps;
    switch (field) {
    case VmcsField::pin_controls: return controls(caps.pin);
    case VmcsField::proc_controls: return controls(caps.proc);
    case VmcsField::proc2_controls: return controls(caps.proc2);
    case VmcsField::exit_controls: return controls(caps.exit);
    case VmcsField::entry_controls: return controls(caps.entry);
    case VmcsField::guest_cr0:
    case VmcsField::host_cr0:
        return fmt::format("  [FIXED0 {:#x}, FIXED1 {:#x}]", caps.cr0_fixed0, caps.cr0_fixed1);
    case VmcsField::guest_cr4:
    case VmcsField::host_cr4:
        return fmt::format("  [FIXED0 {:#x}, FIXED1 {:#x}]", caps.cr4_fixed0, caps.cr4_fixed1);
    case VmcsField::cr3_target_count: return fmt::format("  [at most {}]", caps.cr3_target_count);
    case VmcsField::vm_function_controls:
        return fmt::format("  [may be 1: {:#x}]", caps.vm_functions);
    case VmcsField::vmcs_link_pointer:
        return fmt::format("  [current VMCS {:#x}]", context.vmx.current_pointer());
    default: return {};
    }
}

}  // namespace

std::string explain(const EntryContext& context, const FailedCheck& failed) {
    std::string text =
        fmt::format("  check:   {}\n  rule:    {}\n  manual:  SDM Vol. 3C, \"{}\"\n  result:  {}\n",
                    failed.check->name, failed.check->sentence, failed.group->section,
                    consequence(failed.group->failure));
    for (const VmcsField field : failed.check->fields) {
        const VmcsFieldRow& row = row_of(field);
        text += fmt::format("  field:   {:04X}H {} = {:#x}{}\n", row.encoding, row.name,
                            read_field(context.vmcs, row), allowed_values(context, field));
    }
    text += fmt::format("  widths:  physical {} bits, linear {} bits",
                        context.caps.physical_address_bits, context.caps.linear_address_bits);
    return text;
}

}  // namespace droste
