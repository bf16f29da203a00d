#include "frontends/machine/e820.hpp"

#include "frontends/machine/memory_map.hpp"

namespace droste {

PhysAddr usable_low_end(u64 low_bytes) {
    return low_bytes - memory_map::kAcpiReservedBytes;
}

std::vector<E820Entry> make_e820(u64 low_bytes, u64 high_bytes, bool acpi_area) {
    using namespace memory_map;
    std::vector<E820Entry> map;
    const auto add = [&](PhysAddr first, PhysAddr end, E820Type type) {
        if (end > first) {
            map.push_back({first, end - first, type});
        }
    };
    add(0, kConventionalEnd, E820Type::Ram);
    add(kConventionalEnd, kVgaHole, E820Type::Reserved);
    add(kBiosArea, kOneMiB, E820Type::Reserved);
    if (acpi_area) {
        add(kOneMiB, usable_low_end(low_bytes), E820Type::Ram);
        add(usable_low_end(low_bytes), low_bytes - kAcpiNvsBytes, E820Type::AcpiReclaimable);
        add(low_bytes - kAcpiNvsBytes, low_bytes, E820Type::AcpiNvs);
    } else {
        add(kOneMiB, low_bytes, E820Type::Ram);
    }
    add(kFourGiB, kFourGiB + high_bytes, E820Type::Ram);
    return map;
}

}  // namespace droste
