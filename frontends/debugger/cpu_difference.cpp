// One table has a row for each field of CpuState that the guest can see or that decides what it
// sees next. Derived fields (Segment::checks) and the form in which the status flags are kept are
// not in it.

#include "frontends/debugger/cpu_difference.hpp"

#include <array>
#include <cstddef>
#include <cstring>
#include <string_view>
#include <vector>

#include <fmt/format.h>

namespace droste {

namespace {

struct Field {
    std::string name;
    std::size_t offset;
    std::size_t bytes;
};

#define DROSTE_FIELD(name, member)                                 \
    Field {                                                        \
        name, offsetof(CpuState, member), sizeof(CpuState::member) \
    }

void add_segment(std::vector<Field>& fields, std::string_view name, std::size_t at) {
    fields.push_back({fmt::format("{}.selector", name), at + offsetof(Segment, selector), 2});
    fields.push_back({fmt::format("{}.rights", name), at + offsetof(Segment, rights), 4});
    fields.push_back({fmt::format("{}.limit", name), at + offsetof(Segment, limit), 4});
    fields.push_back({fmt::format("{}.base", name), at + offsetof(Segment, base), 8});
}

std::vector<Field> make_fields() {
    constexpr std::array kGprs = {"RAX", "RCX", "RDX", "RBX", "RSP", "RBP", "RSI", "RDI",
                                  "R8",  "R9",  "R10", "R11", "R12", "R13", "R14", "R15"};
    constexpr std::array kSegments = {"ES", "CS", "SS", "DS", "FS", "GS"};
    std::vector<Field> fields;
    for (std::size_t i = 0; i < kGprs.size(); ++i) {
        fields.push_back({kGprs[i], offsetof(CpuState, gpr) + i * sizeof(u64), sizeof(u64)});
    }
    fields.push_back({"RIP", offsetof(CpuState, gpr) + kRipSlot * sizeof(u64), sizeof(u64)});
    fields.push_back(DROSTE_FIELD("RFLAGS without status flags", rflags_system));
    for (std::size_t i = 0; i < kSegments.size(); ++i) {
        add_segment(fields, kSegments[i], offsetof(CpuState, seg) + i * sizeof(Segment));
    }
    add_segment(fields, "LDTR", offsetof(CpuState, ldtr));
    add_segment(fields, "TR", offsetof(CpuState, tr));
    constexpr std::size_t kTableBase = offsetof(DescriptorTable, base);
    constexpr std::size_t kTableLimit = offsetof(DescriptorTable, limit);
    fields.push_back({"GDTR.base", offsetof(CpuState, gdtr) + kTableBase, 8});
    fields.push_back({"GDTR.limit", offsetof(CpuState, gdtr) + kTableLimit, 2});
    fields.push_back({"IDTR.base", offsetof(CpuState, idtr) + kTableBase, 8});
    fields.push_back({"IDTR.limit", offsetof(CpuState, idtr) + kTableLimit, 2});
    const std::vector<Field> rest = {
        DROSTE_FIELD("CR0", cr0),
        DROSTE_FIELD("CR2", cr2),
        DROSTE_FIELD("CR3", cr3),
        DROSTE_FIELD("CR4", cr4),
        DROSTE_FIELD("PDPTEs", pdpte),
        DROSTE_FIELD("EFER", efer),
        DROSTE_FIELD("DR0-DR3", dr),
        DROSTE_FIELD("DR6", dr6),
        DROSTE_FIELD("DR7", dr7),
        DROSTE_FIELD("PKRU", pkru),
        DROSTE_FIELD("XCR0", xcr0),
        DROSTE_FIELD("activity", activity),
        DROSTE_FIELD("interruptibility", interruptibility),
        DROSTE_FIELD("pending debug exceptions", pending_debug),
        DROSTE_FIELD("IA32_STAR", star),
        DROSTE_FIELD("IA32_LSTAR", lstar),
        DROSTE_FIELD("IA32_CSTAR", cstar),
        DROSTE_FIELD("IA32_FMASK", sfmask),
        DROSTE_FIELD("IA32_KERNEL_GS_BASE", kernel_gs_base),
        DROSTE_FIELD("IA32_TSC_AUX", tsc_aux),
        DROSTE_FIELD("IA32_SYSENTER_CS", sysenter_cs),
        DROSTE_FIELD("IA32_SYSENTER_ESP", sysenter_esp),
        DROSTE_FIELD("IA32_SYSENTER_EIP", sysenter_eip),
        DROSTE_FIELD("IA32_PAT", pat),
        DROSTE_FIELD("IA32_DEBUGCTL", debugctl),
        DROSTE_FIELD("IA32_XSS", xss),
        DROSTE_FIELD("TSC offset", tsc_offset),
        DROSTE_FIELD("IA32_TSC_ADJUST", tsc_adjust),
        DROSTE_FIELD("IA32_UMWAIT_CONTROL", umwait_control),
        DROSTE_FIELD("IA32_U_CET", u_cet),
        DROSTE_FIELD("IA32_S_CET", s_cet),
        DROSTE_FIELD("SSP", ssp),
        DROSTE_FIELD("IA32_PL0_SSP", pl0_ssp),
        DROSTE_FIELD("IA32_PL1_SSP", pl1_ssp),
        DROSTE_FIELD("IA32_PL2_SSP", pl2_ssp),
        DROSTE_FIELD("IA32_PL3_SSP", pl3_ssp),
        DROSTE_FIELD("IA32_INTERRUPT_SSP_TABLE_ADDR", interrupt_ssp_table),
        DROSTE_FIELD("x87 control", x87.control),
        DROSTE_FIELD("x87 status", x87.status),
        DROSTE_FIELD("x87 tags", x87.tag_valid),
        DROSTE_FIELD("x87 opcode", x87.opcode),
        DROSTE_FIELD("x87 instruction pointer", x87.instruction_pointer),
        DROSTE_FIELD("x87 data pointer", x87.data_pointer),
        DROSTE_FIELD("x87 instruction selector", x87.instruction_selector),
        DROSTE_FIELD("x87 data selector", x87.data_selector),
        DROSTE_FIELD("MXCSR", mxcsr),
    };
    fields.insert(fields.end(), rest.begin(), rest.end());
    for (std::size_t i = 0; i < 8; ++i) {
        const std::size_t at = offsetof(CpuState, x87.st) + i * sizeof(X87State::Register);
        fields.push_back(
            {fmt::format("R{} significand", i), at + offsetof(X87State::Register, significand), 8});
        fields.push_back(
            {fmt::format("R{} exponent", i), at + offsetof(X87State::Register, sign_exponent), 2});
    }
    for (std::size_t i = 0; i < 16; ++i) {
        fields.push_back(
            {fmt::format("YMM{}", i), offsetof(CpuState, ymm) + i * sizeof(Ymm), sizeof(Ymm)});
    }
    return fields;
}

#undef DROSTE_FIELD

// Most significant byte first.
std::string value_of(const CpuState& state, const Field& field) {
    const u8* bytes = reinterpret_cast<const u8*>(&state) + field.offset;
    std::string text;
    for (std::size_t i = field.bytes; i-- > 0;) {
        text += fmt::format("{:02x}", bytes[i]);
    }
    return text;
}

bool same(const CpuState& leader, const CpuState& follower, const Field& field) {
    return std::memcmp(reinterpret_cast<const u8*>(&leader) + field.offset,
                       reinterpret_cast<const u8*>(&follower) + field.offset, field.bytes) == 0;
}

}  // namespace

std::string
describe_difference(const CpuState& leader, const CpuState& follower, u64 status_flags) {
    static const std::vector<Field> kFields = make_fields();
    std::string text;
    for (const Field& field : kFields) {
        if (!same(leader, follower, field)) {
            text += fmt::format("  {:<28} {}  interpreted {}\n", field.name,
                                value_of(leader, field), value_of(follower, field));
        }
    }
    const u64 ours = leader.flags.status();
    const u64 theirs = follower.flags.status();
    if (((ours ^ theirs) & status_flags) != 0) {
        text += fmt::format("  {:<28} {:03x}  interpreted {:03x}\n", "status flags", ours, theirs);
    }
    return text;
}

}  // namespace droste
