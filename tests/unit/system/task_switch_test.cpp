// Task switches. SDM Vol. 3A, "Task Switching".

#include "tests/unit/system/guest.hpp"

using namespace droste;
using namespace droste::test;

namespace {

constexpr u64 kNewEip = 0x5800;
constexpr u64 kNewEsp = 0xB000;

struct NewTask {
    u32 eflags = rflags::kFixed1;
    u16 cs = Guest::kCode0, ss = Guest::kData0, ds = Guest::kData0, ldt = 0;
    u16 trap = 0;
};

void fill_tss32(Guest& g, const NewTask& task) {
    TestMachine& m = g.machine();
    m.poke_value<u32>(Guest::kTss2 + 0x20, kNewEip);
    m.poke_value<u32>(Guest::kTss2 + 0x24, task.eflags);
    m.poke_value<u32>(Guest::kTss2 + 0x28, 0xAAAA0001);  // EAX
    m.poke_value<u32>(Guest::kTss2 + 0x38, kNewEsp);
    const u16 selectors[] = {task.ds, task.cs, task.ss, task.ds, 0, 0};
    for (unsigned i = 0; i < 6; ++i) {
        m.poke_value<u16>(Guest::kTss2 + 0x48 + 4 * i, selectors[i]);
    }
    m.poke_value<u16>(Guest::kTss2 + 0x60, task.ldt);
    m.poke_value<u16>(Guest::kTss2 + 0x64, task.trap);
}

constexpr std::initializer_list<u8> kJmpTask = {0xEA, 0, 0, 0, 0, Guest::kTr2, 0};
constexpr std::initializer_list<u8> kCallTask = {0x9A, 0, 0, 0, 0, Guest::kTr2, 0};

}  // namespace

TEST_CASE("JMP to a TSS: saves the old task, loads the new one, moves the busy bit", "[task]") {
    Guest g;
    g.protected_mode();
    fill_tss32(g, {});
    g.reg(RAX) = 0x12345678;
    g.state().set_rflags(rflags::kIf);
    CHECK(g.exec(kJmpTask) == kNoFault);
    CHECK(g.rip() == kNewEip);
    CHECK(g.reg(RAX) == 0xAAAA0001);
    CHECK(g.reg(RSP) == kNewEsp);
    CHECK(g.state().tr.selector == Guest::kTr2);
    CHECK(g.flags() == rflags::kFixed1);
    CHECK(g.access_byte(Guest::kTr) == access::kTss32);
    CHECK(g.access_byte(Guest::kTr2) == access::kTss32Busy);
    TestMachine& m = g.machine();
    CHECK(m.peek_value<u32>(Guest::kTss + 0x20) == Guest::kCode + 7);
    CHECK(m.peek_value<u32>(Guest::kTss + 0x24) == (rflags::kIf | rflags::kFixed1));
    CHECK(m.peek_value<u32>(Guest::kTss + 0x28) == 0x12345678);
    CHECK(m.peek_value<u32>(Guest::kTss + 0x38) == Guest::kStack0);
    CHECK(m.peek_value<u16>(Guest::kTss + 0x4C) == Guest::kCode0);
    CHECK((g.state().cr0 & cr0::kTs) != 0);
    CHECK(g.seg(FS).unusable());
}

TEST_CASE("CALL to a TSS nests: back link, NT, both busy; IRET comes back and clears NT in the "
          "saved image",
          "[task]") {
    Guest g;
    g.protected_mode();
    fill_tss32(g, {});
    CHECK(g.exec(kCallTask) == kNoFault);
    CHECK((g.flags() & rflags::kNt) != 0);
    CHECK(g.machine().peek_value<u16>(Guest::kTss2) == Guest::kTr);
    CHECK(g.access_byte(Guest::kTr) == access::kTss32Busy);
    CHECK(g.access_byte(Guest::kTr2) == access::kTss32Busy);
    CHECK(g.exec({0xCF}) == kNoFault);  // iretd
    CHECK(g.state().tr.selector == Guest::kTr);
    CHECK(g.rip() == Guest::kCode + 7);
    CHECK(g.reg(RSP) == Guest::kStack0);
    CHECK((g.flags() & rflags::kNt) == 0);
    CHECK(g.access_byte(Guest::kTr2) == access::kTss32);
    CHECK((g.machine().peek_value<u32>(Guest::kTss2 + 0x24) & rflags::kNt) == 0);
}

TEST_CASE("A busy TSS cannot be jumped to; a short one raises #TS", "[task]") {
    Guest g;
    g.protected_mode();
    fill_tss32(g, {});
    g.set_descriptor(Guest::kTr2, descriptor(Guest::kTss2, 0xFF, access::kTss32Busy, 0));
    CHECK(g.exec(kJmpTask) == fault(Exception::GP, Guest::kTr2));
    g.set_descriptor(Guest::kTr2, descriptor(Guest::kTss2, 0x66, access::kTss32, 0));
    CHECK(g.exec(kJmpTask) == fault(Exception::TS, Guest::kTr2));
    g.set_descriptor(Guest::kTr2,
                     descriptor(Guest::kTss2, 0xFF, access::kTss32 & ~access::kPresent, 0));
    CHECK(g.exec(kJmpTask) == fault(Exception::NP, Guest::kTr2));
    CHECK(g.state().tr.selector == Guest::kTr);
}

TEST_CASE("IRET with NT and a bad back link raises #TS with the link", "[task]") {
    Guest g;
    g.protected_mode();
    g.state().set_rflags(rflags::kNt);
    g.machine().poke_value<u16>(Guest::kTss, Guest::kData0);
    CHECK(g.exec({0xCF}) == fault(Exception::TS, Guest::kData0));  // iretd
    g.machine().poke_value<u16>(Guest::kTss, Guest::kTr2);         // available, not busy
    CHECK(g.exec({0xCF}) == fault(Exception::TS, Guest::kTr2));    // iretd
    g.machine().poke_value<u16>(Guest::kTss, 0x100);
    CHECK(g.exec({0xCF}) == fault(Exception::TS, 0x100));  // iretd
}

TEST_CASE("Faults in the new task: #TS, #NP and #SS belong to it", "[task]") {
    const auto outcome = [](const NewTask& task, u64 desc) {
        Guest g;
        g.protected_mode();
        g.set_descriptor(Guest::kFree, desc);
        fill_tss32(g, task);
        const Raised raised = g.exec(kJmpTask);
        CHECK(g.state().tr.selector == Guest::kTr2);  // beyond the point of no return
        CHECK(g.rip() == kNewEip);
        return raised;
    };
    constexpr u16 kFree = Guest::kFree;
    CHECK(outcome({.ldt = Guest::kData0}, 0) == fault(Exception::TS, Guest::kData0));
    CHECK(outcome({.cs = 0}, 0) == fault(Exception::TS, 0));
    CHECK(outcome({.cs = Guest::kData0}, 0) == fault(Exception::TS, Guest::kData0));
    CHECK(outcome({.cs = Guest::kCode0 | 3}, 0) == fault(Exception::TS, Guest::kCode0));
    CHECK(outcome({.cs = kFree}, flat(access::kCode & ~access::kPresent)) ==
          fault(Exception::NP, kFree));
    CHECK(outcome({.ss = 0}, 0) == fault(Exception::TS, 0));
    CHECK(outcome({.ss = Guest::kData3}, 0) == fault(Exception::TS, Guest::kData3 & ~3U));
    CHECK(outcome({.ss = kFree}, flat(access::kData & ~access::kPresent)) ==
          fault(Exception::SS, kFree));
    CHECK(outcome({.ds = kFree}, flat(access::kExecuteOnly)) == fault(Exception::TS, kFree));
    CHECK(outcome({.ds = kFree}, flat(access::kData & ~access::kPresent)) ==
          fault(Exception::NP, kFree));
}

TEST_CASE("A task gate in the IDT: the error code lands on the new task's stack, the fault's EIP "
          "in the old TSS",
          "[task]") {
    Guest g;
    g.protected_mode();
    fill_tss32(g, {});
    g.set_gate(13, gate(Guest::kTr2, 0, access::kTaskGate));
    g.raise_and_deliver(Exception::GP, 0x4321);
    CHECK(g.state().tr.selector == Guest::kTr2);
    CHECK(g.rip() == kNewEip);
    CHECK(g.reg(RSP) == kNewEsp - 4);
    CHECK(g.stack<u32>(0) == 0x4321);
    CHECK((g.flags() & rflags::kNt) != 0);
    CHECK(g.machine().peek_value<u32>(Guest::kTss + 0x20) == Guest::kCode);
    CHECK((g.machine().peek_value<u32>(Guest::kTss + 0x24) & rflags::kRf) != 0);
}

TEST_CASE("INT n through a task gate saves the address behind it", "[task]") {
    Guest g;
    g.protected_mode();
    fill_tss32(g, {});
    g.set_gate(0x20, gate(Guest::kTr2, 0, access::kTaskGate));
    g.step({0xCD, 0x20});  // int 0x20
    CHECK(g.state().tr.selector == Guest::kTr2);
    CHECK(g.machine().peek_value<u32>(Guest::kTss + 0x20) == Guest::kCode + 2);
}

TEST_CASE("JMP through a task gate in the GDT", "[task]") {
    Guest g;
    g.protected_mode(3);
    fill_tss32(g, {});
    g.set_descriptor(Guest::kFree, gate(Guest::kTr2, 0, access::kTaskGate | access::kDpl3));
    CHECK(g.exec({0xEA, 0, 0, 0, 0, Guest::kFree, 0}) == kNoFault);
    CHECK(g.cpu().mode.cpl == 0);
    g.protected_mode(3);
    g.set_descriptor(Guest::kFree, gate(Guest::kTr2, 0, access::kTaskGate));
    CHECK(g.exec({0xEA, 0, 0, 0, 0, Guest::kFree, 0}) == fault(Exception::GP, Guest::kFree));
}

TEST_CASE("A 16-bit TSS holds words", "[task]") {
    Guest g;
    g.protected_mode();
    g.set_descriptor(Guest::kTr2, descriptor(Guest::kTss2, 0x2B, access::kTss16, 0));
    TestMachine& m = g.machine();
    m.poke_value<u16>(Guest::kTss2 + 0x0E, 0x5800);
    m.poke_value<u16>(Guest::kTss2 + 0x10, rflags::kIf | rflags::kFixed1);
    m.poke_value<u16>(Guest::kTss2 + 0x12, 0x4444);
    m.poke_value<u16>(Guest::kTss2 + 0x1A, 0xB000);
    m.poke_value<u16>(Guest::kTss2 + 0x22, Guest::kData0);
    m.poke_value<u16>(Guest::kTss2 + 0x24, Guest::kCode16);
    m.poke_value<u16>(Guest::kTss2 + 0x26, Guest::kData0);
    m.poke_value<u16>(Guest::kTss2 + 0x28, Guest::kData0);
    CHECK(g.exec(kCallTask) == kNoFault);
    CHECK(g.rip() == 0x5800);
    CHECK(g.cpu().mode.code_bits == 16);
    CHECK((g.reg(RAX) & 0xFFFF) == 0x4444);
    CHECK(g.flags() == (rflags::kIf | rflags::kNt | rflags::kFixed1));
    CHECK(g.exec({0xCF}) == kNoFault);  // back to the 32-bit task
    CHECK(g.rip() == Guest::kCode + 7);
    CHECK(g.machine().peek_value<u16>(Guest::kTss2 + 0x0E) == 0x5801);
}

TEST_CASE("The T bit of the new TSS raises #DB with BT before its first instruction",
          "[task][debug]") {
    Guest g;
    g.protected_mode();
    g.set_all_gates();
    fill_tss32(g, {.trap = 1});
    g.step(kJmpTask);
    CHECK(g.rip() == Guest::handler(Exception::DB));
    CHECK(g.stack<u32>(0) == kNewEip);
    CHECK((g.state().dr6 & dr6::kBt) != 0);
}

TEST_CASE("A switch clears the local breakpoint enables", "[task][debug]") {
    Guest g;
    g.protected_mode();
    fill_tss32(g, {});
    g.state().dr7 = dr7::kReset | 0x3FF;
    CHECK(g.exec(kJmpTask) == kNoFault);
    CHECK(g.state().dr7 == (dr7::kReset | 0x2AA));
}

TEST_CASE("A task may be a virtual-8086 program", "[task][v86]") {
    Guest g;
    g.protected_mode();
    fill_tss32(g, {.eflags = rflags::kVm | rflags::kFixed1, .cs = 0x600, .ss = 0x700, .ds = 0x800});
    CHECK(g.exec(kJmpTask) == kNoFault);
    CHECK(g.cpu().mode.virtual8086);
    CHECK(g.cpu().mode.cpl == 3);
    CHECK(g.seg(CS).base == 0x6000);
    CHECK(g.seg(SS).base == 0x7000);
    CHECK(g.seg(DS).base == 0x8000);
}

TEST_CASE("With paging on, a task switch loads CR3", "[task]") {
    Guest g;
    g.protected_mode();
    fill_tss32(g, {});
    // One 4-MByte page maps everything; the new task has its own directory.
    for (const u32 directory : {0x20000U, 0x21000U}) {
        g.machine().poke_value<u32>(directory, 0x83);
    }
    g.state().cr4 |= cr4::kPse;
    g.state().cr3 = 0x20000;
    REQUIRE(write_cr0(g.cpu(), g.state().cr0 | cr0::kPg) == Status::Next);
    g.machine().poke_value<u32>(Guest::kTss2 + 0x1C, 0x21000);
    CHECK(g.exec(kJmpTask) == kNoFault);
    CHECK(g.state().cr3 == 0x21000);
}
