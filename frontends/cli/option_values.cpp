#include "frontends/cli/option_values.hpp"

#include "core/log.hpp"
#include "frontends/cli/values.hpp"

#include <algorithm>
#include <array>

#include <fmt/format.h>

namespace droste::cli {

namespace {

constexpr u64 kLeastRam = u64{1} << 20;
constexpr u64 kMostRam = u64{64} << 30;

Error unknown_value(std::string_view option,
                    std::string_view value,
                    std::span<const std::string_view> known) {
    return Error{fmt::format("{} {}: unknown{}; known: {}", option, value, suggestion(value, known),
                             fmt::join(known, ", "))};
}

Expected<CharSpec>
find_chardev(const CommandLine& line, std::string_view option, std::string_view id) {
    const auto found = line.chardevs.find(std::string(id));
    if (found == line.chardevs.end()) {
        return Error{fmt::format("{} chardev:{}: no -chardev before it has that id", option, id)};
    }
    return found->second;
}

}  // namespace

Expected<void> set_memory(CommandLine& line, std::string_view value) {
    for (const Property& property : parse_properties(value)) {
        if (!property.key.empty() && property.key != "size") {
            constexpr std::array<std::string_view, 1> kKnown = {"size"};
            return unknown_value("-m", property.key, kKnown);
        }
        const auto bytes = parse_size(property.value);
        if (!bytes) {
            return Error{fmt::format("-m {}: expected a size such as 512, 512M or 2G", value)};
        }
        if (*bytes < kLeastRam || *bytes > kMostRam) {
            return Error{fmt::format("-m {}: expected 1M to 64G", value)};
        }
        line.machine.ram_bytes = *bytes & kPageMask;
    }
    return {};
}

Expected<void> set_smp(CommandLine& line, std::string_view value) {
    constexpr std::array<std::string_view, 6> kKnown = {"cpus", "maxcpus", "sockets",
                                                        "dies", "cores",   "threads"};
    std::optional<u64> cpus;
    u64 product = 1;
    for (const Property& property : parse_properties(value)) {
        const std::string_view key = property.key.empty() ? "cpus" : std::string_view(property.key);
        if (std::find(kKnown.begin(), kKnown.end(), key) == kKnown.end()) {
            return unknown_value("-smp", key, kKnown);
        }
        const auto number = parse_number(property.value);
        if (!number || *number < 1 || *number > kMaxVcpus) {
            return Error{fmt::format("-smp {}: expected 1 to {} CPUs", value, kMaxVcpus)};
        }
        if (key == "cpus") {
            cpus = number;
        } else if (key != "maxcpus") {
            product *= *number;
        }
    }
    const u64 count = cpus.value_or(product);
    if (count > kMaxVcpus || (product != 1 && product != count)) {
        return Error{fmt::format("-smp {}: sockets, dies, cores and threads make {} CPUs, not {}",
                                 value, product, count)};
    }
    line.machine.vcpu_count = static_cast<u32>(count);
    return {};
}

namespace {

// A property of -accel beside the name: which accelerator has it, and its range.
struct AcceleratorProperty {
    std::string_view key;
    Accelerator of;
    u64 least, most;
    std::string_view unit;
    void (*set)(MachineConfig& machine, u64 value);
};

constexpr std::array kAcceleratorProperties = {
    AcceleratorProperty{"block", Accelerator::Interpreter, 1, kMaxBlockInsns, "instructions",
                        [](MachineConfig& machine, u64 value) {
                            machine.interpreter.block_insns = static_cast<unsigned>(value);
                        }},
    AcceleratorProperty{"tb-size", Accelerator::Translator, 1, jit::Options::kMostMiB, "MiB",
                        [](MachineConfig& machine, u64 value) {
                            machine.translator.code_bytes = std::size_t{value} << 20;
                        }},
    AcceleratorProperty{"threshold", Accelerator::Translator, 0, jit::Options::kMostThreshold,
                        "rounds",
                        [](MachineConfig& machine, u64 value) {
                            machine.translator.threshold = static_cast<unsigned>(value);
                        }},
};

Expected<void> set_accelerator_property(CommandLine& line, const Property& property) {
    std::vector<std::string_view> known;
    const Accelerator of = line.machine.accelerator == Accelerator::Best ? Accelerator::Translator
                                                                         : line.machine.accelerator;
    for (const AcceleratorProperty& row : kAcceleratorProperties) {
        if (row.of != of) {
            continue;
        }
        if (row.key == property.key) {
            const auto value = parse_number(property.value);
            if (!value || *value < row.least || *value > row.most) {
                return Error{fmt::format("-accel {}={}: expected {} to {} {}", row.key,
                                         property.value, row.least, row.most, row.unit)};
            }
            row.set(line.machine, *value);
            return {};
        }
        known.push_back(row.key);
    }
    return unknown_value("-accel", property.key, known);
}

}  // namespace

Expected<void> set_accelerator(CommandLine& line, std::string_view value) {
    // "tcg" is what a QEMU command line says for "no virtualization hardware".
    constexpr std::array<std::string_view, 3> kKnown = {"interp", "jit", "tcg"};
    if (value == "help") {
        line.answer =
            "Accelerators:\njit       translator to native code (default where it can run)\n"
            "          tb-size=1..2047  MiB for translated code and its tables (256)\n"
            "          threshold=N  rounds a block is interpreted before it is translated (16)\n"
            "          thread=multi  a thread for each vCPU (single: all in turn)\n"
            "interp    interpreter (tcg is another name for it)\n"
            "          block=1..64  instructions decoded into a block at most (64)\n";
        return {};
    }
    for (const Property& property : parse_properties(value)) {
        if (property.key.empty()) {
            if (std::find(kKnown.begin(), kKnown.end(), property.value) == kKnown.end()) {
                return unknown_value("-accel", property.value, kKnown);
            }
            line.machine.accelerator =
                property.value == "jit" ? Accelerator::Translator : Accelerator::Interpreter;
        } else if (property.key == "thread") {
            if (property.value != "single" && property.value != "multi") {
                return Error{fmt::format("-accel thread={}: expected single (all vCPUs in turn) or "
                                         "multi (a thread for each)",
                                         property.value)};
            }
            line.machine.threads = property.value == "multi";
        } else if (auto set = set_accelerator_property(line, property); !set) {
            return set;
        }
    }
    return {};
}

// "-bmi2", "+bmi2", or as a property "bmi2=off".
Expected<void> set_native_features(CommandLine& line, std::string_view value) {
    using Change = NativeFeatures::Change;
    const std::vector<std::string_view> known = NativeFeatures::names();
    if (value == "help" || value == "?") {
        line.answer = fmt::format("What can be hidden of the native CPU and kernel (-NAME; +NAME "
                                  "shows it again):\n  {}\nv2        hides all CPU features "
                                  "beyond x86-64-v2\n",
                                  fmt::join(known, " "));
        return {};
    }
    NativeFeatures& native = line.machine.native;
    for (const Property& property : parse_properties(value)) {
        if (property.value == "v2" && property.key.empty()) {
            native.hide_beyond_v2();
            continue;
        }
        const std::string_view whole = property.value;
        const bool is_signed =
            property.key.empty() && (whole.starts_with('-') || whole.starts_with('+'));
        const bool on = is_signed ? whole[0] == '+' : whole == "on";
        if (!is_signed && (property.key.empty() || (!on && whole != "off"))) {
            return Error{fmt::format("--native-features {}: expected v2, -NAME, +NAME, NAME=on or "
                                     "NAME=off",
                                     value)};
        }
        const std::string_view name = is_signed ? whole.substr(1) : std::string_view(property.key);
        const Change change = on ? native.show(name) : native.hide(name);
        if (change == Change::Unknown) {
            return unknown_value("--native-features", name, known);
        }
        if (change == Change::Lacking) {
            return Error{
                fmt::format("--native-features {}: this machine's own CPU lacks it", name)};
        }
    }
    return {};
}

Expected<void> set_machine(CommandLine& line, std::string_view value) {
    constexpr std::array<std::string_view, 2> kTypes = {"pc", "pc-i440fx"};
    constexpr std::array<std::string_view, 5> kKeys = {"type", "accel", "entry", "feature-control",
                                                       "usb"};
    if (value == "help" || value == "?") {
        line.answer = "Supported machines are:\npc    PC with i440FX and PIIX3 (default; pc-i440fx "
                      "is another name)\n";
        return {};
    }
    for (const Property& property : parse_properties(value)) {
        if (property.key.empty() || property.key == "type") {
            const std::string_view type = property.value;
            if (type != "pc" && !type.starts_with("pc-i440fx")) {
                return unknown_value("-machine", type, kTypes);
            }
        } else if (property.key == "accel") {
            if (auto set = set_accelerator(line, property.value); !set) {
                return set;
            }
        } else if (property.key == "entry") {
            constexpr std::array<std::string_view, 3> kEntries = {"auto", "32", "64"};
            if (std::find(kEntries.begin(), kEntries.end(), property.value) == kEntries.end()) {
                return unknown_value("-machine entry", property.value, kEntries);
            }
            line.machine.boot.entry_64 =
                property.value == "auto" ? std::nullopt : std::optional(property.value == "64");
        } else if (property.key == "feature-control") {
            constexpr std::array<std::string_view, 3> kStates = {"enabled", "disabled", "unlocked"};
            if (std::find(kStates.begin(), kStates.end(), property.value) == kStates.end()) {
                return unknown_value("-machine feature-control", property.value, kStates);
            }
            line.machine.vmx.feature_control_locked = property.value != "unlocked";
            line.machine.vmx.feature_control_vmx = property.value == "enabled";
        } else if (property.key == "usb" && property.value == "off") {
            continue;
        } else {
            return unknown_value("-machine", property.key, kKeys);
        }
    }
    return {};
}

Expected<void> set_rtc(CommandLine& line, std::string_view value, const NativeTime& time) {
    constexpr std::array<std::string_view, 3> kKeys = {"base", "clock", "driftfix"};
    constexpr std::array<std::string_view, 3> kClocks = {"host", "rt", "vm"};
    for (const Property& property : parse_properties(value)) {
        if (property.key == "base") {
            line.rtc_base_given = true;
            if (property.value == "utc" || property.value == "localtime") {
                line.machine.rtc_start_seconds =
                    time.now_seconds + (property.value == "utc" ? 0 : time.utc_offset_seconds);
                continue;
            }
            const auto date = parse_datetime(property.value);
            if (!date) {
                return Error{fmt::format(
                    "-rtc base={}: expected utc, localtime, YYYY-MM-DD or YYYY-MM-DDTHH:MM:SS",
                    property.value)};
            }
            line.machine.rtc_start_seconds = *date;
        } else if (property.key == "clock") {
            // Virtual time follows the native clock anyway unless --icount is on; nothing to
            // choose.
            if (std::find(kClocks.begin(), kClocks.end(), property.value) == kClocks.end()) {
                return unknown_value("-rtc clock", property.value, kClocks);
            }
        } else if (property.key != "driftfix") {
            return unknown_value("-rtc", property.key.empty() ? property.value : property.key,
                                 kKeys);
        }
    }
    return {};
}

Expected<void> set_log_items(CommandLine& line, std::string_view value) {
    std::vector<std::string_view> names;
    for (std::size_t i = 0; i < static_cast<std::size_t>(LogCategory::kCount); ++i) {
        names.push_back(Log::name_of(static_cast<LogCategory>(i)));
    }
    if (value == "help" || value == "?") {
        line.answer = "Log items (comma separated):\n";
        for (std::size_t i = 0; i < names.size(); ++i) {
            line.answer +=
                fmt::format("{:<14} {}\n", names[i], Log::describe(static_cast<LogCategory>(i)));
        }
        return {};
    }
    for (const Property& property : parse_properties(value)) {
        if (std::find(names.begin(), names.end(), property.value) == names.end()) {
            return unknown_value("-d", property.value, names);
        }
        line.log_items.push_back(property.value);
    }
    return {};
}

Expected<void> set_log_file(CommandLine& line, std::string_view value) {
    const std::vector<Property> properties = parse_properties(value);
    for (const Property& property : properties) {
        if (&property == &properties.front()) {
            line.log_file = file_name(property);
        } else if (property.key == "limit") {
            const auto bytes = parse_size(property.value);
            if (!bytes) {
                return Error{fmt::format(
                    "-D {}: limit={}: expected a size such as 100M or 2G, or 0 for no limit", value,
                    property.value)};
            }
            line.log_limit_bytes = *bytes;
        } else {
            constexpr std::array<std::string_view, 1> kKeys = {"limit"};
            return unknown_value("-D", property.key.empty() ? property.value : property.key, kKeys);
        }
    }
    if (line.log_file.empty()) {
        return Error{"-D: expected FILE"};
    }
    return {};
}

Expected<void> set_timeout(CommandLine& line, std::string_view value) {
    const auto nanoseconds = parse_seconds(value);
    if (!nanoseconds || *nanoseconds == 0) {
        return Error{
            fmt::format("--timeout {}: expected a number of seconds greater than 0", value)};
    }
    line.timeout = std::chrono::nanoseconds(*nanoseconds);
    return {};
}

Expected<void> set_display(CommandLine& line, std::string_view value) {
    if (value != "none") {
        return Error{fmt::format("-display {}: there is no window yet, only none", value)};
    }
    line.display_none = true;
    return {};
}

Expected<CharSpec>
parse_char_spec(const CommandLine& line, std::string_view option, std::string_view value) {
    using Kind = CharSpec::Kind;
    if (value == "none") {
        return CharSpec{};
    }
    if (value == "null") {
        return CharSpec{.kind = Kind::Null, .path = {}};
    }
    if (value == "stdio" || value == "mon:stdio") {
        return CharSpec{.kind = Kind::Stdio, .path = {}, .with_monitor = value != "stdio"};
    }
    if (value == "pty") {
        return CharSpec{.kind = Kind::Pty, .path = {}};
    }
    if (value.starts_with("file:") && value.size() > 5) {
        return CharSpec{.kind = Kind::File, .path = std::string(value.substr(5))};
    }
    if (value.starts_with("chardev:")) {
        return find_chardev(line, option, value.substr(8));
    }
    constexpr std::array<std::string_view, 7> kKnown = {"stdio", "mon:stdio",  "file:PATH", "pty",
                                                        "null",  "chardev:ID", "none"};
    return unknown_value(option, value, kKnown);
}

Expected<void> add_chardev(CommandLine& line, std::string_view value) {
    std::string kind;
    std::string id;
    std::string path;
    bool mux = false;
    for (const Property& property : parse_properties(value)) {
        if (property.key.empty()) {
            kind = property.value;
        } else if (property.key == "id") {
            id = property.value;
        } else if (property.key == "path") {
            path = property.value;
        } else if (property.key == "mux") {
            mux = property.value == "on";
        } else if (property.key != "signal") {
            constexpr std::array<std::string_view, 4> kKeys = {"id", "path", "mux", "signal"};
            return unknown_value("-chardev", property.key, kKeys);
        }
    }
    if (id.empty()) {
        return Error{fmt::format("-chardev {}: needs id=ID", value)};
    }
    const std::string text = kind == "file"           ? "file:" + path
                             : mux && kind == "stdio" ? "mon:stdio"
                                                      : kind;
    const auto spec = parse_char_spec(line, "-chardev", text);
    if (!spec) {
        return spec.error();
    }
    if (!line.chardevs.emplace(id, spec.value()).second) {
        return Error{fmt::format("-chardev {}: there is already one with the id '{}'", value, id)};
    }
    return {};
}

}  // namespace droste::cli
