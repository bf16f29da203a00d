#include "frontends/machine/boot_image.hpp"

#include "frontends/machine/elf_image.hpp"
#include "frontends/machine/image_file.hpp"
#include "frontends/machine/linux_boot.hpp"
#include "frontends/machine/memory_map.hpp"
#include "frontends/machine/multiboot.hpp"
#include "frontends/machine/multiboot2.hpp"
#include "frontends/machine/pvh.hpp"

#include <fmt/format.h>

namespace droste {

namespace {

constexpr u64 kLeastRam = u64{2} << 20;

Expected<std::vector<u8>> read_kernel(const std::string& path, u64 limit_bytes) {
    auto image = read_image_file("kernel", path, limit_bytes);
    if (!image || !is_gzip(image.value())) {
        return image;
    }
    return gunzip("kernel", path, image.value(), limit_bytes);
}

Expected<std::vector<u8>> read_initrd(const std::string& path, u64 limit_bytes) {
    if (path.empty()) {
        return std::vector<u8>{};
    }
    return read_image_file("initrd", path, limit_bytes);
}

Expected<std::vector<ModuleFile>> read_modules(const std::string& list, u64 limit_bytes) {
    std::vector<ModuleFile> modules;
    if (list.empty()) {
        return modules;
    }
    for (std::string& element : split_module_list(list)) {
        auto bytes = read_image_file("initrd", module_file_name(element), limit_bytes);
        if (!bytes) {
            return bytes.error();
        }
        modules.push_back({std::move(element), std::move(bytes).value()});
    }
    return modules;
}

}  // namespace

Expected<BootPlan> plan_boot(const BootRequest& request, const BootEnvironment& environment) {
    const u64 limit_bytes = environment.low_bytes;
    if (limit_bytes < kLeastRam) {
        return Error{
            fmt::format("-m: {} KiB of RAM are too little for -kernel, which needs at least 2 MiB",
                        limit_bytes / 1024)};
    }
    auto image = request.kernel.empty() ? Expected<std::vector<u8>>(std::vector<u8>(
                                              request.builtin.begin(), request.builtin.end()))
                                        : read_kernel(request.kernel, limit_bytes);
    if (!image) {
        return image.error();
    }
    const bool linux_image = is_linux_image(image.value());
    const bool version_1 = find_multiboot_header(image.value()).has_value();
    if (!linux_image && (version_1 || find_multiboot2_header(image.value()))) {
        auto modules = read_modules(request.initrd, limit_bytes);
        if (!modules) {
            return modules.error();
        }
        return (version_1 ? plan_multiboot : plan_multiboot2)(
            std::move(image).value(), std::move(modules).value(), request, environment);
    }
    if (!linux_image && !is_elf(image.value())) {
        return Error{fmt::format(
            "kernel '{}': is neither a Linux bzImage, nor a multiboot, nor a PVH ELF kernel",
            request.kernel)};
    }
    auto initrd = read_initrd(request.initrd, limit_bytes);
    if (!initrd) {
        return initrd.error();
    }
    return linux_image ? plan_linux_boot(std::move(image).value(), std::move(initrd).value(),
                                         request, environment)
                       : plan_pvh_boot(std::move(image).value(), std::move(initrd).value(), request,
                                       environment);
}

}  // namespace droste
