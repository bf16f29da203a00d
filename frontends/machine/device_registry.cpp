#include "frontends/machine/device_registry.hpp"

#include <algorithm>

#include <fmt/format.h>

namespace droste {

std::string DeviceRegistry::free_id(std::string_view wanted) const {
    std::string id(wanted);
    for (unsigned number = 2; find(id) != nullptr; ++number) {
        id = fmt::format("{}.{}", wanted, number);
    }
    return id;
}

Device* DeviceRegistry::find(std::string_view id) const {
    const auto found = std::find_if(entries_.begin(), entries_.end(),
                                    [&](const Entry& entry) { return entry.id == id; });
    return found == entries_.end() ? nullptr : found->device.get();
}

Expected<void> DeviceRegistry::attach(Bus& bus) {
    for (const Entry& entry : entries_) {
        if (entry.ports != nullptr) {
            if (auto attached = bus.attach_pio(*entry.ports); !attached) {
                return attached;
            }
        }
        if (entry.memory != nullptr) {
            if (auto attached = bus.attach_mmio(*entry.memory); !attached) {
                return attached;
            }
        }
    }
    return {};
}

void DeviceRegistry::reset() {
    for (const Entry& entry : entries_) {
        entry.device->reset();
    }
}

SavedDevices DeviceRegistry::save() const {
    SavedDevices saved;
    for (const Entry& entry : entries_) {
        StateSaver saver;
        entry.device->state(saver);
        saved.emplace(entry.id, saver.take());
    }
    return saved;
}

Expected<void> DeviceRegistry::load(const SavedDevices& saved) {
    for (const auto& [id, fields] : saved) {
        if (find(id) == nullptr) {
            return Error{
                fmt::format("the saved state has a device '{}', this machine has not", id)};
        }
    }
    for (const Entry& entry : entries_) {
        const auto fields = saved.find(entry.id);
        if (fields == saved.end()) {
            return Error{fmt::format("the saved state has no device '{}'", entry.id)};
        }
        StateLoader loader(fields->second);
        entry.device->state(loader);
        if (const auto finished = loader.finish(); !finished) {
            return Error{fmt::format("device '{}': {}", entry.id, finished.error().message)};
        }
    }
    for (const Entry& entry : entries_) {
        entry.device->state_loaded();
    }
    return {};
}

std::string DeviceRegistry::describe() const {
    std::string text;
    for (const Entry& entry : entries_) {
        text += fmt::format("{:<14} {}", entry.id, entry.device->name());
        if (entry.ports != nullptr) {
            for (const PortRange& range : entry.ports->pio_ranges()) {
                text += fmt::format("  ports {:#06x}..{:#06x}", range.first,
                                    range.first + range.count - 1);
            }
        }
        if (entry.memory != nullptr) {
            for (const MmioRange& range : entry.memory->mmio_ranges()) {
                text += fmt::format("  memory {:#x}..{:#x}", range.first,
                                    range.first + range.count - 1);
            }
        }
        text += "\n";
    }
    return text;
}

std::string DeviceRegistry::describe(std::string_view id) const {
    Device* device = find(id);
    if (device == nullptr) {
        return fmt::format("no device '{}'; info devices lists them\n", id);
    }
    StatePrinter printer;
    device->state(printer);
    return fmt::format("{} ({})\n", id, device->name()) + printer.take();
}

}  // namespace droste
