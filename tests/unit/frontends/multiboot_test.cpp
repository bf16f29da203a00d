// The multiboot loader: headers, ELF, modules, boot information, and images that lie.

#include "frontends/machine/memory_map.hpp"
#include "frontends/machine/multiboot.hpp"
#include "tests/unit/frontends/boot_test_support.hpp"

#include <catch2/catch.hpp>

namespace droste {
namespace {

using namespace test;

constexpr u32 kMagic = 0x1BAD'B002;

// An ELF32 executable with a multiboot header behind its program header: 256 bytes at 4 MiB, 8 KiB
// in memory.
std::vector<u8> make_elf_kernel(u32 flags = 0, u32 entry = 0x40'0010) {
    Record image(4096 + 256);
    const std::array<u8, 7> ident = {0x7F, 'E', 'L', 'F', 1, 1, 1};
    image.put(0, std::span<const u8>(ident));
    image.put(16, 2, 2);
    image.put(18, 2, 3);
    image.put(20, 4, 1);
    image.put(24, 4, entry);
    image.put(28, 4, 52);
    image.put(42, 2, 32);
    image.put(44, 2, 1);
    image.put(52, 4, 1);  // PT_LOAD
    image.put(56, 4, 4096);
    image.put(60, 4, 0xC040'0000);  // virtual address
    image.put(64, 4, 0x40'0000);
    image.put(68, 4, 256);
    image.put(72, 4, 8192);
    image.put(128, 4, kMagic);
    image.put(132, 4, flags);
    image.put(136, 4, static_cast<u32>(-(kMagic + flags)));
    image.put(4096, 4, 0xC0DE);
    return std::move(image.bytes());
}

// No ELF: the header's addresses say that the file from byte 0 on belongs at 1 MiB.
std::vector<u8> make_kludge_kernel() {
    constexpr u32 kFlags = 1U << 16;
    Record image(512);
    image.put(64, 4, kMagic);
    image.put(68, 4, kFlags);
    image.put(72, 4, static_cast<u32>(-(kMagic + kFlags)));
    image.put(76, 4, 0x10'0040);  // header_addr
    image.put(80, 4, 0x10'0000);  // load_addr
    image.put(84, 4, 0x10'0100);  // load_end_addr
    image.put(88, 4, 0x10'2000);  // bss_end_addr
    image.put(92, 4, 0x10'0080);  // entry_addr
    image.put(128, 4, 0xC0DE);
    return std::move(image.bytes());
}

BootRequest request_for(std::string append = "") {
    BootRequest request;
    request.kernel = "kernel.flat";
    request.append = std::move(append);
    return request;
}

TEST_CASE(
    "Multiboot: an ELF32 kernel is loaded by physical address and entered with the magic in EAX") {
    const auto plan =
        plan_multiboot(make_elf_kernel(), {}, request_for(), environment_with(128 * kMiB));
    REQUIRE(plan);
    CHECK(plan.value().entry.mode == EntryMode::Protected32);
    CHECK(plan.value().entry.rip == 0x40'0010);
    CHECK(plan.value().entry.rax == 0x2BAD'B002);
    CHECK(value_at(plan.value(), 0x40'0000, 4) == 0xC0DE);
    CHECK(byte_at(plan.value(), 0x40'1FFF) == u8{0});  // .bss
}

TEST_CASE("Multiboot: an entry linked high is entered where the file says its segment lies") {
    const auto plan = plan_multiboot(make_elf_kernel(0, 0xC040'0010), {}, request_for(),
                                     environment_with(128 * kMiB));
    REQUIRE(plan);
    CHECK(plan.value().entry.rip == 0x40'0010);
    // The last byte that is in memory belongs to the segment, the one behind it does not.
    const auto last = plan_multiboot(make_elf_kernel(0, 0xC040'1FFF), {}, request_for(),
                                     environment_with(128 * kMiB));
    REQUIRE(last);
    CHECK(last.value().entry.rip == 0x40'1FFF);
    const auto behind = plan_multiboot(make_elf_kernel(0, 0xC040'2000), {}, request_for(),
                                       environment_with(128 * kMiB));
    REQUIRE(behind);
    CHECK(behind.value().entry.rip == 0xC040'2000);
}

TEST_CASE("Multiboot: below 1 MiB a kernel may lie where RAM is free, and modules stay above") {
    const auto plan_at = [](u32 address) {
        std::vector<u8> image = make_kludge_kernel();
        for (const std::size_t at : {76U, 80U, 84U, 88U, 92U}) {
            const u64 old = field(image, at, 4);
            const u64 value = old - 0x10'0000 + address;
            for (unsigned i = 0; i < 4; ++i) {
                image[at + i] = static_cast<u8>(value >> (8 * i));
            }
        }
        std::vector<ModuleFile> modules;
        modules.push_back({"m", std::vector<u8>(10)});
        return plan_multiboot(std::move(image), std::move(modules), request_for(),
                              environment_with(128 * kMiB));
    };
    const auto low = plan_at(0x8000);
    REQUIRE(low);
    CHECK(low.value().entry.rip == 0x8080);
    CHECK(value_at(low.value(), 0x8080, 4) == 0xC0DE);
    CHECK(low.value().entry.rbx >= kMiB);
    CHECK(plan_at(0x600));
    CHECK(plan_at(0x9'DC00));  // ends at 9FC00h
    CHECK_FALSE(plan_at(0x500));
    CHECK_FALSE(plan_at(0x9'DC01));
    CHECK_FALSE(plan_at(0xA'0000));
}

TEST_CASE("ELF: segments that overlap, are too many or say they share a note are refused") {
    // `count` copies of a program header of this type, each of the file's first `bytes` bytes.
    const auto made = [](u16 count, u32 type, u32 bytes) {
        Record image(52 + std::size_t{count} * 32);
        const std::vector<u8> kernel = make_elf_kernel();
        image.put(0, std::span<const u8>(kernel).first(52));
        image.put(44, 2, count);
        for (std::size_t i = 0; i < count; ++i) {
            const std::size_t at = 52 + i * 32;
            image.put(at, 4, type);
            image.put(at + 12, 4, 0x40'0000);
            image.put(at + 16, 4, bytes);
            image.put(at + 20, 4, 0x100'0000);
        }
        return std::move(image.bytes());
    };
    const auto failure = [](const std::vector<u8>& image) -> std::string {
        const auto elf = parse_elf(image, "k");
        if (!elf) {
            return elf.error().message;
        }
        BootPlan plan;
        FreeMemory memory = environment_with(128 * kMiB).free_memory();
        const auto placed = elf.value().place(plan, memory, "k");
        return placed ? "" : placed.error().message;
    };
    using Catch::Contains;
    CHECK(failure(made(1, 1, 52)).empty());
    CHECK_THAT(failure(made(2, 1, 52)), Contains("overlaps another"));
    CHECK_THAT(failure(made(60'000, 1, 52)), Contains("more than 1024"));
    CHECK_THAT(failure(made(60'000, 4, 1000)), Contains("notes overlap"));
}

TEST_CASE("Multiboot: the header's own addresses take precedence over the file format") {
    const auto plan =
        plan_multiboot(make_kludge_kernel(), {}, request_for(), environment_with(128 * kMiB));
    REQUIRE(plan);
    CHECK(plan.value().entry.rip == 0x10'0080);
    CHECK(value_at(plan.value(), 0x10'0080, 4) == 0xC0DE);
    CHECK(plan.value().entry.rbx == 0x10'2000);  // the boot information follows
    CHECK(byte_at(plan.value(), 0x10'1FFF) == u8{0});
}

TEST_CASE("Multiboot: the boot information describes memory, command line and modules") {
    std::vector<ModuleFile> modules;
    modules.push_back({"env NR_CPUS=1", std::vector<u8>(10, 'e')});
    modules.push_back({"second", std::vector<u8>(5000, 's')});
    const auto made = plan_multiboot(make_elf_kernel(), std::move(modules), request_for("smp 1"),
                                     environment_with(128 * kMiB));
    REQUIRE(made);
    const BootPlan& plan = made.value();
    const PhysAddr info = plan.entry.rbx;
    CHECK((value_at(plan, info, 4) & 0x4F) == 0x4F);
    CHECK(value_at(plan, info + 4, 4) == 639);
    CHECK(value_at(plan, info + 8, 4) == (128 * kMiB - kMiB) / 1024);
    CHECK(string_at(plan, value_at(plan, info + 16, 4)) == "kernel.flat smp 1");
    REQUIRE(value_at(plan, info + 20, 4) == 2);
    const PhysAddr list = value_at(plan, info + 24, 4);
    const PhysAddr first = value_at(plan, list, 4);
    CHECK(first % kPageBytes == 0);
    CHECK(value_at(plan, list + 4, 4) == first + 10);
    CHECK(string_at(plan, value_at(plan, list + 8, 4)) == "env NR_CPUS=1");
    CHECK(byte_at(plan, first) == u8{'e'});
    const PhysAddr second = value_at(plan, list + 16, 4);
    CHECK(second == first + kPageBytes);
    CHECK(byte_at(plan, second + 4999) == u8{'s'});
    CHECK(string_at(plan, value_at(plan, list + 24, 4)) == "second");
    // Memory map: 24 bytes an entry, the size field not counting itself.
    CHECK(value_at(plan, info + 44, 4) == environment_with(128 * kMiB).e820().size() * 24);
    CHECK(value_at(plan, value_at(plan, info + 48, 4), 4) == 20);
    CHECK(string_at(plan, value_at(plan, info + 64, 4)) == "droste");
}

TEST_CASE("Multiboot: unknown required features, short files and small memories are refused") {
    const auto failure = [](std::vector<u8> image, u64 ram) -> std::string {
        const auto plan =
            plan_multiboot(std::move(image), {}, request_for(), environment_with(ram));
        return plan ? "" : plan.error().message;
    };
    using Catch::Contains;
    CHECK_THAT(failure(make_elf_kernel(1U << 5), 128 * kMiB), Contains("requires features 0x20"));
    std::vector<u8> truncated = make_elf_kernel();
    truncated.resize(4200);
    CHECK_THAT(failure(truncated, 128 * kMiB), Contains("truncated"));
    CHECK_THAT(failure(make_elf_kernel(), 4 * kMiB), Contains("(-m)"));
    std::vector<u8> kludge = make_kludge_kernel();
    kludge.resize(256);  // all that is to be loaded
    CHECK(failure(kludge, 128 * kMiB).empty());
    kludge.resize(255);
    CHECK_THAT(failure(kludge, 128 * kMiB), Contains("truncated"));
}

TEST_CASE("Multiboot: a header counts only 4-byte aligned, with its checksum, in the first 8 KiB") {
    CHECK(find_multiboot_header(make_elf_kernel()) == 128U);
    std::vector<u8> image = make_elf_kernel();
    image[136] ^= 1;
    CHECK_FALSE(find_multiboot_header(image));
    std::vector<u8> late(8192);
    const std::vector<u8> kernel = make_elf_kernel();
    late.insert(late.end(), kernel.begin() + 128, kernel.end());
    CHECK_FALSE(find_multiboot_header(late));
}

TEST_CASE("Module list: commas separate, doubled commas stand for themselves") {
    CHECK(split_module_list("a 1,b,,c 2") == std::vector<std::string>{"a 1", "b,c 2"});
    CHECK(module_file_name("dir/file args more") == "dir/file");
}

}  // namespace
}  // namespace droste
