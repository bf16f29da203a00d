// Memory that changes hands under hot code, the A20 gate, and accesses and fetches that reach
// devices.

#include "tests/unit/mmu/tlb_guest.hpp"

#include <functional>

namespace droste::test {

namespace {

constexpr u64 kPage = TlbGuest::kPage, kA = TlbGuest::kA, kLegal = TlbGuest::kLegal;

// A port whose write does what the test says, as PAM registers and port 92h do.
class Latch final : public PioDevice {
  public:
    explicit Latch(std::function<void(u8)> action) : action_(std::move(action)) {}
    std::string_view name() const override { return "latch"; }
    std::span<const PortRange> pio_ranges() const override { return kRanges; }
    IoStatus pio_read(u16 /*port*/, std::span<u8> /*data*/) override { return IoStatus::BadSize; }
    IoStatus pio_write(u16 /*port*/, std::span<const u8> data) override {
        action_(data[0]);
        return IoStatus::Done;
    }

  private:
    static constexpr std::array kRanges = {PortRange{0x99, 1}};
    std::function<void(u8)> action_;
};

// A device window over `bytes`; it notes each access and, where told to, knows dwords only.
class Window final : public MmioDevice {
  public:
    struct Touch {
        PhysAddr address;
        std::size_t size;
        bool write;
        bool operator==(const Touch&) const = default;
    };

    Window(PhysAddr first, u64 count, u8 fill)
        : range_{MmioRange{first, count}}
        , bytes(count, fill) {}
    std::string_view name() const override { return "window"; }
    std::span<const MmioRange> mmio_ranges() const override { return range_; }
    IoStatus mmio_read(PhysAddr address, std::span<u8> data) override {
        touches.push_back({address, data.size(), false});
        const u64 offset = address - range_[0].first;
        REQUIRE(offset + data.size() <= bytes.size());
        std::copy_n(bytes.begin() + static_cast<long>(offset), data.size(), data.begin());
        return IoStatus::Done;
    }
    IoStatus mmio_write(PhysAddr address, std::span<const u8> data) override {
        touches.push_back({address, data.size(), true});
        const u64 offset = address - range_[0].first;
        REQUIRE(offset + data.size() <= bytes.size());
        std::copy(data.begin(), data.end(), bytes.begin() + static_cast<long>(offset));
        return IoStatus::Done;
    }

  private:
    std::array<MmioRange, 1> range_;

  public:
    std::vector<u8> bytes;
    std::vector<Touch> touches;
};

constexpr PhysAddr kDevice = 0xD000'0000;

}  // namespace

TEST_CASE("the access behind an OUT that changes the layout reads the new owner", "[mmu][layout]") {
    std::vector<u8> rom(kPageBytes, 'R');
    TlbGuest t;
    Latch latch([&](u8 value) {
        if (value != 0) {
            t.g.machine().memory().overlay(kA, kPageBytes, PageKind::Rom, rom.data());
        } else {
            t.g.machine().memory().remove_overlay(kA, kPageBytes);
        }
    });
    REQUIRE(t.g.machine().bus().attach_pio(latch).has_value());
    t.map(kPage, kA | kLegal);
    // mov ecx, [rbx]; out 99h, al; mov edx, [rbx]; hlt
    t.g.machine().poke(0x5000, {0x8B, 0x0B, 0xE6, 0x99, 0x8B, 0x13, 0xF4});
    t.g.reg(RBX) = kPage;
    for (unsigned round = 0; round < 4; ++round) {
        t.cpu().state.activity = Activity::Active;
        t.g.reg(RAX) = 1 - round % 2;
        t.run(0x5000, 10);
        CAPTURE(round);
        CHECK((t.g.reg(RCX) & 0xFF) == (round % 2 == 0 ? 'A' : 'R'));
        CHECK((t.g.reg(RDX) & 0xFF) == (round % 2 == 0 ? 'R' : 'A'));
    }
}

TEST_CASE("code that is switched away under itself: the new owner's code runs", "[mmu][layout]") {
    // out 99h, al; mov eax, N; hlt - N is 1 in RAM and 2 in ROM.
    std::vector<u8> rom(kPageBytes, 0xF4);
    // out 99h, al; mov eax, 1; hlt
    const std::vector<u8> code = {0xE6, 0x99, 0xB8, 1, 0, 0, 0, 0xF4};
    std::copy(code.begin(), code.end(), rom.begin());
    rom[3] = 2;
    TlbGuest t;
    Latch latch([&](u8 /*value*/) {
        t.g.machine().memory().overlay(kA, kPageBytes, PageKind::Rom, rom.data());
    });
    REQUIRE(t.g.machine().bus().attach_pio(latch).has_value());
    t.g.machine().poke(kA, code);
    t.map(kPage, kA | kLegal);
    t.run(kPage, 10);
    CHECK(static_cast<u32>(t.g.reg(RAX)) == 2);
}

TEST_CASE("A20 off: data and code at 1 MiB + x are those at x, hot, and back", "[mmu][a20]") {
    Guest g;
    g.protected_mode();
    const auto engine = make_engine(g.cpu());
    constexpr u64 kMiB = 0x10'0000, kCodeAt = 0x5000, kDataAt = 0x7000;
    g.machine().poke(kCodeAt, {0xB8, 1, 0, 0, 0, 0x8A, 0x0B, 0xF4});  // mov eax, 1; mov cl, [ebx]
    g.machine().poke(kMiB + kCodeAt, {0xB8, 2, 0, 0, 0, 0x8A, 0x0B, 0xF4});  // mov eax, 2; ...
    g.machine().poke_value<u8>(kDataAt, 'l');
    g.machine().poke_value<u8>(kMiB + kDataAt, 'h');
    g.reg(RBX) = kMiB + kDataAt;
    for (unsigned round = 0; round < 4; ++round) {
        const bool enabled = round % 2 == 0;
        set_a20(g.cpu(), enabled);
        g.cpu().state.activity = Activity::Active;
        g.state().rip() = kMiB + kCodeAt;
        (void)engine->run(g.cpu(), 10);
        CAPTURE(round);
        CHECK(static_cast<u32>(g.reg(RAX)) == (enabled ? 2 : 1));
        CHECK((g.reg(RCX) & 0xFF) == (enabled ? 'h' : 'l'));
    }
}

TEST_CASE("A20 off: page tables and pages are masked once, where they are physical", "[mmu][a20]") {
    TlbGuest t;
    t.g.machine().poke_value<u8>(0x7000, 'l');
    t.g.machine().poke_value<u8>(0x10'7000, 'h');
    t.map(kPage, 0x30'7000 | kLegal);
    t.g.machine().poke_value<u8>(0x20'7000, 'm');
    t.g.machine().poke_value<u8>(0x30'7000, 'x');
    REQUIRE(t.read(kPage) == 'x');
    // The tables lie at 1 MiB: with A20 off the walker finds what lies at 0.
    set_a20(t.cpu(), false);
    PhysAddr physical = 0;
    for (u64 at = 0; at < 0x1'0000; at += 8) {
        t.g.machine().poke_value<u64>(at, t.g.machine().peek_value<u64>(0x10'0000 + at));
    }
    REQUIRE(translate_for_debug(t.cpu(), kPage, physical));
    CHECK(physical == 0x20'7000);
    CHECK(t.read(kPage) == 'm');
    set_a20(t.cpu(), true);
    CHECK(t.read(kPage) == 'x');
}

TEST_CASE("a misaligned access to a device goes there in aligned pieces", "[mmu][mmio]") {
    Window window(kDevice, kPageBytes, 0);
    for (unsigned i = 0; i < 64; ++i) {
        window.bytes[i] = static_cast<u8>(i);
    }
    TlbGuest t;
    REQUIRE(t.g.machine().bus().attach_mmio(window).has_value());
    t.map(kPage, kDevice | kLegal);
    u64 value = 0;
    REQUIRE(load_linear(t.cpu(), kPage + 3, value) == Status::Next);
    CHECK(value == 0x0A09'0807'0605'0403);
    using Touches = std::vector<Window::Touch>;
    CHECK(window.touches == Touches{{kDevice + 3, 1, false},
                                    {kDevice + 4, 4, false},
                                    {kDevice + 8, 2, false},
                                    {kDevice + 10, 1, false}});
    window.touches.clear();
    REQUIRE(store_linear(t.cpu(), kPage + 6, u32{0xAABB'CCDD}) == Status::Next);
    CHECK(window.touches == Touches{{kDevice + 6, 2, true}, {kDevice + 8, 2, true}});
    CHECK(window.bytes[9] == 0xAA);
    CHECK_FALSE(t.cpu().mode.data_tlb->hits_read(kPage, 1));
}

TEST_CASE("two bytes at APIC + 3 stay inside their registers", "[mmu][mmio]") {
    TlbGuest t;
    t.map(kPage, 0xFEE0'0000 | kLegal);
    u16 value = 0;
    REQUIRE(load_linear(t.cpu(), kPage + 0x33, value) == Status::Next);
    CHECK(t.cpu().counters.mmio_accesses == 2);
    u32 version = 0;
    REQUIRE(load_linear(t.cpu(), kPage + 0x30, version) == Status::Next);
    CHECK((value & 0xFF) == version >> 24);
}

TEST_CASE("an access over two devices gives each its own part", "[mmu][mmio]") {
    Window low(kDevice, 4, 0x11);
    Window high(kDevice + 4, 4, 0x22);
    TlbGuest t;
    REQUIRE(t.g.machine().bus().attach_mmio(low).has_value());
    REQUIRE(t.g.machine().bus().attach_mmio(high).has_value());
    t.map(kPage, kDevice | kLegal);
    u64 value = 0;
    REQUIRE(load_linear(t.cpu(), kPage, value) == Status::Next);
    CHECK(value == 0x2222'2222'1111'1111);
    REQUIRE(store_linear(t.cpu(), kPage, u64{0x8877'6655'4433'2211}) == Status::Next);
    CHECK(low.bytes == std::vector<u8>{0x11, 0x22, 0x33, 0x44});
    CHECK(high.bytes == std::vector<u8>{0x55, 0x66, 0x77, 0x88});
}

TEST_CASE("an access over a page's end reaches RAM and device, each in its part", "[mmu][mmio]") {
    Window window(kDevice, kPageBytes, 0x33);
    TlbGuest t;
    REQUIRE(t.g.machine().bus().attach_mmio(window).has_value());
    t.map(kPage, kA | kLegal);
    t.map(kPage + kPageBytes, kDevice | kLegal);
    u32 value = 0;
    REQUIRE(load_linear(t.cpu(), kPage + kPageBytes - 2, value) == Status::Next);
    CHECK(value == 0x3333'4141);
    REQUIRE(window.touches.size() == 1);
    CHECK(window.touches[0] == Window::Touch{kDevice, 2, false});
}

TEST_CASE("code in a device's window: one instruction at a time, only its own bytes are read",
          "[mmu][mmio][code]") {
    Window window(kDevice, kPageBytes, 0xF4);
    const std::vector<u8> code = {0xB8, 7, 0, 0, 0, 0x90, 0xF4};  // mov eax, 7; nop; hlt
    std::copy(code.begin(), code.end(), window.bytes.begin());
    TlbGuest t;
    REQUIRE(t.g.machine().bus().attach_mmio(window).has_value());
    t.map(kPage, kDevice | kLegal);
    const u64 before = t.cpu().icount;
    t.run(kPage, 10);
    CHECK(t.cpu().icount == before + 3);
    CHECK(static_cast<u32>(t.g.reg(RAX)) == 7);
    std::vector<PhysAddr> read;
    for (const Window::Touch& touch : window.touches) {
        CHECK(touch.size == 1);
        CHECK_FALSE(touch.write);
        read.push_back(touch.address - kDevice);
    }
    CHECK(read == std::vector<PhysAddr>{0, 1, 2, 3, 4, 5, 6});
    // The same code in RAM a moment later is not what was decoded in the window.
    t.map(kPage, kA | kLegal);
    t.invlpg(kPage);
    t.g.machine().poke(kA, {0xB8, 8, 0, 0, 0, 0xF4});  // mov eax, 8; hlt
    t.cpu().state.activity = Activity::Active;
    t.run(kPage, 10);
    CHECK(static_cast<u32>(t.g.reg(RAX)) == 8);
}

TEST_CASE("an instruction at the end of a device's page does not need the next page",
          "[mmu][mmio][code]") {
    Window window(kDevice, kPageBytes, 0xF4);
    TlbGuest t;
    t.g.set_all_gates();
    REQUIRE(t.g.machine().bus().attach_mmio(window).has_value());
    t.map(kPage, kDevice | kLegal);
    t.map(kPage + kPageBytes, 0);
    const u64 faults = t.cpu().counters.page_faults;
    t.run(kPage + kPageBytes - 1, 1);  // hlt
    CHECK(t.cpu().counters.page_faults == faults);
    CHECK(t.cpu().state.activity == Activity::Hlt);
}

}  // namespace droste::test
