#include "frontends/cli/devices.hpp"

#include "frontends/cli/values.hpp"

#include <algorithm>
#include <array>
#include <span>

#include <fmt/format.h>

namespace droste::cli {

namespace {

struct PropertyRow {
    std::string_view name;
    std::string_view help;
};

constexpr std::array kDebugExitProperties = {
    PropertyRow{"iobase", "first port (default 0x501)"},
    PropertyRow{"iosize", "number of ports (default 0x2)"},
};
constexpr std::array kDebugConsoleProperties = {
    PropertyRow{"iobase", "port (default 0xe9)"},
    PropertyRow{"chardev", "id of a -chardev"},
};

Expected<u16> port_value(std::string_view device, const Property& property) {
    const auto number = parse_number(property.value);
    if (!number || *number > 0xFFFF) {
        return Error{fmt::format("-device {}: {}={}: expected a number from 0 to 0xffff", device,
                                 property.key, property.value)};
    }
    return static_cast<u16>(*number);
}

void plug(CommandLine& line, DeviceRequest request, const std::string& id) {
    if (!id.empty()) {
        request.id = id;
    }
    line.machine.devices.push_back(std::move(request));
}

Expected<void>
add_debug_exit(CommandLine& line, std::span<const Property> properties, const std::string& id) {
    u16 base = 0x501;
    u16 size = 2;
    for (const Property& property : properties) {
        const auto value = port_value("isa-debug-exit", property);
        if (!value) {
            return value.error();
        }
        (property.key == "iobase" ? base : size) = value.value();
    }
    if (size == 0 || size > 0x10000 - base) {
        return Error{fmt::format(
            "-device isa-debug-exit: {:#x} ports from {:#x} on are not within 0..0xffff", size,
            base)};
    }
    plug(line, debug_exit_request(base, size), id);
    return {};
}

// Its character device is opened when all options are known: see Consoles::open.
Expected<void>
add_debug_console(CommandLine& line, std::span<const Property> properties, const std::string& id) {
    DebugConsoleSpec spec;
    spec.id = id;
    bool has_chardev = false;
    for (const Property& property : properties) {
        if (property.key == "iobase") {
            const auto value = port_value("isa-debugcon", property);
            if (!value) {
                return value.error();
            }
            spec.port = value.value();
        } else {
            const auto found = line.chardevs.find(property.value);
            if (found == line.chardevs.end()) {
                return Error{fmt::format(
                    "-device isa-debugcon: no -chardev before it has the id '{}'", property.value)};
            }
            spec.chars = found->second;
            has_chardev = true;
        }
    }
    if (!has_chardev) {
        return Error{"-device isa-debugcon: needs chardev=ID"};
    }
    line.debug_consoles.push_back(spec);
    return {};
}

Expected<void>
add_testdev(CommandLine& line, std::span<const Property> /*properties*/, const std::string& id) {
    plug(line, test_device_request(), id);
    return {};
}

struct DeviceRow {
    std::string_view name;
    std::string_view help;
    std::span<const PropertyRow> properties;
    Expected<void> (*add)(CommandLine&, std::span<const Property>, const std::string& id);
};

constexpr std::array kDevices = {
    DeviceRow{"isa-debug-exit", "ends the run with the value written to it", kDebugExitProperties,
              add_debug_exit},
    DeviceRow{"isa-debugcon", "prints what is written to it", kDebugConsoleProperties,
              add_debug_console},
    DeviceRow{"pc-testdev", "test device of kvm-unit-tests", {}, add_testdev},
};

constexpr auto names_of(std::span<const PropertyRow> rows) {
    std::array<std::string_view, 4> names{};
    for (std::size_t i = 0; i < rows.size(); ++i) {
        names[i] = rows[i].name;
    }
    return names;
}

std::string list_devices() {
    std::string text;
    for (const DeviceRow& row : kDevices) {
        text += fmt::format("name \"{}\", bus ISA, desc \"{}\"\n", row.name, row.help);
    }
    return text;
}

std::string list_properties(const DeviceRow& device) {
    std::string text = fmt::format("{} options:\n", device.name);
    for (const PropertyRow& row : device.properties) {
        text += fmt::format("  {}=<uint16> - {}\n", row.name, row.help);
    }
    return text;
}

}  // namespace

Expected<void> add_device(CommandLine& line, std::string_view value) {
    if (value == "help" || value == "?") {
        line.answer = list_devices();
        return {};
    }
    std::vector<Property> properties = parse_properties(value);
    const std::string name =
        properties.front().key.empty() ? properties.front().value : properties.front().key;
    properties.erase(properties.begin());
    const auto device = std::find_if(kDevices.begin(), kDevices.end(),
                                     [&](const DeviceRow& row) { return row.name == name; });
    if (device == kDevices.end()) {
        std::array<std::string_view, kDevices.size()> names{};
        std::transform(kDevices.begin(), kDevices.end(), names.begin(),
                       [](const DeviceRow& row) { return row.name; });
        return Error{fmt::format("-device {}: unknown device{} (-device help lists them)", name,
                                 suggestion(name, names))};
    }
    for (const Property& property : properties) {
        if (property.key.empty() && (property.value == "help" || property.value == "?")) {
            line.answer = list_properties(*device);
            return {};
        }
        const bool known =
            property.key == "id" ||
            std::any_of(device->properties.begin(), device->properties.end(),
                        [&](const PropertyRow& row) { return row.name == property.key; });
        if (!known) {
            const auto names = names_of(device->properties);
            return Error{
                fmt::format("-device {}: unknown property '{}'{}", name,
                            property.key.empty() ? property.value : property.key,
                            suggestion(property.key, {names.data(), device->properties.size()}))};
        }
    }
    std::string id;
    for (const Property& property : properties) {
        id = property.key == "id" ? property.value : id;
    }
    properties.erase(std::remove_if(properties.begin(), properties.end(),
                                    [](const Property& property) { return property.key == "id"; }),
                     properties.end());
    if (!id.empty() && !line.device_ids.insert(id).second) {
        return Error{fmt::format("-device {}: there is already one with the id '{}'", name, id)};
    }
    return device->add(line, properties, id);
}

Expected<void> set_global(CommandLine& line, std::string_view value) {
    const std::size_t dot = value.find('.');
    const std::size_t equals = value.find('=');
    if (dot == std::string_view::npos || equals == std::string_view::npos || equals < dot) {
        return Error{fmt::format("-global {}: expected DRIVER.PROPERTY=VALUE", value)};
    }
    const std::string_view target = value.substr(0, equals);
    if (target == "isa-debugcon.iobase") {
        const auto port = parse_number(value.substr(equals + 1));
        if (!port || *port > 0xFFFF) {
            return Error{fmt::format("-global {}: expected a port from 0 to 0xffff", value)};
        }
        line.debug_console_port = static_cast<u16>(*port);
        return {};
    }
    // What describes how this machine behaves anyway.
    if (target == "kvm-pit.lost_tick_policy") {
        return {};
    }
    line.warnings.push_back(fmt::format("-global {}: no such property here, ignored", value));
    return {};
}

}  // namespace droste::cli
