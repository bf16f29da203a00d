// INIT signals and SIPIs in VMX operation, NMI blocking across a VM exit, the VMX-abort shutdown
// state, and that the mask of pending events follows every change of VMX operation.
// SDM Vol. 3C, "Other Causes of VM Exits", "Restrictions on VMX Operation", "VMX Aborts".

#include "cpu/x86/apic/local_apic.hpp"
#include "cpu/x86/system/boundary.hpp"
#include "tests/unit/vmx/vmx_machine.hpp"

#include <catch2/catch.hpp>

using namespace droste;
using namespace droste::test;

namespace {

constexpr u32 kWaitForSipi = 3;
constexpr u64 kResetRip = 0xFFF0;

struct Guest : VmxMachine {
    Guest() {
        prepare();
        guest_code({0x0F, 0xA2});  // cpuid
    }
    void wait_for_sipi() { set(&Vmcs::guest_activity_state, kWaitForSipi); }
    // Enters the guest again, active, and says why it exits.
    ExitReason exits_then_with() {
        vmcs().guest_activity_state = 0;
        set(&Vmcs::guest_rip, kGuestCode);
        REQUIRE(run_guest());
        return static_cast<ExitReason>(exit_reason());
    }
};

}  // namespace

TEST_CASE("an INIT in VMX root operation stays pending until VMXOFF", "[vmx][init]") {
    VmxMachine m;
    m.machine().poke_value<u64>(VmxMachine::kScratch, VmxMachine::kVmxonRegion);
    m.state().gpr[RAX] = VmxMachine::kScratch;
    m.cpu().apic->mmio_write(0xF0, 4, 0x1FF);
    (void)m.run_host({0xF3, 0x0F, 0xC7, 0x30,  // vmxon [rax]
                      0xEB, 0xFE},             // jmp $
                     100);
    REQUIRE(m.vmx().in_operation);
    m.send_init();
    (void)m.run_host({0xEB, 0xFE}, 100);  // jmp $
    CHECK(m.vmx().in_operation);
    CHECK(m.state().rip() == VmxMachine::kHostCode + 0x100);
    CHECK(m.pending(attention::kInit));
    (void)m.run_host({0x0F, 0x01, 0xC4, 0xEB, 0xFE}, 2);  // vmxoff, the INIT; jmp $
    CHECK_FALSE(m.vmx().in_operation);
    CHECK(m.state().rip() == kResetRip);
    CHECK_FALSE(m.pending(attention::kInit));
}

TEST_CASE("an INIT of VMX root operation exits at the next VM entry", "[vmx][init]") {
    Guest m;
    m.send_init();
    REQUIRE(m.run_guest());
    CHECK(m.exited_with(ExitReason::INIT_SIGNAL));
    CHECK(m.vmcs().guest_rip == VmxMachine::kGuestCode);
    CHECK(m.exits_then_with() == ExitReason::CPUID);
}

TEST_CASE("a guest in wait-for-SIPI loses an INIT and takes the SIPI behind it", "[vmx][init]") {
    Guest m;
    m.wait_for_sipi();
    CHECK_FALSE(m.run_guest());
    m.send_init();
    CHECK_FALSE(m.pending(attention::kInit));
    CHECK_FALSE(m.continue_guest(10));
    m.send_init();
    m.send_sipi(0x9A);
    REQUIRE(m.continue_guest(10));
    CHECK(m.exited_with(ExitReason::SIPI));
    CHECK(m.vmcs().exit_qualification == 0x9A);
    CHECK(m.vmcs().guest_activity_state == kWaitForSipi);
    CHECK(m.exits_then_with() == ExitReason::CPUID);
}

TEST_CASE("an INIT behind a SIPI finds the processor in root operation", "[vmx][init]") {
    Guest m;
    m.wait_for_sipi();
    CHECK_FALSE(m.run_guest());
    m.send_sipi(0x9A);
    m.send_init();
    REQUIRE(m.continue_guest(10));
    CHECK(m.exited_with(ExitReason::SIPI));
    CHECK(m.vmcs().exit_qualification == 0x9A);
    CHECK(m.pending(attention::kInit));
    CHECK(m.exits_then_with() == ExitReason::INIT_SIGNAL);
}

TEST_CASE("VM entry to wait-for-SIPI forgets an INIT and a SIPI of before", "[vmx][init]") {
    Guest m;
    m.send_init();
    m.send_sipi(0x77);
    (void)m.run_host({0x90}, 1);  // nop
    m.wait_for_sipi();
    CHECK_FALSE(m.run_guest());
    CHECK(m.vmx().non_root);
    m.send_sipi(0x9A);
    REQUIRE(m.continue_guest(10));
    CHECK(m.exited_with(ExitReason::SIPI));
    CHECK(m.vmcs().exit_qualification == 0x9A);
    CHECK(m.exits_then_with() == ExitReason::CPUID);
}

TEST_CASE("a SIPI that finds a guest running is lost", "[vmx][init]") {
    Guest m;
    m.guest_code({0xEB, 0xFE});  // jmp $
    CHECK_FALSE(m.run_guest(10));
    m.cpu().sipi_vector = 0x9A;
    m.cpu().request(attention::kSipi);
    CHECK_FALSE(m.continue_guest(10));
    CHECK_FALSE(m.pending(attention::kSipi));
}

TEST_CASE("real NMI blocking of a guest is still in force behind the VM exit", "[vmx][init]") {
    struct Row {
        u32 pin;
        u32 blocked_in_host;
    };
    for (const auto& [pin_controls, blocked] :
         {Row{0, blocking::kNmi}, Row{pin::kNmiExiting, blocking::kNmi},
          Row{pin::kNmiExiting | pin::kVirtualNmis, 0}}) {
        CAPTURE(pin_controls);
        Guest m;
        m.vmcs().pin_controls |= pin_controls;
        m.set(&Vmcs::guest_interruptibility, blocking::kNmi);
        REQUIRE(m.run_guest());
        CHECK(m.exited_with(ExitReason::CPUID));
        CHECK(m.state().interruptibility == blocked);
        CHECK((m.cpu().attention_mask & attention::kNmi) == (blocked == 0 ? attention::kNmi : 0));
    }
}

// SDM Vol. 3C, "VM-Entry Failures During or After Loading Guest State".
TEST_CASE("blocking by NMI is behind a VM entry that failed what it was before", "[vmx][init]") {
    constexpr u32 kInvalidGuestState = 0x8000'0021, kMsrLoading = 0x8000'0022;
    for (const u32 reason : {kInvalidGuestState, kMsrLoading}) {
        for (const u32 blocked : {u32{blocking::kNmi}, 0U}) {
            CAPTURE(reason, blocked);
            Guest m;
            m.state().interruptibility = blocked;
            m.vmcs().guest_interruptibility = blocked ^ blocking::kNmi;
            if (reason == kInvalidGuestState) {
                m.vmcs().guest_rflags = 0;  // bit 1 is always 1
            } else {
                m.machine().poke_value<u64>(VmxMachine::kMsrLists, 0x808);  // never in a list
                m.vmcs().entry_msr_load_address = VmxMachine::kMsrLists;
                m.vmcs().entry_msr_load_count = 1;
            }
            m.vmx().current->stale_checks = ~0U;
            (void)m.vmlaunch();
            REQUIRE(m.exit_reason() == reason);
            CHECK(m.state().interruptibility == blocked);
            CHECK((m.cpu().attention_mask & attention::kNmi) ==
                  (blocked == 0 ? attention::kNmi : 0));
        }
    }
}

TEST_CASE("blocking by STI or MOV SS ends with the guest, NMI blocking without NMIs does not begin",
          "[vmx][init]") {
    for (const u32 shadow : {blocking::kSti, blocking::kMovSs}) {
        Guest m;
        m.vmcs().guest_rflags |= rflags::kIf;
        m.set(&Vmcs::guest_interruptibility, shadow);
        REQUIRE(m.run_guest());
        CHECK(m.exited_with(ExitReason::CPUID));
        CHECK(m.vmcs().guest_interruptibility == shadow);
        CHECK(m.state().interruptibility == 0);
    }
}

TEST_CASE("nothing but a reset wakes a processor from the VMX-abort shutdown state",
          "[vmx][init]") {
    Guest m;
    m.machine().poke_value<u64>(VmxMachine::kMsrLists, 0x808);  // x2APIC TPR: never in a list
    m.vmcs().exit_msr_load_address = VmxMachine::kMsrLists;
    m.set(&Vmcs::exit_msr_load_count, 1);
    (void)m.run_guest();
    REQUIRE(m.state().activity == Activity::Shutdown);
    m.send_init();
    m.cpu().request(attention::kNmi | attention::kMachineCheck | attention::kSipi);
    CHECK((m.cpu().attention.load() & m.cpu().attention_mask) == 0);
    CHECK(m.run_host({0x90}, 10) == RunResult::Idle);  // nop
    CHECK(m.state().activity == Activity::Shutdown);
    m.cpu().request(attention::kStop);
    CHECK(m.run_host({0x90}, 10) == RunResult::Stopped);  // nop
    m.cpu().withdraw(attention::kStop);
    m.vmx().reset(m.cpu());
    update_attention(m.cpu());
    CHECK((m.cpu().attention.load() & m.cpu().attention_mask) != 0);
}

TEST_CASE("each change of VMX operation leaves the mask of pending events right", "[vmx][init]") {
    VmxMachine m;
    const auto current = [&] { return attention_is_current(m.cpu()); };
    CHECK((m.cpu().attention_mask & attention::kInit) != 0);
    (void)m.vmxon();
    CHECK(current());
    CHECK((m.cpu().attention_mask & attention::kInit) == 0);
    Insn vmxoff;
    vmxoff.op = Op::VMXOFF;
    CHECK(m.execute(vmxoff) == Status::Sync);
    CHECK(current());
    CHECK((m.cpu().attention_mask & attention::kInit) != 0);
    m.prepare();
    CHECK(current());
    m.guest_code({0x0F, 0xA2});  // cpuid
    (void)m.vmlaunch();
    REQUIRE(m.vmx().non_root);
    CHECK(current());
    CHECK((m.cpu().attention_mask & attention::kInit) != 0);
    REQUIRE(m.continue_guest(10));
    CHECK(current());
    CHECK((m.cpu().attention_mask & attention::kInit) == 0);
    // A VM entry that fails in the guest state, and one that fails in the MSR list.
    m.set(&Vmcs::guest_rflags, 8);
    (void)m.vmresume();
    CHECK(m.exit_reason() == 0x8000'0021);
    CHECK(current());
    m.machine().poke_value<u64>(VmxMachine::kMsrLists, 0x808);
    m.vmcs().entry_msr_load_address = VmxMachine::kMsrLists;
    m.vmcs().guest_rflags = rflags::kFixed1 | rflags::kIf | rflags::kTf;
    m.set(&Vmcs::entry_msr_load_count, 1);
    (void)m.vmresume();
    CHECK(m.exit_reason() == 0x8000'0022);
    CHECK(current());
}
