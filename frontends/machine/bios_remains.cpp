#include "frontends/machine/bios_remains.hpp"

#include "frontends/machine/memory_map.hpp"

#include <array>

namespace droste {

namespace {

constexpr PhysAddr kBiosSegment = 0xF'0000;
constexpr u16 kPlainReturn = 0xFF53;  // where the IBM BIOS had its IRET
constexpr u16 kFailedService = 0xFF60;
constexpr u8 kFirstService = 0x10, kLastService = 0x1A;

std::vector<u8> make_interrupt_vectors() {
    Record table(0);
    for (unsigned vector = 0; vector < 256; ++vector) {
        const bool service = vector >= kFirstService && vector <= kLastService;
        table.append(2, service ? kFailedService : kPlainReturn);
        table.append(2, kBiosSegment >> 4);
    }
    return std::move(table.bytes());
}

std::vector<u8> make_data_area(u8 serial_ports) {
    constexpr std::array<u16, 4> kComPorts = {0x3F8, 0x2F8, 0x3E8, 0x2E8};
    Record area(0x100);
    for (std::size_t i = 0; i < kComPorts.size(); ++i) {
        area.put(2 * i, 2, (serial_ports >> i & 1) != 0 ? kComPorts[i] : 0);
    }
    area.put(0x0E, 2, memory_map::kConventionalEnd >> 4);   // segment of the extended data area
    area.put(0x13, 2, memory_map::kConventionalEnd >> 10);  // base memory, KiB
    return std::move(area.bytes());
}

}  // namespace

void place_bios_remains(BootPlan& plan, u8 serial_ports) {
    plan.place(0, make_interrupt_vectors());
    plan.place(0x400, make_data_area(serial_ports));
    plan.place(memory_map::kConventionalEnd, {1});    // extended data area: its size in KiB
    plan.place(kBiosSegment + kPlainReturn, {0xCF});  // iret
    plan.place(kBiosSegment + kFailedService,
               {
                   0x55,                    // push bp
                   0x89, 0xE5,              // mov bp, sp
                   0x80, 0x4E, 0x06, 0x01,  // or byte [bp + 6], 1: CF of the caller
                   0x5D,                    // pop bp
                   0xCF,                    // iret
               });
}

}  // namespace droste
