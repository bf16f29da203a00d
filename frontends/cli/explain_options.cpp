#include "frontends/cli/explain_options.hpp"

#include "cpu/vmx/explain/exit_levels.hpp"
#include "frontends/cli/values.hpp"

#include <algorithm>
#include <array>

#include <fmt/format.h>

namespace droste::cli {

namespace {

Error unknown_key(std::string_view option,
                  std::string_view key,
                  std::span<const std::string_view> known) {
    return Error{fmt::format("{}: unknown '{}'{}; known: {}", option, key, suggestion(key, known),
                             fmt::join(known, ", "))};
}

}  // namespace

Expected<void> set_exit_trace(CommandLine& line, std::string_view value) {
    using Format = ExitTraceOptions::Format;
    constexpr std::string_view kOption = "--vmexit-trace";
    ExitTraceOptions trace;
    const std::vector<Property> properties = parse_properties(value);
    for (const Property& property : properties) {
        if (&property == &properties.front()) {
            trace.path = file_name(property);
        } else if (property.key == "format") {
            constexpr std::array<std::string_view, 2> kFormats = {"text", "json"};
            if (std::find(kFormats.begin(), kFormats.end(), property.value) == kFormats.end()) {
                return unknown_key("--vmexit-trace format=", property.value, kFormats);
            }
            trace.format = property.value == "json" ? Format::Json : Format::Text;
        } else if (property.key == "limit") {
            const auto bytes = parse_size(property.value);
            if (!bytes) {
                return Error{
                    fmt::format("{} limit={}: expected a size such as 100M or 2G, or 0 for "
                                "no limit",
                                kOption, property.value)};
            }
            trace.limit_bytes = *bytes;
        } else {
            constexpr std::array<std::string_view, 2> kKeys = {"format", "limit"};
            return unknown_key(kOption, property.key.empty() ? property.value : property.key,
                               kKeys);
        }
    }
    if (trace.path.empty()) {
        return Error{fmt::format("{}: expected FILE, or - for text on the terminal", kOption)};
    }
    line.explain.exit_trace = std::move(trace);
    return {};
}

Expected<void> add_symbols(CommandLine& line, std::string_view value) {
    SymbolFileOptions file;
    const std::size_t colon = value.find(':');
    std::string_view level = value.substr(0, colon);
    if (level.starts_with('L') || level.starts_with('l')) {
        level.remove_prefix(1);
    }
    const auto number = parse_number(level);
    if (colon == std::string_view::npos || !number || *number == 0 || *number >= kMaxLevels) {
        return Error{
            fmt::format("--symbols {}: expected LEVEL:FILE with a level from 1 to {}, e.g. "
                        "2:vmlinux",
                        value, kMaxLevels - 1)};
    }
    file.level = static_cast<unsigned>(*number);
    const std::vector<Property> properties = parse_properties(value.substr(colon + 1));
    for (const Property& property : properties) {
        if (&property == &properties.front()) {
            file.path = file_name(property);
        } else if (property.key == "offset") {
            const auto offset = parse_number(property.value);
            if (!offset) {
                return Error{
                    fmt::format("--symbols {}: offset={}: expected a number such as 0x1000000",
                                value, property.value)};
            }
            file.offset = *offset;
        } else {
            constexpr std::array<std::string_view, 1> kKeys = {"offset"};
            return unknown_key("--symbols", property.key.empty() ? property.value : property.key,
                               kKeys);
        }
    }
    if (file.path.empty()) {
        return Error{fmt::format("--symbols {}: there is no file name behind the level", value)};
    }
    line.explain.symbols.push_back(std::move(file));
    return {};
}

Expected<void> set_vmcs_dump(CommandLine& line, std::string_view value) {
    line.explain.vmcs_dump = std::string(value);
    return {};
}

}  // namespace droste::cli
