#pragma once
// What -device asks for: a request creates its device where it is plugged in, so the board knows
// nothing of which optional devices there are.

#include "devices/system/testdev.hpp"

#include <functional>
#include <string>

namespace droste {

class CharBackend;
class DeviceRegistry;
class EventQueue;
class RunControl;

// A board as a device's creator sees it.
struct DeviceSite {
    DeviceRegistry& devices;
    RunControl& control;
    TestDevice::Irqs irqs;  // the I/O APIC's inputs by number; the first 16 also reach the 8259s
};

struct DeviceRequest {
    std::string driver;  // as -device names it
    std::string id;      // in the registry
    std::function<void(const DeviceSite& site, const std::string& id)> create;
};

// isa-debug-exit: `size` ports from `base` on.
DeviceRequest debug_exit_request(u16 base, u16 size);
// isa-debugcon. Borrows the backend.
DeviceRequest debug_console_request(u16 port, CharBackend& backend);
DeviceRequest test_device_request();

}  // namespace droste
