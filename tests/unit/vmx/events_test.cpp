// Exceptions, injection, IDT vectoring, NMIs, interrupts, windows, activity states, monitor trap
// flag, preemption timer.

#include "cpu/x86/apic/local_apic.hpp"
#include "tests/unit/vmx/vmx_machine.hpp"

#include <catch2/catch.hpp>

using namespace droste;
using namespace droste::test;

namespace {

constexpr u32 kValid = interruption::kValid, kErrorCode = interruption::kErrorCodeValid;
constexpr u64 kCode = VmxMachine::kGuestCode;
constexpr u64 handler(unsigned vector) {
    return VmxMachine::kHandlers + vector * 16;
}

struct Guest : VmxMachine {
    explicit Guest(std::initializer_list<u8> code) {
        prepare();
        make_guest_idt();
        guest_code(code);
        vmcs().proc_controls |= proc::kHltExiting;  // handlers are HLT
    }
    void inject(u32 info, u32 error_code = 0, u32 length = 0) {
        vmcs().entry_interruption_info = info;
        vmcs().entry_exception_error_code = error_code;
        set(&Vmcs::entry_instruction_length, length);
    }
    u64 stack(unsigned slot) { return machine().peek_value<u64>(state_rsp() + slot * 8); }
    u64 state_rsp() { return vmcs().guest_rsp; }
    void pend_interrupt(u8 vector) {
        cpu().apic->mmio_write(0xF0, 4, 0x1FF);
        InterruptMessage message;
        message.vector = vector;
        cpu().apic->accept(message);
    }
};

}  // namespace

TEST_CASE("the exception bitmap turns an exception into an exit", "[vmx][events]") {
    Guest m{0x0F, 0x0B};  // UD2
    m.set(&Vmcs::exception_bitmap, 1U << 6);
    REQUIRE(m.run_guest());
    CHECK(m.exited_with(ExitReason::EXCEPTION_OR_NMI));
    CHECK(m.vmcs().exit_interruption_info == (kValid | 3U << 8 | 6));
    CHECK(m.vmcs().guest_rip == kCode);
    CHECK((m.vmcs().guest_rflags & rflags::kRf) != 0);  // as a fault would have pushed
    CHECK(m.vmcs().idt_vectoring_info == 0);
}

TEST_CASE("without its bit the exception is delivered in the guest", "[vmx][events]") {
    Guest m{0x0F, 0x0B};  // ud2
    REQUIRE(m.run_guest());
    CHECK(m.exited_with(ExitReason::HLT));
    CHECK(m.vmcs().guest_rip == handler(6));
    CHECK(m.stack(0) == kCode);
}

TEST_CASE("page faults: error-code mask and match, qualification, CR2 unchanged", "[vmx][events]") {
    struct Row {
        u32 bitmap, mask, match;
        bool exits;
    };
    // mov al, [rbx] with RBX unmapped: error code 0.
    for (const auto& [bitmap, mask, match, exits] :
         {Row{1U << 14, 0, 0, true}, Row{1U << 14, 1, 1, false}, Row{0, 1, 1, true},
          Row{0, 0, 0, false}}) {
        CAPTURE(bitmap, mask, match);
        Guest m{0x8A, 0x03};  // mov al, [rbx]
        m.state().gpr[RBX] = 0x4000'0123;
        m.state().cr2 = 0x55;
        m.vmcs().page_fault_error_code_mask = mask;
        m.vmcs().page_fault_error_code_match = match;
        m.set(&Vmcs::exception_bitmap, bitmap);
        REQUIRE(m.run_guest());
        if (exits) {
            CHECK(m.vmcs().exit_interruption_info == (kValid | kErrorCode | 3U << 8 | 14));
            CHECK(m.vmcs().exit_qualification == 0x4000'0123);
            CHECK(m.vmcs().exit_interruption_error_code == 0);
            CHECK(m.state().cr2 == 0x55);
        } else {
            CHECK(m.vmcs().guest_rip == handler(14));
            CHECK(m.state().cr2 == 0x4000'0123);
        }
    }
}

TEST_CASE(
    "INT3, INTO-like and INT1 exit as software exceptions with their length; INT n does not exit",
    "[vmx][events]") {
    Guest int3{0xCC};  // int3
    int3.set(&Vmcs::exception_bitmap, ~0U);
    REQUIRE(int3.run_guest());
    CHECK(int3.vmcs().exit_interruption_info == (kValid | 6U << 8 | 3));
    CHECK(int3.vmcs().exit_instruction_length == 1);
    Guest int1{0xF1};  // int1
    int1.set(&Vmcs::exception_bitmap, 1U << 1);
    REQUIRE(int1.run_guest());
    CHECK(int1.vmcs().exit_interruption_info == (kValid | 5U << 8 | 1));
    Guest int_n{0xCD, 0x06};  // int 6
    int_n.set(&Vmcs::exception_bitmap, 1U << 6);
    REQUIRE(int_n.run_guest());
    CHECK(int_n.exited_with(ExitReason::HLT));
    CHECK(int_n.vmcs().guest_rip == handler(6));
}

TEST_CASE("#DB exit: qualification holds the conditions, DR6 is unchanged", "[vmx][events]") {
    Guest m{0x90, 0x90};  // nop; nop
    m.vmcs().guest_rflags |= rflags::kTf;
    m.set(&Vmcs::exception_bitmap, 1U << 1);
    const u64 before = m.state().dr6;
    REQUIRE(m.run_guest());
    CHECK(m.vmcs().exit_interruption_info == (kValid | 3U << 8 | 1));
    CHECK(m.vmcs().exit_qualification == 0x4000);
    CHECK(m.vmcs().guest_rip == kCode + 1);
    CHECK(m.state().dr6 == before);
}

TEST_CASE("injection reaches the guest's handler with the right frame", "[vmx][events]") {
    struct Row {
        u32 info, error_code, length;
        unsigned vector;
        u64 pushed_rip;
        bool has_error;
    };
    for (const auto& [info, error_code, length, vector, rip, has_error] :
         {Row{kValid | 0x41, 0, 0, 0x41, kCode, false},
          Row{kValid | 2U << 8 | 2, 0, 0, 2, kCode, false},
          Row{kValid | kErrorCode | 3U << 8 | 13, 0x18, 0, 13, kCode, true},
          Row{kValid | 3U << 8 | 6, 0, 0, 6, kCode, false},
          Row{kValid | 4U << 8 | 0x80, 0, 2, 0x80, kCode + 2, false},
          Row{kValid | 6U << 8 | 3, 0, 1, 3, kCode + 1, false},
          Row{kValid | 5U << 8 | 1, 0, 1, 1, kCode + 1, false},
          Row{kValid | 4U << 8 | 0x80, 0, 0, 0x80, kCode, false}}) {
        CAPTURE(info);
        Guest m{0x90};  // nop
        m.vmcs().guest_rflags |= rflags::kIf;
        m.inject(info, error_code, length);
        m.state().cr2 = 0x1234;
        REQUIRE(m.run_guest());
        CHECK(m.exited_with(ExitReason::HLT));
        CHECK(m.vmcs().guest_rip == handler(vector));
        if (has_error) {
            CHECK(m.stack(0) == error_code);
        }
        CHECK(m.stack(has_error ? 1 : 0) == rip);
        CHECK((m.vmcs().entry_interruption_info & kValid) == 0);
        CHECK(m.state().cr2 == 0x1234);
    }
}

TEST_CASE("an injected page fault leaves CR2, an injected #DB leaves DR6 as the host set them",
          "[vmx][events]") {
    Guest m{0x90};  // nop
    m.inject(kValid | kErrorCode | 3U << 8 | 14, 2);
    m.state().cr2 = 0xABC;
    REQUIRE(m.run_guest());
    CHECK(m.state().cr2 == 0xABC);
    Guest db{0x90};  // nop
    db.inject(kValid | 3U << 8 | 1);
    db.state().dr6 = dr6::kReset;
    REQUIRE(db.run_guest());
    CHECK(db.state().dr6 == dr6::kReset);
    CHECK(db.vmcs().guest_rip == handler(1));
}

TEST_CASE("an exit while injecting reports the event in the IDT-vectoring fields",
          "[vmx][events]") {
    Guest m{0x90};  // nop
    m.inject(kValid | kErrorCode | 3U << 8 | 13, 0x28);
    m.vmcs().guest_idtr_limit = 13 * 16 - 1;  // the gate lies beyond the limit: #GP during delivery
    m.set(&Vmcs::exception_bitmap, 1U << 8);
    REQUIRE(m.run_guest());
    // #GP while delivering #GP: double fault, which exits directly.
    CHECK(m.vmcs().exit_interruption_info == (kValid | kErrorCode | 3U << 8 | 8));
    CHECK(m.vmcs().idt_vectoring_info == 0);
    Guest gp{0x90};  // nop
    gp.inject(kValid | kErrorCode | 3U << 8 | 13, 0x28);
    gp.vmcs().guest_idtr_limit = 13 * 16 - 1;
    gp.set(&Vmcs::exception_bitmap, 1U << 13);
    REQUIRE(gp.run_guest());
    CHECK(gp.vmcs().exit_interruption_info == (kValid | kErrorCode | 3U << 8 | 13));
    CHECK(gp.vmcs().idt_vectoring_info == (kValid | kErrorCode | 3U << 8 | 13));
    CHECK(gp.vmcs().idt_vectoring_error_code == 0x28);
}

TEST_CASE("INT n whose gate faults reports a software interrupt with the instruction's length",
          "[vmx][events]") {
    Guest m{0xCD, 0x80};  // int 80h
    m.vmcs().guest_idtr_limit = 0x7FF;
    m.set(&Vmcs::exception_bitmap, 1U << 13);
    REQUIRE(m.run_guest());
    CHECK(m.vmcs().idt_vectoring_info == (kValid | 4U << 8 | 0x80));
    CHECK(m.vmcs().exit_instruction_length == 2);
    CHECK(m.vmcs().guest_rip == kCode);
}

TEST_CASE("a triple fault exits with reason 2", "[vmx][events]") {
    Guest m{0x0F, 0x0B};  // ud2
    m.set(&Vmcs::guest_idtr_limit, 0);
    REQUIRE(m.run_guest());
    CHECK(m.exited_with(ExitReason::TRIPLE_FAULT));
    CHECK(m.vmcs().idt_vectoring_info == 0);
    CHECK(m.vmcs().guest_activity_state == 0);
}

TEST_CASE("external-interrupt exiting: with IF clear too; acknowledged or left pending",
          "[vmx][events]") {
    for (const bool acknowledge : {false, true}) {
        CAPTURE(acknowledge);
        Guest m{0xEB, 0xFE};  // jmp $
        m.vmcs().pin_controls |= pin::kExternalInterruptExiting;
        m.vmcs().exit_controls |= acknowledge ? vm_exit_control::kAcknowledgeInterrupt : 0;
        m.vmx().current->stale_checks = ~0U;
        m.pend_interrupt(0x55);
        REQUIRE(m.run_guest());
        CHECK(m.exited_with(ExitReason::EXTERNAL_INTERRUPT));
        CHECK(m.vmcs().exit_interruption_info == (acknowledge ? kValid | 0x55 : 0));
        CHECK(m.cpu().apic->pending_vector() == (acknowledge ? -1 : 0x55));
    }
}

TEST_CASE("without external-interrupt exiting the guest's own IDT takes the interrupt",
          "[vmx][events]") {
    Guest m{0xEB, 0xFE};  // jmp $
    m.set(&Vmcs::guest_rflags, rflags::kFixed1 | rflags::kIf);
    m.pend_interrupt(0x55);
    REQUIRE(m.run_guest());
    CHECK(m.vmcs().guest_rip == handler(0x55));
}

TEST_CASE("NMI exiting: exit, host NMIs blocked; virtual NMIs leave guest blocking in the VMCS",
          "[vmx][events]") {
    Guest m{0xEB, 0xFE};  // jmp $
    m.vmcs().pin_controls |= pin::kNmiExiting | pin::kVirtualNmis;
    m.set(&Vmcs::guest_interruptibility, blocking::kNmi);  // virtual-NMI blocking
    m.cpu().request(attention::kNmi);
    REQUIRE(m.run_guest());
    CHECK(m.vmcs().exit_interruption_info == (kValid | 2U << 8 | 2));
    CHECK(m.vmcs().guest_interruptibility == blocking::kNmi);
    CHECK(m.state().interruptibility == blocking::kNmi);
    CHECK((m.cpu().attention.load() & attention::kNmi) == 0);
}

TEST_CASE("without virtual NMIs, NMIs that the guest left blocked stay blocked in the host",
          "[vmx][events]") {
    for (const u32 blocked : {u32{blocking::kNmi}, u32{0}}) {
        CAPTURE(blocked);
        Guest m{0x0F, 0xA2};  // cpuid
        m.set(&Vmcs::guest_interruptibility, blocked);
        REQUIRE(m.run_guest());
        REQUIRE(m.exited_with(ExitReason::CPUID));
        CHECK((m.state().interruptibility & blocking::kNmi) == blocked);
    }
}

TEST_CASE("NMI-window exiting waits for the IRET that ends virtual-NMI blocking", "[vmx][events]") {
    Guest m{0x90, 0x48, 0xCF};  // nop; iretq
    m.vmcs().pin_controls |= pin::kNmiExiting | pin::kVirtualNmis;
    m.vmcs().proc_controls |= proc::kNmiWindowExiting;
    m.vmcs().guest_interruptibility = blocking::kNmi;
    const u64 frame = VmxMachine::kGuestStack - 40;
    m.machine().poke_value<u64>(frame, kCode + 0x100);
    m.machine().poke_value<u64>(frame + 8, 0x10);
    m.machine().poke_value<u64>(frame + 16, 2);
    m.machine().poke_value<u64>(frame + 24, VmxMachine::kGuestStack);
    m.machine().poke_value<u64>(frame + 32, 0x18);
    m.set(&Vmcs::guest_rsp, frame);
    REQUIRE(m.run_guest());
    CHECK(m.exited_with(ExitReason::NMI_WINDOW));
    CHECK(m.vmcs().guest_rip == kCode + 0x100);
    CHECK(m.vmcs().guest_interruptibility == 0);
}

TEST_CASE("blocking by STI holds off NMIs and the NMI window for one instruction",
          "[vmx][events][shadow]") {
    enum class By : u8 { NmiExiting, NmiWindow, Delivery };
    for (const By by : {By::NmiExiting, By::NmiWindow, By::Delivery}) {
        for (const bool from_entry : {false, true}) {
            CAPTURE(static_cast<int>(by), from_entry);
            Guest m{0xFB, 0x90, 0x90};  // sti; nop; nop
            if (by != By::Delivery) {
                m.vmcs().pin_controls |= pin::kNmiExiting;
            }
            if (by == By::NmiWindow) {
                m.vmcs().pin_controls |= pin::kVirtualNmis;
                m.vmcs().proc_controls |= proc::kNmiWindowExiting;
            } else {
                m.cpu().request(attention::kNmi);
            }
            if (from_entry) {  // as if the STI were done
                m.vmcs().guest_rip = kCode + 1;
                m.vmcs().guest_rflags |= rflags::kIf;
                m.vmcs().guest_interruptibility = blocking::kSti;
            } else {  // ... or a shadow for the first instruction only
                m.vmcs().guest_interruptibility = blocking::kMovSs;
            }
            m.set(&Vmcs::guest_activity_state, 0);
            REQUIRE(m.run_guest());
            if (by == By::Delivery) {
                CHECK(m.vmcs().guest_rip == handler(2));  // HLT exit
                CHECK(m.stack(0) == kCode + 2);
            } else {
                CHECK(m.exited_with(by == By::NmiWindow ? ExitReason::NMI_WINDOW
                                                        : ExitReason::EXCEPTION_OR_NMI));
                CHECK(m.vmcs().guest_rip == kCode + 2);
                CHECK(m.vmcs().guest_interruptibility == 0);
            }
        }
    }
}

TEST_CASE("INT1 behind MOV SS: one exit, whose qualification has what was held back",
          "[vmx][events][shadow]") {
    Guest m{0x8E, 0x13, 0xF1, 0x90};  // mov ss, [rbx]; int1
    m.machine().poke_value<u16>(VmxMachine::kGuestData, m.vmcs().guest_ss_selector);
    m.state().gpr[RBX] = VmxMachine::kGuestData;
    m.state().dr[0] = VmxMachine::kGuestData;
    m.vmcs().entry_controls |= vm_entry_control::kLoadDebugControls;
    m.set(&Vmcs::guest_dr7, dr7::kReset | 1 | 3U << 16 | 1U << 18);  // 2 bytes, read or write
    m.vmcs().guest_rflags |= rflags::kTf;
    m.set(&Vmcs::exception_bitmap, 1U << 1);
    REQUIRE(m.run_guest());
    REQUIRE(m.exited_with(ExitReason::EXCEPTION_OR_NMI));
    CHECK(m.vmcs().exit_interruption_info == (kValid | 5U << 8 | 1));
    CHECK(m.vmcs().exit_qualification == 1);
    CHECK(m.vmcs().guest_rip == kCode + 2);
    CHECK(m.vmcs().guest_interruptibility == blocking::kMovSs);
    CHECK(m.vmcs().guest_pending_debug == 0);
}

TEST_CASE("a segment that IRET nulled exits unusable, with its base", "[vmx][events]") {
    Guest m{0x48, 0xCF, 0xF4};  // iretq
    const u64 frame = VmxMachine::kGuestStack - 40;
    m.machine().poke_value<u64>(frame, 0x4000'0000);  // not mapped: the exit
    m.machine().poke_value<u64>(frame + 8, 0x23);
    m.machine().poke_value<u64>(frame + 16, 2);
    m.machine().poke_value<u64>(frame + 24, VmxMachine::kGuestStack);
    m.machine().poke_value<u64>(frame + 32, 0x2B);
    m.machine().poke_value<u64>(VmxMachine::kGuestGdt + 0x20, 0x00AF'FB00'0000'FFFF);
    m.machine().poke_value<u64>(VmxMachine::kGuestGdt + 0x28, 0x00CF'F300'0000'FFFF);
    m.vmcs().guest_gdtr_limit = 0x2F;
    m.vmcs().guest_gs_selector = 0x18;
    m.vmcs().guest_gs_base = 0xFFFF'8000'0000'4000;
    m.vmcs().exception_bitmap = 1U << 14;
    m.set(&Vmcs::guest_rsp, frame);
    REQUIRE(m.run_guest());
    REQUIRE(m.exited_with(ExitReason::EXCEPTION_OR_NMI));
    CHECK((m.vmcs().guest_ss_access_rights >> 5 & 3) == 3);
    CHECK(m.vmcs().guest_gs_selector == 0);
    CHECK(m.vmcs().guest_gs_base == 0xFFFF'8000'0000'4000);
    CHECK((m.vmcs().guest_gs_access_rights & segment_rights::kUnusable) != 0);
    CHECK((m.vmcs().guest_ds_access_rights & segment_rights::kUnusable) != 0);
}

TEST_CASE("a fault in IRET after it unblocked NMIs sets bit 12", "[vmx][events]") {
    Guest m{0x48, 0xCF};  // iretq
    m.vmcs().pin_controls |= pin::kNmiExiting | pin::kVirtualNmis;
    m.vmcs().guest_interruptibility = blocking::kNmi;
    m.vmcs().exception_bitmap = 1U << 14;
    m.set(&Vmcs::guest_rsp, 0x4000'0000);  // not mapped
    REQUIRE(m.run_guest());
    CHECK(m.vmcs().exit_interruption_info ==
          (kValid | kErrorCode | interruption::kNmiUnblocking | 3U << 8 | 14));
    CHECK(m.vmcs().guest_interruptibility == 0);
}

TEST_CASE("interrupt-window exiting: at once if open, after STI's shadow if not", "[vmx][events]") {
    Guest open{0x90};  // nop
    open.vmcs().guest_rflags |= rflags::kIf;
    open.set(&Vmcs::proc_controls, open.vmcs().proc_controls | proc::kInterruptWindowExiting);
    REQUIRE(open.run_guest());
    CHECK(open.exited_with(ExitReason::INTERRUPT_WINDOW));
    CHECK(open.vmcs().guest_rip == kCode);

    Guest closed{0x90, 0xFB, 0x90, 0x90};  // nop; sti; nop; nop
    closed.set(&Vmcs::proc_controls, closed.vmcs().proc_controls | proc::kInterruptWindowExiting);
    REQUIRE(closed.run_guest());
    CHECK(closed.exited_with(ExitReason::INTERRUPT_WINDOW));
    CHECK(closed.vmcs().guest_rip == kCode + 3);
}

TEST_CASE("HLT exit in an STI shadow saves the shadow; the host starts without one",
          "[vmx][events]") {
    Guest m{0xFB, 0xF4};  // sti; hlt
    REQUIRE(m.run_guest());
    CHECK(m.exited_with(ExitReason::HLT));
    CHECK(m.vmcs().guest_interruptibility == blocking::kSti);
    CHECK(m.state().interruptibility == 0);
}

TEST_CASE("activity HLT: the guest sleeps until an interrupt exits", "[vmx][events]") {
    Guest m{0x90};  // nop
    m.vmcs().pin_controls |= pin::kExternalInterruptExiting;
    m.set(&Vmcs::guest_activity_state, 1);
    CHECK_FALSE(m.run_guest());
    CHECK(m.vmx().non_root);
    m.pend_interrupt(0x60);
    REQUIRE(m.continue_guest(10));
    CHECK(m.exited_with(ExitReason::EXTERNAL_INTERRUPT));
    CHECK(m.vmcs().guest_activity_state == 1);
    CHECK(m.vmcs().guest_rip == kCode);
}

TEST_CASE("INIT exits; wait-for-SIPI takes only a SIPI, whose vector is the qualification",
          "[vmx][events]") {
    Guest init{0xEB, 0xFE};  // jmp $
    init.cpu().request(attention::kInit);
    REQUIRE(init.run_guest());
    CHECK(init.exited_with(ExitReason::INIT_SIGNAL));
    Guest sipi{0x90};  // nop
    sipi.vmcs().pin_controls |= pin::kExternalInterruptExiting | pin::kNmiExiting;
    sipi.set(&Vmcs::guest_activity_state, 3);
    sipi.pend_interrupt(0x60);
    CHECK_FALSE(sipi.run_guest());
    sipi.cpu().sipi_vector = 0x9A;
    sipi.cpu().request(attention::kSipi);
    REQUIRE(sipi.continue_guest(10));
    CHECK(sipi.exited_with(ExitReason::SIPI));
    CHECK(sipi.vmcs().exit_qualification == 0x9A);
}

TEST_CASE("monitor trap flag: after one instruction, before the first after injection, after a "
          "fault's delivery",
          "[vmx][events]") {
    Guest one{0x90, 0x90, 0x90};  // nop; nop; nop
    one.set(&Vmcs::proc_controls, one.vmcs().proc_controls | proc::kMonitorTrapFlag);
    REQUIRE(one.run_guest());
    CHECK(one.exited_with(ExitReason::MONITOR_TRAP_FLAG));
    CHECK(one.vmcs().guest_rip == kCode + 1);
    REQUIRE(one.run_guest());
    CHECK(one.vmcs().guest_rip == kCode + 2);

    Guest injected{0x90};  // nop
    injected.vmcs().proc_controls |= proc::kMonitorTrapFlag;
    injected.inject(kValid | 3U << 8 | 6);
    REQUIRE(injected.run_guest());
    CHECK(injected.exited_with(ExitReason::MONITOR_TRAP_FLAG));
    CHECK(injected.vmcs().guest_rip == handler(6));

    Guest fault{0x0F, 0x0B};  // ud2
    fault.set(&Vmcs::proc_controls, fault.vmcs().proc_controls | proc::kMonitorTrapFlag);
    REQUIRE(fault.run_guest());
    CHECK(fault.exited_with(ExitReason::MONITOR_TRAP_FLAG));
    CHECK(fault.vmcs().guest_rip == handler(6));
}

TEST_CASE("injecting a pending MTF exit (type 7) exits before the first instruction",
          "[vmx][events]") {
    Guest m{0x90};  // nop
    m.inject(kValid | 7U << 8);
    REQUIRE(m.run_guest());
    CHECK(m.exited_with(ExitReason::MONITOR_TRAP_FLAG));
    CHECK(m.vmcs().guest_rip == kCode);
}

TEST_CASE("preemption timer: zero exits before the first instruction, otherwise after its time",
          "[vmx][events]") {
    Guest zero{0xEB, 0xFE};  // jmp $
    zero.set(&Vmcs::pin_controls, zero.vmcs().pin_controls | pin::kPreemptionTimer);
    const u64 icount = zero.cpu().icount;
    REQUIRE(zero.run_guest());
    CHECK(zero.exited_with(ExitReason::PREEMPTION_TIMER));
    CHECK(zero.cpu().icount - icount <= 1);

    Guest later{0xEB, 0xFE};  // jmp $
    later.vmcs().pin_controls |= pin::kPreemptionTimer;
    later.vmcs().exit_controls |= vm_exit_control::kSavePreemptionTimer;
    later.set(&Vmcs::preemption_timer_value, 100);
    const u64 start = later.cpu().tsc();
    REQUIRE(later.run_guest(10000));
    CHECK(later.exited_with(ExitReason::PREEMPTION_TIMER));
    CHECK(later.vmcs().preemption_timer_value == 0);
    const u64 elapsed = later.cpu().tsc() - start;
    CHECK(elapsed >= 99 * 32);
    CHECK(elapsed <= 110 * 32);
}

TEST_CASE("the preemption timer wakes a guest in HLT, and its rest is saved", "[vmx][events]") {
    Guest m{0xF4};  // hlt
    m.vmcs().proc_controls &= ~proc::kHltExiting;
    m.vmcs().pin_controls |= pin::kPreemptionTimer;
    m.set(&Vmcs::preemption_timer_value, 1000);
    REQUIRE(m.run_guest());
    CHECK(m.exited_with(ExitReason::PREEMPTION_TIMER));
    CHECK(m.vmcs().guest_activity_state == 1);

    Guest rest{0x0F, 0xA2};  // cpuid
    rest.vmcs().pin_controls |= pin::kPreemptionTimer;
    rest.vmcs().exit_controls |= vm_exit_control::kSavePreemptionTimer;
    rest.set(&Vmcs::preemption_timer_value, 1000);
    REQUIRE(rest.run_guest());
    CHECK(rest.exited_with(ExitReason::CPUID));
    CHECK(rest.vmcs().preemption_timer_value > 990);
    CHECK(rest.vmcs().preemption_timer_value <= 1000);
}

TEST_CASE("pending debug exceptions are delivered after VM entry unless an event is injected",
          "[vmx][events]") {
    Guest m{0x90};  // nop
    m.vmcs().guest_pending_debug = 0x4000;
    m.set(&Vmcs::exception_bitmap, 1U << 1);
    REQUIRE(m.run_guest());
    CHECK(m.vmcs().exit_interruption_info == (kValid | 3U << 8 | 1));
    CHECK(m.vmcs().exit_qualification == 0x4000);
    CHECK(m.vmcs().guest_rip == kCode);
    Guest none{0x0F, 0xA2};                   // cpuid
    none.set(&Vmcs::guest_pending_debug, 3);  // breakpoints met, none enabled
    REQUIRE(none.run_guest());
    CHECK(none.exited_with(ExitReason::CPUID));
}

TEST_CASE("a guest with TF does not single-step the host after an exit", "[vmx][events]") {
    Guest m{0x0F, 0xA2};  // cpuid
    m.set(&Vmcs::guest_rflags, rflags::kFixed1 | rflags::kTf);
    REQUIRE(m.run_guest());
    CHECK(m.exited_with(ExitReason::CPUID));
    CHECK(m.state().pending_debug == 0);
}

TEST_CASE("guest state and host state change places", "[vmx][events]") {
    Guest m{0x0F, 0xA2};  // cpuid
    Vmcs& v = m.vmcs();
    v.entry_controls |= vm_entry_control::kLoadPat | vm_entry_control::kLoadEfer |
                        vm_entry_control::kLoadDebugControls;
    v.exit_controls |= vm_exit_control::kSavePat | vm_exit_control::kLoadPat |
                       vm_exit_control::kSaveEfer | vm_exit_control::kLoadEfer |
                       vm_exit_control::kSaveDebugControls;
    v.guest_ia32_pat = 0x0007'0406'0007'0400;
    v.host_ia32_pat = 0x0007'0406'0007'0406;
    v.guest_ia32_efer = efer::kLma | efer::kLme;
    v.host_ia32_efer = efer::kLma | efer::kLme | efer::kNxe | efer::kSce;
    v.guest_dr7 = 0x401;
    v.guest_fs_base = 0x1111;
    v.host_fs_base = 0x2222;
    v.host_gs_base = 0x3333;
    v.guest_ia32_sysenter_eip = 0x4444;
    v.host_ia32_sysenter_eip = 0x5555;
    m.vmx().current->stale_checks = ~0U;
    REQUIRE(m.run_guest());
    CHECK(v.guest_ia32_pat == 0x0007'0406'0007'0400);
    CHECK(m.state().pat == 0x0007'0406'0007'0406);
    CHECK(v.guest_ia32_efer == (efer::kLma | efer::kLme));
    CHECK(m.state().efer == v.host_ia32_efer);
    CHECK(v.guest_dr7 == 0x401);
    CHECK(m.state().dr7 == dr7::kReset);
    CHECK(m.state().seg[FS].base == 0x2222);
    CHECK(m.state().seg[GS].base == 0x3333);
    CHECK(m.state().sysenter_eip == 0x5555);
    CHECK(m.state().seg[CS].selector == 0x10);
    CHECK(m.state().tr.limit == 0x67);
    CHECK(m.state().ldtr.unusable());
    CHECK(m.state().seg[FS].unusable());
    CHECK(m.state().gdtr.limit == 0xFFFF);
    CHECK(m.state().rflags() == rflags::kFixed1);
}

TEST_CASE("MSR-store and MSR-load lists of a VM exit; a bad host list aborts", "[vmx][events]") {
    Guest m{0x0F, 0xA2};  // cpuid
    const u64 list = VmxMachine::kMsrLists;
    m.machine().poke_value<u64>(list, 0x10);  // TSC
    m.machine().poke_value<u64>(list + 16, 0xC000'0082);
    m.machine().poke_value<u64>(list + 0x100, 0xC000'0082);
    m.machine().poke_value<u64>(list + 0x108, 0xFFFF'8000'0000'1000);
    m.vmcs().exit_msr_store_address = list;
    m.vmcs().exit_msr_store_count = 2;
    m.vmcs().exit_msr_load_address = list + 0x100;
    m.vmcs().exit_msr_load_count = 1;
    m.machine().clock().advance_to(1000);
    m.state().lstar = 0x7777;
    m.vmx().current->stale_checks = ~0U;
    REQUIRE(m.run_guest());
    CHECK(m.machine().peek_value<u64>(list + 8) != 0);
    CHECK(m.machine().peek_value<u64>(list + 24) == 0x7777);
    CHECK(m.state().lstar == 0xFFFF'8000'0000'1000);
    m.machine().poke_value<u64>(list + 0x100, 0x808);
    m.set(&Vmcs::guest_rip, kCode);
    (void)m.run_guest();
    CHECK(m.state().activity == Activity::Shutdown);
    CHECK(m.machine().peek_value<u32>(VmxMachine::kVmcsRegion + 4) == 4);
}
