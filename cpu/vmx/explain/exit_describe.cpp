#include "cpu/vmx/explain/exit_describe.hpp"

#include "core/bits.hpp"
#include "cpu/vmx/exit/exit_qualification.hpp"
#include "cpu/vmx/explain/exit_trace.hpp"
#include "cpu/vmx/explain/vmcs_dump.hpp"
#include "cpu/vmx/vmcs/controls.hpp"
#include "cpu/vmx/vmcs/vmcs.hpp"
#include "cpu/x86/model/msr.hpp"
#include "cpu/x86/vcpu.hpp"

#include <array>

#include <fmt/format.h>

namespace droste {

namespace {

constexpr std::array<std::string_view, 16> kGprNames = {"RAX", "RCX", "RDX", "RBX", "RSP", "RBP",
                                                        "RSI", "RDI", "R8",  "R9",  "R10", "R11",
                                                        "R12", "R13", "R14", "R15"};

std::string cr_access(u64 q) {
    const u64 cr = q & 15;
    const std::string_view gpr = kGprNames[bits(q, 8, 11)];
    switch (bits(q, 4, 5)) {
    case 0: return fmt::format("MOV to CR{} from {}", cr, gpr);
    case 1: return fmt::format("MOV from CR{} to {}", cr, gpr);
    case 2: return "CLTS";
    default: return fmt::format("LMSW {:#x}", bits(q, 16, 31));
    }
}

std::string io(u64 q) {
    const bool in = test_bit(q, 3);
    return fmt::format("{}{}{} {} byte{}, port {:#x}", test_bit(q, 5) ? "REP " : "",
                       in ? "IN" : "OUT", test_bit(q, 4) ? "S" : "", bits(q, 0, 2) + 1,
                       bits(q, 0, 2) == 0 ? "" : "s", bits(q, 16, 31));
}

std::string ept_violation_text(u64 q, const Vmcs& v) {
    using namespace ept_violation;
    const std::string_view kind = (q & kFetch) != 0   ? "fetch"
                                  : (q & kWrite) != 0 ? "write"
                                                      : "read";
    std::string text = fmt::format(
        "{}{} of {:#x}, EPT allows {}{}{}", (q & kShadowStack) != 0 ? "shadow-stack " : "", kind,
        v.guest_physical_address, (q & kReadable) != 0 ? "R" : "-",
        (q & kWritable) != 0 ? "W" : "-", (q & kExecutable) != 0 ? "X" : "-");
    if ((q & kLinearValid) != 0) {
        text += fmt::format(", linear {:#x}{}", v.guest_linear_address,
                            (q & kTranslated) != 0 ? "" : " (its paging structures)");
    }
    return text;
}

std::string apic_access_text(u64 q) {
    constexpr std::array<std::string_view, 4> kTypes = {"read", "write", "fetch",
                                                        "during event delivery"};
    const u64 type = bits(q, 12, 15);
    return fmt::format("{} at offset {:#x}",
                       type < kTypes.size() ? kTypes[type] : "guest-physical access", q & 0xFFF);
}

std::string task_switch_text(u64 q) {
    constexpr std::array<std::string_view, 4> kSources = {"CALL", "IRET", "JMP", "task gate"};
    return fmt::format("by {} to TSS {:#06x}", kSources[bits(q, 30, 31)], q & 0xFFFF);
}

// RDMSR, WRMSR: "IA32_EFER (0xc0000080)".
std::string msr_text(const Vcpu& cpu) {
    const auto index = static_cast<u32>(cpu.state.gpr[RCX]);
    const MsrStore::Entry* entry = cpu.msrs->find(index);
    return entry == nullptr ? fmt::format("MSR {:#x}", index)
                            : fmt::format("{} ({:#x})", entry->row->name, index);
}

// VMREAD, VMWRITE: the field's encoding is in the register of bits 31:28.
std::string vmcs_field_text(const Vcpu& cpu, const Vmcs& v) {
    const u64 encoding = cpu.state.gpr[bits(v.exit_instruction_info, 28, 31)];
    const VmcsFieldRow* row = find_vmcs_field(encoding);
    return row == nullptr ? fmt::format("field {:#x}", encoding)
                          : fmt::format("{} ({:#x})", row->name, encoding);
}

}  // namespace

std::string describe_exit(const VmExitRecord& record) {
    std::string text = describe_qualification(record.reason, record.qualification, *record.vmcs);
    if (record.cpu == nullptr) {
        return text;
    }
    const Vcpu& cpu = *record.cpu;
    const auto& gpr = cpu.state.gpr;
    const u64 edx_eax = gpr[RDX] << 32 | static_cast<u32>(gpr[RAX]);
    switch (record.reason) {
    case ExitReason::CPUID:
        return fmt::format("leaf {:#x}, sub-leaf {:#x}", static_cast<u32>(gpr[RAX]),
                           static_cast<u32>(gpr[RCX]));
    case ExitReason::RDMSR: return msr_text(cpu);
    case ExitReason::WRMSR: return fmt::format("{} := {:#x}", msr_text(cpu), edx_eax);
    case ExitReason::XSETBV:
        return fmt::format("XCR{} := {:#x}", static_cast<u32>(gpr[RCX]), edx_eax);
    case ExitReason::VMREAD:
    case ExitReason::VMWRITE: return vmcs_field_text(cpu, *record.vmcs);
    case ExitReason::VMCALL: return fmt::format("RAX {:#x}", gpr[RAX]);
    case ExitReason::CR_ACCESS:
        // Only MOV to a control register has a value yet.
        return bits(record.qualification, 4, 5) == 0
                   ? text + fmt::format(" = {:#x}", gpr[bits(record.qualification, 8, 11)])
                   : text;
    default: return text;
    }
}

std::string describe_qualification(ExitReason reason, u64 q, const Vmcs& v) {
    switch (reason) {
    case ExitReason::EXCEPTION_OR_NMI: {
        std::string text = decode_bits(VmcsField::exit_interruption_info, v.exit_interruption_info);
        if ((v.exit_interruption_info & interruption::kErrorCodeValid) != 0) {
            text += fmt::format(" {:#x}", v.exit_interruption_error_code);
        }
        return q == 0 ? text : text + fmt::format(", {:#x}", q);
    }
    case ExitReason::EXTERNAL_INTERRUPT:
        return decode_bits(VmcsField::exit_interruption_info, v.exit_interruption_info);
    case ExitReason::CR_ACCESS: return cr_access(q);
    case ExitReason::MOV_DR:
        return fmt::format("MOV {} DR{}, {}", test_bit(q, 4) ? "from" : "to", q & 7,
                           kGprNames[bits(q, 8, 11)]);
    case ExitReason::IO_INSTRUCTION: return io(q);
    case ExitReason::EPT_VIOLATION: return ept_violation_text(q, v);
    case ExitReason::EPT_MISCONFIGURATION:
        return fmt::format("guest-physical {:#x}", v.guest_physical_address);
    case ExitReason::APIC_ACCESS: return apic_access_text(q);
    case ExitReason::APIC_WRITE: return fmt::format("offset {:#x}", q);
    case ExitReason::VIRTUALIZED_EOI:
    case ExitReason::SIPI: return fmt::format("vector {:#x}", q);
    case ExitReason::INVLPG: return fmt::format("linear {:#x}", q);
    case ExitReason::TASK_SWITCH: return task_switch_text(q);
    case ExitReason::MSR_LOADING: return fmt::format("entry {}", q);
    case ExitReason::INVALID_GUEST_STATE: return q == 0 ? "" : fmt::format("qualification {}", q);
    default: return {};
    }
}

}  // namespace droste
