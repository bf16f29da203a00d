// Why a VM entry failed, in words. Reads the row that failed; nothing here decides anything.

#include "core/bits.hpp"
#include "cpu/vmx/entry/entry_checks.hpp"
#include "cpu/vmx/explain/vmcs_dump.hpp"
#include "cpu/vmx/vmcs/controls.hpp"
#include "cpu/x86/mmu/paging.hpp"
#include "cpu/x86/state/regs.hpp"
#include "cpu/x86/system/cet.hpp"

#include <algorithm>
#include <array>

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

// The bits of `value` that are wrong, by name: "missing HLT exiting, not allowed 0x1".
std::string wrong_bits(VmcsField field, u64 value, u64 must_be_1, u64 may_be_1) {
    const auto named = [field](u64 bits) {
        const std::string names = decode_bits(field, bits);
        return names.empty() ? fmt::format("{:#x}", bits) : fmt::format("{:#x} ({})", bits, names);
    };
    std::string text;
    if (const u64 missing = must_be_1 & ~value; missing != 0) {
        text += fmt::format(", missing {}", named(missing));
    }
    if (const u64 excess = value & ~may_be_1; excess != 0) {
        text += fmt::format(", not allowed {}", named(excess));
    }
    return text;
}

std::string fixed_bits(const EntryContext& context, VmcsField field, u64 must_be_1, u64 may_be_1) {
    const u64 value = read_field(context.vmcs, row_of(field));
    return fmt::format("FIXED0 {:#x}, FIXED1 {:#x}{}", must_be_1, may_be_1,
                       wrong_bits(field, value, must_be_1, may_be_1));
}

std::string control_bits(const EntryContext& context,
                         VmcsField field,
                         const VmxCapabilities::Controls& controls) {
    const u64 value = read_field(context.vmcs, row_of(field));
    return fmt::format("must be 1: {:#010x}, may be 1: {:#010x}{}", controls.must_be_1,
                       controls.may_be_1,
                       wrong_bits(field, value, controls.must_be_1, controls.may_be_1));
}

std::string ept_pointers(const VmxCapabilities& caps) {
    return fmt::format("bits 2:0 = {}{}, bits 5:3 = 3, bit 6 {}, bits 11:7 = 0, below 1 << {}",
                       caps.has(VmxFeature::EptWriteBack) ? "6" : "",
                       caps.has(VmxFeature::EptUncacheable) ? " or 0" : "",
                       caps.has(VmxFeature::EptAccessedDirty) ? "0 or 1" : "= 0",
                       caps.physical_address_bits);
}

std::string activity_states(const VmxCapabilities& caps) {
    return fmt::format("0 (active){}{}{}", caps.has(VmxFeature::ActivityHlt) ? ", 1 (HLT)" : "",
                       caps.has(VmxFeature::ActivityShutdown) ? ", 2 (shutdown)" : "",
                       caps.has(VmxFeature::ActivityWaitForSipi) ? ", 3 (wait-for-SIPI)" : "");
}

// IA32_S_CET: what each bit may be on its own, as the rule asks it.
std::string cet_controls(const EntryContext& context, VmcsField field) {
    u64 may_be_1 = 0;
    for (unsigned i = 0; i < 64; ++i) {
        may_be_1 |= cet_control_legal(context.vmx.cpu.features, bit(i)) ? bit(i) : 0;
    }
    return fmt::format("may be 1: {:#x}{}, not SUPPRESS and TRACKER", may_be_1,
                       wrong_bits(field, read_field(context.vmcs, row_of(field)), 0, may_be_1));
}

std::string host_ssp_values(const EntryContext& context) {
    return context.host_64 ? "bits 1:0 = 0, canonical" : "bits 1:0 = 0, bits 63:32 = 0";
}

std::string guest_ssp_values(const VmxCapabilities& caps) {
    return fmt::format("bits 1:0 = 0, bits 63:{} all 0 or all 1", caps.linear_address_bits);
}

bool is_page_address(VmcsField field) {
    using enum VmcsField;
    constexpr std::array kPages = {io_bitmap_a,           io_bitmap_b,         msr_bitmap,
                                   virtual_apic_address,  apic_access_address, pml_address,
                                   eptp_list_address,     vmread_bitmap,       vmwrite_bitmap,
                                   ve_information_address};
    return std::find(kPages.begin(), kPages.end(), field) != kPages.end();
}

// What would have been allowed, where one word or mask says it; the rule says the rest.
std::string allowed_values(const EntryContext& context, VmcsField field) {
    const VmxCapabilities& caps = context.caps;
    switch (field) {
    case VmcsField::pin_controls: return control_bits(context, field, caps.pin);
    case VmcsField::proc_controls: return control_bits(context, field, caps.proc);
    case VmcsField::proc2_controls: return control_bits(context, field, caps.proc2);
    case VmcsField::exit_controls: return control_bits(context, field, caps.exit);
    case VmcsField::entry_controls: return control_bits(context, field, caps.entry);
    case VmcsField::guest_cr0: {
        const u64 free = context.unrestricted ? cr0::kPe | cr0::kPg : 0;
        return fixed_bits(context, field, caps.cr0_fixed0 & ~free, caps.cr0_fixed1);
    }
    case VmcsField::host_cr0: return fixed_bits(context, field, caps.cr0_fixed0, caps.cr0_fixed1);
    case VmcsField::guest_cr4:
    case VmcsField::host_cr4: return fixed_bits(context, field, caps.cr4_fixed0, caps.cr4_fixed1);
    case VmcsField::guest_ia32_s_cet:
    case VmcsField::host_ia32_s_cet: return cet_controls(context, field);
    case VmcsField::host_ssp: return host_ssp_values(context);
    case VmcsField::guest_ssp: return guest_ssp_values(caps);
    case VmcsField::cr3_target_count: return fmt::format("at most {}", caps.cr3_target_count);
    case VmcsField::vm_function_controls: return fmt::format("may be 1: {:#x}", caps.vm_functions);
    case VmcsField::ept_pointer: return ept_pointers(caps);
    case VmcsField::guest_activity_state: return activity_states(caps);
    case VmcsField::guest_rflags: {
        const u64 value = context.vmcs.guest_rflags;
        return fmt::format("must be 1: 0x2, may be 1: 0x3f7fd7{}",
                           wrong_bits(field, value, 0x2, 0x3F'7FD7));
    }
    case VmcsField::guest_cr3:
    case VmcsField::host_cr3: return fmt::format("below 1 << {}", caps.physical_address_bits);
    case VmcsField::vmcs_link_pointer:
        return fmt::format(
            "all ones, or a 4-KByte aligned address below 1 << {} but not {:#x}, the "
            "current VMCS",
            caps.physical_address_bits, context.vmx.current_pointer());
    default: break;
    }
    if (is_page_address(field)) {
        return fmt::format("bits 11:0 = 0, below 1 << {}", caps.physical_address_bits);
    }
    return {};
}

std::string field_line(const Vmcs& vmcs, VmcsField field, const std::string& allowed) {
    const VmcsFieldRow& row = row_of(field);
    const u64 value = read_field(vmcs, row);
    const std::string decoded = decode_bits(field, value);
    return fmt::format("  field:   {:04X}H {} = {:#x}{}{}\n", row.encoding, row.name, value,
                       decoded.empty() ? "" : fmt::format(" ({})", decoded),
                       allowed.empty() ? "" : fmt::format("  [{}]", allowed));
}

}  // namespace

std::string explain(const EntryContext& context, const FailedCheck& failed) {
    std::string text =
        fmt::format("  check:   {}\n  rule:    {}\n  manual:  SDM Vol. 3C, \"{}\"\n  result:  {}\n",
                    failed.check->name, failed.check->sentence, failed.group->section,
                    consequence(failed.group->failure));
    for (const VmcsField field : failed.check->fields) {
        text += field_line(context.vmcs, field, allowed_values(context, field));
    }
    text += fmt::format("  widths:  physical {} bits, linear {} bits",
                        context.caps.physical_address_bits, context.caps.linear_address_bits);
    return text;
}

std::string explain_msr_loading(const VmxState& vmx, u32 number) {
    const Vmcs& v = vmx.vmcs();
    const PhysAddr entry = v.entry_msr_load_address + u64{number - 1} * 16;
    const u64 head = read_physical(vmx.cpu, entry, 8);
    std::string text = fmt::format("  check:   VM-entry MSR-load area, entry {0}\n"
                                   "  rule:    at most 512 entries; bits 63:32 of an entry are 0; "
                                   "the MSR is not FS or GS base, "
                                   "not an x2APIC register, and WRMSR would take the value\n"
                                   "  manual:  SDM Vol. 3C, \"Loading MSRs\"\n"
                                   "  result:  exit reason 34 with bit 31 (VM-entry failure due to "
                                   "MSR loading), qualification "
                                   "{0}\n",
                                   number);
    text += field_line(v, VmcsField::entry_msr_load_address, {});
    text += field_line(v, VmcsField::entry_msr_load_count, {});
    text += fmt::format("  memory:  {:#x}: MSR {:#x}, reserved {:#x}, value {:#x}", entry,
                        static_cast<u32>(head), head >> 32, read_physical(vmx.cpu, entry + 8, 8));
    return text;
}

}  // namespace droste
