#pragma once
// What the two versions of Multiboot share: a flat kernel described by addresses in its header, and
// modules. Modules come from -initrd as "FILE ARGS,FILE ARGS" (a comma in a file name is doubled),
// each with its whole text as command line, as QEMU users expect.

#include "core/error.hpp"
#include "frontends/machine/boot_plan.hpp"
#include "frontends/machine/elf_image.hpp"
#include "frontends/machine/free_memory.hpp"

#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace droste {

struct ModuleFile {
    std::string text;  // file name and arguments, as given
    std::vector<u8> bytes;
};

// Splits -initrd's value at single commas; doubled ones stand for themselves.
std::vector<std::string> split_module_list(std::string_view value);
// The file name of one element: up to the first space.
std::string module_file_name(std::string_view element);

// The addresses of a header, all physical.
struct HeaderAddresses {
    u64 header;    // of the header itself
    u64 load;      // of the first byte to load
    u64 load_end;  // 0: everything to the end of the file
    u64 bss_end;   // 0: nothing to clear
};
// The part of `image` that they describe; `header_at` is the header's offset in it.
Expected<KernelImage> flat_kernel(std::span<const u8> image,
                                  std::size_t header_at,
                                  const HeaderAddresses& addresses,
                                  u64 entry,
                                  const std::string& path);

struct LoadedModule {
    PhysAddr first, end;
    std::string text;
};
// Places them page-aligned behind `kernel_end` and above 1 MiB, or above 1 MiB where there is room.
Expected<std::vector<LoadedModule>> place_modules(BootPlan& plan,
                                                  FreeMemory& memory,
                                                  std::vector<ModuleFile> modules,
                                                  PhysAddr kernel_end);
// The same for a block of our own.
std::optional<PhysAddr>
find_behind(const FreeMemory& memory, u64 bytes, u64 alignment, PhysAddr kernel_end);

}  // namespace droste
