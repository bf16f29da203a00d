#include "frontends/machine/bios_remains.hpp"

#include "core/assert.hpp"
#include "frontends/machine/bios_remains_image.hpp"
#include "frontends/machine/memory_map.hpp"

#include <algorithm>
#include <array>

namespace droste {

namespace {

constexpr PhysAddr kBiosSegment = 0xF'0000;
constexpr std::size_t kCodeOffset = 0xE000, kMapOffset = 0xD000;  // as bios_remains.asm has them
static_assert(kBiosRemains.size() == 0x1'0000 - kCodeOffset);

// The table at the start of the code, in its order.
enum Handler : std::size_t {
    kPlainReturn,
    kFailedService,
    kTimerTick,
    kKeyboardByte,
    kMasterRequest,
    kSlaveRequest,
    kEquipment,
    kMemorySize,
    kSystemService,
};

struct VectorRow {
    u8 first, last;
    Handler handler;
};
// All other vectors return at once.
constexpr std::array kVectors = {
    VectorRow{0x08, 0x08, kTimerTick},     VectorRow{0x09, 0x09, kKeyboardByte},
    VectorRow{0x0A, 0x0F, kMasterRequest}, VectorRow{0x10, 0x10, kFailedService},
    VectorRow{0x11, 0x11, kEquipment},     VectorRow{0x12, 0x12, kMemorySize},
    VectorRow{0x13, 0x14, kFailedService}, VectorRow{0x15, 0x15, kSystemService},
    VectorRow{0x16, 0x1A, kFailedService}, VectorRow{0x70, 0x77, kSlaveRequest},
};

std::vector<u8> make_interrupt_vectors() {
    Record table(0);
    for (unsigned vector = 0; vector < 256; ++vector) {
        const auto row = std::find_if(kVectors.begin(), kVectors.end(), [&](const VectorRow& r) {
            return vector >= r.first && vector <= r.last;
        });
        const Handler handler = row == kVectors.end() ? kPlainReturn : row->handler;
        table.append(2, field(kBiosRemains, 2 * handler, 2));
        table.append(2, kBiosSegment >> 4);
    }
    return std::move(table.bytes());
}

std::vector<u8> make_data_area(u8 serial_ports) {
    constexpr std::array<u16, 4> kComPorts = {0x3F8, 0x2F8, 0x3E8, 0x2E8};
    constexpr u16 kCoprocessor = 1U << 1;
    Record area(0x100);
    unsigned count = 0;
    for (std::size_t i = 0; i < kComPorts.size(); ++i) {
        const bool exists = (serial_ports >> i & 1) != 0;
        area.put(2 * i, 2, exists ? kComPorts[i] : 0);
        count += exists ? 1U : 0U;
    }
    area.put(0x0E, 2, memory_map::kConventionalEnd >> 4);   // segment of the extended data area
    area.put(0x10, 2, kCoprocessor | (count << 9));         // equipment
    area.put(0x13, 2, memory_map::kConventionalEnd >> 10);  // base memory, KiB
    return std::move(area.bytes());
}

// struct map in bios_remains.asm.
std::vector<u8> make_memory_map(const BootEnvironment& environment) {
    constexpr u64 k16MiB = u64{16} << 20;
    const PhysAddr end = environment.usable_end();
    const std::vector<E820Entry> entries = environment.e820();
    Record map(0);
    map.append(2, entries.size());
    map.append(2, (std::min(end, k16MiB) - memory_map::kOneMiB) >> 10);
    map.append(2, (std::max(end, k16MiB) - k16MiB) >> 16);
    map.append(2, std::min<u64>((end - memory_map::kOneMiB) >> 10, 0xFFFF));
    for (const E820Entry& entry : entries) {
        map.append(8, entry.first);
        map.append(8, entry.bytes);
        map.append(4, static_cast<u32>(entry.type));
    }
    DROSTE_ASSERT(map.size() <= kCodeOffset - kMapOffset);
    return std::move(map.bytes());
}

}  // namespace

void place_bios_remains(BootPlan& plan, const BootEnvironment& environment, u8 serial_ports) {
    plan.place(0, make_interrupt_vectors());
    plan.place(0x400, make_data_area(serial_ports));
    plan.place(memory_map::kConventionalEnd, {1});  // extended data area: its size in KiB
    plan.place(kBiosSegment + kMapOffset, make_memory_map(environment));
    plan.place_kept(kBiosSegment + kCodeOffset, kBiosRemains);
}

}  // namespace droste
