// What comes first, the fault or the VM exit. SDM Vol. 3C, "Relative Priority of Faults and VM
// Exits": #UD, and #GP by privilege level or I/O permission, go before; faults that depend on the
// operand or on what an MSR or register would not take go after.

#include "tests/unit/vmx/vmx_machine.hpp"

#include <catch2/catch.hpp>

#include <functional>
#include <vector>

using namespace droste;
using namespace droste::test;

namespace {

using M = VmxMachine;
constexpr u32 kValid = interruption::kValid;

void everything_exits(M& m) {
    Vmcs& v = m.vmcs();
    v.proc_controls &= ~proc::kUseMsrBitmaps;
    v.proc_controls |= proc::kHltExiting | proc::kInvlpgExiting | proc::kMwaitExiting |
                       proc::kRdpmcExiting | proc::kRdtscExiting | proc::kCr3LoadExiting |
                       proc::kCr3StoreExiting | proc::kMovDrExiting |
                       proc::kUnconditionalIoExiting | proc::kMonitorExiting | proc::kPauseExiting |
                       proc::kActivateSecondary;
    v.proc2_controls = proc2::kDescriptorTableExiting | proc2::kWbinvdExiting |
                       proc2::kRdrandExiting | proc2::kEnableRdtscp | proc2::kEnableInvpcid;
    v.cr0_guest_host_mask = v.cr4_guest_host_mask = ~u64{0};
    v.cr0_read_shadow = v.cr4_read_shadow = 0;
    v.exception_bitmap = ~0U;
    v.guest_cr4 |= cr4::kDe;
    m.machine().poke_value<u16>(M::kGuestTss + 0x66, 0xFFFF);  // no I/O permission bitmap
}

void at_cpl3(M& m) {
    Vmcs& v = m.vmcs();
    constexpr u32 kDpl3 = 3U << 5;
    v.guest_cs_selector |= 3;
    v.guest_ss_selector |= 3;
    v.guest_cs_access_rights |= kDpl3;
    v.guest_ss_access_rights |= kDpl3;
}

struct Case {
    const char* name;
    std::vector<u8> code;
    int fault;          // vector, or -1: the exit comes first
    ExitReason reason;  // of that exit
};
// clang-format off
const std::vector<Case> kAtCpl3 = {
    {"CPUID", {0x0F, 0xA2}, -1, ExitReason::CPUID},
    {"VMCALL", {0x0F, 0x01, 0xC1}, -1, ExitReason::VMCALL},
    {"VMLAUNCH", {0x0F, 0x01, 0xC2}, -1, ExitReason::VMLAUNCH},
    {"VMREAD", {0x0F, 0x78, 0xC1}, -1, ExitReason::VMREAD},
    {"INVEPT", {0x66, 0x0F, 0x38, 0x80, 0x08}, -1, ExitReason::INVEPT},
    {"PAUSE", {0xF3, 0x90}, -1, ExitReason::PAUSE},
    {"RDRAND", {0x0F, 0xC7, 0xF0}, -1, ExitReason::RDRAND},
    {"RDTSC", {0x0F, 0x31}, -1, ExitReason::RDTSC},
    {"SGDT", {0x0F, 0x01, 0x03}, -1, ExitReason::GDTR_OR_IDTR},
    {"HLT", {0xF4}, 13, {}},
    {"INVD", {0x0F, 0x08}, 13, {}},
    {"WBINVD", {0x0F, 0x09}, 13, {}},
    {"INVLPG", {0x0F, 0x01, 0x3B}, 13, {}},
    {"INVPCID", {0x66, 0x0F, 0x38, 0x82, 0x0B}, 13, {}},
    {"RDMSR", {0x0F, 0x32}, 13, {}},
    {"WRMSR", {0x0F, 0x30}, 13, {}},
    {"RDPMC without CR4.PCE", {0x0F, 0x33}, 13, {}},
    {"MOV CR0, RAX", {0x0F, 0x22, 0xC0}, 13, {}},
    {"MOV RAX, CR3", {0x0F, 0x20, 0xD8}, 13, {}},
    {"CLTS", {0x0F, 0x06}, 13, {}},
    {"LMSW", {0x0F, 0x01, 0xF0}, 13, {}},
    {"MOV DR7, RAX (the manual's exception)", {0x0F, 0x23, 0xF8}, -1, ExitReason::MOV_DR},
    {"LGDT", {0x0F, 0x01, 0x13}, 13, {}},
    {"LTR", {0x0F, 0x00, 0xD8}, 13, {}},
    {"XSETBV", {0x0F, 0x01, 0xD1}, 13, {}},
    {"IN without I/O privilege", {0xEC}, 13, {}},
    {"MONITOR", {0x0F, 0x01, 0xC8}, 6, {}},
    {"MWAIT", {0x0F, 0x01, 0xC9}, 6, {}},
};
const std::vector<Case> kAtCpl0 = {
    {"RDMSR of no MSR", {0x0F, 0x32}, -1, ExitReason::RDMSR},
    {"WRMSR of no MSR", {0x0F, 0x30}, -1, ExitReason::WRMSR},
    {"MOV to CR4 of reserved bits", {0x0F, 0x22, 0xE0}, -1, ExitReason::CR_ACCESS},
    {"MOV to CR3 beyond the width", {0x0F, 0x22, 0xD8}, -1, ExitReason::CR_ACCESS},
    {"OUTSB from a page not present", {0x6E}, -1, ExitReason::IO_INSTRUCTION},
    {"LGDT from a page not present", {0x0F, 0x01, 0x16}, -1, ExitReason::GDTR_OR_IDTR},
    {"VMPTRLD from a page not present", {0x0F, 0xC7, 0x36}, -1, ExitReason::VMPTRLD},
    {"LMSW from a page not present", {0x0F, 0x01, 0x36}, 14, {}},
    {"VMXON with a register operand", {0xF3, 0x0F, 0xC7, 0xF0}, 6, {}},
    {"LOCK CPUID", {0xF0, 0x0F, 0xA2}, 6, {}},
    {"MOV RAX, DR4 with CR4.DE (the same)", {0x0F, 0x21, 0xE0}, -1, ExitReason::MOV_DR},
    {"MOV CR1", {0x0F, 0x20, 0xC8}, 6, {}},
};
// clang-format on

void check(const std::vector<Case>& cases, const std::function<void(M&)>& arrange) {
    for (const Case& c : cases) {
        CAPTURE(c.name);
        M m;
        m.prepare();
        m.machine().poke(M::kGuestCode, c.code);
        everything_exits(m);
        arrange(m);
        CpuState& s = m.state();
        s.gpr[RAX] = u64{1} << 63;
        s.gpr[RBX] = M::kGuestData;
        s.gpr[RCX] = 0x1234'5678;
        s.gpr[RDX] = 0x80;
        s.gpr[RSI] = 0x7000'0000;
        m.vmx().current->stale_checks = ~0U;
        REQUIRE(m.run_guest());
        if (c.fault < 0) {
            CHECK(m.exit_reason() == static_cast<u32>(c.reason));
        } else {
            CHECK(m.exited_with(ExitReason::EXCEPTION_OR_NMI));
            CHECK((m.vmcs().exit_interruption_info & interruption::kVectorMask) ==
                  static_cast<u32>(c.fault));
            CHECK((m.vmcs().exit_interruption_info & kValid) != 0);
        }
        CHECK(m.vmcs().guest_rip == M::kGuestCode);
    }
}

}  // namespace

TEST_CASE("privilege faults and #UD go before VM exits", "[vmx][exits]") {
    check(kAtCpl3, at_cpl3);
}

TEST_CASE("VM exits go before faults that depend on the operand or on what it would write",
          "[vmx][exits]") {
    check(kAtCpl0, [](M&) {});
}
