// Code that changes, under the engine: whatever changes it, and through whichever address, the
// bytes that are there now are the ones that run. SDM Vol. 3A, "Handling Self- and Cross-Modifying
// Code".

#include "cpu/x86/interp/block_cache.hpp"
#include "tests/support/engines.hpp"
#include "tests/support/test_machine.hpp"

#include <catch2/catch.hpp>

#include <algorithm>
#include <array>
#include <functional>
#include <vector>

using namespace droste;
using namespace droste::test;

namespace {

constexpr u64 kMain = 0x40'0000;     // linear and physical: the program that changes code
constexpr u64 kStack = 0x50'1000;    // its top
constexpr u64 kRoutine = 0x60'0000;  // linear; where the routine's page is mapped
constexpr u64 kAlias = 0x70'0000;    // linear; a second mapping
constexpr u64 kFrame = 0x80'0000, kFrame2 = 0x90'0000, kFrame3 = 0xA0'0000;  // physical
constexpr u64 kUnmapped = 0xB0'0000;                                         // linear

using Bytes = std::vector<u8>;

Bytes operator+(Bytes left, const Bytes& right) {
    left.insert(left.end(), right.begin(), right.end());
    return left;
}
Bytes little_endian(u64 value, unsigned count) {
    Bytes bytes;
    for (unsigned i = 0; i < count; ++i) {
        bytes.push_back(static_cast<u8>(value >> (8 * i)));
    }
    return bytes;
}

// A 64-bit program that ends in HLT.
class Program {
  public:
    Program() : engine(make_engine(machine.cpu())) {
        machine.enter_long_mode(0);
        map(kMain, kMain);
        map(kMain + kPageBytes, kMain + kPageBytes);
        map(kStack - kPageBytes, kStack - kPageBytes);
        state().gpr[RSP] = kStack;
    }

    TestMachine machine;
    std::unique_ptr<ExecutionEngine> engine;

    CpuState& state() { return machine.cpu().state; }
    u64& reg(Gpr number) { return state().gpr[number]; }
    BlockCache& blocks() { return *machine.cpu().blocks; }
    void map(u64 linear, u64 physical) { machine.map(linear, physical); }
    void poke(u64 physical, const Bytes& bytes) { machine.poke(physical, bytes); }

    // Runs `code` at kMain until HLT; false if it does not get there.
    bool run(const Bytes& code, u64 limit = 100'000) {
        poke(kMain, code + Bytes{0xF4});
        state().rip() = kMain;
        state().activity = Activity::Active;
        return engine->run(machine.cpu(), limit) == RunResult::Idle &&
               state().activity == Activity::Hlt && state().rip() == kMain + code.size() + 1;
    }
};

// Instructions, as bytes.
Bytes mov_rdi(u64 value) {
    return Bytes{0x48, 0xBF} + little_endian(value, 8);  // mov rdi, imm64
}
Bytes mov_rsi(u64 value) {
    return Bytes{0x48, 0xBE} + little_endian(value, 8);  // mov rsi, imm64
}
const Bytes kCallRsi = {0xFF, 0xD6};            // call rsi
const Bytes kCpuid = {0x0F, 0xA2};              // cpuid
const Bytes kStoreByte55 = {0xC6, 0x07, 0x55};  // mov byte [rdi], 55h
const Bytes kKeepEax = {0x41, 0x89, 0xC4};      // mov r12d, eax

Bytes call(u64 routine) {
    return mov_rsi(routine) + kCallRsi;
}
Bytes store_55(u64 linear) {
    return mov_rdi(linear) + kStoreByte55;
}
// mov eax, imm32; ret
Bytes returns(u32 value) {
    return Bytes{0xB8} + little_endian(value, 4) + Bytes{0xC3};
}

// The routine lies across the end of a page: 2 bytes, then 4.
constexpr u64 kAcross = 0xFFE;

void poke_across(Program& p, u64 first_frame, u64 second_frame, u32 value) {
    const Bytes code = returns(value);
    p.poke(first_frame + kAcross, {code.begin(), code.begin() + 2});
    p.poke(second_frame, {code.begin() + 2, code.end()});
}

}  // namespace

TEST_CASE("A routine runs as it was rewritten, by stores of any width at any offset", "[smc]") {
    // The store covers some bytes of `mov rax, imm64`; those become 5Ah.
    constexpr unsigned kAt = 0x800;
    for (const unsigned width : {1U, 2U, 4U, 8U, 16U, 32U}) {
        for (int offset = 2; offset < 10; ++offset) {
            Program p;
            p.map(kRoutine, kFrame);
            p.poke(kFrame + kAt,
                   Bytes{0x48, 0xB8} + little_endian(0, 8) + Bytes(40, 0x90) + Bytes{0xC3});
            // What is behind the immediate stays NOP.
            const int imm_end = 10;
            const Bytes data(width, 0x5A);
            Bytes stored = data;
            for (int i = 0; i < static_cast<int>(width); ++i) {
                if (offset + i >= imm_end) {
                    stored[static_cast<std::size_t>(i)] = 0x90;
                }
            }
            p.poke(kStack - 0x100, stored);
            const Bytes copy =
                mov_rsi(kStack - 0x100) + mov_rdi(kRoutine + kAt + static_cast<u64>(offset));
            const Bytes move =
                width == 1    ? Bytes{0x8A, 0x06, 0x88, 0x07}  // mov al,[rsi]; mov [rdi],al
                : width == 2  ? Bytes{0x66, 0x8B, 0x06, 0x66, 0x89, 0x07}  // ax
                : width == 4  ? Bytes{0x8B, 0x06, 0x89, 0x07}              // eax
                : width == 8  ? Bytes{0x48, 0x8B, 0x06, 0x48, 0x89, 0x07}  // rax
                : width == 16 ? Bytes{0x0F, 0x10, 0x06, 0x0F, 0x11, 0x07}  // movups xmm0
                              : Bytes{0xC5, 0xFC, 0x10, 0x06, 0xC5, 0xFC, 0x11, 0x07};  // vmovups
            if (width == 32 && !p.machine.cpu().features.has(Feature::AVX)) {
                continue;
            }
            u64 expected = 0;
            for (int i = 2; i < 10; ++i) {
                if (i >= offset && i < offset + static_cast<int>(width)) {
                    expected |= u64{0x5A} << (8 * (i - 2));
                }
            }
            CAPTURE(width, offset);
            REQUIRE(p.run(call(kRoutine + kAt)));
            REQUIRE(p.reg(RAX) == 0);
            REQUIRE(p.run(copy + move + call(kRoutine + kAt)));
            REQUIRE(p.reg(RAX) == expected);
        }
    }
}

TEST_CASE("A store is seen by the next instruction of its own block, and happens once", "[smc]") {
    Program p;
    // mov rdi, l + 1; xor byte [rdi], 5; l: mov al, 0
    const Bytes head = mov_rdi(0) + Bytes{0x80, 0x37, 0x05};
    const u64 label = kMain + head.size();
    const Bytes code = mov_rdi(label + 1) + Bytes{0x80, 0x37, 0x05} + Bytes{0xB0, 0x00};
    REQUIRE(p.run(code));
    CHECK((p.reg(RAX) & 0xFF) == 5);
    CHECK(p.machine.peek_value<u8>(label + 1) == 5);
    CHECK(p.blocks().invalidated() == 1);
}

TEST_CASE("A block that writes a later block and then itself runs both as written", "[smc]") {
    Program p;
    p.map(kRoutine, kFrame);
    // kRoutine: mov byte [rdi], 55h; mov byte [rdi - 9], 66h (its own last instruction's
    // immediate); mov cl, 0; ret. The later block, at 100h: mov eax, imm32; ret.
    const u64 later = kRoutine + 0x100;
    const u64 own_immediate = kRoutine + 0x20 + 3 + 4 + 1;
    const auto displacement = static_cast<u8>(own_immediate - (kRoutine + 0x80));
    p.poke(kFrame + 0x20, Bytes{0xC6, 0x07, 0x55} +                    // mov byte [rdi], 55h
                              Bytes{0xC6, 0x43, displacement, 0x66} +  // mov byte [rbx + d], 66h
                              Bytes{0xB1, 0x00, 0xC3});                // mov cl, 0; ret
    p.poke(kFrame + 0x100, returns(0));
    p.reg(RBX) = kRoutine + 0x80;
    REQUIRE(p.run(call(later) + mov_rdi(later + 1) + call(kRoutine + 0x20) + call(later)));
    CHECK((p.reg(RCX) & 0xFF) == 0x66);
    CHECK(p.reg(RAX) == 0x55);
    p.poke(kFrame + 0x28, {0x00});
    p.poke(kFrame + 0x101, {0x00});
    REQUIRE(p.run(mov_rdi(later + 1) + call(kRoutine + 0x20) + call(later)));
    CHECK((p.reg(RCX) & 0xFF) == 0x66);
    CHECK(p.reg(RAX) == 0x55);
}

TEST_CASE("A straddling instruction runs with a tail changed through any mapping of it", "[smc]") {
    constexpr u64 kTailByte = 1;  // of the three that lie in the second page
    struct Mapping {
        const char* what;
        u64 first, second;  // frames of the routine's two pages
        u64 store_at;
    };
    const Mapping mappings[] = {
        {"two frames, by the routine's own address", kFrame, kFrame2, kRoutine + kPageBytes},
        {"two frames, through an alias of the second", kFrame, kFrame2, kAlias},
        {"one frame at V and V + 4096, by the lower address", kFrame, kFrame, kRoutine},
        {"one frame at V and V + 4096, by the upper address", kFrame, kFrame,
         kRoutine + kPageBytes},
        {"one frame at V and V + 4096, through an alias", kFrame, kFrame, kAlias},
    };
    for (const Mapping& mapping : mappings) {
        Program p;
        p.map(kRoutine, mapping.first);
        p.map(kRoutine + kPageBytes, mapping.second);
        p.map(kAlias, mapping.second);
        poke_across(p, mapping.first, mapping.second, 0x1122'3344);
        const u64 routine = kRoutine + kAcross;
        CAPTURE(mapping.what);
        REQUIRE(p.run(call(routine) + kKeepEax + store_55(mapping.store_at + kTailByte) + kCpuid +
                      call(routine)));
        CHECK(p.reg(R12) == 0x1122'3344);
        CHECK(p.reg(RAX) == 0x1155'3344);
    }
}

TEST_CASE("A straddling instruction runs with a head changed through any mapping of it", "[smc]") {
    for (const u64 second : {kFrame, kFrame2}) {
        for (const u64 store_at : {kRoutine, kAlias}) {
            Program p;
            p.map(kRoutine, kFrame);
            p.map(kRoutine + kPageBytes, second);
            p.map(kAlias, kFrame);
            poke_across(p, kFrame, second, 0x1122'3344);
            const u64 routine = kRoutine + kAcross;
            REQUIRE(
                p.run(call(routine) + store_55(store_at + kAcross + 1) + kCpuid + call(routine)));
            CHECK(p.reg(RAX) == 0x1122'3355);
        }
    }
}

TEST_CASE("A straddling instruction may be changed a thousand times from code before it", "[smc]") {
    Program p;
    p.map(kRoutine, kFrame);
    p.map(kRoutine + kPageBytes, kFrame2);
    poke_across(p, kFrame, kFrame2, 0);
    // rbx counts; l: mov [rdi], bl; call rsi; add r12, rax; dec ebx; jnz l
    p.reg(RBX) = 1000;
    p.reg(R12) = 0;
    REQUIRE(p.run(mov_rdi(kRoutine + kPageBytes) + mov_rsi(kRoutine + kAcross) + Bytes{0x88, 0x1F} +
                  kCallRsi + Bytes{0x49, 0x01, 0xC4} + Bytes{0xFF, 0xCB} + Bytes{0x75, 0xF5}));
    u64 sum = 0;
    for (u64 i = 1; i <= 1000; ++i) {
        sum += (i & 0xFF) << 8;
    }
    CHECK(p.reg(R12) == sum);
    CHECK(p.blocks().invalidated() >= 999);
    CHECK(p.blocks().live() < 20);
}

TEST_CASE("A straddling instruction follows its second page to another frame", "[smc]") {
    Program p;
    p.map(kRoutine, kFrame);
    p.map(kRoutine + kPageBytes, kFrame2);
    poke_across(p, kFrame, kFrame2, 0x1122'3344);
    poke_across(p, kFrame, kFrame3, 0x5566'7744);
    REQUIRE(p.run(call(kRoutine + kAcross)));
    CHECK(p.reg(RAX) == 0x1122'3344);
    p.map(kRoutine + kPageBytes, kFrame3);
    const Bytes invlpg = mov_rdi(kRoutine + kPageBytes) + Bytes{0x0F, 0x01, 0x3F};  // invlpg [rdi]
    REQUIRE(p.run(invlpg + call(kRoutine + kAcross)));
    CHECK(p.reg(RAX) == 0x5566'7744);
}

TEST_CASE("One frame before two different neighbors is decoded once for each", "[smc]") {
    Program p;
    p.map(kRoutine, kFrame);
    p.map(kRoutine + kPageBytes, kFrame2);
    p.map(kAlias, kFrame);
    p.map(kAlias + kPageBytes, kFrame3);
    poke_across(p, kFrame, kFrame2, 0x1122'3344);
    poke_across(p, kFrame, kFrame3, 0x5566'7744);
    // l: call rsi; add r12, rax; call rdi; add r13, rax; dec ebx; jnz l
    p.reg(RBX) = 100;
    p.reg(R12) = p.reg(R13) = 0;
    REQUIRE(p.run(mov_rsi(kRoutine + kAcross) + mov_rdi(kAlias + kAcross) + kCallRsi +
                  Bytes{0x49, 0x01, 0xC4} + Bytes{0xFF, 0xD7} + Bytes{0x49, 0x01, 0xC5} +
                  Bytes{0xFF, 0xCB} + Bytes{0x75, 0xF2}));
    CHECK(p.reg(R12) == 100 * u64{0x1122'3344});
    CHECK(p.reg(R13) == 100 * u64{0x5566'7744});
    CHECK(p.machine.cpu().counters.block_misses < 20);
}

TEST_CASE("The page walker's write of an accessed flag is a write to code", "[smc]") {
    Program p;
    p.map(kAlias, kFrame);  // the page whose entry is code
    // The entry's address: down the tables as they are now.
    u64 table = TestMachine::kTables;
    for (unsigned shift = 39; shift > 12; shift -= 9) {
        table = p.machine.peek_value<u64>(table + (kAlias >> shift & 511) * 8) & kPageMask;
    }
    const u64 entry = table + (kAlias >> 12 & 511) * 8;
    p.map(kRoutine, table);
    p.poke(entry - 2, {0x48, 0xB8});  // mov rax, imm64: the entry; ret
    p.poke(entry + 8, {0xC3});
    const u64 routine = kRoutine + entry % kPageBytes - 2;
    const Bytes touch = mov_rdi(kAlias) + Bytes{0x8A, 0x0F};  // mov cl, [rdi]
    REQUIRE(p.run(call(routine) + Bytes{0x49, 0x89, 0xC4} +   // mov r12, rax
                  touch + kCpuid + call(routine)));
    CHECK(p.reg(R12) == (kFrame | 7));
    CHECK(p.reg(RAX) == (kFrame | 0x27));  // accessed
    REQUIRE(p.run(store_55(kAlias) + kCpuid + call(routine)));
    CHECK(p.reg(RAX) == (kFrame | 0x67));  // and dirty
}

TEST_CASE("Loaders and devices that write over hot code are noticed", "[smc]") {
    Program p;
    p.map(kRoutine, kFrame);
    p.map(kRoutine + kPageBytes, kFrame2);
    p.poke(kFrame, returns(1));
    poke_across(p, kFrame, kFrame2, 1);
    REQUIRE(p.run(call(kRoutine) + call(kRoutine + kAcross)));
    p.poke(kFrame + 1, {2});
    p.poke(kFrame2, {2});
    REQUIRE(p.run(call(kRoutine)));
    CHECK(p.reg(RAX) == 2);
    REQUIRE(p.run(call(kRoutine + kAcross)));
    CHECK(p.reg(RAX) == 0x201);
}

TEST_CASE("A counter beside a loop costs the loop nothing", "[smc]") {
    Program p;
    p.map(kRoutine, kFrame);
    // kRoutine: mov ecx, 1000; l: inc dword [rdi]; dec ecx; jnz l; ret. The counter follows at once.
    const Bytes loop = {0xB9, 0xE8, 0x03, 0x00, 0x00, 0xFF, 0x07, 0xFF, 0xC9, 0x75, 0xFA, 0xC3};
    p.poke(kFrame, loop);
    REQUIRE(p.run(mov_rdi(kRoutine + loop.size()) + call(kRoutine)));
    CHECK(p.machine.peek_value<u32>(kFrame + loop.size()) == 1000);
    CHECK(p.machine.cpu().counters.smc_writes >= 999);
    CHECK(p.blocks().invalidated() == 0);
    CHECK(p.machine.cpu().counters.block_misses < 10);
}

TEST_CASE("A block that rewrites what it has executed and then faults reports where", "[smc]") {
    Program p;
    p.map(kRoutine, kFrame);
    // mov byte [rsi], 90h (its own first byte); mov eax, [rdi]: #PF, no handler.
    p.poke(kFrame, {0xC6, 0x06, 0x90, 0x8B, 0x07});
    p.reg(RSI) = kRoutine;
    p.reg(RDI) = kUnmapped;
    p.state().rip() = kRoutine;
    p.machine.cpu().state.idtr = {0, 0};
    (void)p.engine->run(p.machine.cpu(), 10);
    CHECK(p.state().activity == Activity::Shutdown);
    CHECK(p.state().rip() == kRoutine + 3);
    CHECK(p.state().cr2 == kUnmapped);
}

TEST_CASE("The second page of a cached instruction is checked for the privilege of each fetch",
          "[smc]") {
    for (const bool supervisor_first : {true, false}) {
        Program p;
        p.map(kRoutine, kFrame);
        p.machine.map_leaf(kRoutine + kPageBytes, kFrame2 | 3);  // supervisor only
        // 13 prefixes and mov al, imm8, the last byte over the end; then ret.
        p.poke(kFrame + 0xFF2, Bytes(13, 0x2E) + Bytes{0xB0});
        p.poke(kFrame2, {0x07, 0xC3});
        const u64 routine = kRoutine + 0xFF2;
        if (supervisor_first) {
            REQUIRE(p.run(call(routine)));
            CHECK((p.reg(RAX) & 0xFF) == 7);
        }
        CpuState& s = p.state();
        s.seg[CS] = flat_segment(0x13, 0xA0FB);
        s.seg[SS] = flat_segment(0x1B, 0xC0F3);
        s.rip() = routine;
        s.activity = Activity::Active;
        s.idtr = {0, 0};
        mode_changed(p.machine.cpu());
        (void)p.engine->run(p.machine.cpu(), 3);
        CHECK(s.activity == Activity::Shutdown);
        CHECK(s.cr2 == kRoutine + kPageBytes);
        CHECK(s.rip() == routine);
    }
}

TEST_CASE("Outside 64-bit mode a straddling instruction goes on at linear address 0", "[smc]") {
    for (const unsigned times : {1U, 2U}) {  // decoded, and found
        TestMachine machine;
        const auto engine = make_engine(machine.cpu());
        machine.enter_protected_mode();
        CpuState& s = machine.cpu().state;
        std::array<u8, kPageBytes> top{};
        const std::array<u8, 3> head = {0xB8, 0x44, 0x33};  // mov eax, imm32
        std::copy(head.begin(), head.end(), top.end() - 3);
        machine.memory().overlay(0xFFFF'F000, kPageBytes, PageKind::Rom, top.data());
        machine.poke(0, {0x22, 0x11, 0xF4});  // ... ; hlt
        s.seg[CS].base = 0x10'0000;
        mode_changed(machine.cpu());
        for (unsigned i = 0; i < times; ++i) {
            s.gpr[RAX] = 0;
            s.rip() = u32{0xFFFF'FFFD - 0x10'0000};
            s.activity = Activity::Active;
            CHECK(engine->run(machine.cpu(), 10) == RunResult::Idle);
            CHECK(s.gpr[RAX] == 0x1122'3344);
        }
        machine.memory().remove_overlay(0xFFFF'F000, kPageBytes);
    }
}

namespace {

// A page of device memory that shows one byte after another.
class ChangingBytes final : public MmioDevice {
  public:
    static constexpr PhysAddr kBase = 0xE000'0000;
    Bytes shown;

    std::string_view name() const override { return "changing bytes"; }
    std::span<const MmioRange> mmio_ranges() const override { return kRanges; }
    IoStatus mmio_read(PhysAddr address, std::span<u8> data) override {
        for (std::size_t i = 0; i < data.size(); ++i) {
            const std::size_t at = address - kBase + i;
            data[i] = at < shown.size() ? shown[at] : u8{0x90};
        }
        return IoStatus::Done;
    }
    IoStatus mmio_write(PhysAddr /*address*/, std::span<const u8> /*data*/) override {
        return IoStatus::Done;
    }

  private:
    static constexpr std::array kRanges = {MmioRange{.first = kBase, .count = kPageBytes}};
};

}  // namespace

TEST_CASE("An instruction that reaches into device memory is read anew each time", "[smc]") {
    Program p;
    ChangingBytes device;
    REQUIRE(p.machine.bus().attach_mmio(device));
    p.map(kRoutine, kFrame);
    p.map(kRoutine + kPageBytes, ChangingBytes::kBase);
    const u64 routine = kRoutine + kAcross;
    p.poke(kFrame + kAcross, {0xB8, 0x44});  // mov eax, imm32; ret
    for (const u8 changing : {u8{0x33}, u8{0x55}}) {
        device.shown = {changing, 0x22, 0x11, 0xC3};
        REQUIRE(p.run(call(routine)));
        CHECK(p.reg(RAX) == (0x1122'0044U | u32{changing} << 8));
    }
}

namespace {

// A port that, when written, does what it was told to.
class Trigger final : public PioDevice {
  public:
    static constexpr u16 kPort = 0x400;
    std::function<void()> action;
    Bytes written;

    std::string_view name() const override { return "trigger"; }
    std::span<const PortRange> pio_ranges() const override { return kRanges; }
    IoStatus pio_read(u16 /*port*/, std::span<u8> /*data*/) override { return IoStatus::Done; }
    IoStatus pio_write(u16 /*port*/, std::span<const u8> data) override {
        written.push_back(data[0]);
        action();
        return IoStatus::Done;
    }

  private:
    static constexpr std::array kRanges = {PortRange{.first = kPort, .count = 1}};
};

// RAM at kRoutine that a write to the trigger's port covers, as the PAM registers do.
struct Shadowed {
    Program p;
    Trigger trigger;
    std::array<u8, kPageBytes> rom{};

    explicit Shadowed(PageKind kind) {
        REQUIRE(p.machine.bus().attach_pio(trigger));
        p.map(kRoutine, kFrame);
        rom.fill(0x77);
        p.reg(RDX) = Trigger::kPort;
        trigger.action = [this, kind] {
            p.machine.memory().overlay(kFrame, kPageBytes, kind,
                                       kind == PageKind::Rom ? rom.data() : nullptr);
        };
    }
};

}  // namespace

TEST_CASE("A change of layout by an instruction that then faults is seen by the handler",
          "[smc][layout]") {
    for (const PageKind kind : {PageKind::Rom, PageKind::Mmio}) {
        Shadowed m(kind);
        Program& p = m.p;
        p.map(kRoutine + kPageBytes, kFrame2);
        const u64 idt = 0xC0'0000, gdt = 0xC1'0000, handler = kMain + 0x800;
        p.map(idt, idt);
        p.map(gdt, gdt);
        p.machine.poke_value<u64>(gdt + 0x10, 0x00AF'9B00'0000'FFFF);
        p.state().gdtr = {gdt, 0xFF};
        p.state().idtr = {idt, 0xFFF};
        p.machine.poke_value<u64>(idt + 14 * 16, (handler & 0xFFFF) | u64{0x10} << 16 |
                                                     u64{0x8E00} << 32 |
                                                     (handler >> 16 & 0xFFFF) << 48);
        // The handler of #PF reads over the end of the page that was covered: mov eax, [rbx]; hlt
        p.poke(handler, {0x8B, 0x03, 0xF4});
        p.reg(RBX) = kRoutine + kPageBytes - 2;
        // mov eax, [rbx]; rep outsb from the last byte of a page: one byte goes out, then #PF.
        p.reg(RSI) = kMain + 2 * kPageBytes - 1;
        p.reg(RCX) = 2;
        CHECK_FALSE(p.run(Bytes{0x8B, 0x03, 0xF3, 0x6E}));
        CHECK(p.state().rip() == handler + 3);
        CHECK(p.reg(RCX) == 1);
        CHECK(p.reg(RAX) == (kind == PageKind::Rom ? 0x7777 : 0xFFFF));
    }
}

TEST_CASE("An iteration of a string instruction sees the layout the one before made",
          "[smc][layout]") {
    Shadowed m(PageKind::Rom);
    Program& p = m.p;
    p.poke(kFrame, {0x11, 0x22});
    p.reg(RSI) = kRoutine;
    p.reg(RCX) = 2;
    REQUIRE(p.run({0xF3, 0x6E}));  // rep outsb
    CHECK(m.trigger.written == Bytes{0x11, 0x77});
}

TEST_CASE("A block that changes the layout under itself goes on in what is there now",
          "[smc][layout]") {
    Shadowed m(PageKind::Rom);
    Program& p = m.p;
    const Bytes out = {0xEE};  // out dx, al
    p.poke(kFrame, out + returns(1));
    const Bytes shadow = out + returns(2);
    std::copy(shadow.begin(), shadow.end(), m.rom.begin());
    REQUIRE(p.run(call(kRoutine)));
    CHECK(p.reg(RAX) == 2);
}
