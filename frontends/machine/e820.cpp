#include "frontends/machine/e820.hpp"

#include "frontends/machine/memory_map.hpp"

namespace droste {

PhysAddr usable_low_end(u64 low_bytes) {
    return low_bytes - memory_map::kAcpiReservedBytes;
}

std::vector<E820Entry> make_e820(u64 low_bytes, u64 high_bytes, bool acpi_area) {
    namespace at = memory_map;
    std::vector<E820Entry> map;
    const auto add = [&](PhysAddr first, PhysAddr end, E820Type type) {
        if (end > first) {
            map.push_back({first, end - first, type});
        }
    };
    add(0, at::kConventionalEnd, E820Type::Ram);
    add(at::kConventionalEnd, at::kVgaHole, E820Type::Reserved);
    add(at::kBiosArea, at::kOneMiB, E820Type::Reserved);
    if (acpi_area) {
        add(at::kOneMiB, usable_low_end(low_bytes), E820Type::Ram);
        add(usable_low_end(low_bytes), low_bytes - at::kAcpiNvsBytes, E820Type::AcpiReclaimable);
        add(low_bytes - at::kAcpiNvsBytes, low_bytes, E820Type::AcpiNvs);
    } else {
        add(at::kOneMiB, low_bytes, E820Type::Ram);
    }
    // I/O APIC, HPET, local APICs and the firmware's flash: nothing else may be put there.
    add(at::kIoApic, at::kFourGiB, E820Type::Reserved);
    add(at::kFourGiB, at::kFourGiB + high_bytes, E820Type::Ram);
    return map;
}

}  // namespace droste
