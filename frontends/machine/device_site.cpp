#include "frontends/machine/device_site.hpp"

#include "devices/char/debug_console_e9.hpp"
#include "devices/system/debug_exit.hpp"
#include "frontends/machine/device_registry.hpp"
#include "frontends/machine/run_control.hpp"

namespace droste {

DeviceRequest debug_exit_request(u16 base, u16 size) {
    return {"isa-debug-exit", "isa-debug-exit",
            [base, size](const DeviceSite& site, const std::string& id) {
                site.devices.add<DebugExit>(id, base, size, [&control = site.control](u32 value) {
                    control.end(EndReason::DebugExit, value);
                });
            }};
}

DeviceRequest debug_console_request(u16 port, CharBackend& backend) {
    return {"isa-debugcon", "isa-debugcon",
            [port, &backend](const DeviceSite& site, const std::string& id) {
                site.devices.add<DebugConsoleE9>(id, backend, port);
            }};
}

DeviceRequest test_device_request() {
    return {"pc-testdev", "pc-testdev", [](const DeviceSite& site, const std::string& id) {
                site.devices.add<TestDevice>(id, site.irqs);
            }};
}

}  // namespace droste
