// Every exit reason has a test: instructions in exits_test.cpp, everything else here, with all
// VM-exit information fields. A row of exit_reasons.inc without a case fails the first test.

#include "cpu/vmx/exit/exit_qualification.hpp"
#include "cpu/vmx/guest/virtual_apic.hpp"
#include "cpu/x86/apic/local_apic.hpp"
#include "tests/unit/vmx/exit_cases.hpp"
#include "tests/unit/vmx/vmx_machine.hpp"

#include <catch2/catch.hpp>

#include <functional>
#include <map>
#include <vector>

using namespace droste;
using namespace droste::test;

namespace {

namespace q = ept_violation;
using M = VmxMachine;
constexpr u32 kValid = interruption::kValid, kErrorCode = interruption::kErrorCodeValid;
constexpr u64 kCode = M::kGuestCode, kLog = M::kBitmaps + 0x2000;
constexpr u64 kPage = 0x10'F000;  // linear and guest-physical address the EPT cases touch

void primary(M& m, u32 bits) {
    m.vmcs().proc_controls |= bits;
}
void secondary(M& m, u32 bits) {
    primary(m, proc::kActivateSecondary);
    m.vmcs().proc2_controls |= bits;
}
void pins(M& m, u32 bits) {
    m.vmcs().pin_controls |= bits;
}
void virtual_apic(M& m, u32 more) {
    primary(m, proc::kTprShadow);
    secondary(m, more);
    pins(m, pin::kExternalInterruptExiting);
    m.vmcs().virtual_apic_address = M::kVirtualApic;
    m.vmcs().apic_access_address = M::kApicAccess;
    m.state().gpr[RBX] = M::kApicAccess;
}
// The guest under EPT; `entry` is what maps kPage, which RBX points to.
void ept(M& m, u64 entry, bool accessed_dirty = false) {
    secondary(m, proc2::kEnableEpt);
    constexpr u64 kUsed = 0x300;  // accessed and dirty already
    m.vmcs().ept_pointer = m.make_identity_ept(7 | kUsed, accessed_dirty);
    m.machine().poke_value<u64>(m.ept_entry_address(kPage), entry);
    m.state().gpr[RBX] = kPage;
}
void pend(M& m, u8 vector) {
    m.cpu().apic->mmio_write(0xF0, 4, 0x1FF);
    InterruptMessage message;
    message.vector = vector;
    m.cpu().apic->accept(message);
}
void msr_write(M& m, u32 index, u32 value) {
    m.state().gpr[RCX] = index;
    m.state().gpr[RAX] = value;
    m.state().gpr[RDX] = 0;
}
// 32-bit protected mode without paging, and a TSS at selector 30h; CS is 28h.
constexpr u16 kTssSelector = 0x30;
void protected_guest(M& m) {
    set_guest_32bit(m);
    secondary(m, proc2::kEnableEpt | proc2::kUnrestrictedGuest);
    m.vmcs().ept_pointer = m.make_identity_ept(7);
    m.vmcs().guest_cs_selector = 0x28;
    m.machine().poke_value<u64>(M::kGuestGdt + 0x28, 0x00CF'9B00'0000'FFFF);
    m.machine().poke_value<u64>(M::kGuestGdt + kTssSelector, 0x0000'8904'3000'0067);
    m.vmcs().guest_idtr_limit = 0x7FF;
    m.vmcs().entry_instruction_length = 1;
}

// The VM-exit information fields.
struct Information {
    u64 qualification = 0;
    u32 length = 0;
    u32 instruction_info = 0;
    u32 interruption_info = 0;
    u32 error_code = 0;
    u64 linear = 0;
    u64 physical = 0;
    u32 idt_vectoring = 0;
    u64 rip = kCode;
};

struct Case {
    const char* name;
    ExitReason reason;
    std::vector<u8> code;
    std::function<void(M&)> arrange;
    Information expected;
};

using E = Information;
// clang-format off
const std::vector<Case> kCases = {
    {"UD2", ExitReason::EXCEPTION_OR_NMI, {0x0F, 0x0B}, [](M& m) { m.vmcs().exception_bitmap = 1U << 6; },
     E{.interruption_info = kValid | 3U << 8 | 6}},
    {"page fault", ExitReason::EXCEPTION_OR_NMI, {0x88, 0x03}, [](M& m) { m.vmcs().exception_bitmap = 1U << 14, m.state().gpr[RBX] = 0x4000'0008; },
     E{.qualification = 0x4000'0008, .interruption_info = kValid | kErrorCode | 3U << 8 | 14, .error_code = 2}},
    {"NMI", ExitReason::EXCEPTION_OR_NMI, {0xEB, 0xFE}, [](M& m) { pins(m, pin::kNmiExiting), m.cpu().request(attention::kNmi); },
     E{.interruption_info = kValid | 2U << 8 | 2}},
    {"external interrupt, acknowledged", ExitReason::EXTERNAL_INTERRUPT, {0xEB, 0xFE},
     [](M& m) { pins(m, pin::kExternalInterruptExiting), m.vmcs().exit_controls |= vm_exit_control::kAcknowledgeInterrupt, pend(m, 0x61); },
     E{.interruption_info = kValid | 0x61}},
    {"triple fault", ExitReason::TRIPLE_FAULT, {0x0F, 0x0B}, [](M& m) { m.vmcs().guest_idtr_limit = 0; }, E{}},
    {"INIT", ExitReason::INIT_SIGNAL, {0xEB, 0xFE}, [](M& m) { m.cpu().request(attention::kInit); }, E{}},
    {"SIPI", ExitReason::SIPI, {0x90}, [](M& m) { m.vmcs().guest_activity_state = 3, m.cpu().sipi_vector = 0x9F, m.cpu().request(attention::kSipi); },
     E{.qualification = 0x9F}},
    {"interrupt window", ExitReason::INTERRUPT_WINDOW, {0x90}, [](M& m) { primary(m, proc::kInterruptWindowExiting), m.vmcs().guest_rflags |= rflags::kIf; }, E{}},
    {"NMI window", ExitReason::NMI_WINDOW, {0x90}, [](M& m) { pins(m, pin::kNmiExiting | pin::kVirtualNmis), primary(m, proc::kNmiWindowExiting); }, E{}},
    {"task switch by CALL", ExitReason::TASK_SWITCH, {0x9A, 0, 0, 0, 0, kTssSelector, 0}, protected_guest, E{.qualification = kTssSelector, .length = 7}},
    {"task switch by JMP", ExitReason::TASK_SWITCH, {0xEA, 0, 0, 0, 0, kTssSelector, 0}, protected_guest, E{.qualification = kTssSelector | 2U << 30, .length = 7}},
    {"task switch by IRET", ExitReason::TASK_SWITCH, {0xCF},
     [](M& m) { protected_guest(m), m.vmcs().guest_rflags |= rflags::kNt, m.machine().poke_value<u16>(M::kGuestTss, kTssSelector), m.machine().poke_value<u8>(M::kGuestGdt + kTssSelector + 5, 0x8B); },
     E{.qualification = kTssSelector | 1U << 30, .length = 1}},
    {"task switch by a task gate", ExitReason::TASK_SWITCH, {0x0F, 0x0B},
     [](M& m) { protected_guest(m), m.machine().poke_value<u64>(M::kGuestIdt + 6 * 8, u64{0x85} << 40 | u64{kTssSelector} << 16); },
     E{.qualification = kTssSelector | 3U << 30, .idt_vectoring = kValid | 3U << 8 | 6}},
    {"monitor trap flag", ExitReason::MONITOR_TRAP_FLAG, {0x90, 0x90}, [](M& m) { primary(m, proc::kMonitorTrapFlag); }, E{.rip = kCode + 1}},
    {"TPR below threshold", ExitReason::TPR_BELOW_THRESHOLD, {0x44, 0x0F, 0x22, 0xC0, 0x90},  // mov cr8, rax
     [](M& m) { virtual_apic(m, 0), m.machine().poke_value<u32>(M::kVirtualApic + virtual_apic::kTpr, 0xF0), m.vmcs().tpr_threshold = 9, m.state().gpr[RAX] = 8; },
     E{.rip = kCode + 4}},
    {"APIC access", ExitReason::APIC_ACCESS, {0x89, 0x4B, 0x20},  // mov [rbx+20h], ecx
     [](M& m) { virtual_apic(m, proc2::kVirtualizeApicAccesses); }, E{.qualification = 0x1020, .length = 3}},
    {"virtualized EOI", ExitReason::VIRTUALIZED_EOI, {0x0F, 0x30, 0x90},
     [](M& m) { virtual_apic(m, proc2::kVirtualizeX2apicMode | proc2::kVirtualInterruptDelivery), msr_write(m, 0x80B, 0), m.vmcs().guest_interrupt_status = 0x5500, m.vmcs().eoi_exit_bitmap_1 = u64{1} << 0x15; },
     E{.qualification = 0x55, .rip = kCode + 2}},
    {"APIC write", ExitReason::APIC_WRITE, {0x89, 0x8B, 0xF0, 0, 0, 0, 0x90},  // mov [rbx+F0h], ecx
     [](M& m) { virtual_apic(m, proc2::kVirtualizeApicAccesses | proc2::kApicRegisterVirtualization); }, E{.qualification = 0xF0, .rip = kCode + 6}},
    {"EPT violation", ExitReason::EPT_VIOLATION, {0x88, 0x43, 0x08}, [](M& m) { ept(m, kPage | 0x31); },  // mov [rbx+8], al
     E{.qualification = q::kWrite | q::kReadable | q::kLinearValid | q::kTranslated | q::kUserLinear | q::kWritableLinear, .length = 3, .linear = kPage + 8, .physical = kPage + 8}},
    {"EPT misconfiguration", ExitReason::EPT_MISCONFIGURATION, {0x8A, 0x43, 0x08}, [](M& m) { ept(m, kPage | 0x36); }, E{.length = 3, .physical = kPage + 8}},
    {"VMX-preemption timer", ExitReason::PREEMPTION_TIMER, {0xEB, 0xFE}, [](M& m) { pins(m, pin::kPreemptionTimer), m.vmcs().preemption_timer_value = 3; }, E{}},
    {"VMFUNC", ExitReason::VMFUNC, {0x0F, 0x01, 0xD4}, [](M& m) { ept(m, 0), secondary(m, proc2::kEnableVmFunctions), m.state().gpr[RAX] = 1; }, E{.length = 3}},
    {"page-modification log full", ExitReason::PML_FULL, {0x88, 0x03},
     [](M& m) { ept(m, kPage | 0x37, true), secondary(m, proc2::kEnablePml), m.vmcs().pml_address = kLog, m.vmcs().pml_index = 512; },
     E{.length = 2, .physical = kPage}},
};

// What no advertised feature can cause: reason and why.
const std::map<ExitReason, const char*> kImpossible = {
    {ExitReason::GETSEC, "there is no SMX: GETSEC raises #UD"},
    {ExitReason::RSM, "RSM raises #UD outside SMM"},
    {ExitReason::MACHINE_CHECK, "no machine check happens during a VM entry"},
    {ExitReason::INVALID_GUEST_STATE, "entry_checks_test.cpp"},
    {ExitReason::MSR_LOADING, "entry_checks_test.cpp, limits_test.cpp"},
};
// clang-format on

bool tested(ExitReason reason) {
    const std::vector<ExitReason> instructions = instruction_exit_reasons();
    return std::find(instructions.begin(), instructions.end(), reason) != instructions.end() ||
           std::any_of(kCases.begin(), kCases.end(),
                       [reason](const Case& c) { return c.reason == reason; }) ||
           kImpossible.count(reason) != 0;
}

}  // namespace

TEST_CASE("every exit reason has a test", "[vmx][exits]"){
#define DROSTE_EXIT_REASON(number, name, text) \
    {                                          \
        CAPTURE(#name);                        \
        CHECK(tested(ExitReason::name));       \
    }
#include "cpu/vmx/exit/exit_reasons.inc"
#undef DROSTE_EXIT_REASON
}

TEST_CASE("an event or access exits with all its VM-exit information", "[vmx][exits]") {
    for (const Case& c : kCases) {
        CAPTURE(c.name);
        M m;
        m.prepare();
        m.make_guest_idt();
        m.machine().poke(kCode, c.code);
        c.arrange(m);
        m.vmx().current->stale_checks = ~0U;
        REQUIRE(m.run_guest(2000));
        const Vmcs& v = m.vmcs();
        const Information& e = c.expected;
        CHECK(m.exit_reason() == static_cast<u32>(c.reason));
        CHECK(v.exit_qualification == e.qualification);
        CHECK(v.exit_instruction_length == e.length);
        CHECK(v.exit_instruction_info == e.instruction_info);
        CHECK(v.exit_interruption_info == e.interruption_info);
        CHECK(v.exit_interruption_error_code == e.error_code);
        CHECK(v.guest_linear_address == e.linear);
        CHECK(v.guest_physical_address == e.physical);
        CHECK(v.idt_vectoring_info == e.idt_vectoring);
        CHECK(v.guest_rip == e.rip);
        CHECK_FALSE(m.vmx().non_root);
    }
}

TEST_CASE("GETSEC and RSM in a guest raise #UD", "[vmx][exits]") {
    for (const std::vector<u8>& code :
         {std::vector<u8>{0x0F, 0x37}, {0x0F, 0xAA}}) {  // getsec; rsm
        CAPTURE(code);
        M m;
        m.prepare();
        m.machine().poke(kCode, code);
        m.set(&Vmcs::exception_bitmap, 1U << 6);
        REQUIRE(m.run_guest());
        CHECK(m.exited_with(ExitReason::EXCEPTION_OR_NMI));
    }
}

TEST_CASE("RFLAGS.RF is saved as 0 for an intercepted instruction, as 1 for an access fault",
          "[vmx][exits]") {
    M cpuid;
    cpuid.prepare();
    cpuid.guest_code({0x0F, 0xA2});  // cpuid
    cpuid.set(&Vmcs::guest_rflags, rflags::kFixed1 | rflags::kRf);
    REQUIRE(cpuid.run_guest());
    CHECK((cpuid.vmcs().guest_rflags & rflags::kRf) == 0);

    M violation;
    violation.prepare();
    violation.guest_code({0x88, 0x03});  // mov [rbx], al
    ept(violation, kPage | 0x31);
    violation.vmx().current->stale_checks = ~0U;
    REQUIRE(violation.run_guest());
    REQUIRE(violation.exited_with(ExitReason::EPT_VIOLATION));
    CHECK((violation.vmcs().guest_rflags & rflags::kRf) != 0);

    M interrupt;  // between instructions: what it was
    interrupt.prepare();
    interrupt.guest_code({0x90});  // nop
    interrupt.vmcs().pin_controls |= pin::kExternalInterruptExiting;
    interrupt.set(&Vmcs::guest_rflags, rflags::kFixed1 | rflags::kRf);
    pend(interrupt, 0x40);
    REQUIRE(interrupt.run_guest());
    CHECK((interrupt.vmcs().guest_rflags & rflags::kRf) != 0);
}

TEST_CASE("an exit in the middle of a delivery finds no shadow and an active processor",
          "[vmx][exits]") {
    const auto without_idt = [](M& m) {
        m.prepare();
        m.guest_code({0x0F, 0x0B});  // ud2
        ept(m, kPage | 0x37);
        m.machine().poke_value<u64>(m.ept_entry_address(M::kGuestIdt), 0);
        m.vmcs().guest_rflags |= rflags::kIf;
        m.vmx().current->stale_checks = ~0U;
    };
    M shadow;
    without_idt(shadow);
    shadow.set(&Vmcs::guest_interruptibility, blocking::kSti);
    REQUIRE(shadow.run_guest());
    CHECK(shadow.exited_with(ExitReason::EPT_VIOLATION));
    CHECK(shadow.vmcs().idt_vectoring_info == (kValid | 3U << 8 | 6));
    CHECK(shadow.vmcs().guest_interruptibility == 0);

    M asleep;
    without_idt(asleep);
    asleep.set(&Vmcs::guest_activity_state, 1);
    pend(asleep, 0x50);
    REQUIRE(asleep.run_guest());
    CHECK(asleep.exited_with(ExitReason::EPT_VIOLATION));
    CHECK(asleep.vmcs().idt_vectoring_info == (kValid | 0x50));
    CHECK(asleep.vmcs().guest_activity_state == 0);
}

TEST_CASE("reserved access rights of an unusable segment are saved as 0", "[vmx][exits]") {
    M m;
    m.prepare();
    m.guest_code({0x0F, 0xA2});  // cpuid
    m.set(&Vmcs::guest_ldtr_access_rights, 0xFFFF'0F82);
    REQUIRE(m.run_guest());
    CHECK(m.vmcs().guest_ldtr_access_rights == 0x1'0082);
}
