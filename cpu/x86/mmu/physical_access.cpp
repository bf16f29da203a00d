// The accesses that the CPU makes by physical address: RAM and ROM where they lie, else its local APIC
// or the bus.

#include "core/bus.hpp"
#include "core/guest_memory.hpp"
#include "core/log.hpp"
#include "cpu/x86/apic/local_apic.hpp"
#include "cpu/x86/mmu/paging.hpp"

#include <cstring>

namespace droste {

// The local APIC answers for its page before memory is asked: IA32_APIC_BASE may lay it over RAM.
// SDM Vol. 3A, "Relocating the Local APIC Registers".
u64 read_physical(Vcpu& cpu, PhysAddr address, unsigned bytes) {
    u64 value = 0;
    const bool apic = cpu.apic->claims(address);
    if (const NativePage page = cpu.memory.lookup(address & kPageMask);
        page.native != nullptr && !apic) [[likely]] {
        std::memcpy(&value, page.native + address % kPageBytes, bytes);
        return value;
    }
    ++cpu.counters.mmio_accesses;
    cpu.leave_block(leave::kDevice);
    if (apic) {
        return cpu.apic->mmio_read(static_cast<u32>(address % kPageBytes), bytes);
    }
    value = cpu.bus.mmio_read(address, bytes);
    charge_dma(cpu);
    return value;
}

void write_physical(Vcpu& cpu, PhysAddr address, unsigned bytes, u64 value) {
    const NativePage page = cpu.memory.lookup(address & kPageMask);
    const bool apic = cpu.apic->claims(address);
    if (page.kind == PageKind::Ram && !apic) [[likely]] {
        // Through GuestMemory, so that decoded code there is noticed.
        (void)cpu.memory.write(address, {reinterpret_cast<const u8*>(&value), bytes});
        return;
    }
    if (page.kind == PageKind::Rom && !apic) {
        cpu.log.write(LogCategory::GuestErrors, "write of {:#x} to ROM at {:#x}", value, address);
        return;
    }
    ++cpu.counters.mmio_accesses;
    cpu.leave_block(leave::kDevice);
    if (apic) {
        cpu.apic->mmio_write(static_cast<u32>(address % kPageBytes), bytes,
                             static_cast<u32>(value));
        return;
    }
    cpu.bus.mmio_write(address, bytes, value);
    charge_dma(cpu);
}

void charge_dma(Vcpu& cpu) {
    constexpr u64 kBytesPerInsn = 8;
    cpu.charge(cpu.memory.take_dma_bytes() / kBytesPerInsn);
}

}  // namespace droste
