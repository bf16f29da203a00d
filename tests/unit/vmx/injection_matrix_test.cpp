// Event injection: every type and the vectors that matter, against every interruptibility and
// activity state. The expectation is written from SDM Vol. 3C, "VM-Entry Controls for Event
// Injection" (checks), "Checks on Guest Non-Register State" and "Event Injection".

#include "tests/unit/vmx/vmx_machine.hpp"

#include <catch2/catch.hpp>

#include <vector>

using namespace droste;
using namespace droste::test;

namespace {

using M = VmxMachine;
constexpr u32 kValid = interruption::kValid, kErrorCode = interruption::kErrorCodeValid;
constexpr u32 kSti = blocking::kSti, kMovSs = blocking::kMovSs, kNmiBlocking = blocking::kNmi;
constexpr u32 kExternal = 0, kReserved = 1, kNmi = 2, kHardware = 3, kSoftware = 4, kPrivileged = 5,
              kSoftwareException = 6, kOther = 7;

struct Injection {
    u32 type;
    u32 vector;
    bool error_code;
};
// One good event of each kind, and the smallest bad ones.
constexpr Injection kInjections[] = {
    {kExternal, 0x30, false},
    {kExternal, 0x30, true},
    {kReserved, 3, false},
    {kNmi, 2, false},
    {kNmi, 3, false},
    {kHardware, 0, false},
    {kHardware, 1, false},
    {kHardware, 8, true},
    {kHardware, 13, true},
    {kHardware, 13, false},
    {kHardware, 14, true},
    {kHardware, 18, false},
    {kHardware, 21, false},
    {kHardware, 21, true},
    {kHardware, 6, true},
    {kHardware, 32, false},
    {kSoftware, 0x80, false},
    {kPrivileged, 1, false},
    {kSoftwareException, 3, false},
    {kSoftwareException, 4, false},
    {kOther, 0, false},
    {kOther, 1, false},
};

enum class Outcome : u8 { InvalidControls, InvalidGuest, NmiBehindSti, Delivered, MonitorTrap };

bool good_event(const Injection& e) {
    switch (e.type) {
    case kReserved: return false;
    case kNmi: return e.vector == 2 && !e.error_code;
    case kHardware: {
        const bool has = e.vector == 8 || e.vector == 13 || e.vector == 14;
        return e.vector <= 31 && e.error_code == has;
    }
    case kOther: return e.vector == 0 && !e.error_code;
    default: return !e.error_code;
    }
}

bool activity_takes(u32 activity, const Injection& e) {
    const bool machine_check = e.type == kHardware && e.vector == 18;
    switch (activity) {
    case 0: return true;
    case 1:
        return e.type == kExternal || e.type == kNmi || e.type == kOther || machine_check ||
               (e.type == kHardware && e.vector == 1);
    case 2: return e.type == kNmi || machine_check;
    default: return false;
    }
}

Outcome expected(const Injection& e, u32 interruptibility, u32 activity, bool virtual_nmis) {
    const u32 shadow = interruptibility & (kSti | kMovSs);
    if (!good_event(e)) {
        return Outcome::InvalidControls;
    }
    if ((shadow != 0 && activity != 0) || !activity_takes(activity, e) ||
        shadow == (kSti | kMovSs) || (e.type == kExternal && shadow != 0)) {
        return Outcome::InvalidGuest;
    }
    if (e.type == kNmi && shadow == kSti) {
        return Outcome::NmiBehindSti;
    }
    if (e.type == kNmi && shadow == kMovSs) {
        return Outcome::InvalidGuest;
    }
    if (e.type == kNmi && virtual_nmis && (interruptibility & kNmiBlocking) != 0) {
        return Outcome::InvalidGuest;
    }
    return e.type == kOther ? Outcome::MonitorTrap : Outcome::Delivered;
}

void check(const Injection& e, u32 interruptibility, u32 activity, bool virtual_nmis) {
    VmxConfig config = VmxConfig::max();
    config.features.enable(VmxFeature::AnyErrorCode, false);  // the classic rule
    M m(config);
    m.prepare();
    m.make_guest_idt();
    m.guest_code({0x0F, 0xA2});  // cpuid
    Vmcs& v = m.vmcs();
    v.proc_controls |= proc::kHltExiting;  // handlers are HLT
    v.pin_controls |= virtual_nmis ? pin::kNmiExiting | pin::kVirtualNmis : 0;
    v.guest_rflags |= rflags::kIf;
    v.guest_interruptibility = interruptibility;
    v.guest_activity_state = activity;
    v.entry_interruption_info = kValid | e.type << 8 | e.vector | (e.error_code ? kErrorCode : 0);
    v.entry_exception_error_code = 0x18;
    m.set(&Vmcs::entry_instruction_length, 2);
    const bool exited = m.run_guest(20);
    switch (expected(e, interruptibility, activity, virtual_nmis)) {
    case Outcome::InvalidControls:
        CHECK_FALSE(exited);
        CHECK(m.failed_valid());
        CHECK(m.instruction_error() == 7);
        break;
    case Outcome::InvalidGuest:
        CHECK(m.exit_reason() == 0x8000'0021);
        CHECK(v.exit_qualification == 0);
        break;
    case Outcome::NmiBehindSti:
        CHECK(m.exit_reason() == 0x8000'0021);
        CHECK(v.exit_qualification == 3);
        break;
    case Outcome::MonitorTrap:
        CHECK(m.exited_with(ExitReason::MONITOR_TRAP_FLAG));
        CHECK(v.guest_rip == M::kGuestCode);
        break;
    case Outcome::Delivered: {
        CHECK(m.exited_with(ExitReason::HLT));
        CHECK(v.guest_rip == M::kHandlers + e.vector * 16);
        CHECK(v.guest_activity_state == 0);
        CHECK(v.idt_vectoring_info == 0);
        // No shadow survives delivery; an NMI blocks NMIs, other events leave that as it was.
        CHECK(v.guest_interruptibility ==
              (e.type == kNmi ? kNmiBlocking : interruptibility & kNmiBlocking));
        const u64 length = e.type >= kSoftware ? 2 : 0;
        const u64 slot = v.guest_rsp + (e.error_code ? 8 : 0);
        CHECK(m.machine().peek_value<u64>(slot) == M::kGuestCode + length);
        if (e.error_code) {
            CHECK(m.machine().peek_value<u64>(v.guest_rsp) == 0x18);
        }
        break;
    }
    }
}

}  // namespace

TEST_CASE("injection matrix: types and vectors x interruptibility x activity x virtual NMIs",
          "[vmx][events]") {
    for (const Injection& e : kInjections) {
        for (const u32 shadow : {0U, kSti, kMovSs, kSti | kMovSs}) {
            for (const u32 nmi : {0U, kNmiBlocking}) {
                for (u32 activity = 0; activity < 4; ++activity) {
                    for (const bool virtual_nmis : {false, true}) {
                        CAPTURE(e.type, e.vector, e.error_code, shadow, nmi, activity,
                                virtual_nmis);
                        check(e, shadow | nmi, activity, virtual_nmis);
                    }
                }
            }
        }
    }
}

TEST_CASE("the preemption timer at 0 lets the injected event be delivered first", "[vmx][events]") {
    for (const u32 timer : {0U, 5000U}) {
        CAPTURE(timer);
        M m;
        m.prepare();
        m.make_guest_idt();
        Vmcs& v = m.vmcs();
        v.proc_controls |= proc::kHltExiting;
        v.pin_controls |= pin::kPreemptionTimer;
        v.exit_controls |= vm_exit_control::kSavePreemptionTimer;
        v.entry_interruption_info = kValid | kHardware << 8 | 6;
        m.set(&Vmcs::preemption_timer_value, timer);
        REQUIRE(m.run_guest());
        CHECK(m.exited_with(timer == 0 ? ExitReason::PREEMPTION_TIMER : ExitReason::HLT));
        CHECK(v.guest_rip == M::kHandlers + 6 * 16);
        CHECK(v.idt_vectoring_info == 0);
        CHECK((v.entry_interruption_info & kValid) == 0);
        CHECK((v.preemption_timer_value == 0) == (timer == 0));
    }
}

TEST_CASE("the preemption timer wakes HLT and shutdown, not wait-for-SIPI", "[vmx][events]") {
    for (const u32 activity : {1U, 2U, 3U}) {
        CAPTURE(activity);
        M m;
        m.prepare();
        m.vmcs().pin_controls |= pin::kPreemptionTimer;
        m.vmcs().guest_activity_state = activity;
        m.set(&Vmcs::preemption_timer_value, 100);
        const bool exited = m.run_guest();
        CHECK(exited == (activity != 3));
        if (exited) {
            CHECK(m.exited_with(ExitReason::PREEMPTION_TIMER));
            CHECK(m.vmcs().guest_activity_state == activity);
        }
    }
}

TEST_CASE("at one boundary MTF goes before the preemption timer, the timer before windows",
          "[vmx][events]") {
    struct Row {
        u32 proc;
        u32 pin;
        ExitReason reason;
    };
    constexpr u32 kNmiPins = pin::kNmiExiting | pin::kVirtualNmis;
    for (const auto& [proc, pin, reason] :
         {Row{proc::kInterruptWindowExiting | proc::kNmiWindowExiting,
              kNmiPins | pin::kPreemptionTimer, ExitReason::PREEMPTION_TIMER},
          Row{proc::kInterruptWindowExiting | proc::kNmiWindowExiting, kNmiPins,
              ExitReason::NMI_WINDOW},
          Row{proc::kInterruptWindowExiting, kNmiPins, ExitReason::INTERRUPT_WINDOW}}) {
        CAPTURE(proc, pin);
        M m;
        m.prepare();
        m.guest_code({0x90});  // nop
        m.vmcs().proc_controls |= proc;
        m.vmcs().pin_controls |= pin;
        m.set(&Vmcs::guest_rflags, rflags::kFixed1 | rflags::kIf);
        REQUIRE(m.run_guest());
        CHECK(m.exited_with(reason));
        CHECK(m.vmcs().guest_rip == M::kGuestCode);
    }
    M m;  // an injected MTF exit is pending before the timer is looked at
    m.prepare();
    m.vmcs().pin_controls |= pin::kPreemptionTimer;
    m.set(&Vmcs::entry_interruption_info, kValid | kOther << 8);
    REQUIRE(m.run_guest());
    CHECK(m.exited_with(ExitReason::MONITOR_TRAP_FLAG));
}
