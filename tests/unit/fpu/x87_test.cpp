// x87: when exceptions are raised, what a fault leaves unchanged, the pointers, and the environment
// in memory.

#include "core/irq_line.hpp"
#include "cpu/x86/fpu/x87_state.hpp"
#include "tests/unit/fpu/fpu_test_support.hpp"

#include <catch2/catch.hpp>

namespace droste::test {
namespace {

constexpr u16 kUnmaskAll = 0x340;

class Wire final : public IrqLine {
  public:
    void set_level(bool asserted) override { level = asserted; }
    bool level = false;
};

// 1 / 0 with ZE unmasked: pending, not yet raised.
void divide_by_zero(FpuGuest& guest) {
    guest.state().x87.control = kUnmaskAll;
    REQUIRE(guest.fault({0xD9, 0xE8}) == kNone);  // fld1
    REQUIRE(guest.fault({0xD9, 0xEE}) == kNone);  // fldz
    REQUIRE(guest.fault({0xDE, 0xF9}) == kNone);  // fdivp
}

TEST_CASE("an unmasked exception withholds the result and waits for the next waiting instruction",
          "[fpu][x87]") {
    FpuGuest guest;
    divide_by_zero(guest);
    X87State& fpu = guest.state().x87;
    CHECK((fpu.status & (x87::kZe | x87::kEs | x87::kBusy)) == (x87::kZe | x87::kEs | x87::kBusy));
    CHECK(x87::top(fpu) == 6);
    CHECK(x87::st(fpu, 0).significand == 0);

    CHECK(guest.fault({0xDF, 0xE0}) == kNone);  // fnstsw ax does not wait
    CHECK(static_cast<u16>(guest.state().gpr[RAX]) == fpu.status);
    CHECK(guest.fault({0xD9, 0x3F}) == kNone);  // fnstcw
    CHECK(guest.fault({0xD8, 0xC1}) == kMf);    // fadd
    CHECK(guest.fault({0xD9, 0xE8}) == kMf);    // fld1
    CHECK(guest.fault({0xD9, 0x2F}) == kMf);    // fldcw
    CHECK(guest.fault({0x9B}) == kMf);          // fwait
    CHECK(guest.fault({0xDB, 0xE2}) == kNone);  // fnclex
    CHECK(guest.fault({0xD8, 0xC1}) == kNone);  // fadd st, st(1)
}

TEST_CASE("unmasking by FLDCW makes an old exception pending", "[fpu][x87]") {
    FpuGuest guest;
    guest.state().x87.status = x87::kPe;
    guest.poke<u16>(FpuGuest::kData, 0x35F);    // PM = 0
    CHECK(guest.fault({0xD9, 0x2F}) == kNone);  // fldcw [rdi]
    CHECK((guest.state().x87.status & x87::kEs) != 0);
    CHECK(guest.fault({0x9B}) == kMf);          // wait
    CHECK(guest.fault({0xDB, 0xE3}) == kNone);  // fninit
    CHECK(guest.fault({0x9B}) == kNone);        // wait
}

TEST_CASE("with CR0.NE = 0 an error asserts FERR# until it is cleared", "[fpu][x87]") {
    FpuGuest guest;
    Wire ferr;
    guest.cpu().ferr = &ferr;
    guest.state().cr0 &= ~cr0::kNe;
    guest.refresh();
    divide_by_zero(guest);
    CHECK_FALSE(ferr.level);
    CHECK(guest.fault({0xD9, 0xE8}) == kNone);  // fld1
    CHECK(ferr.level);
    CHECK(guest.fault({0xDB, 0xE2}) == kNone);  // fnclex
    CHECK_FALSE(ferr.level);
}

TEST_CASE("a store that raises an unmasked exception neither writes nor pops", "[fpu][x87]") {
    FpuGuest guest;
    X87State& fpu = guest.state().x87;
    fpu.control = kUnmaskAll;
    x87::push(fpu) = {0x8000'0000'0000'0000, 0x7000};  // too large for a single
    guest.poke<u32>(FpuGuest::kData, 0x1234'5678);
    CHECK(guest.fault({0xD9, 0x1F}) == kNone);  // fstp dword [rdi]
    CHECK(guest.peek<u32>(FpuGuest::kData) == 0x1234'5678);
    CHECK(x87::top(fpu) == 7);
    CHECK((fpu.status & (x87::kOe | x87::kEs)) == (x87::kOe | x87::kEs));
}

TEST_CASE("a store that page-faults changes no x87 state", "[fpu][x87]") {
    FpuGuest guest;
    X87State& fpu = guest.state().x87;
    x87::push(fpu) = {0xFFFF'FFFF'FFFF'FFFF, 0x3FFF};
    guest.state().gpr[RDI] = FpuGuest::kReadOnly;
    for (const std::initializer_list<u8> bytes :
         {std::initializer_list<u8>{0xD9, 0x1F},  // fstp dword [rdi]
          {0xDD, 0x1F},                           // fstp qword [rdi]
          {0xDB, 0x3F},                           // fstp tbyte [rdi]
          {0xDF, 0x3F},                           // fistp qword [rdi]
          {0xDF, 0x37},                           // fbstp [rdi]
          {0xD9, 0x37},                           // fnstenv [rdi]
          {0xDD, 0x37}}) {                        // fnsave [rdi]
        const X87State before = fpu;
        CHECK(guest.fault(bytes) == kPf);
        CHECK(fpu.status == before.status);
        CHECK(fpu.tag_valid == before.tag_valid);
        CHECK(fpu.control == before.control);
        CHECK(fpu.instruction_pointer == before.instruction_pointer);
    }
}

TEST_CASE("a store of ten bytes is one of eight and one of two", "[fpu][x87]") {
    FpuGuest guest;
    X87State& fpu = guest.state().x87;
    constexpr u64 kEnd = FpuGuest::kData + 2 * kPageBytes;  // first unmapped byte
    constexpr u64 kOld = 0x5A5A'5A5A'5A5A'5A5A;
    x87::push(fpu) = {0xF000'0000'0000'0000, 0x403E};
    const u16 status = fpu.status;
    const auto store_at = [&](u64 at, std::initializer_list<u8> bytes) {
        guest.poke(kEnd - 9, kOld);
        guest.poke(kEnd - 8, kOld);
        guest.state().gpr[RDI] = at;
        CHECK(guest.fault(bytes) == kPf);
        CHECK(guest.cpu().fault.payload == kEnd);
        CHECK(fpu.status == status);
    };
    store_at(kEnd - 7, {0xDB, 0x3F});  // fstp tbyte [rdi]
    CHECK(guest.peek<u64>(kEnd - 8) == kOld);
    store_at(kEnd - 8, {0xDB, 0x3F});
    CHECK(guest.peek<u64>(kEnd - 8) == 0xF000'0000'0000'0000);
    store_at(kEnd - 9, {0xDB, 0x3F});
    CHECK(guest.peek<u64>(kEnd - 9) == 0xF000'0000'0000'0000);
    CHECK(guest.peek<u8>(kEnd - 1) == 0x5A);
    x87::st(fpu, 0) = {0xF000'0000'0000'0000, 0x4002};  // 15
    store_at(kEnd - 8, {0xDF, 0x37});                   // fbstp [rdi]
    CHECK(guest.peek<u64>(kEnd - 8) == 0x15);
}

TEST_CASE("FCOMI and its like leave C1 unless the stack underflows", "[fpu][x87]") {
    for (const u8 opcode : {u8{0xDB}, u8{0xDF}}) {
        for (const u8 compare : {u8{0xE9}, u8{0xF1}}) {  // unordered, ordered
            FpuGuest guest;
            X87State& fpu = guest.state().x87;
            x87::push(fpu) = {0x8000'0000'0000'0000, 0x3FFF};
            x87::push(fpu) = {0x8000'0000'0000'0000, 0x3FFF};
            x87::set_c1(fpu, true);
            CHECK(guest.fault({opcode, compare}) == kNone);
            CHECK((fpu.status & x87::kC1) != 0);
            x87_initialize(fpu);
            x87::push(fpu) = {0x8000'0000'0000'0000, 0x3FFF};
            x87::set_c1(fpu, true);
            CHECK(guest.fault({opcode, compare}) == kNone);
            CHECK((fpu.status & (x87::kC1 | x87::kSf)) == x87::kSf);
        }
    }
}

TEST_CASE("a load that page-faults leaves the stack, even when it would overflow", "[fpu][x87]") {
    FpuGuest guest;
    guest.state().x87.tag_valid = 0xFF;
    guest.state().gpr[RDI] = FpuGuest::kUnmapped;
    CHECK(guest.fault({0xD9, 0x07}) == kPf);  // fld dword [rdi]
    CHECK(guest.state().x87.status == 0);
}

CpuFeatures with_pointers() {
    CpuFeatures features = all_features();
    features.enable(Feature::FDP_EXCPTN_ONLY, false);
    features.enable(Feature::ZERO_FCS_FDS, false);
    return features;
}

TEST_CASE("the pointers name the last instruction that was not a control instruction",
          "[fpu][x87]") {
    FpuGuest guest(3, with_pointers());
    X87State& fpu = guest.state().x87;
    guest.state().rip() = 0x1'2345'6789;
    CHECK(guest.fault({0xD9, 0x47, 0x10}) == kNone);  // fld m32 [rdi+16]
    CHECK(fpu.instruction_pointer == 0x1'2345'6789);
    CHECK(fpu.instruction_selector == guest.state().seg[CS].selector);
    CHECK(fpu.data_pointer == FpuGuest::kData + 16);
    CHECK(fpu.data_selector == guest.state().seg[DS].selector);
    CHECK(fpu.opcode == 0x147);
    guest.state().rip() = 0x5000;
    CHECK(guest.fault({0xD9, 0x2F}) == kNone);  // fldcw
    CHECK(guest.fault({0xDB, 0xE2}) == kNone);  // fnclex
    CHECK(fpu.instruction_pointer == 0x1'2345'6789);
    CHECK(guest.fault({0xD8, 0xC0}) == kNone);  // fadd: no memory operand
    CHECK(fpu.instruction_pointer == 0x5000);
    CHECK(fpu.data_pointer == FpuGuest::kData + 16);
}

TEST_CASE("FDP_EXCPTN_ONLY and ZERO_FCS_FDS", "[fpu][x87]") {
    FpuGuest guest;  // has both
    X87State& fpu = guest.state().x87;
    CHECK(guest.fault({0xD9, 0x07}) == kNone);  // fld dword [rdi]
    CHECK(fpu.data_pointer == 0);
    CHECK(fpu.instruction_selector == 0);
    fpu.control = kUnmaskAll;
    guest.poke<u32>(FpuGuest::kData, 0x7F80'0001);  // signaling NaN
    CHECK(guest.fault({0xD8, 0x07}) == kNone);      // fadd dword [rdi]
    CHECK((fpu.status & x87::kEs) != 0);
    CHECK(fpu.data_pointer == FpuGuest::kData);
    CHECK(fpu.data_selector == 0);
}

void fill(X87State& fpu) {
    fpu.control = 0x27F;
    fpu.status = static_cast<u16>((3U << 11) | x87::kPe | x87::kC3);
    fpu.tag_valid = 0b0111'1000;
    fpu.opcode = 0x5A5;
    fpu.instruction_pointer = 0x0007'1234;
    fpu.instruction_selector = 0x8;
    fpu.data_pointer = 0x0009'5678;
    fpu.data_selector = 0x10;
    fpu.st[3] = {0x8000'0000'0000'0000, 0x3FFF};  // valid
    fpu.st[4] = {0, 0x8000};                      // zero
    fpu.st[5] = {0x8000'0000'0000'0000, 0x7FFF};  // special
    fpu.st[6] = {1, 0};                           // special
}
constexpr u16 kFullTags = 0xE93F;  // 11 10 10 01 00 11 11 11

template <typename T, std::size_t N>
std::array<T, N> memory(FpuGuest& guest) {
    return guest.peek<std::array<T, N>>(FpuGuest::kData);
}

TEST_CASE("FNSTENV, protected mode, 32-bit", "[fpu][x87]") {
    FpuGuest guest;
    guest.machine().enter_protected_mode();
    fill(guest.state().x87);
    CHECK(guest.fault({0xD9, 0x37}) == kNone);  // fnstenv [rdi]
    const std::array<u32, 7> expected = {0xFFFF'027F, 0xFFFF'5820, 0xFFFF'0000U | kFullTags,
                                         0x0007'1234, 0x05A5'0008, 0x0009'5678,
                                         0xFFFF'0010};
    CHECK((memory<u32, 7>(guest) == expected));
    CHECK(guest.state().x87.control == 0x27F);
}

TEST_CASE("FNSTENV, protected mode, 16-bit", "[fpu][x87]") {
    FpuGuest guest;
    guest.machine().enter_protected_mode();
    fill(guest.state().x87);
    CHECK(guest.fault({0x66, 0xD9, 0x37}) == kNone);  // fnstenv [rdi], 16 bits
    const std::array<u16, 7> expected = {0x027F, 0x5820, kFullTags, 0x1234, 0x0008, 0x5678, 0x0010};
    CHECK((memory<u16, 7>(guest) == expected));
}

TEST_CASE("FNSTENV, real mode, 32-bit and 16-bit", "[fpu][x87]") {
    FpuGuest guest;
    guest.enter_real_mode();
    load_real_mode_segment(guest.cpu(), DS, static_cast<u16>(0x8000));
    guest.state().gpr[RDI] = 0;
    fill(guest.state().x87);
    guest.state().x87.instruction_pointer = 0x1234;
    guest.state().x87.instruction_selector = 0x7000;  // linear 71234h
    guest.state().x87.data_pointer = 0x5678;
    guest.state().x87.data_selector = 0x9000;
    CHECK(guest.fault({0x66, 0xD9, 0x35}) == kNone);  // [di]
    const std::array<u32, 7> wide = {0xFFFF'027F, 0xFFFF'5820, 0xFFFF'0000U | kFullTags,
                                     0xFFFF'1234, 0x0000'75A5, 0xFFFF'5678,
                                     0x0000'9000};
    CHECK((guest.peek<std::array<u32, 7>>(0x8'0000) == wide));
    CHECK(guest.fault({0xD9, 0x35}) == kNone);  // fnstenv [di]
    const std::array<u16, 7> narrow = {0x027F, 0x5820, kFullTags, 0x1234, 0x75A5, 0x5678, 0x9000};
    CHECK((guest.peek<std::array<u16, 7>>(0x8'0000) == narrow));

    x87_initialize(guest.state().x87);
    CHECK(guest.fault({0xD9, 0x25}) == kNone);  // fldenv
    CHECK(guest.state().x87.instruction_pointer == 0x7'1234);
    CHECK(guest.state().x87.data_pointer == 0x9'5678);
    CHECK(guest.state().x87.opcode == 0x5A5);
}

TEST_CASE("FNSTENV masks all exceptions after it stored; FLDENV brings them back", "[fpu][x87]") {
    FpuGuest guest;
    divide_by_zero(guest);
    const X87State before = guest.state().x87;
    CHECK(guest.fault({0xD9, 0x37}) == kNone);  // fnstenv [rdi]
    CHECK(guest.state().x87.control == 0x37F);
    CHECK((guest.state().x87.status & x87::kEs) == 0);
    CHECK(guest.fault({0xD9, 0x27}) == kNone);  // fldenv [rdi]
    CHECK(guest.state().x87.control == before.control);
    CHECK(guest.state().x87.status == before.status);
    CHECK(guest.state().x87.tag_valid == before.tag_valid);
}

TEST_CASE("FNSAVE stores ST(0) first and initializes; FRSTOR is its inverse", "[fpu][x87]") {
    FpuGuest guest;
    fill(guest.state().x87);
    const X87State before = guest.state().x87;
    CHECK(guest.fault({0xDD, 0x37}) == kNone);  // fnsave [rdi]
    CHECK(guest.peek<u64>(FpuGuest::kData + 28) == before.st[3].significand);
    CHECK(guest.peek<u16>(FpuGuest::kData + 36) == before.st[3].sign_exponent);
    CHECK(guest.state().x87.tag_valid == 0);
    CHECK(guest.state().x87.control == 0x37F);
    guest.state().x87.st.fill({});
    CHECK(guest.fault({0xDD, 0x27}) == kNone);  // frstor [rdi]
    CHECK(guest.state().x87.status == before.status);
    CHECK(guest.state().x87.tag_valid == before.tag_valid);
    for (unsigned i = 0; i < 8; ++i) {
        CHECK(guest.state().x87.st[i].significand == before.st[i].significand);
        CHECK(guest.state().x87.st[i].sign_exponent == before.st[i].sign_exponent);
    }
}

TEST_CASE("FNSAVE that crosses into an unwritable page writes nothing", "[fpu][x87]") {
    FpuGuest guest;
    fill(guest.state().x87);
    const u64 edge = FpuGuest::kData + 2 * kPageBytes;
    guest.state().gpr[RDI] = edge - 50;
    CHECK(guest.fault({0xDD, 0x37}) == kPf);  // fnsave [rdi]
    CHECK(guest.cpu().fault.payload == edge);
    CHECK(guest.peek<u64>(edge - 50) == 0);
    CHECK(guest.state().x87.control == 0x27F);
}

TEST_CASE("FLDCW keeps only the bits that exist", "[fpu][x87]") {
    FpuGuest guest;
    guest.poke<u16>(FpuGuest::kData, 0xFFFF);
    u16 native = 0;
    const u16 all = 0xFFFF;
    asm volatile("fldcw %1; fnstcw %0; fninit" : "=m"(native) : "m"(all));
    CHECK(guest.fault({0xD9, 0x2F}) == kNone);  // fldcw [rdi]
    CHECK(guest.state().x87.control == native);
}

TEST_CASE("obsolete 8087 and 80287 instructions do nothing", "[fpu][x87]") {
    FpuGuest guest;
    const X87State before = guest.state().x87;
    CHECK(guest.fault({0xDB, 0xE0}) == kNone);  // fneni
    CHECK(guest.fault({0xDB, 0xE1}) == kNone);  // fndisi
    CHECK(guest.fault({0xDB, 0xE4}) == kNone);  // fsetpm
    CHECK(guest.state().x87.status == before.status);
}

}  // namespace
}  // namespace droste::test
