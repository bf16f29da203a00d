// TPR shadow and threshold, the APIC-access page, x2APIC virtualization, virtual interrupts, posted
// interrupts.

#include "cpu/vmx/guest/virtual_apic.hpp"
#include "cpu/x86/apic/local_apic.hpp"
#include "tests/unit/vmx/vmx_machine.hpp"

#include <catch2/catch.hpp>

using namespace droste;
using namespace droste::test;

namespace {

constexpr u64 kVapic = VmxMachine::kVirtualApic, kAccess = VmxMachine::kApicAccess;
constexpr u64 kCode = VmxMachine::kGuestCode;

struct ApicGuest : VmxMachine {
    explicit ApicGuest(std::initializer_list<u8> code, u32 secondary = 0) {
        prepare();
        make_guest_idt();
        guest_code(code);
        Vmcs& v = vmcs();
        v.pin_controls |= pin::kExternalInterruptExiting;
        v.exit_controls |= vm_exit_control::kAcknowledgeInterrupt;
        v.proc_controls |= proc::kTprShadow | proc::kActivateSecondary | proc::kHltExiting;
        v.proc2_controls = secondary;
        v.virtual_apic_address = kVapic;
        v.apic_access_address = kAccess;
        vmx().current->stale_checks = ~0U;
        state().gpr[RBX] = kAccess;
    }
    u32 vapic(u32 offset) { return machine().peek_value<u32>(kVapic + offset); }
    void set_vapic(u32 offset, u32 value) { machine().poke_value<u32>(kVapic + offset, value); }
    u8 rvi() { return static_cast<u8>(vmcs().guest_interrupt_status); }
    u8 svi() { return static_cast<u8>(vmcs().guest_interrupt_status >> 8); }
};

constexpr u32 kVid = proc2::kVirtualInterruptDelivery;
constexpr u32 kXapic = proc2::kVirtualizeApicAccesses;
constexpr u32 kRegisters = proc2::kApicRegisterVirtualization;
constexpr u32 kX2apic = proc2::kVirtualizeX2apicMode;

}  // namespace

TEST_CASE("MOV CR8 reads and writes VTPR", "[vmx][apic]") {
    ApicGuest m{0x44, 0x0F, 0x20, 0xC1, 0x44,
                0x0F, 0x22, 0xC0, 0x0F, 0xA2};  // mov rcx, cr8; mov cr8, rax; cpuid
    m.set_vapic(0x80, 0x50);
    m.state().gpr[RAX] = 9;
    REQUIRE(m.run_guest());
    CHECK(m.exited_with(ExitReason::CPUID));
    CHECK(m.state().gpr[RCX] == 5);
    CHECK(m.vapic(0x80) == 0x90);
    CHECK(m.cpu().apic->tpr() == 0);
}

TEST_CASE("TPR below threshold exits behind the instruction, and at once after VM entry",
          "[vmx][apic]") {
    ApicGuest m({0x44, 0x0F, 0x22, 0xC0, 0x90}, 0);  // mov cr8, rax; nop
    m.set_vapic(0x80, 0x90);
    m.set(&Vmcs::tpr_threshold, 5);
    m.state().gpr[RAX] = 4;
    REQUIRE(m.run_guest());
    CHECK(m.exited_with(ExitReason::TPR_BELOW_THRESHOLD));
    CHECK(m.vmcs().guest_rip == kCode + 4);

    ApicGuest at_once({0x90}, kXapic);  // nop
    at_once.set(&Vmcs::tpr_threshold, 5);
    REQUIRE(at_once.run_guest());
    CHECK(at_once.exited_with(ExitReason::TPR_BELOW_THRESHOLD));
    CHECK(at_once.vmcs().guest_rip == kCode);
}

TEST_CASE("APIC-access page: exits with offset and type unless the register is virtualized",
          "[vmx][apic]") {
    struct Row {
        u32 secondary;
        bool write;
        u8 offset;
        bool exits;
    };
    // mov ecx,[rbx+offset] / mov [rbx+offset],ecx
    for (const auto& [secondary, write, offset, exits] :
         {Row{kXapic, false, 0x20, true}, Row{kXapic, true, 0x20, true},
          Row{kXapic, false, 0x00, true}, Row{kXapic | kRegisters, false, 0x20, false},
          Row{kXapic | kRegisters, false, 0x30, false}, Row{kXapic | kRegisters, true, 0x30, true},
          Row{kXapic | kRegisters, false, 0x40, true},
          Row{kXapic | kRegisters, false, 0x24, true}}) {
        CAPTURE(secondary, write, offset);
        ApicGuest m({static_cast<u8>(write ? 0x89 : 0x8B), 0x4B, offset, 0x0F, 0xA2}, secondary);
        m.set_vapic(offset & 0xF0U, 0xABCD);
        REQUIRE(m.run_guest());
        if (exits) {
            CHECK(m.exited_with(ExitReason::APIC_ACCESS));
            CHECK(m.vmcs().exit_qualification == (offset | (write ? 1U << 12 : 0U)));
            CHECK(m.vmcs().guest_rip == kCode);
            CHECK(m.vmcs().exit_instruction_length == 3);
        } else {
            CHECK(m.exited_with(ExitReason::CPUID));
            CHECK(m.state().gpr[RCX] == 0xABCD);
        }
    }
}

TEST_CASE(
    "writes to the APIC-access page: virtualized TPR, APIC-write exits behind the instruction",
    "[vmx][apic]") {
    // mov dword [rbx + 0x80], 0x30; cpuid
    ApicGuest tpr({0xC7, 0x83, 0x80, 0, 0, 0, 0x30, 0, 0, 0, 0x0F, 0xA2},
                  kXapic);  // mov dword [rbx+80h], 30h
    REQUIRE(tpr.run_guest());
    CHECK(tpr.exited_with(ExitReason::CPUID));
    CHECK(tpr.vapic(0x80) == 0x30);
    // mov dword [rbx + 0xF0], 0x1FF; nop; cpuid
    ApicGuest svr({0xC7, 0x83, 0xF0, 0, 0, 0, 0xFF, 1, 0, 0, 0x90, 0x0F, 0xA2},
                  kXapic | kRegisters);
    REQUIRE(svr.run_guest());
    CHECK(svr.exited_with(ExitReason::APIC_WRITE));
    CHECK(svr.vmcs().exit_qualification == 0xF0);
    CHECK(svr.vmcs().guest_rip == kCode + 10);
    CHECK(svr.vapic(0xF0) == 0x1FF);
}

TEST_CASE("an access to the APIC-access page is never cached", "[vmx][apic]") {
    // mov ecx, [rbx + 0x20]; mov edx, [rbx + 0x30]; mov edi, [rbx + 0x50]; cpuid
    ApicGuest m({0x8B, 0x4B, 0x20, 0x8B, 0x53, 0x30, 0x8B, 0x7B, 0x50, 0x0F, 0xA2},
                kXapic | kRegisters);
    m.set_vapic(0x20, 1);
    m.set_vapic(0x30, 2);
    REQUIRE(m.run_guest());
    CHECK(m.exited_with(ExitReason::APIC_ACCESS));
    CHECK(m.vmcs().guest_rip == kCode + 6);
    CHECK(m.state().gpr[RCX] == 1);
    CHECK(m.state().gpr[RDX] == 2);
}

TEST_CASE("x2APIC mode: TPR always, everything readable with APIC-register virtualization",
          "[vmx][apic]") {
    ApicGuest m({0x0F, 0x32, 0x0F, 0xA2}, kX2apic | kRegisters);  // rdmsr
    m.state().gpr[RCX] = 0x802;
    m.set_vapic(0x20, 0x77);
    m.set_vapic(0x24, 0x88);
    REQUIRE(m.run_guest());
    CHECK(m.exited_with(ExitReason::CPUID));
    CHECK(m.state().gpr[RAX] == 0x77);
    CHECK(m.state().gpr[RDX] == 0x88);
    ApicGuest tpr({0x0F, 0x30, 0x0F, 0xA2}, kX2apic);  // wrmsr
    tpr.state().gpr[RCX] = 0x808;
    tpr.state().gpr[RAX] = 0x40;
    tpr.state().gpr[RDX] = 0;
    REQUIRE(tpr.run_guest());
    CHECK(tpr.vapic(0x80) == 0x40);
    ApicGuest bad({0x0F, 0x30, 0x0F, 0xA2}, kX2apic);  // wrmsr; cpuid
    bad.state().gpr[RCX] = 0x808;
    bad.state().gpr[RAX] = 0x100;
    bad.state().gpr[RDX] = 0;
    bad.set(&Vmcs::exception_bitmap, 1U << 13);
    REQUIRE(bad.run_guest());
    CHECK(bad.exited_with(ExitReason::EXCEPTION_OR_NMI));
}

TEST_CASE("a pending virtual interrupt is delivered when the window opens, without an exit",
          "[vmx][apic]") {
    ApicGuest m({0x90, 0xFB, 0x90, 0x90, 0xEB, 0xFE}, kVid);  // nop; sti; nop; nop
    m.set_vapic(virtual_apic::kIrr + 0x20, 1U << 1);          // vector 41h
    m.set(&Vmcs::guest_interrupt_status, 0x41);
    REQUIRE(m.run_guest());
    CHECK(m.exited_with(ExitReason::HLT));
    CHECK(m.vmcs().guest_rip == VmxMachine::kHandlers + 0x41 * 16);
    CHECK(m.svi() == 0x41);
    CHECK(m.rvi() == 0);
    CHECK(m.vapic(virtual_apic::kIsr + 0x20) == 1U << 1);
    CHECK(m.vapic(virtual_apic::kIrr + 0x20) == 0);
    CHECK(m.vapic(virtual_apic::kPpr) == 0x40);
    CHECK(m.machine().peek_value<u64>(m.vmcs().guest_rsp) == kCode + 3);
}

TEST_CASE("a virtual interrupt at or below VPPR waits; a lower TPR lets it in", "[vmx][apic]") {
    ApicGuest m({0x90, 0x44, 0x0F, 0x22, 0xC0, 0x90, 0xEB, 0xFE}, kVid);  // nop; mov cr8, rax
    m.set_vapic(0x80, 0x50);
    m.set_vapic(virtual_apic::kIrr + 0x20, 1U << 1);
    m.vmcs().guest_rflags |= rflags::kIf;
    m.set(&Vmcs::guest_interrupt_status, 0x41);
    m.state().gpr[RAX] = 0;
    REQUIRE(m.run_guest());
    CHECK(m.vmcs().guest_rip == VmxMachine::kHandlers + 0x41 * 16);
    CHECK(m.machine().peek_value<u64>(m.vmcs().guest_rsp) == kCode + 5);
}

TEST_CASE(
    "virtualized EOI ends the interrupt in service; the EOI-exit bitmap turns it into an exit",
    "[vmx][apic]") {
    for (const bool exits : {false, true}) {
        CAPTURE(exits);
        ApicGuest m({0x0F, 0x30, 0x90, 0x0F, 0xA2}, kX2apic | kVid);  // wrmsr; nop; cpuid
        m.state().gpr[RCX] = 0x80B;
        m.state().gpr[RAX] = m.state().gpr[RDX] = 0;
        m.set_vapic(virtual_apic::kIsr + 0x20, 1U << 1);
        m.set_vapic(virtual_apic::kIsr + 0x10, 1U << 2);  // 22h below it
        m.vmcs().eoi_exit_bitmap_1 = exits ? 2 : 0;
        m.set(&Vmcs::guest_interrupt_status, 0x4100);
        REQUIRE(m.run_guest());
        CHECK(m.svi() == 0x22);
        CHECK(m.vapic(virtual_apic::kIsr + 0x20) == 0);
        CHECK(m.exited_with(exits ? ExitReason::VIRTUALIZED_EOI : ExitReason::CPUID));
        if (exits) {
            CHECK(m.vmcs().exit_qualification == 0x41);
            CHECK(m.vmcs().guest_rip == kCode + 2);
        }
    }
}

TEST_CASE("self-IPI virtualization: through the ICR and MSR 83Fh", "[vmx][apic]") {
    // mov dword [rbx + 0x300], 0x40041; jmp $
    ApicGuest icr({0xC7, 0x83, 0x00, 0x03, 0, 0, 0x41, 0, 4, 0, 0xEB, 0xFE},
                  kXapic | kVid);  // mov dword [rbx+300h], 40041h
    icr.vmcs().guest_rflags |= rflags::kIf;
    icr.vmx().current->stale_checks = ~0U;
    REQUIRE(icr.run_guest());
    CHECK(icr.vmcs().guest_rip == VmxMachine::kHandlers + 0x41 * 16);
    ApicGuest msr({0x0F, 0x30, 0xEB, 0xFE}, kX2apic | kVid);  // wrmsr; jmp $
    msr.state().gpr[RCX] = 0x83F;
    msr.state().gpr[RAX] = 0x51;
    msr.state().gpr[RDX] = 0;
    msr.vmcs().guest_rflags |= rflags::kIf;
    msr.vmx().current->stale_checks = ~0U;
    REQUIRE(msr.run_guest());
    CHECK(msr.vmcs().guest_rip == VmxMachine::kHandlers + 0x51 * 16);
    // mov dword [rbx + 0x300], 0x41; nop
    ApicGuest other({0xC7, 0x83, 0x00, 0x03, 0, 0, 0x41, 0, 0, 0, 0x90},
                    kXapic | kVid);  // not to self
    REQUIRE(other.run_guest());
    CHECK(other.exited_with(ExitReason::APIC_WRITE));
    CHECK(other.vmcs().exit_qualification == 0x300);
}

TEST_CASE("posted interrupts: the notification vector moves PIR to VIRR without an exit",
          "[vmx][apic]") {
    constexpr u64 kDescriptor = VmxMachine::kBitmaps + 0x2000;
    ApicGuest m({0xEB, 0xFE}, kVid);  // jmp $
    m.vmcs().pin_controls |= pin::kPostedInterrupts;
    m.vmcs().posted_interrupt_vector = 0xF2;
    m.vmcs().posted_interrupt_descriptor = kDescriptor;
    m.vmcs().guest_rflags |= rflags::kIf;
    m.vmx().current->stale_checks = ~0U;
    m.machine().poke_value<u64>(kDescriptor + 8, 1U << 1 | u64{1} << 40);  // vectors 41h and 68h
    m.machine().poke_value<u64>(kDescriptor + 32, 1);  // outstanding notification
    m.cpu().apic->mmio_write(0xF0, 4, 0x1FF);
    InterruptMessage message;
    message.vector = 0xF2;
    m.cpu().apic->accept(message);
    REQUIRE(m.run_guest());
    CHECK(m.exited_with(ExitReason::HLT));
    CHECK(m.vmcs().guest_rip == VmxMachine::kHandlers + 0x68 * 16);
    CHECK(m.rvi() == 0x41);
    CHECK(m.machine().peek_value<u64>(kDescriptor + 8) == 0);
    CHECK(m.machine().peek_value<u64>(kDescriptor + 32) == 0);
    CHECK(m.cpu().apic->pending_vector() == -1);
}

TEST_CASE("a virtual interrupt wakes a guest in HLT", "[vmx][apic]") {
    ApicGuest m({0x90}, kVid);  // nop
    m.vmcs().guest_rflags |= rflags::kIf;
    m.vmcs().guest_activity_state = 1;
    m.set_vapic(virtual_apic::kIrr + 0x20, 1U << 1);
    m.set(&Vmcs::guest_interrupt_status, 0x41);
    REQUIRE(m.run_guest());
    CHECK(m.vmcs().guest_rip == VmxMachine::kHandlers + 0x41 * 16);
}
