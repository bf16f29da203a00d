#pragma once
// The devices of a machine, each registered once by the line that creates it. From then on it is on
// the bus, in every reset, in every saved state and in the monitor's `info devices`: there is no
// second list that could lack it.

#include "core/bus.hpp"
#include "core/error.hpp"
#include "devices/device.hpp"
#include "devices/state_archive.hpp"

#include <concepts>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace droste {

// What every device said about itself, by id.
using SavedDevices = std::map<std::string, SavedState>;

class DeviceRegistry {
  public:
    struct Entry {
        std::string id;  // "com1"; unique
        std::unique_ptr<Device> device;
        PioDevice* ports;    // null: it has none, or another device places them
        MmioDevice* memory;  // the same
    };

    // Creates a device that answers the ranges it names. Resets go in the order of creation, so who
    // is driven comes before who drives. A taken id gets a number behind it.
    template <std::derived_from<Device> T, typename... Args>
    T& add(std::string_view id, Args&&... args) {
        auto device = std::make_unique<T>(std::forward<Args>(args)...);
        T& created = *device;
        PioDevice* ports = nullptr;
        MmioDevice* memory = nullptr;
        if constexpr (std::derived_from<T, PioDevice>) {
            ports = &created;
        }
        if constexpr (std::derived_from<T, MmioDevice>) {
            memory = &created;
        }
        entries_.push_back({free_id(id), std::move(device), ports, memory});
        return created;
    }
    // The same for a device whose ranges another one puts on the bus.
    template <std::derived_from<Device> T, typename... Args>
    T& add_off_bus(std::string_view id, Args&&... args) {
        T& created = add<T>(id, std::forward<Args>(args)...);
        entries_.back().ports = nullptr;
        entries_.back().memory = nullptr;
        return created;
    }

    // An Error names two devices that want the same addresses.
    Expected<void> attach(Bus& bus);
    void reset();

    std::span<const Entry> entries() const { return entries_; }
    Device* find(std::string_view id) const;

    SavedDevices save() const;
    // All devices, or an Error that names the first field that does not fit; what came before it has
    // been loaded then.
    Expected<void> load(const SavedDevices& saved);

    // For the monitor: a line a device, and the fields of one.
    std::string describe() const;
    std::string describe(std::string_view id) const;

  private:
    std::string free_id(std::string_view wanted) const;

    std::vector<Entry> entries_;
};

}  // namespace droste
