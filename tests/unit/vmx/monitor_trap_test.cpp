// The monitor trap flag and activity states: an instruction that makes the processor inactive has a
// boundary behind it, too. SDM Vol. 3C, "Monitor Trap Flag".

#include "cpu/x86/apic/local_apic.hpp"
#include "tests/unit/vmx/vmx_machine.hpp"

#include <catch2/catch.hpp>

using namespace droste;
using namespace droste::test;

namespace {

constexpr u64 kCode = VmxMachine::kGuestCode;
constexpr u32 kValid = interruption::kValid;
constexpr u32 kActive = 0, kHlt = 1, kShutdown = 2, kWaitForSipi = 3;
constexpr u64 handler(unsigned vector) {
    return VmxMachine::kHandlers + vector * 16;
}

struct Guest : VmxMachine {
    explicit Guest(std::initializer_list<u8> code) {
        prepare();
        make_guest_idt();
        guest_code(code);
        set(&Vmcs::proc_controls, vmcs().proc_controls | proc::kMonitorTrapFlag);
    }
    void pend_interrupt(u8 vector) {
        cpu().apic->mmio_write(0xF0, 4, 0x1FF);
        InterruptMessage message;
        message.vector = vector;
        cpu().apic->accept(message);
    }
    bool trapped_at(u64 rip, u32 activity) {
        CAPTURE(exit_reason(), vmcs().guest_rip, vmcs().guest_activity_state);
        CHECK(exited_with(ExitReason::MONITOR_TRAP_FLAG));
        CHECK(vmcs().guest_rip == rip);
        CHECK(vmcs().guest_activity_state == activity);
        return true;
    }
};

}  // namespace

TEST_CASE("MTF exits behind HLT at once, with activity state HLT", "[vmx][events]") {
    Guest m{0xF4, 0x90};  // hlt; nop
    REQUIRE(m.run_guest(20));
    m.trapped_at(kCode + 1, kHlt);
    CHECK(m.vmcs().idt_vectoring_info == 0);
    CHECK(m.state().activity == Activity::Active);
}

TEST_CASE("MTF exits behind instructions that wait or yield", "[vmx][events]") {
    Guest pause{0xF3, 0x90, 0x90};  // pause; nop
    REQUIRE(pause.run_guest(20));
    pause.trapped_at(kCode + 2, kActive);
    Guest mwait{0x0F, 0x01, 0xC9, 0x90};  // mwait; nop
    mwait.state().gpr[RCX] = 0;
    REQUIRE(mwait.run_guest(20));
    mwait.trapped_at(kCode + 3, kActive);
    Guest sti{0xFB, 0xF4};  // sti; hlt: two exits
    REQUIRE(sti.run_guest(20));
    sti.trapped_at(kCode + 1, kActive);
    CHECK(sti.vmcs().guest_interruptibility == blocking::kSti);
    REQUIRE(sti.run_guest(20));
    sti.trapped_at(kCode + 2, kHlt);
    CHECK(sti.vmcs().guest_interruptibility == 0);
}

TEST_CASE("MTF waits with a guest entered in HLT, and exits before the first instruction of the "
          "handler that wakes it",
          "[vmx][events]") {
    Guest m{0x90};  // nop
    m.vmcs().guest_rflags |= rflags::kIf;
    m.set(&Vmcs::guest_activity_state, kHlt);
    CHECK_FALSE(m.run_guest(20));
    CHECK(m.vmx().non_root);
    m.pend_interrupt(0x60);
    REQUIRE(m.continue_guest(20));
    m.trapped_at(handler(0x60), kActive);
}

TEST_CASE("MTF goes before an interrupt that waits behind HLT", "[vmx][events]") {
    Guest m{0xF4};  // hlt
    m.vmcs().guest_rflags |= rflags::kIf;
    m.vmcs().pin_controls |= pin::kExternalInterruptExiting;
    m.vmcs().guest_interruptibility = blocking::kSti;
    m.set(&Vmcs::guest_activity_state, kActive);
    (void)m.vmlaunch();
    REQUIRE(m.vmx().non_root);
    REQUIRE(m.continue_guest(20));
    m.trapped_at(kCode + 1, kHlt);
    m.pend_interrupt(0x60);
    REQUIRE(m.run_guest(20));
    CHECK(m.exited_with(ExitReason::EXTERNAL_INTERRUPT));
    CHECK(m.vmcs().guest_activity_state == kHlt);
}

TEST_CASE("MTF does not exit from shutdown or wait-for-SIPI; an NMI's handler is trapped",
          "[vmx][events]") {
    Guest shutdown{0x90};  // nop
    shutdown.set(&Vmcs::guest_activity_state, kShutdown);
    CHECK_FALSE(shutdown.run_guest(20));
    shutdown.cpu().icount += 3;  // of another stay, should somebody count
    shutdown.cpu().request(attention::kVmx);
    CHECK_FALSE(shutdown.continue_guest(20));
    shutdown.cpu().request(attention::kNmi);
    REQUIRE(shutdown.continue_guest(20));
    shutdown.trapped_at(handler(2), kActive);

    Guest sipi{0x90};  // nop
    sipi.set(&Vmcs::guest_activity_state, kWaitForSipi);
    CHECK_FALSE(sipi.run_guest(20));
    sipi.send_sipi(0x10);
    REQUIRE(sipi.continue_guest(20));
    CHECK(sipi.exited_with(ExitReason::SIPI));
}

TEST_CASE("an event injected into HLT is delivered and trapped; an injected MTF leaves HLT",
          "[vmx][events]") {
    for (const u32 info : {kValid | 0x41, kValid | 2U << 8 | 2, kValid | 3U << 8 | 1}) {
        CAPTURE(info);
        Guest m{0x90};  // nop
        m.vmcs().guest_rflags |= rflags::kIf;
        m.vmcs().guest_activity_state = kHlt;
        m.set(&Vmcs::entry_interruption_info, info);
        REQUIRE(m.run_guest(20));
        m.trapped_at(handler(info & 0xFF), kActive);
    }
    for (const bool flag : {false, true}) {
        Guest m{0x90};  // nop
        if (!flag) {
            m.vmcs().proc_controls &= ~proc::kMonitorTrapFlag;
        }
        m.vmcs().guest_activity_state = kHlt;
        m.set(&Vmcs::entry_interruption_info, kValid | 7U << 8);
        REQUIRE(m.run_guest(20));
        m.trapped_at(kCode, kHlt);
    }
}

TEST_CASE("MTF exits behind each iteration of a repeated string instruction", "[vmx][events]") {
    Guest m{0xF3, 0xAA, 0x90};  // rep stosb; nop
    m.state().gpr[RCX] = 2;
    m.state().gpr[RDI] = VmxMachine::kGuestData;
    REQUIRE(m.run_guest(20));
    m.trapped_at(kCode, kActive);
    CHECK(m.state().gpr[RCX] == 1);
    REQUIRE(m.run_guest(20));
    CHECK(m.state().gpr[RCX] == 0);
}
