#include "frontends/machine/linux_boot.hpp"

#include "core/bits.hpp"
#include "frontends/machine/memory_map.hpp"

#include <algorithm>
#include <string_view>

#include <fmt/format.h>

namespace droste {

namespace {

// Offsets in the image's first sectors and in boot_params alike.
namespace header {
constexpr std::size_t kSetupSects = 0x1F1, kBootFlag = 0x1FE, kJump = 0x200, kMagic = 0x202,
                      kVersion = 0x206, kTypeOfLoader = 0x210, kLoadFlags = 0x211,
                      kCode32Start = 0x214, kRamdiskImage = 0x218, kRamdiskSize = 0x21C,
                      kCmdLinePtr = 0x228, kInitrdAddrMax = 0x22C, kKernelAlignment = 0x230,
                      kRelocatable = 0x234, kXloadFlags = 0x236, kCmdlineSize = 0x238,
                      kSetupData = 0x250, kPrefAddress = 0x258, kInitSize = 0x260;
}  // namespace header
// Offsets in boot_params only.
namespace zero_page {
constexpr std::size_t kAcpiRsdpAddr = 0x70, kAltMemK = 0x1E0, kE820Entries = 0x1E8,
                      kE820Table = 0x2D0, kE820Max = 128, kE820EntryBytes = 20;
}  // namespace zero_page

constexpr u32 kHdrS = 0x5372'6448;
constexpr u8 kLoadedHigh = 1U << 0;
constexpr u16 kXlfKernel64 = 1U << 0;
constexpr u32 kSetupRngSeed = 9;
constexpr u8 kUndefinedLoader = 0xFF;
constexpr u64 kEntry64Offset = 0x200;  // startup_64 behind the start of the protected-mode code
constexpr u16 kOldestVersion = 0x206;  // 2.06: cmdline_size; Linux 2.6.22

struct SetupHeader {
    u16 version;
    std::size_t setup_bytes;  // boot sector and setup code, in front of the protected-mode code
    u64 kernel_bytes;
    bool relocatable;
    bool has_entry_64;
    u32 initrd_addr_max;
    u32 cmdline_size;
    u64 alignment;
    u64 pref_address;
    u64 init_size;  // memory the kernel needs from its load address on before it reads the memory
                    // map
};

Expected<SetupHeader> read_header(std::span<const u8> image, const std::string& path) {
    const auto bad = [&](std::string_view why) {
        return Error{fmt::format("kernel '{}': {}", path, why)};
    };
    SetupHeader h{};
    h.version = static_cast<u16>(field(image, header::kVersion, 2));
    if (h.version < kOldestVersion) {
        return bad(
            fmt::format("its boot protocol {}.{:02} is older than 2.06, the oldest supported",
                        h.version >> 8, h.version & 0xFF));
    }
    if (field(image, header::kBootFlag, 2) != 0xAA55) {
        return bad("has no boot sector signature AA55h: the file is damaged");
    }
    if ((field(image, header::kLoadFlags, 1) & kLoadedHigh) == 0) {
        return bad("is a zImage; only bzImages are supported");
    }
    const u64 sectors = field(image, header::kSetupSects, 1);
    h.setup_bytes = ((sectors == 0 ? 4 : sectors) + 1) * 512;
    // syssize of protocol 2.04+: 16-byte units of protected-mode code.
    const u64 stated_bytes = field(image, 0x1F4, 4) * 16;
    if (image.size() <= h.setup_bytes) {
        return bad(fmt::format("is truncated: {} bytes, but its setup code alone has {}",
                               image.size(), h.setup_bytes));
    }
    h.kernel_bytes = image.size() - h.setup_bytes;
    // syssize rounds up; a signature may follow the kernel.
    if (h.kernel_bytes + 15 < stated_bytes) {
        return bad(fmt::format("is truncated: {} bytes of kernel, but its header says {}",
                               h.kernel_bytes, stated_bytes));
    }
    h.relocatable = field(image, header::kRelocatable, 1) != 0;
    h.has_entry_64 =
        h.version >= 0x20C && (field(image, header::kXloadFlags, 2) & kXlfKernel64) != 0;
    h.initrd_addr_max = static_cast<u32>(field(image, header::kInitrdAddrMax, 4));
    h.cmdline_size = static_cast<u32>(field(image, header::kCmdlineSize, 4));
    h.alignment = std::max<u64>(field(image, header::kKernelAlignment, 4), kPageBytes);
    if (h.version >= 0x20A) {
        h.pref_address = field(image, header::kPrefAddress, 8);
        h.init_size = field(image, header::kInitSize, 4);
    }
    h.init_size = std::max(h.init_size, h.kernel_bytes);
    return h;
}

Expected<PhysAddr>
choose_load_address(const SetupHeader& h, PhysAddr ram_end, const std::string& path) {
    const auto fits = [&](PhysAddr address) {
        return address >= memory_map::kOneMiB && address < ram_end &&
               h.init_size <= ram_end - address;
    };
    if (h.relocatable && fits(h.pref_address)) {
        return h.pref_address;
    }
    const PhysAddr lowest =
        h.relocatable ? align_up<u64>(memory_map::kOneMiB, h.alignment) : memory_map::kOneMiB;
    // A relocatable kernel loaded lower than it prefers moves itself up: it needs the room there.
    const u64 run_address = h.relocatable ? std::max(lowest, h.pref_address) : lowest;
    if (!fits(lowest) || !fits(run_address)) {
        // The header may say anything: its end may lie beyond the last address there is.
        const u64 end = run_address + std::min(h.init_size, ~u64{0} - run_address);
        return Error{fmt::format(
            "kernel '{}': needs RAM up to {} MiB, the machine has {} MiB it may use (-m)", path,
            (end >> 20) + ((end & 0xFFFFF) != 0 ? 1 : 0), ram_end >> 20)};
    }
    return lowest;
}

Expected<PhysAddr> choose_initrd_address(const SetupHeader& h,
                                         u64 initrd_bytes,
                                         PhysAddr kernel_end,
                                         PhysAddr ram_end,
                                         const std::string& path) {
    const u64 highest = std::min<u64>(ram_end, u64{h.initrd_addr_max} + 1);
    if (initrd_bytes > highest || ((highest - initrd_bytes) & kPageMask) < kernel_end) {
        return Error{fmt::format(
            "initrd '{}': its {} MiB do not fit between the kernel's end at {} MiB and {} MiB (-m)",
            path, (initrd_bytes + 0xFFFFF) >> 20, (kernel_end + 0xFFFFF) >> 20, highest >> 20)};
    }
    return (highest - initrd_bytes) & kPageMask;
}

// struct setup_data { u64 next; u32 type; u32 len; u8 data[]; }
std::vector<u8> make_rng_seed(std::span<const u8> seed) {
    Record record(0);
    record.append(8, 0);
    record.append(4, kSetupRngSeed);
    record.append(4, seed.size());
    record.append(seed);
    return std::move(record.bytes());
}

void put_e820(Record& page, const std::vector<E820Entry>& map) {
    const std::size_t count = std::min(map.size(), zero_page::kE820Max);
    for (std::size_t i = 0; i < count; ++i) {
        const std::size_t at = zero_page::kE820Table + i * zero_page::kE820EntryBytes;
        page.put(at, 8, map[i].first);
        page.put(at + 8, 8, map[i].bytes);
        page.put(at + 16, 4, static_cast<u32>(map[i].type));
    }
    page.put(zero_page::kE820Entries, 1, count);
}

struct Placement {
    PhysAddr kernel = 0;
    PhysAddr initrd = 0;
    u64 initrd_bytes = 0;
};

std::vector<u8> make_boot_params(std::span<const u8> image,
                                 const SetupHeader& h,
                                 const Placement& placement,
                                 const BootEnvironment& environment) {
    Record page(kPageBytes);
    // The setup header ends where its own jump instruction says.
    const std::size_t header_end = std::min<std::size_t>(
        header::kMagic + static_cast<std::size_t>(field(image, header::kJump + 1, 1)), 0x290);
    page.put(header::kSetupSects,
             image.subspan(header::kSetupSects, header_end - header::kSetupSects));

    page.put(header::kTypeOfLoader, 1, kUndefinedLoader);
    page.put(header::kCode32Start, 4, placement.kernel);
    page.put(header::kRamdiskImage, 4, placement.initrd);
    page.put(header::kRamdiskSize, 4, placement.initrd_bytes);
    page.put(header::kCmdLinePtr, 4, memory_map::kBootCommandLine);
    if (h.version >= 0x209 && !environment.seed.empty()) {
        page.put(header::kSetupData, 8, memory_map::kBootSetupData);
    }
    page.put(zero_page::kAcpiRsdpAddr, 8, environment.acpi_rsdp);
    page.put(zero_page::kAltMemK, 4, (environment.low_bytes - memory_map::kOneMiB) / 1024);
    put_e820(page, environment.e820());
    return std::move(page.bytes());
}

EntryState make_entry(PhysAddr kernel, bool entry_64) {
    EntryState entry;
    entry.mode = entry_64 ? EntryMode::Long64 : EntryMode::Protected32;
    entry.rip = kernel + (entry_64 ? kEntry64Offset : 0);
    entry.rsi = memory_map::kBootParams;
    entry.code_selector = 0x10;  // __BOOT_CS
    entry.data_selector = 0x18;  // __BOOT_DS
    return entry;
}

Expected<bool> choose_entry_64(const SetupHeader& h, const BootRequest& request, bool long_mode) {
    const bool wanted = request.entry_64.value_or(h.has_entry_64 && long_mode);
    if (wanted && !(h.has_entry_64 && long_mode)) {
        return Error{
            fmt::format("kernel '{}': {}, so it cannot be entered in 64-bit mode", request.kernel,
                        long_mode ? "has no 64-bit entry" : "the CPU model has no long mode")};
    }
    return wanted;
}

}  // namespace

bool is_linux_image(std::span<const u8> image) {
    return field(image, header::kMagic, 4) == kHdrS;
}

Expected<BootPlan> plan_linux_boot(std::vector<u8> image,
                                   std::vector<u8> initrd,
                                   const BootRequest& request,
                                   const BootEnvironment& environment) {
    const auto header = read_header(image, request.kernel);
    if (!header) {
        return header.error();
    }
    const SetupHeader& h = header.value();
    const auto entry_64 = choose_entry_64(h, request, environment.long_mode);
    if (!entry_64) {
        return entry_64.error();
    }
    const u64 cmdline_limit = std::min<u64>(h.cmdline_size, memory_map::kBootCommandLineBytes - 1);
    if (request.append.size() > cmdline_limit) {
        return Error{fmt::format("-append: {} characters, but kernel '{}' takes at most {}",
                                 request.append.size(), request.kernel, cmdline_limit)};
    }
    const PhysAddr ram_end = environment.usable_end();
    const auto kernel = choose_load_address(h, ram_end, request.kernel);
    if (!kernel) {
        return kernel.error();
    }
    Placement placement{.kernel = kernel.value()};
    placement.initrd_bytes = initrd.size();
    if (!initrd.empty()) {
        const u64 run_address =
            h.relocatable ? std::max(placement.kernel, h.pref_address) : placement.kernel;
        const auto address = choose_initrd_address(h, initrd.size(), run_address + h.init_size,
                                                   ram_end, request.initrd);
        if (!address) {
            return address.error();
        }
        placement.initrd = address.value();
    }

    BootPlan plan;
    plan.notes.push_back(
        fmt::format("kernel {}: Linux boot protocol {}.{:02}, {} KiB at {:#x}, {}-bit entry",
                    request.kernel, h.version >> 8, h.version & 0xFF, h.kernel_bytes / 1024,
                    placement.kernel, entry_64.value() ? 64 : 32));
    if (!initrd.empty()) {
        plan.notes.push_back(fmt::format("initrd {}: {} KiB at {:#x}", request.initrd,
                                         placement.initrd_bytes / 1024, placement.initrd));
    }
    plan.place(memory_map::kBootParams, make_boot_params(image, h, placement, environment));
    plan.place(memory_map::kBootCommandLine, zero_terminated(request.append));
    if (h.version >= 0x209 && !environment.seed.empty()) {
        plan.place(memory_map::kBootSetupData, make_rng_seed(environment.seed));
    }
    plan.place(memory_map::kBootGdt, make_boot_gdt(true, entry_64.value()));
    if (entry_64.value()) {
        plan.place(memory_map::kBootPageTables, make_identity_page_tables());
    }
    plan.entry = make_entry(placement.kernel, entry_64.value());
    const std::span<const u8> kept = plan.keep(std::move(image));
    plan.place_kept(placement.kernel, kept.subspan(h.setup_bytes));
    if (!initrd.empty()) {
        plan.place(placement.initrd, std::move(initrd));
    }
    return plan;
}

}  // namespace droste
