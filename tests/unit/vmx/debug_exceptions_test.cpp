// Debug exceptions that cross a VM entry or a VM exit: what is pending goes with the guest, and the
// guest's breakpoints watch only the guest. SDM Vol. 3C, "Delivery of Pending Debug Exceptions after
// VM Entry", "Saving Non-Register State".

#include "tests/unit/vmx/vmx_machine.hpp"

#include <catch2/catch.hpp>

using namespace droste;
using namespace droste::test;

namespace {

using M = VmxMachine;
constexpr u64 kCode = M::kGuestCode;

// DR0 watches two bytes at kGuestData for reads and writes while the guest runs. RBX points there.
void watch_data(M& m) {
    constexpr u64 kLocal0 = 1U << 0, kReadWrite = 3U << 16, kTwoBytes = 1U << 18;
    m.state().gpr[RBX] = M::kGuestData;
    m.state().dr[0] = M::kGuestData;
    m.vmcs().entry_controls |= vm_entry_control::kLoadDebugControls;
    m.set(&Vmcs::guest_dr7, dr7::kReset | kLocal0 | kReadWrite | kTwoBytes);
}

}  // namespace

TEST_CASE("an exit behind MOV SS with RFLAGS.TF = 1 saves BS as pending, and can be entered again",
          "[vmx][events]") {
    M m;
    m.prepare();
    m.make_guest_idt();                      // and a GDT
    m.guest_code({0x8E, 0xD0, 0x90, 0x90});  // mov ss, eax; nop; nop
    m.state().gpr[RAX] = m.vmcs().guest_ss_selector;
    m.set(&Vmcs::proc_controls, m.vmcs().proc_controls | proc::kMonitorTrapFlag);
    m.set(&Vmcs::guest_rflags, m.vmcs().guest_rflags | rflags::kTf);
    REQUIRE(m.run_guest());
    REQUIRE(m.exited_with(ExitReason::MONITOR_TRAP_FLAG));
    CHECK(m.vmcs().guest_rip == kCode + 2);
    CHECK(m.vmcs().guest_interruptibility == blocking::kMovSs);
    CHECK(m.vmcs().guest_pending_debug == dr6::kBs);
    REQUIRE(m.run_guest());
    CHECK(m.exited_with(ExitReason::MONITOR_TRAP_FLAG));
    CHECK(m.vmcs().guest_rip == kCode + 3);
    CHECK(m.vmcs().guest_pending_debug == dr6::kBs);
}

TEST_CASE("a breakpoint met behind MOV SS leaves with the guest and is not the host's",
          "[vmx][events]") {
    constexpr u64 kEnabledBreakpoint = 1U << 12;
    M m;
    m.prepare();
    m.make_guest_idt();                      // and a GDT
    m.guest_code({0x8E, 0x13, 0x0F, 0xA2});  // mov ss, [rbx]; cpuid
    m.machine().poke_value<u16>(M::kGuestData, static_cast<u16>(m.vmcs().guest_ss_selector));
    watch_data(m);
    REQUIRE(m.run_guest());
    CHECK(m.exited_with(ExitReason::CPUID));
    CHECK(m.vmcs().guest_pending_debug == (kEnabledBreakpoint | 1));
    CHECK(m.state().pending_debug == 0);
}

// What a VPID keeps warm was cached before the breakpoint was set.
TEST_CASE("breakpoints that VM entry loads watch pages the guest has used before",
          "[vmx][events][tlb]") {
    for (const u32 vpid : {0U, proc2::kEnableVpid}) {
        CAPTURE(vpid);
        M m;
        m.prepare();
        m.guest_code({0x8A, 0x03, 0x0F, 0xA2});  // mov al, [rbx]; cpuid
        m.vmcs().proc_controls |= proc::kActivateSecondary;
        m.vmcs().proc2_controls |= vpid;
        m.vmcs().vpid = vpid != 0 ? 5 : 0;
        m.vmcs().exception_bitmap = 1U << static_cast<unsigned>(Exception::DB);
        m.state().gpr[RBX] = M::kGuestData;
        m.set(&Vmcs::guest_rip, kCode);
        REQUIRE(m.run_guest());
        REQUIRE(m.exited_with(ExitReason::CPUID));
        watch_data(m);
        m.set(&Vmcs::guest_rip, kCode);
        REQUIRE(m.run_guest());
        CHECK(m.exited_with(ExitReason::EXCEPTION_OR_NMI));
        CHECK(m.vmcs().exit_qualification == 1);
        CHECK(m.vmcs().guest_rip == kCode + 2);
    }
}
