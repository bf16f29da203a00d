// Events through the IDT in protected mode and through the IVT in real mode. SDM Vol. 3A,
// "Interrupt and Exception Handling".

#include "tests/unit/system/guest.hpp"

using namespace droste;
using namespace droste::test;

namespace {

constexpr u8 kVector = 0x20;

void int_n(Guest& g, u8 vector) {
    g.step({0xCD, vector});
}

}  // namespace

TEST_CASE("Interrupt gate at the same level: pushes EFLAGS, CS, EIP and clears IF and TF",
          "[deliver]") {
    Guest g;
    g.protected_mode();
    g.set_all_gates();
    g.state().set_rflags(rflags::kIf | rflags::kNt | rflags::kCf);
    g.interrupt(kVector);
    CHECK(g.rip() == Guest::handler(kVector));
    CHECK(g.reg(RSP) == Guest::kStack0 - 12);
    CHECK(g.stack<u32>(0) == Guest::kCode);
    CHECK(g.stack<u32>(1) == Guest::kCode0);
    CHECK(g.stack<u32>(2) == (rflags::kIf | rflags::kNt | rflags::kCf | rflags::kFixed1));
    CHECK((g.flags() & (rflags::kIf | rflags::kNt)) == 0);
}

TEST_CASE("Trap gate: IF stays", "[deliver]") {
    Guest g;
    g.protected_mode();
    g.set_gate(kVector, gate(Guest::kCode0, 0x6000, access::kTrapGate));
    g.state().set_rflags(rflags::kIf);
    g.interrupt(kVector);
    CHECK((g.flags() & rflags::kIf) != 0);
}

TEST_CASE("From ring 3 to ring 0: the TSS gives SS:ESP and the old ones are pushed", "[deliver]") {
    Guest g;
    g.protected_mode(3);
    g.set_all_gates();
    g.interrupt(kVector);
    CHECK(g.cpu().mode.cpl == 0);
    CHECK(g.seg(SS).selector == Guest::kData0);
    CHECK(g.seg(CS).selector == Guest::kCode0);
    CHECK(g.reg(RSP) == Guest::kStack0 - 20);
    CHECK(g.stack<u32>(0) == Guest::kCode);
    CHECK(g.stack<u32>(1) == Guest::kCode3);
    CHECK(g.stack<u32>(3) == Guest::kStack3);
    CHECK(g.stack<u32>(4) == Guest::kData3);
}

TEST_CASE("A fault pushes its error code and RF = 1; an external interrupt does not",
          "[deliver][rf]") {
    Guest g;
    g.protected_mode(3);
    g.set_all_gates();
    g.raise_and_deliver(Exception::GP, 0x1234);
    CHECK(g.rip() == Guest::handler(Exception::GP));
    CHECK(g.stack<u32>(0) == 0x1234);
    CHECK(g.stack<u32>(1) == Guest::kCode);
    CHECK((g.stack<u32>(3) & rflags::kRf) != 0);
    Guest h;
    h.protected_mode();
    h.set_all_gates();
    h.interrupt(kVector);
    CHECK((h.stack<u32>(2) & rflags::kRf) == 0);
}

TEST_CASE("INT n pushes the address behind it and checks the gate's DPL", "[deliver]") {
    Guest g;
    g.protected_mode(3);
    g.set_all_gates();
    int_n(g, kVector);
    CHECK(g.rip() == Guest::handler(Exception::GP));
    CHECK(g.stack<u32>(0) == kVector * 8 + 2);  // IDT, no EXT
    CHECK(g.stack<u32>(1) == Guest::kCode);

    Guest h;
    h.protected_mode(3);
    h.set_all_gates();
    h.set_gate(kVector, gate(Guest::kCode0, 0x6000, access::kTrapGate | access::kDpl3));
    int_n(h, kVector);
    CHECK(h.rip() == 0x6000);
    CHECK(h.stack<u32>(0) == Guest::kCode + 2);
}

TEST_CASE("A gate that is not present raises #NP, beyond the limit or of a wrong type #GP, with "
          "IDT and EXT",
          "[deliver]") {
    Guest g;
    g.protected_mode();
    g.set_all_gates();
    g.set_gate(kVector, gate(Guest::kCode0, 0x6000, access::kInterruptGate & ~access::kPresent));
    g.interrupt(kVector);
    CHECK(g.rip() == Guest::handler(Exception::NP));
    CHECK(g.stack<u32>(0) == kVector * 8 + 3);
    g.set_gate(kVector, gate(Guest::kCode0, 0x6000, access::kCallGate32));
    g.interrupt(kVector);
    CHECK(g.rip() == Guest::handler(Exception::GP));
    CHECK(g.stack<u32>(0) == kVector * 8 + 3);
    g.state().idtr.limit = 0x20 * 8 - 1;
    g.interrupt(kVector);
    CHECK(g.rip() == Guest::handler(Exception::GP));
}

TEST_CASE("The handler's code segment: null, data, too privileged and not present", "[deliver]") {
    const auto outcome = [](u16 selector, u64 desc) {
        Guest g;
        g.protected_mode(3);
        g.set_all_gates();
        g.set_descriptor(Guest::kFree, desc);
        g.set_gate(kVector, gate(selector, 0x6000, access::kInterruptGate));
        g.interrupt(kVector);
        return Raised{static_cast<int>((g.rip() - Guest::kHandlers) / 16), g.stack<u32>(0)};
    };
    CHECK(outcome(0, 0) == fault(Exception::GP, 1));
    CHECK(outcome(Guest::kFree, flat(access::kData)) == fault(Exception::GP, Guest::kFree + 1));
    CHECK(outcome(Guest::kFree, flat(access::kCode & ~access::kPresent)) ==
          fault(Exception::NP, Guest::kFree + 1));
    CHECK(outcome(0x100, 0) == fault(Exception::GP, 0x101));
}

TEST_CASE("Bad inner stacks raise #TS and #SS with the selector and EXT", "[deliver][tss]") {
    const auto outcome = [](u16 ss, u64 desc) {
        Guest g;
        g.protected_mode(3);
        g.set_all_gates();
        // The exception handlers stay in ring 1, whose stack is good; vector 20h goes to ring 0.
        for (const Exception e : {Exception::TS, Exception::SS, Exception::GP}) {
            g.set_gate(static_cast<u8>(e), gate(Guest::kCode1, static_cast<u32>(Guest::handler(e)),
                                                access::kInterruptGate));
        }
        g.set_descriptor(Guest::kFree, desc);
        g.machine().poke_value<u32>(Guest::kTss + 8, ss);
        g.interrupt(kVector);
        return Raised{static_cast<int>((g.rip() - Guest::kHandlers) / 16), g.stack<u32>(0)};
    };
    CHECK(outcome(0, 0) == fault(Exception::TS, 1));
    CHECK(outcome(Guest::kFree, flat(access::kReadOnly)) == fault(Exception::TS, Guest::kFree + 1));
    CHECK(outcome(Guest::kFree | 1, flat(access::kData)) == fault(Exception::TS, Guest::kFree + 1));
    CHECK(outcome(Guest::kData3, 0) == fault(Exception::TS, (Guest::kData3 & ~3U) + 1));
    CHECK(outcome(Guest::kFree, flat(access::kData & ~access::kPresent)) ==
          fault(Exception::SS, Guest::kFree + 1));
    CHECK(outcome(Guest::kFree, descriptor(0, 0xFFF, access::kData, kFlags32Bytes)) ==
          fault(Exception::SS, Guest::kFree + 1));
}

TEST_CASE("A TSS too short for the stack raises #TS with its own selector", "[deliver][tss]") {
    Guest g;
    g.protected_mode(3);
    g.set_all_gates();
    g.state().tr.limit = 8;
    g.interrupt(kVector);
    // #TS is delivered to ring 0 as well and fails alike: #DF, then shutdown.
    CHECK(g.state().activity == Activity::Shutdown);
    g.protected_mode(3);
    g.state().activity = Activity::Active;
    g.set_gate(static_cast<u8>(Exception::TS), gate(Guest::kCode3, 0x60A0, access::kInterruptGate));
    g.state().tr.limit = 8;
    g.interrupt(kVector);
    CHECK(g.rip() == 0x60A0);
    CHECK(g.stack<u32>(0) == Guest::kTr + 1);
}

TEST_CASE("A 16-bit gate pushes words", "[deliver]") {
    Guest g;
    g.protected_mode();
    g.set_gate(kVector, gate(Guest::kCode0, 0x6000, access::kInterruptGate16));
    g.interrupt(kVector);
    CHECK(g.reg(RSP) == Guest::kStack0 - 6);
    CHECK(g.stack<u16>(0) == Guest::kCode);
    CHECK(g.stack<u16>(1) == Guest::kCode0);
}

TEST_CASE("A conforming handler runs at the interrupted level on its stack", "[deliver]") {
    Guest g;
    g.protected_mode(3);
    g.set_gate(kVector, gate(Guest::kConforming0, 0x6000, access::kInterruptGate));
    g.interrupt(kVector);
    CHECK(g.cpu().mode.cpl == 3);
    CHECK(g.seg(CS).selector == (Guest::kConforming0 | 3));
    CHECK(g.reg(RSP) == Guest::kStack3 - 12);
}

TEST_CASE("An entry point beyond the code limit raises #GP(EXT) and leaves no trace", "[deliver]") {
    Guest g;
    g.protected_mode();
    g.set_all_gates();
    g.set_descriptor(Guest::kFree, descriptor(0, 0xFFF, access::kCode, kFlags32Bytes));
    g.set_gate(kVector, gate(Guest::kFree, 0x6000, access::kInterruptGate));
    g.interrupt(kVector);
    CHECK(g.rip() == Guest::handler(Exception::GP));
    CHECK(g.stack<u32>(0) == 1);
    CHECK(g.reg(RSP) == Guest::kStack0 - 16);
}

TEST_CASE("Real mode: FLAGS, CS, IP are pushed and IF, TF, AC cleared", "[deliver][real]") {
    Guest g;
    g.real_mode();
    g.state().idtr = {0, 0x3FF};
    g.machine().poke_value<u32>(kVector * 4, 0x0600'0040);  // 0600:0040
    g.state().set_rflags(rflags::kIf | rflags::kTf | rflags::kAc | rflags::kZf);
    g.interrupt(kVector);
    CHECK(g.rip() == 0x40);
    CHECK(g.seg(CS).base == 0x6000);
    CHECK(g.reg(RSP) == Guest::kStack0 - 6);
    CHECK(g.stack<u16>(0) == Guest::kCode);
    CHECK(g.stack<u16>(2) == (rflags::kIf | rflags::kTf | rflags::kZf | rflags::kFixed1));
    CHECK((g.flags() & (rflags::kIf | rflags::kTf | rflags::kAc)) == 0);
}

TEST_CASE(
    "Real mode: a vector beyond the IVT limit is #GP without error code, then #DF, then shutdown",
    "[deliver][real]") {
    Guest g;
    g.real_mode();
    g.machine().poke_value<u32>(13 * 4, 0x0600'0000);
    g.state().idtr = {0, 20 * 4 - 1};
    g.interrupt(kVector);
    CHECK(g.seg(CS).selector == 0x600);
    CHECK(g.reg(RSP) == Guest::kStack0 - 6);
    g.real_mode();
    g.state().idtr = {0, 3};
    g.interrupt(kVector);
    CHECK(g.state().activity == Activity::Shutdown);
}

TEST_CASE("Contributory after contributory is #DF with error code 0", "[deliver][df]") {
    Guest g;
    g.protected_mode();
    g.set_all_gates();
    g.set_gate(static_cast<u8>(Exception::GP), 0);
    g.raise_and_deliver(Exception::GP, 0x10);
    CHECK(g.rip() == Guest::handler(Exception::DF));
    CHECK(g.stack<u32>(0) == 0);
    CHECK(g.stack<u32>(1) == Guest::kCode);
}

TEST_CASE("Contributory after a benign exception replaces it", "[deliver][df]") {
    Guest g;
    g.protected_mode();
    g.set_all_gates();
    g.set_gate(static_cast<u8>(Exception::UD), 0);
    g.raise_and_deliver(Exception::UD, 0, false);
    CHECK(g.rip() == Guest::handler(Exception::GP));
    CHECK(g.stack<u32>(0) == 6 * 8 + 3);
}

TEST_CASE("A fault while delivering #DF shuts the processor down", "[deliver][df]") {
    Guest g;
    g.protected_mode();
    g.state().idtr.limit = 0;
    g.raise_and_deliver(Exception::UD, 0, false);
    CHECK(g.state().activity == Activity::Shutdown);
    CHECK(g.rip() == Guest::kCode);
}

TEST_CASE("#PF loads CR2; a contributory fault while it is delivered makes #DF and keeps CR2",
          "[deliver][df]") {
    Guest g;
    g.protected_mode();
    g.set_all_gates();
    g.set_gate(static_cast<u8>(Exception::PF), 0);
    g.cpu().fault = {};
    g.cpu().fault.vector = 14;
    g.cpu().fault.has_error_code = true;
    g.cpu().fault.payload = 0xDEAD000;
    deliver_fault(g.cpu());
    CHECK(g.rip() == Guest::handler(Exception::DF));
    CHECK(g.state().cr2 == 0xDEAD000);
}
