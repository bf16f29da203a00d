// JMP, CALL and RET far. SDM Vol. 3A, "Privilege Level Checking When Transferring Program Control
// Between Code Segments".

#include "tests/unit/system/guest.hpp"

using namespace droste;
using namespace droste::test;

namespace {

// JMP and CALL ptr16:32 to `selector`:5678h.
Raised jump(Guest& g, u16 selector) {
    return g.exec(
        {0xEA, 0x78, 0x56, 0, 0, static_cast<u8>(selector), static_cast<u8>(selector >> 8)});
}
Raised call(Guest& g, u16 selector) {
    return g.exec(
        {0x9A, 0x78, 0x56, 0, 0, static_cast<u8>(selector), static_cast<u8>(selector >> 8)});
}

}  // namespace

TEST_CASE("JMP far to a code segment of the same level", "[far]") {
    Guest g;
    g.protected_mode();
    CHECK(jump(g, Guest::kCode0) == kNoFault);
    CHECK(g.rip() == 0x5678);
    CHECK(g.seg(CS).selector == Guest::kCode0);
}

TEST_CASE("JMP far changes the code size with the segment", "[far]") {
    Guest g;
    g.protected_mode();
    CHECK(jump(g, Guest::kCode16) == kNoFault);
    CHECK(g.cpu().mode.code_bits == 16);
}

TEST_CASE("JMP far: selector checks", "[far]") {
    Guest g;
    g.protected_mode(3);
    CHECK(jump(g, 0) == fault(Exception::GP, 0));
    CHECK(jump(g, 0x103) == fault(Exception::GP, 0x100));
    CHECK(jump(g, Guest::kData3) == fault(Exception::GP, Guest::kData3 & ~3U));
    CHECK(jump(g, Guest::kCode0) ==
          fault(Exception::GP, Guest::kCode0));  // more privileged, nonconforming
    g.set_descriptor(Guest::kFree, flat((access::kCode & ~access::kPresent) | access::kDpl3));
    CHECK(jump(g, Guest::kFree | 3) == fault(Exception::NP, Guest::kFree));
    CHECK(g.rip() == Guest::kCode);
}

TEST_CASE("JMP far to conforming code keeps the level", "[far]") {
    Guest g;
    g.protected_mode(3);
    CHECK(jump(g, Guest::kConforming0) == kNoFault);
    CHECK(g.cpu().mode.cpl == 3);
    CHECK(g.seg(CS).selector == (Guest::kConforming0 | 3));
    Guest inner;
    inner.protected_mode(0);
    inner.set_descriptor(Guest::kFree, flat(access::kCode | access::kConforming | access::kDpl3));
    CHECK(jump(inner, Guest::kFree) ==
          fault(Exception::GP, Guest::kFree));  // less privileged conforming code
}

TEST_CASE("JMP far beyond the limit raises #GP(0)", "[far]") {
    Guest g;
    g.protected_mode();
    g.set_descriptor(Guest::kFree, descriptor(0, 0x5677, access::kCode, kFlags32Bytes));
    CHECK(jump(g, Guest::kFree) == fault(Exception::GP, 0));
}

TEST_CASE("CALL far pushes CS:EIP; RET far returns and releases parameters", "[far]") {
    Guest g;
    g.protected_mode();
    CHECK(call(g, Guest::kCode0) == kNoFault);
    CHECK(g.reg(RSP) == Guest::kStack0 - 8);
    CHECK(g.stack<u32>(0) == Guest::kCode + 7);
    CHECK(g.stack<u32>(1) == Guest::kCode0);
    CHECK(g.exec({0xCA, 0x08, 0x00}) == kNoFault);  // ret 8
    CHECK(g.rip() == Guest::kCode + 7);
    CHECK(g.reg(RSP) == Guest::kStack0 + 8);
}

TEST_CASE("CALL far without stack room raises #SS(0) and keeps ESP", "[far]") {
    Guest g;
    g.protected_mode();
    g.seg(SS).limit = 0x7FFB;
    CHECK(call(g, Guest::kCode0) == fault(Exception::SS, 0));
    CHECK(g.reg(RSP) == Guest::kStack0);
    CHECK(g.rip() == Guest::kCode);
}

TEST_CASE("Call gate to ring 0: switches stacks, copies parameters, pushes SS:ESP and CS:EIP",
          "[far][gate]") {
    Guest g;
    g.protected_mode(3);
    g.set_descriptor(Guest::kFree,
                     gate(Guest::kCode0, 0x6789, access::kCallGate32 | access::kDpl3, 2));
    g.push<u32>(0x1111);
    g.push<u32>(0x2222);
    CHECK(call(g, Guest::kFree) == kNoFault);
    CHECK(g.rip() == 0x6789);
    CHECK(g.cpu().mode.cpl == 0);
    CHECK(g.reg(RSP) == Guest::kStack0 - 24);
    CHECK(g.stack<u32>(0) == Guest::kCode + 7);
    CHECK(g.stack<u32>(1) == Guest::kCode3);
    CHECK(g.stack<u32>(2) == 0x2222);
    CHECK(g.stack<u32>(3) == 0x1111);
    CHECK(g.stack<u32>(4) == Guest::kStack3 - 8);
    CHECK(g.stack<u32>(5) == Guest::kData3);
    CHECK(g.exec({0xCA, 0x08, 0x00}) == kNoFault);  // ret 8: both stacks release
    CHECK(g.cpu().mode.cpl == 3);
    CHECK(g.reg(RSP) == Guest::kStack3);
    CHECK(g.seg(SS).selector == Guest::kData3);
}

TEST_CASE("Call gate at the same level pushes CS:EIP only; a 16-bit gate pushes words",
          "[far][gate]") {
    Guest g;
    g.protected_mode();
    g.set_descriptor(Guest::kFree, gate(Guest::kCode0, 0x6789, access::kCallGate32, 5));
    CHECK(call(g, Guest::kFree) == kNoFault);
    CHECK(g.reg(RSP) == Guest::kStack0 - 8);
    g.protected_mode();
    g.set_descriptor(Guest::kFree, gate(Guest::kCode0, 0xFFFF'6789, access::kCallGate16));
    CHECK(call(g, Guest::kFree) == kNoFault);
    CHECK(g.rip() == 0x6789);
    CHECK(g.reg(RSP) == Guest::kStack0 - 4);
    CHECK(g.stack<u16>(0) == Guest::kCode + 7);
}

TEST_CASE("Call gate: privilege, presence and target checks", "[far][gate]") {
    Guest g;
    g.protected_mode(3);
    g.set_descriptor(Guest::kFree, gate(Guest::kCode0, 0x6000, access::kCallGate32));
    CHECK(call(g, Guest::kFree) == fault(Exception::GP, Guest::kFree));  // gate DPL < CPL
    g.set_descriptor(Guest::kFree, gate(Guest::kCode0, 0x6000,
                                        (access::kCallGate32 & ~access::kPresent) | access::kDpl3));
    CHECK(call(g, Guest::kFree) == fault(Exception::NP, Guest::kFree));
    g.set_descriptor(Guest::kFree, gate(0, 0x6000, access::kCallGate32 | access::kDpl3));
    CHECK(call(g, Guest::kFree) == fault(Exception::GP, 0));
    g.set_descriptor(Guest::kFree,
                     gate(Guest::kData0, 0x6000, access::kCallGate32 | access::kDpl3));
    CHECK(call(g, Guest::kFree) == fault(Exception::GP, Guest::kData0));
    g.set_descriptor(Guest::kFree,
                     gate(Guest::kCode0, 0x6000, access::kCallGate32 | access::kDpl3));
    CHECK(jump(g, Guest::kFree) ==
          fault(Exception::GP, Guest::kCode0));  // JMP cannot change the level
    CHECK(g.cpu().mode.cpl == 3);
}

TEST_CASE("Call gate: bad inner stacks raise #TS and #SS without EXT", "[far][gate][tss]") {
    Guest g;
    g.protected_mode(3);
    g.set_descriptor(Guest::kFree,
                     gate(Guest::kCode0, 0x6000, access::kCallGate32 | access::kDpl3));
    g.machine().poke_value<u32>(Guest::kTss + 8, 0);
    CHECK(call(g, Guest::kFree) == fault(Exception::TS, 0));
    g.machine().poke_value<u32>(Guest::kTss + 8, Guest::kCode0);
    CHECK(call(g, Guest::kFree) == fault(Exception::TS, Guest::kCode0));
    g.set_descriptor(Guest::kFree2, descriptor(0, 0xFFF, access::kData, kFlags32Bytes));
    g.machine().poke_value<u32>(Guest::kTss + 8, Guest::kFree2);
    CHECK(call(g, Guest::kFree) == fault(Exception::SS, Guest::kFree2));
    g.state().tr.limit = 8;
    CHECK(call(g, Guest::kFree) == fault(Exception::TS, Guest::kTr));
    CHECK(g.reg(RSP) == Guest::kStack3);
}

TEST_CASE("RET far: checks on the popped selectors", "[far][ret]") {
    const auto ret_to = [](unsigned cpl, u16 selector, u64 desc) {
        Guest g;
        g.protected_mode(cpl);
        g.set_descriptor(Guest::kFree, desc);
        g.push<u32>(selector);
        g.push<u32>(0x5000);
        return g.exec({0xCB});  // retf
    };
    CHECK(ret_to(0, 0, 0) == fault(Exception::GP, 0));
    CHECK(ret_to(0, 0x100, 0) == fault(Exception::GP, 0x100));
    CHECK(ret_to(0, Guest::kData0, 0) == fault(Exception::GP, Guest::kData0));
    CHECK(ret_to(3, Guest::kCode0, 0) == fault(Exception::GP, Guest::kCode0));  // RPL < CPL
    CHECK(ret_to(0, Guest::kFree | 3, flat(access::kCode)) ==
          fault(Exception::GP, Guest::kFree));  // DPL != RPL
    CHECK(ret_to(0, Guest::kFree, flat(access::kCode & ~access::kPresent)) ==
          fault(Exception::NP, Guest::kFree));
}

TEST_CASE("RET far outward: drops data segments the outer level may not use", "[far][ret]") {
    Guest g;
    g.protected_mode();
    g.load(ES, Guest::kData3);
    g.push<u32>(Guest::kData3);
    g.push<u32>(Guest::kStack3);
    g.push<u32>(Guest::kCode3);
    g.push<u32>(0x5000);
    CHECK(g.exec({0xCB}) == kNoFault);  // retf
    CHECK(g.cpu().mode.cpl == 3);
    CHECK(g.seg(DS).unusable());
    CHECK(g.seg(DS).selector == 0);
    CHECK_FALSE(g.seg(ES).unusable());
}

TEST_CASE("RET far outward: the stack selector is checked, #SS if not present", "[far][ret]") {
    const auto ret_with_stack = [](u16 ss, u64 desc) {
        Guest g;
        g.protected_mode();
        g.set_descriptor(Guest::kFree, desc);
        g.push<u32>(ss);
        g.push<u32>(Guest::kStack3);
        g.push<u32>(Guest::kCode3);
        g.push<u32>(0x5000);
        return g.exec({0xCB});  // retf
    };
    CHECK(ret_with_stack(0, 0) == fault(Exception::GP, 0));
    CHECK(ret_with_stack(Guest::kData0, 0) == fault(Exception::GP, Guest::kData0));
    CHECK(ret_with_stack(Guest::kFree | 3, flat(access::kReadOnly | access::kDpl3)) ==
          fault(Exception::GP, Guest::kFree));
    CHECK(ret_with_stack(Guest::kFree | 3,
                         flat((access::kData & ~access::kPresent) | access::kDpl3)) ==
          fault(Exception::SS, Guest::kFree));
}

TEST_CASE("Real mode: CALL far and RET far", "[far][real]") {
    Guest g;
    g.real_mode();
    CHECK(g.exec({0x9A, 0x34, 0x12, 0x00, 0x06}) == kNoFault);  // call 0600:1234
    CHECK(g.rip() == 0x1234);
    CHECK(g.seg(CS).base == 0x6000);
    CHECK(g.stack<u16>(0) == Guest::kCode + 5);
    CHECK(g.stack<u16>(1) == 0);
    CHECK(g.exec({0xCB}) == kNoFault);  // retf
    CHECK(g.rip() == Guest::kCode + 5);
    CHECK(g.seg(CS).base == 0);
}

TEST_CASE("JMP far through memory in 64-bit mode enters compatibility mode and m16:64 comes back",
          "[far][long]") {
    Guest g;
    g.long_mode();
    g.set_descriptor(Guest::kFree, flat(access::kCode, kFlags32));
    g.machine().poke_value<u32>(0x7000, 0x5678);
    g.machine().poke_value<u16>(0x7004, Guest::kFree);
    CHECK(g.exec({0xFF, 0x2C, 0x25, 0x00, 0x70, 0, 0}) == kNoFault);  // jmp far [7000h]
    CHECK(g.cpu().mode.code_bits == 32);
    CHECK(jump(g, Guest::kCode0) == kNoFault);
    CHECK(g.cpu().mode.code_bits == 64);
    g.machine().poke_value<u64>(0x7000, 0x0000'8000'0000'0000);
    g.machine().poke_value<u16>(0x7008, Guest::kCode0);
    CHECK(g.exec({0x48, 0xFF, 0x2C, 0x25, 0x00, 0x70, 0, 0}) ==  // ljmp [0x7000]
          fault(Exception::GP, 0));                              // not canonical
}

TEST_CASE(
    "IA-32e mode: code with L and D both set, 32-bit gates and TSS targets raise #GP(selector)",
    "[far][long]") {
    Guest g;
    g.long_mode();
    g.set_descriptor(Guest::kFree2, flat(access::kCode, kFlags32));
    g.load(CS, Guest::kFree2);
    g.set_descriptor(Guest::kFree, flat(access::kCode, 0xE));
    CHECK(jump(g, Guest::kFree) == fault(Exception::GP, Guest::kFree));
    g.set_descriptor(Guest::kFree, gate(Guest::kCode0, 0, access::kTaskGate));
    CHECK(jump(g, Guest::kFree) == fault(Exception::GP, Guest::kFree));
    g.set_descriptor(Guest::kFree, descriptor(0, 0x67, access::kTss32, 0));
    CHECK(jump(g, Guest::kFree) == fault(Exception::GP, Guest::kFree));
}

TEST_CASE("64-bit call gate from ring 3: RSP0, null SS, four quadwords", "[far][gate][long]") {
    Guest g;
    g.long_mode(3);
    g.set_descriptor(Guest::kFree,
                     gate(Guest::kCode0, 0x6789, access::kCallGate32 | access::kDpl3));
    g.set_descriptor(Guest::kFree2, 0);
    g.machine().poke_value<u32>(0x7000, 0);
    g.machine().poke_value<u16>(0x7004, Guest::kFree);
    CHECK(g.exec({0xFF, 0x1C, 0x25, 0x00, 0x70, 0, 0}) == kNoFault);  // call far [7000h]
    CHECK(g.rip() == 0x6789);
    CHECK(g.cpu().mode.cpl == 0);
    CHECK(g.seg(SS).unusable());
    CHECK(g.reg(RSP) == Guest::kStack0 - 32);
    CHECK(g.stack<u64>(0) == Guest::kCode + 7);
    CHECK(g.stack<u64>(1) == Guest::kCode3);
    CHECK(g.stack<u64>(2) == Guest::kStack3);
    CHECK(g.stack<u64>(3) == Guest::kData3);
    CHECK(g.exec({0x48, 0xCB}) == kNoFault);  // retfq
    CHECK(g.cpu().mode.cpl == 3);
    CHECK(g.reg(RSP) == Guest::kStack3);
}

TEST_CASE("64-bit call gate to the same level from compatibility mode: the stack is flat",
          "[far][gate][compatibility]") {
    Guest g;
    g.long_mode();
    g.set_descriptor(Guest::kCode16, flat(access::kCode, kFlags32));
    g.load(CS, Guest::kCode16);
    g.seg(SS).base = 0x1000;
    g.seg(SS).limit = 0x10;
    g.set_descriptor(Guest::kFree, gate(Guest::kCode0, 0x6789, access::kCallGate32));
    g.set_descriptor(Guest::kFree2, 0);
    CHECK(call(g, Guest::kFree) == kNoFault);
    CHECK(g.cpu().mode.code_bits == 64);
    CHECK(g.rip() == 0x6789);
    CHECK(g.reg(RSP) == Guest::kStack0 - 16);
    CHECK(g.machine().peek_value<u64>(Guest::kStack0 - 16) == Guest::kCode + 7);
    CHECK(g.machine().peek_value<u64>(Guest::kStack0 - 8) == Guest::kCode16);
}
