// Multiboot 2: which headers count, what is refused, and where a kernel goes. What the kernel is
// handed is checked by a real one, tests/boot/multiboot2.asm.

#include "frontends/machine/multiboot2.hpp"
#include "tests/unit/frontends/boot_test_support.hpp"

#include <catch2/catch.hpp>

#include <string>

namespace droste {
namespace {

using namespace test;

constexpr u32 kMagic = 0xE852'50D6;
constexpr u16 kRequired = 0, kOptional = 1;

// A flat kernel: a header at byte 64 of 4096, the tags given, the end tag.
class Kernel {
  public:
    Kernel& tag(u16 type, u16 flags, std::initializer_list<u32> values) {
        tags_.align(8);
        tags_.append(2, type);
        tags_.append(2, flags);
        tags_.append(4, 8 + 4 * values.size());
        for (const u32 value : values) {
            tags_.append(4, value);
        }
        return *this;
    }
    // Linked at 1 MiB, all of the file loaded, 8 KiB with what is cleared; entered at 100100h.
    Kernel& addresses() {
        tag(2, kRequired, {0x10'0040, 0x10'0000, 0, 0x10'2000});
        return tag(3, kRequired, {0x10'0100});
    }
    std::vector<u8> image(bool with_end = true) {
        Record tags = tags_;
        tags.align(8);
        if (with_end) {
            tags.append(8, u64{8} << 32);
        }
        Record file(4096);
        const auto length = static_cast<u32>(16 + tags.size());
        file.put(64, 4, kMagic);
        file.put(72, 4, length);
        file.put(76, 4, static_cast<u32>(-(kMagic + length)));
        file.put(80, tags.bytes());
        file.put(256, 4, 0xC0DE);
        return std::move(file.bytes());
    }

  private:
    Record tags_{0};
};

Expected<BootPlan> plan(Kernel kernel, u64 ram = 128 * kMiB) {
    BootRequest request;
    request.kernel = "kernel.mb2";
    return plan_multiboot2(kernel.image(), {}, request, environment_with(ram));
}

std::string failure(Kernel kernel, u64 ram = 128 * kMiB) {
    const auto made = plan(std::move(kernel), ram);
    return made ? "" : made.error().message;
}

// The information tag of this type, its address; 0 if there is none.
PhysAddr information_tag(const BootPlan& plan, u32 type) {
    const PhysAddr base = plan.entry.rbx;
    for (PhysAddr at = base + 8; value_at(plan, at, 4) != 0;
         at += (value_at(plan, at + 4, 4) + 7) & ~u64{7}) {
        if (value_at(plan, at, 4) == type) {
            return at;
        }
    }
    return 0;
}

TEST_CASE("Multiboot 2: a flat kernel is placed by its address tag and entered by its entry tag") {
    const auto made = plan(Kernel().addresses());
    REQUIRE(made);
    CHECK(made.value().entry.mode == EntryMode::Protected32);
    CHECK(made.value().entry.rip == 0x10'0100);
    CHECK(made.value().entry.rax == 0x36D7'6289);
    CHECK(made.value().entry.rbx % 8 == 0);
    CHECK(value_at(made.value(), 0x10'0100, 4) == 0xC0DE);
    CHECK(byte_at(made.value(), 0x10'1FFF) == u8{0});
    CHECK(value_at(made.value(), information_tag(made.value(), 21) + 8, 4) == 0x10'0000);
}

TEST_CASE("Multiboot 2: a load address of -1 is the start of the file") {
    Kernel kernel;
    kernel.tag(2, kRequired, {0x30'0040, 0xFFFF'FFFF, 0, 0});
    kernel.tag(3, kRequired, {0x30'0100});
    const auto made = plan(kernel);
    REQUIRE(made);
    CHECK(value_at(made.value(), 0x30'0100, 4) == 0xC0DE);
}

TEST_CASE("Multiboot 2: what is required and unknown is refused, what is optional is not") {
    using Catch::Contains;
    CHECK_THAT(failure(Kernel().tag(40, kRequired, {})), Contains("(tag 40)"));
    CHECK(failure(Kernel().addresses().tag(40, kOptional, {})).empty());
    CHECK_THAT(failure(Kernel().tag(1, kRequired, {6, 22})), Contains("type 22"));
    CHECK(failure(Kernel().addresses().tag(1, kOptional, {6, 22})).empty());
    CHECK(failure(Kernel().addresses().tag(1, kRequired, {6, 21, 8})).empty());
    CHECK_THAT(failure(Kernel().addresses().tag(4, kRequired, {1})), Contains("console"));
    CHECK(failure(Kernel().addresses().tag(4, kRequired, {2})).empty());
    CHECK(failure(Kernel().addresses().tag(5, kRequired, {1024, 768, 32})).empty());
}

TEST_CASE("Multiboot 2: no framebuffer, EFI, APM or VBE is made up") {
    const auto made = plan(Kernel().addresses().tag(5, kRequired, {80, 25, 0}));
    REQUIRE(made);
    for (const u32 type : {7U, 8U, 10U, 11U, 12U, 16U, 17U, 18U, 19U, 20U}) {
        CAPTURE(type);
        CHECK(information_tag(made.value(), type) == 0);
    }
    CHECK(information_tag(made.value(), 6) != 0);
}

TEST_CASE("Multiboot 2: damaged headers are refused") {
    using Catch::Contains;
    CHECK_THAT(failure(Kernel().tag(3, kRequired, {})), Contains("damaged"));
    CHECK_THAT(failure(Kernel().tag(2, kRequired, {0x10'0040, 0x10'0000, 0, 0})),
               Contains("no entry address"));
    CHECK_THAT(failure(Kernel()), Contains("no ELF file"));
    BootRequest request;
    request.kernel = "k";
    const auto endless =
        plan_multiboot2(Kernel().addresses().image(false), {}, request, environment_with(kMiB * 8));
    REQUIRE_FALSE(endless);
    CHECK_THAT(endless.error().message, Contains("no end tag"));
    std::vector<u8> wrong_tag = Kernel().tag(40, kOptional, {}).image();
    wrong_tag[84] = 4;  // a tag shorter than its own head would never end
    const auto stuck = plan_multiboot2(wrong_tag, {}, request, environment_with(kMiB * 8));
    REQUIRE_FALSE(stuck);
    CHECK_THAT(stuck.error().message, Contains("damaged"));
}

TEST_CASE("Multiboot 2: a header counts only 8-byte aligned, with its checksum, in 32 KiB") {
    CHECK(find_multiboot2_header(Kernel().image()) == 64U);
    std::vector<u8> image = Kernel().image();
    image[76] ^= 1;
    CHECK_FALSE(find_multiboot2_header(image));
    const std::vector<u8> kernel = Kernel().image();
    std::vector<u8> shifted(4);
    shifted.insert(shifted.end(), kernel.begin(), kernel.end());
    CHECK_FALSE(find_multiboot2_header(shifted));
    std::vector<u8> late(32768 - 64);
    late.insert(late.end(), kernel.begin(), kernel.end());
    CHECK_FALSE(find_multiboot2_header(late));
    std::vector<u8> last(32768 - 64 - 24);
    last.insert(last.end(), kernel.begin(), kernel.end());
    CHECK(find_multiboot2_header(last) == 32768U - 24);
}

TEST_CASE("Multiboot 2: a kernel that may be moved goes where it prefers") {
    const auto base = [](u32 least, u32 most, u32 alignment, u32 preference) -> u64 {
        Kernel kernel;
        kernel.addresses().tag(10, kRequired, {least, most, alignment, preference});
        const auto made = plan(kernel);
        INFO((made ? "" : made.error().message));
        REQUIRE(made);
        const u64 at = value_at(made.value(), information_tag(made.value(), 21) + 8, 4);
        CHECK(made.value().entry.rip == at + 0x100);
        CHECK(value_at(made.value(), at + 0x100, 4) == 0xC0DE);
        return at;
    };
    CHECK(base(0, 0xFFFF'FFFF, 4096, 0) == 0x10'0000);          // as linked, if that will do
    CHECK(base(0, 0xFFFF'FFFF, 0x20'0000, 0) == 0x20'0000);     // it will not: alignment
    CHECK(base(0x30'0000, 0xFFFF'FFFF, 4096, 1) == 0x30'0000);  // lowest
    CHECK(base(0x30'0000, 0x50'0000, 4096, 2) == 0x4F'E000);    // highest
    CHECK(base(0x30'0001, 0x50'0000, 0x1000, 1) == 0x30'1000);
    CHECK_THAT(failure(Kernel().addresses().tag(10, kRequired, {0x30'0000, 0x30'1000, 1, 1})),
               Catch::Contains("0x300000..0x301000"));
}

TEST_CASE(
    "Multiboot 2: modules and information go elsewhere when the kernel is at the end of RAM") {
    Kernel kernel;
    kernel.addresses().tag(10, kRequired, {0, 0xFFFF'FFFF, 4096, 2});
    BootRequest request;
    request.kernel = "k";
    std::vector<ModuleFile> modules;
    modules.push_back({"m", std::vector<u8>(5000, 'm')});
    const auto made =
        plan_multiboot2(kernel.image(), std::move(modules), request, environment_with(8 * kMiB));
    REQUIRE(made);
    const PhysAddr module = value_at(made.value(), information_tag(made.value(), 3) + 8, 4);
    CHECK(module == kMiB);
    CHECK(byte_at(made.value(), module + 4999) == u8{'m'});
    CHECK(made.value().entry.rbx == kMiB + 2 * kPageBytes);
}

}  // namespace
}  // namespace droste
