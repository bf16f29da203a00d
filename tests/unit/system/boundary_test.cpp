// Between instructions: interrupts, NMI, INIT and SIPI, shadows, HLT. SDM Vol. 3A, "Priority Among
// Concurrent Events".

#include "cpu/x86/apic/local_apic.hpp"
#include "tests/unit/system/guest.hpp"

using namespace droste;
using namespace droste::test;

namespace {

constexpr u8 kVector = 0x20;

void raise_interrupt(Guest& g, u8 vector = kVector) {
    InterruptMessage message;
    message.vector = vector;
    g.cpu().apic->accept(message);
}

bool would_look_up(Guest& g) {
    return (g.cpu().attention.load() & g.cpu().attention_mask) != 0;
}

Guest& enable_interrupts(Guest& g) {
    g.set_all_gates();
    g.cpu().apic->mmio_write(0xF0, 4, 0x1FF);  // software enable
    g.state().set_rflags(rflags::kIf);
    update_attention(g.cpu());
    return g;
}

}  // namespace

TEST_CASE("A maskable interrupt is delivered at a boundary with IF = 1", "[boundary]") {
    Guest g;
    g.protected_mode();
    enable_interrupts(g);
    raise_interrupt(g);
    CHECK(would_look_up(g));
    CHECK(service_boundary(g.cpu()));
    CHECK(g.rip() == Guest::handler(unsigned{kVector}));
}

TEST_CASE("RF is pushed as 1 between two iterations of a repetition and as 0 after the last",
          "[boundary]") {
    for (const bool last : {false, true}) {
        Guest g;
        g.protected_mode();
        enable_interrupts(g);
        g.reg(RCX) = last ? 1 : 0x2000;
        g.reg(RSI) = g.reg(RDI) = 0xB000;
        CHECK(g.exec({0xF3, 0xA4}) == kNoFault);  // rep movsb
        CHECK(g.reg(RCX) == (last ? 0U : 0x1000U));
        raise_interrupt(g);
        CHECK(service_boundary(g.cpu()));
        CHECK(g.stack<u32>(0) == Guest::kCode + (last ? 2 : 0));
        CHECK((g.stack<u32>(2) & rflags::kRf) == (last ? 0 : rflags::kRf));
    }
}

TEST_CASE("With IF = 0 a pending interrupt costs nothing and is not delivered", "[boundary]") {
    Guest g;
    g.protected_mode();
    enable_interrupts(g);
    g.state().set_rflags(0);
    update_attention(g.cpu());
    raise_interrupt(g);
    CHECK_FALSE(would_look_up(g));
    CHECK_FALSE(service_boundary(g.cpu()));
    CHECK(g.rip() == Guest::kCode);
}

TEST_CASE("STI holds interrupts off for one instruction", "[boundary][shadow]") {
    Guest g;
    g.protected_mode();
    enable_interrupts(g);
    g.state().set_rflags(0);
    update_attention(g.cpu());
    raise_interrupt(g);
    g.step({0xFB});  // sti
    CHECK(g.rip() == Guest::kCode + 1);
    g.step({0x90});  // nop
    CHECK(g.rip() == Guest::handler(unsigned{kVector}));
    CHECK(g.stack<u32>(0) == Guest::kCode + 2);
}

TEST_CASE("STI followed by CLI never opens a window", "[boundary][shadow]") {
    Guest g;
    g.protected_mode();
    enable_interrupts(g);
    g.state().set_rflags(0);
    update_attention(g.cpu());
    raise_interrupt(g);
    g.step({0xFB});  // sti
    g.step({0xFA});  // cli
    CHECK(g.rip() == Guest::kCode + 2);
    g.step({0x90});  // nop
    CHECK(g.rip() == Guest::kCode + 3);
}

TEST_CASE("STI holds an NMI off for one instruction, if it enabled interrupts",
          "[boundary][shadow]") {
    for (const bool were_enabled : {false, true}) {
        CAPTURE(were_enabled);
        Guest g;
        g.protected_mode();
        enable_interrupts(g);
        g.state().set_rflags(were_enabled ? rflags::kIf : 0);
        update_attention(g.cpu());
        g.cpu().request(attention::kNmi);
        g.step({0xFB});  // sti
        if (were_enabled) {
            CHECK(g.rip() == Guest::handler(Exception::NMI));
            continue;
        }
        CHECK(g.rip() == Guest::kCode + 1);
        CHECK_FALSE(service_boundary(g.cpu()));
        g.step({0x90});  // nop
        CHECK(g.rip() == Guest::handler(Exception::NMI));
        CHECK(g.stack<u32>(0) == Guest::kCode + 2);
    }
}

TEST_CASE("STI, HLT: the NMI held off behind STI wakes the HLT", "[boundary][shadow][hlt]") {
    Guest g;
    g.protected_mode();
    enable_interrupts(g);
    g.state().set_rflags(0);
    update_attention(g.cpu());
    g.cpu().request(attention::kNmi);
    g.step({0xFB});  // sti
    g.step({0xF4});  // hlt
    CHECK(g.rip() == Guest::handler(Exception::NMI));
    CHECK(g.stack<u32>(0) == Guest::kCode + 2);
    CHECK(g.state().activity == Activity::Active);
}

TEST_CASE("MOV SS holds off interrupts, NMI and debug traps for one instruction",
          "[boundary][shadow]") {
    Guest g;
    g.protected_mode();
    enable_interrupts(g);
    g.reg(RAX) = Guest::kData0;
    raise_interrupt(g);
    g.cpu().request(attention::kNmi);
    g.step({0x8E, 0xD0});  // mov ss, eax
    CHECK(g.rip() == Guest::kCode + 2);
    g.step({0x90});  // nop
    CHECK(g.rip() == Guest::handler(Exception::NMI));
}

TEST_CASE("A second MOV SS does not extend the shadow", "[boundary][shadow]") {
    Guest g;
    g.protected_mode();
    enable_interrupts(g);
    g.reg(RAX) = Guest::kData0;
    raise_interrupt(g);
    g.step({0x8E, 0xD0});  // mov ss, eax
    g.step({0x8E, 0xD0});  // mov ss, eax
    CHECK(g.rip() == Guest::handler(unsigned{kVector}));
}

TEST_CASE("NMI blocks further NMIs until IRET", "[boundary][nmi]") {
    Guest g;
    g.protected_mode();
    enable_interrupts(g);
    g.cpu().request(attention::kNmi);
    CHECK(service_boundary(g.cpu()));
    CHECK(g.rip() == Guest::handler(Exception::NMI));
    g.cpu().request(attention::kNmi);
    CHECK_FALSE(would_look_up(g));
    CHECK_FALSE(service_boundary(g.cpu()));
    g.step({0xCF});                                    // iretd
    CHECK(g.rip() == Guest::handler(Exception::NMI));  // taken right behind IRET
    CHECK(g.cpu().counters.nmis == 2);
}

TEST_CASE("Priority: debug trap, then NMI, then interrupt", "[boundary]") {
    Guest g;
    g.protected_mode();
    enable_interrupts(g);
    raise_interrupt(g);
    g.cpu().request(attention::kNmi);
    g.state().pending_debug = dr6::kBs;
    update_attention(g.cpu());
    CHECK(service_boundary(g.cpu()));
    CHECK(g.rip() == Guest::handler(Exception::DB));
    CHECK(service_boundary(g.cpu()));
    CHECK(g.rip() == Guest::handler(Exception::NMI));
    CHECK_FALSE(service_boundary(g.cpu()));  // the gate cleared IF
}

TEST_CASE("HLT waits with RIP behind it and wakes for an interrupt", "[boundary][hlt]") {
    Guest g;
    g.protected_mode();
    enable_interrupts(g);
    CHECK(g.exec({0xF4}) == kNoFault);  // hlt
    CHECK(g.state().activity == Activity::Hlt);
    CHECK(g.rip() == Guest::kCode + 1);
    CHECK_FALSE(service_boundary(g.cpu()));
    raise_interrupt(g);
    CHECK(service_boundary(g.cpu()));
    CHECK(g.state().activity == Activity::Active);
    CHECK(g.stack<u32>(0) == Guest::kCode + 1);
}

TEST_CASE("HLT with IF = 0 sleeps through interrupts and wakes for NMI", "[boundary][hlt]") {
    Guest g;
    g.protected_mode();
    enable_interrupts(g);
    g.state().set_rflags(0);
    CHECK(g.exec({0xF4}) == kNoFault);  // hlt
    raise_interrupt(g);
    CHECK_FALSE(would_look_up(g));
    g.cpu().request(attention::kNmi);
    CHECK(would_look_up(g));
    CHECK(service_boundary(g.cpu()));
    CHECK(g.rip() == Guest::handler(Exception::NMI));
}

TEST_CASE("HLT needs ring 0", "[hlt]") {
    Guest g;
    g.protected_mode(3);
    CHECK(g.exec({0xF4}) == fault(Exception::GP, 0));  // hlt
}

TEST_CASE("Shutdown ignores interrupts and ends with NMI or INIT", "[boundary]") {
    Guest g;
    g.protected_mode();
    enable_interrupts(g);
    g.state().activity = Activity::Shutdown;
    update_attention(g.cpu());
    raise_interrupt(g);
    CHECK_FALSE(would_look_up(g));
    CHECK_FALSE(service_boundary(g.cpu()));
    g.cpu().request(attention::kInit);
    CHECK(would_look_up(g));
    CHECK(service_boundary(g.cpu()));
    CHECK(g.state().activity == Activity::Active);
    CHECK(g.rip() == 0xFFF0);
}

TEST_CASE("An application processor waits for SIPI and starts at vector:0", "[boundary][sipi]") {
    Guest g;
    Vcpu ap(1,
            Vcpu::Wiring{g.machine().memory(), g.machine().bus(), g.machine().clock(),
                         g.machine().events(), g.machine().log()},
            g.cpu().features);
    reset_power_on(ap);
    CHECK(ap.state.activity == Activity::WaitForSipi);
    CHECK_FALSE(service_boundary(ap));
    ap.sipi_vector = 0x9A;
    ap.request(attention::kInit | attention::kSipi);  // both may arrive before it looks
    CHECK(service_boundary(ap));
    CHECK(ap.state.activity == Activity::Active);
    CHECK(ap.state.seg[CS].selector == 0x9A00);
    CHECK(ap.state.seg[CS].base == 0x9A000);
    CHECK(ap.state.rip() == 0);
    ap.sipi_vector = 0x11;
    ap.request(attention::kSipi);
    CHECK_FALSE(service_boundary(ap));  // a running processor ignores it
    CHECK(ap.state.seg[CS].selector == 0x9A00);
    CHECK((ap.attention.load() & attention::kSipi) == 0);
    ap.request(attention::kInit);
    CHECK(service_boundary(ap));
    CHECK(ap.state.activity == Activity::WaitForSipi);
}

TEST_CASE("A machine check is #MC with CR4.MCE and shutdown without", "[boundary]") {
    Guest g;
    g.protected_mode();
    enable_interrupts(g);
    g.cpu().request(attention::kMachineCheck);
    CHECK(service_boundary(g.cpu()));
    CHECK(g.state().activity == Activity::Shutdown);
    Guest h;
    h.protected_mode();
    enable_interrupts(h);
    h.state().cr4 |= cr4::kMce;
    h.cpu().request(attention::kMachineCheck);
    CHECK(service_boundary(h.cpu()));
    CHECK(h.rip() == Guest::handler(Exception::MC));
}

TEST_CASE(
    "kStep is requested while TF, RF, a shadow or a code breakpoint is there, and withdrawn after",
    "[boundary]") {
    Guest g;
    g.protected_mode();
    const auto stepping = [&] {
        update_attention(g.cpu());
        return (g.cpu().attention.load() & attention::kStep) != 0;
    };
    CHECK_FALSE(stepping());
    g.state().set_rflags(rflags::kTf);
    CHECK(stepping());
    g.state().set_rflags(rflags::kRf);
    CHECK(stepping());
    g.state().set_rflags(0);
    CHECK_FALSE(stepping());
    g.state().interruptibility = blocking::kSti;
    CHECK(stepping());
    g.state().interruptibility = blocking::kNmi;
    CHECK_FALSE(stepping());
    g.state().dr7 = dr7::kReset | 1;
    CHECK(stepping());
    g.state().dr7 = dr7::kReset | 1 | (1U << 16);  // on writes: no need to step
    CHECK_FALSE(stepping());
}
