#include "frontends/cli/nested_command.hpp"

#include "cpu/x86/model/cpu_models.hpp"
#include "frontends/cli/command_line.hpp"
#include "frontends/cli/cpu_choice.hpp"
#include "frontends/cli/values.hpp"
#include "frontends/machine/nested_report.hpp"

#include <algorithm>
#include <array>
#include <vector>

#include <fmt/format.h>

namespace droste::cli {

namespace {

using Options = std::vector<GivenOption>;

Expected<CommandLine> describe(const Options& options) {
    return parse_options(options, Purpose::Describe, 0, 0);
}

// How much is missing; a description that is refused misses everything.
std::size_t missing_in(const Options& options) {
    const auto line = describe(options);
    return line ? count_missing(nested_report(line.value().machine)) : ~std::size_t{0};
}

bool is_missing(const Options& options, std::string_view item) {
    const auto line = describe(options);
    if (!line) {
        return false;
    }
    const auto report = nested_report(line.value().machine);
    return std::any_of(report.begin(), report.end(), [item](const NestedItem& entry) {
        return entry.name == item && entry.state == NestedItem::State::Missing;
    });
}

GivenOption* last_of(Options& options, std::string_view name) {
    const auto found = std::find_if(options.rbegin(), options.rend(),
                                    [&](const GivenOption& option) { return option.name == name; });
    return found == options.rend() ? nullptr : &*found;
}

// --- Corrections. Each changes what is incorrect and nothing else, and says so. ---

struct Correction {
    Options options;
    std::string remarks;
    void say(const std::string& text) { remarks += "droste nested: " + text + "\n"; }
};

// -cpu: VMX on, and no "-feature" that takes away something needed. Those that do no harm stay.
void correct_cpu(Correction& c) {
    GivenOption* option = last_of(c.options, "cpu");
    const std::string before = option == nullptr ? "" : option->value.value_or("");
    if (option == nullptr) {
        c.options.push_back({"cpu", std::string(kDefaultCpuModel), {}, 0});
        option = &c.options.back();
    }
    const std::vector<CpuItem> given = split_cpu(*option->value);
    const auto takes_away = [](const CpuItem& item) { return !item.name.empty() && !item.on; };
    std::vector<bool> keep;
    for (const CpuItem& item : given) {
        keep.push_back(!takes_away(item));
    }
    bool add_vmx = false;
    const auto spell = [&] {
        std::vector<CpuItem> items;
        for (std::size_t i = 0; i < given.size(); ++i) {
            if (keep[i]) {
                items.push_back(given[i]);
            }
        }
        return join_cpu(items) + (add_vmx ? ",+vmx" : "");
    };
    const auto missing = [&] {
        option->value = spell();
        return missing_in(c.options);
    };
    (void)missing();
    add_vmx = is_missing(c.options, "VMX");
    const std::size_t least = missing();
    for (std::size_t i = 0; i < given.size(); ++i) {
        if (takes_away(given[i]) && given[i].name != "vmx") {
            keep[i] = true;
            keep[i] = missing() <= least;
        }
    }
    option->value = spell();
    if (*option->value != before) {
        c.say(before.empty() ? fmt::format("added -cpu {}", *option->value)
                             : fmt::format("changed -cpu {} to {}", before, *option->value));
    }
}

std::string join_properties(const std::vector<Property>& properties) {
    const auto doubled = [](std::string_view text) {
        std::string out;
        for (const char c : text) {
            out += c == ',' ? ",," : std::string(1, c);
        }
        return out;
    };
    std::string text;
    for (const Property& property : properties) {
        text += text.empty() ? "" : ",";
        text += property.key.empty() ? doubled(property.value)
                                     : property.key + "=" + doubled(property.value);
    }
    return text;
}

// -machine feature-control=disabled: the default, enabled, is right.
void correct_feature_control(Correction& c) {
    for (GivenOption& option : c.options) {
        if (option.name != "machine" && option.name != "M") {
            continue;
        }
        const std::string before = option.value.value_or("");
        std::vector<Property> properties = parse_properties(before);
        const auto end =
            std::remove_if(properties.begin(), properties.end(), [](const Property& property) {
                return property.key == "feature-control";
            });
        if (end == properties.end()) {
            continue;
        }
        properties.erase(end, properties.end());
        option.value = join_properties(properties);
        c.say(properties.empty()
                  ? fmt::format("removed -{} {}", option.name, before)
                  : fmt::format("changed -{} {} to {}", option.name, before, *option.value));
    }
    std::erase_if(c.options, [](const GivenOption& option) {
        return (option.name == "machine" || option.name == "M") && option.value == "";
    });
}

void correct_memory(Correction& c) {
    const std::string enough = fmt::format("{}M", kProposedNestedRam >> 20);
    if (GivenOption* option = last_of(c.options, "m"); option != nullptr) {
        c.say(fmt::format("changed -m {} to {}", option->value.value_or(""), enough));
        option->value = enough;
    } else {
        c.say(fmt::format("added -m {} (the default is 128M)", enough));
        c.options.push_back({"m", enough, {}, 0});
    }
}

Correction correct(Options options) {
    Correction c{std::move(options), {}};
    const bool memory_short = is_missing(c.options, "memory");
    if (is_missing(c.options, "feature control")) {
        correct_feature_control(c);
    }
    if (memory_short) {
        correct_memory(c);
    }
    if (missing_in(c.options) != 0) {
        correct_cpu(c);
        // Behind a hidden VMX nobody asks what the lock says.
        if (is_missing(c.options, "feature control")) {
            correct_feature_control(c);
        }
    }
    if (c.remarks.empty()) {
        c.say("nothing to change");
    }
    return c;
}

// --- Output. ---

std::string quoted(std::string_view text) {
    constexpr std::string_view kPlain =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
        "_./,=+:@%-";
    if (!text.empty() && text.find_first_not_of(kPlain) == std::string_view::npos) {
        return std::string(text);
    }
    std::string out = "'";
    for (const char c : text) {
        out += c == '\'' ? "'\\''" : std::string(1, c);
    }
    return out + "'";
}

std::string as_arguments(const Options& options) {
    std::string text;
    for (const GivenOption& option : options) {
        text += text.empty() ? "" : " ";
        text += option.name == "vmcs-dump" && option.value
                    ? fmt::format("--{}={}", option.name, quoted(*option.value))
                : option.value ? fmt::format("-{} {}", option.name, quoted(*option.value))
                               : fmt::format("-{}", option.name);
    }
    return text + "\n";
}

// Puts the options into the file: lines that came from it stay where they are.
ConfigFile merged(const ConfigFile& file, const Options& options) {
    ConfigFile result = file;
    std::vector<bool> gone;
    for (const ConfigLine& line : file.lines) {
        gone.push_back(!line.name.empty());
    }
    for (const GivenOption& option : options) {
        const ConfigLine line = make_config_line(option.name, option.value);
        if (!option.where.empty()) {
            const ConfigLine& old = file.lines[option.config_line];
            gone[option.config_line] = false;
            if (old.value != option.value) {
                result.lines[option.config_line] = line;
            }
            continue;
        }
        const auto same =
            std::find_if(result.lines.begin(), result.lines.end(),
                         [&](const ConfigLine& old) { return old.name == option.name; });
        if (!option_repeats(option.name) && same != result.lines.end()) {
            *same = line;
        } else {
            result.lines.push_back(line);
        }
    }
    for (std::size_t i = file.lines.size(); i-- > 0;) {
        if (gone[i]) {
            result.lines.erase(result.lines.begin() + static_cast<std::ptrdiff_t>(i));
        }
    }
    return result;
}

// --- The commands. ---

Expected<NestedAnswer> status(Options given) {
    const auto options = expand_config(std::move(given));
    if (!options) {
        return options.error();
    }
    const auto line = describe(options.value());
    if (!line) {
        return line.error();
    }
    if (!line.value().answer.empty()) {
        return NestedAnswer{line.value().answer, {}, 0};
    }
    const auto report = nested_report(line.value().machine);
    const std::size_t missing = count_missing(report);
    NestedAnswer answer;
    answer.output = render_nested_report(report);
    if (missing != 0) {
        answer.status = 1;
        answer.remarks =
            "droste nested: not fit for a hypervisor as it is; droste nested enable with "
            "the same options corrects them\n";
    }
    return answer;
}

Expected<NestedAnswer> enable(Options given) {
    std::optional<ConfigFile> file;
    Options options;
    for (GivenOption& option : given) {
        if (option.name != "config") {
            continue;
        }
        if (file) {
            return Error{"--config: nested enable changes one file, not several"};
        }
        const std::string path = option.value.value_or("");
        file = ConfigFile{path, {}};
        if (config_exists(path)) {
            auto old = read_config(path);
            if (!old) {
                return old.error();
            }
            file = std::move(old).value();
        }
        auto inside = options_of(*file);
        if (!inside) {
            return inside.error();
        }
        options = std::move(inside).value();
    }
    for (GivenOption& option : given) {
        if (option.name != "config") {
            options.push_back(std::move(option));
        }
    }
    const auto before = describe(options);
    if (!before) {
        return before.error();
    }
    if (!before.value().answer.empty()) {
        return NestedAnswer{before.value().answer, {}, 0};
    }
    Correction corrected = correct(std::move(options));
    NestedAnswer answer;
    answer.status = missing_in(corrected.options) == 0 ? 0 : 1;
    if (answer.status != 0) {
        corrected.say("something is still missing: droste nested status says what");
    }
    if (file) {
        if (const auto written = write_config(merged(*file, corrected.options)); !written) {
            return written.error();
        }
        corrected.say(fmt::format("written to {}; start with: droste --config {}", file->path,
                                  quoted(file->path)));
    } else {
        answer.output = as_arguments(corrected.options);
    }
    answer.remarks = corrected.remarks;
    return answer;
}

constexpr std::string_view kUsage =
    "usage: droste nested status [MACHINE OPTIONS]\n"
    "           item by item: is the machine that these options make fit for a hypervisor inside?\n"
    "           status 0: yes, 1: something is missing, 2: wrong options\n"
    "       droste nested enable [MACHINE OPTIONS]\n"
    "           prints the options corrected; what changed is said on standard error\n"
    "       droste nested enable --config FILE [MACHINE OPTIONS]\n"
    "           writes them into FILE instead, for droste --config FILE\n";

}  // namespace

Expected<NestedAnswer> nested_command(std::span<const std::string_view> arguments) {
    constexpr std::array<std::string_view, 3> kCommands = {"status", "enable", "help"};
    if (arguments.empty()) {
        return Error{"nested: expected status or enable (droste nested help)"};
    }
    const std::string_view command = arguments[0];
    if (command == "help" || command == "-help" || command == "--help" || command == "-h") {
        return NestedAnswer{std::string(kUsage), {}, 0};
    }
    if (command != "status" && command != "enable") {
        return Error{fmt::format("nested {}: unknown command{}; known: {}", command,
                                 suggestion(command, kCommands), fmt::join(kCommands, ", "))};
    }
    auto given = split_arguments(arguments.subspan(1));
    if (!given) {
        return given.error();
    }
    return command == "status" ? status(std::move(given).value())
                               : enable(std::move(given).value());
}

}  // namespace droste::cli
