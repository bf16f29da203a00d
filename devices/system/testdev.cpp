#include "devices/system/testdev.hpp"

#include "devices/state_archive.hpp"

#include <algorithm>

namespace droste {

IoStatus TestDevice::pio_read(u16 port, std::span<u8> data) {
    for (std::size_t i = 0; i < data.size(); ++i) {
        const std::size_t at = port + i;
        const bool is_data =
            (at >= kData && at < kFlushPage) || (at >= kByteData && at < kByteData + 4U);
        data[i] = is_data ? data_[at % 4] : 0;
    }
    return IoStatus::Done;
}

IoStatus TestDevice::pio_write(u16 port, std::span<const u8> data) {
    if (port >= kIrqLines) {
        const unsigned irq = port - kIrqLines;
        if (irq < kIrqs && irqs_[irq] != nullptr) {
            irqs_[irq]->set_level(data[0] != 0);
        }
        return IoStatus::Done;
    }
    for (std::size_t i = 0; i < data.size(); ++i) {
        const std::size_t at = port + i;
        // Port E4h asks that a page lose its mapping in the machine below; here no mapping is ever
        // stale, so there is nothing to do.
        if ((at >= kData && at < kFlushPage) || (at >= kByteData && at < kByteData + 4U)) {
            data_[at % 4] = data[i];
        }
    }
    return IoStatus::Done;
}

IoStatus TestDevice::mmio_read(PhysAddr address, std::span<u8> data) {
    for (std::size_t i = 0; i < data.size(); ++i) {
        data[i] = memory_[(address - kMemoryBase + i) % kMemoryBytes];
    }
    return IoStatus::Done;
}

IoStatus TestDevice::mmio_write(PhysAddr address, std::span<const u8> data) {
    for (std::size_t i = 0; i < data.size(); ++i) {
        memory_[(address - kMemoryBase + i) % kMemoryBytes] = data[i];
    }
    return IoStatus::Done;
}

void TestDevice::reset() {
    data_ = {};
    std::fill(memory_.begin(), memory_.end(), u8{0});
    for (IrqLine* line : irqs_) {
        if (line != nullptr) {
            line->set_level(false);
        }
    }
}

void TestDevice::state(StateArchive& archive) {
    archive("data", data_);
    archive("memory", memory_);
}

}  // namespace droste
