#include "frontends/cli/command_line.hpp"

#include "core/assert.hpp"
#include "cpu/x86/model/cpu_models.hpp"
#include "frontends/cli/cpu_choice.hpp"
#include "frontends/cli/devices.hpp"
#include "frontends/cli/exit_status.hpp"
#include "frontends/cli/explain_options.hpp"
#include "frontends/cli/option_values.hpp"
#include "frontends/cli/translator_options.hpp"
#include "frontends/cli/values.hpp"

#include <algorithm>
#include <array>

#include "roms/embedded.hpp"
#include <fmt/format.h>

namespace droste::cli {

namespace {

// The state of a parse: the result, and what values may depend on.
struct Parse {
    CommandLine line;
    NativeTime time;
};

using Apply = Expected<void> (*)(Parse& parse, std::string_view value);

struct OptionRow {
    std::string_view name;   // without dashes
    std::string_view value;  // what --help calls its value; empty: it takes none; [X]: or none
    std::string_view help;   // empty: accepted but not listed
    Apply apply;
    bool repeats = false;  // each time it adds something; otherwise the last one counts

    constexpr bool value_is_optional() const { return value.starts_with('['); }
};

// An option that stores its value as it is.
template <std::string BootRequest::*kMember>
Expected<void> store_boot(Parse& parse, std::string_view value) {
    parse.line.machine.boot.*kMember = value;
    return {};
}
template <bool CommandLine::*kMember, bool kValue = true>
Expected<void> set_flag(Parse& parse, std::string_view /*value*/) {
    parse.line.*kMember = kValue;
    return {};
}
template <Expected<void> (*kFunction)(CommandLine&, std::string_view)>
Expected<void> on_line(Parse& parse, std::string_view value) {
    return kFunction(parse.line, value);
}

Expected<void> apply_bios(Parse& parse, std::string_view value) {
    parse.line.machine.bios = value;
    return {};
}
Expected<void> apply_cpu(Parse& parse, std::string_view value) {
    if (value != "help" && value != "?") {
        parse.line.cpu_model = value;
        return {};
    }
    parse.line.answer = "Available CPUs:\n";
    for (const CpuModel& model : cpu_models()) {
        parse.line.answer += fmt::format("  {:<10} {}{}\n", model.name, model.description,
                                         model.name == kDefaultCpuModel ? " (default)" : "");
    }
    parse.line.answer += "\nFeatures (+NAME or -NAME after a comma):\n ";
    for (std::size_t i = 0; i < static_cast<std::size_t>(Feature::kCount); ++i) {
        parse.line.answer += fmt::format(" {}", feature_name(static_cast<Feature>(i)));
    }
    parse.line.answer += "\n\nFeatures of VMX, with +vmx or -cpu max:\n" + list_vmx_features();
    return {};
}
Expected<void> apply_serial(Parse& parse, std::string_view value) {
    const auto spec = parse_char_spec(parse.line, "-serial", value);
    if (!spec) {
        return spec.error();
    }
    if (parse.line.serials.size() == kMaxSerialPorts) {
        return Error{
            fmt::format("-serial {}: a PC has at most {} serial ports", value, kMaxSerialPorts)};
    }
    parse.line.serials.push_back(spec.value());
    return {};
}
Expected<void> apply_debugcon(Parse& parse, std::string_view value) {
    const auto spec = parse_char_spec(parse.line, "-debugcon", value);
    if (!spec) {
        return spec.error();
    }
    parse.line.debug_consoles.push_back(
        {.port = 0, .chars = spec.value()});  // the port: see finish()
    return {};
}
Expected<void> apply_rtc(Parse& parse, std::string_view value) {
    return set_rtc(parse.line, value, parse.time);
}
Expected<void> apply_icount(Parse& parse, std::string_view /*value*/) {
    parse.line.machine.clock_mode = Clock::Mode::Counting;
    return {};
}
Expected<void> apply_icount_ns(Parse& parse, std::string_view value) {
    const auto number = parse_number(value);
    if (!number || *number < 1 || *number > Clock::kMaxCountingNsPerInsn) {
        return Error{fmt::format("--icount-ns {}: expected 1 to {} ns an instruction", value,
                                 Clock::kMaxCountingNsPerInsn)};
    }
    parse.line.machine.counting_ns = *number;
    return apply_icount(parse, {});
}
Expected<void> apply_name(Parse& parse, std::string_view value) {
    parse.line.name = value.substr(0, value.find(','));
    return {};
}
Expected<void> apply_until(Parse& parse, std::string_view value) {
    if (value.empty()) {
        return Error{"--until: expected a text that is not empty"};
    }
    parse.line.until = value;
    return {};
}
Expected<void> apply_help(Parse& parse, std::string_view /*value*/) {
    parse.line.answer = help_text();
    return {};
}
Expected<void> apply_version(Parse& parse, std::string_view /*value*/) {
    parse.line.answer = version_text();
    return {};
}
// Switches off what this machine does not have anyway.
Expected<void> apply_none(Parse& /*parse*/, std::string_view value) {
    if (value != "none" && value != "null") {
        return Error{fmt::format("'{}': there is no such device here yet, only none", value)};
    }
    return {};
}
Expected<void> apply_nothing(Parse& /*parse*/, std::string_view /*value*/) {
    return {};
}

constexpr bool kRepeats = true;

// clang-format off
constexpr std::array kOptions = {
    OptionRow{"kernel",    "FILE", "start this kernel: Linux bzImage, multiboot (ELF, .gz), PVH ELF", store_boot<&BootRequest::kernel>},
    OptionRow{"initrd",    "FILE", "its initrd; for multiboot: \"FILE ARGS,FILE ARGS...\" modules",   store_boot<&BootRequest::initrd>},
    OptionRow{"append",    "TEXT", "its command line",                                                store_boot<&BootRequest::append>},
    OptionRow{"bios",      "FILE", "start this firmware image instead of a kernel",                   apply_bios},
    OptionRow{"m",         "SIZE", "RAM: MiB, or with suffix K, M, G (default 128M, at most 64G)",    on_line<set_memory>},
    OptionRow{"smp",       "N",    "number of CPUs, 1 to 255 (default 1)",                            on_line<set_smp>},
    OptionRow{"cpu",       "MODEL[,+FEATURE][,-FEATURE]", "CPU model (-cpu help)",                    apply_cpu},
    OptionRow{"machine",   "TYPE[,PROPERTY=VALUE]", "pc; accel=, entry=auto|32|64, feature-control=enabled|disabled|unlocked", on_line<set_machine>, kRepeats},
    OptionRow{"M",         "TYPE", "",                                                                on_line<set_machine>, kRepeats},
    OptionRow{"accel",     "NAME[,PROPERTY=VALUE]", "interp, or jit: tb-size=MIB, threshold=N (-accel help)",        on_line<set_accelerator>},
    OptionRow{"native-features", "-NAME,...|v2", "do without these of the native CPU; v2: all beyond x86-64-v2 (help lists them)", on_line<set_native_features>, kRepeats},
    OptionRow{"rtc",       "base=utc|localtime|DATE", "wall clock at power-on (default utc; with --icount 2024-01-01)", apply_rtc, kRepeats},
    OptionRow{"name",      "NAME", "name of the machine, for messages",                               apply_name},

    OptionRow{"serial",    "DEV",  "next serial port: stdio, mon:stdio, file:PATH, pty, null, none",  apply_serial, kRepeats},
    OptionRow{"nographic", "",     "first serial port and monitor on the terminal (default)",         set_flag<&CommandLine::nographic>},
    OptionRow{"display",   "none", "no display",                                                      on_line<set_display>},
    OptionRow{"debugcon",  "DEV",  "debug console on port 0xe9 (-global isa-debugcon.iobase=)",       apply_debugcon, kRepeats},
    OptionRow{"chardev",   "KIND,id=ID[,path=PATH]", "named character device",                        on_line<add_chardev>, kRepeats},
    OptionRow{"device",    "NAME[,PROPERTY=VALUE]", "add a device (-device help)",                    on_line<add_device>, kRepeats},
    OptionRow{"global",    "DRIVER.PROPERTY=VALUE", "default of a device's property",                 on_line<set_global>, kRepeats},
    OptionRow{"nodefaults", "",    "no default devices (serial port)",                                set_flag<&CommandLine::defaults, false>},

    OptionRow{"no-reboot", "",     "end the run where the machine would reset",                       set_flag<&CommandLine::no_reboot>},
    OptionRow{"no-shutdown", "",   "pause where the machine would switch off",                        set_flag<&CommandLine::no_shutdown>},
    OptionRow{"S",         "",     "start paused (monitor: cont)",                                    set_flag<&CommandLine::start_paused>},
    OptionRow{"timeout",   "SEC",  "end the run after that many seconds, status 124",                 on_line<set_timeout>},
    OptionRow{"until",     "TEXT", "end the run when the guest has printed TEXT, status 0",           apply_until},
    OptionRow{"icount",    "",     "time from retired instructions: two runs are identical",          apply_icount},
    OptionRow{"icount-ns", "N",    "--icount with N ns an instruction, 1 to 1000 (default 10)",       apply_icount_ns},
    OptionRow{"stats",     "",     "print counters to standard error at the end",                     set_flag<&CommandLine::stats>},
    OptionRow{"lockstep",  "[each|every=N]", "compare translator and interpreter as they go, every 1000 instructions", on_line<set_lockstep>},
    OptionRow{"perf-map",  "",     "names of translated code for perf report: /tmp/perf-PID.map",     set_flag<&CommandLine::perf_map>},
    OptionRow{"jitdump",   "[DIR]", "translated code for perf inject --jit: DIR/jit-PID.dump",        on_line<set_jitdump>},
    OptionRow{"v",         "",     "say what is loaded and how the run ended",                        set_flag<&CommandLine::verbose>},
    OptionRow{"verbose",   "",     "",                                                                set_flag<&CommandLine::verbose>},
    OptionRow{"d",         "ITEM,...", "log these events (-d help)",                                  on_line<set_log_items>, kRepeats},
    OptionRow{"D",         "FILE[,limit=SIZE]", "log to FILE instead of standard error, at most SIZE",             on_line<set_log_file>},
    OptionRow{"vmexit-trace", "FILE[,format=text|json][,limit=SIZE]", "each VM exit, decoded; FILE.json for Perfetto; - for the terminal", on_line<set_exit_trace>},
    OptionRow{"symbols",   "LEVEL:FILE[,offset=N]", "names for code of that level (1: the hypervisor): ELF or System.map", on_line<add_symbols>, kRepeats},
    OptionRow{"vmcs-dump", "[FILE]", "the whole VMCS whenever a VM entry fails (default -)",          on_line<set_vmcs_dump>},
    OptionRow{"config",    "FILE", "options from FILE, a line each (droste nested enable writes one)", apply_nothing},
    OptionRow{"version",   "",     "print the version",                                               apply_version},
    OptionRow{"help",      "",     "print this text",                                                 apply_help},
    OptionRow{"h",         "",     "",                                                                apply_help},

    // Accepted from QEMU command lines: they ask for what is so anyway.
    OptionRow{"vga",       "none", "", apply_none},
    OptionRow{"nic",       "none", "", apply_none},
    OptionRow{"net",       "none", "", apply_none},
    OptionRow{"parallel",  "none", "", apply_none},
    OptionRow{"monitor",   "none", "", apply_none},
    OptionRow{"no-user-config", "", "", apply_nothing},
    OptionRow{"no-fd-bootchk",  "", "", apply_nothing},
};
// clang-format on

const OptionRow* find_option(std::string_view name) {
    const auto found = std::find_if(kOptions.begin(), kOptions.end(),
                                    [&](const OptionRow& row) { return row.name == name; });
    return found == kOptions.end() ? nullptr : found;
}

Error unknown_option(std::string_view argument, std::string_view name) {
    std::array<std::string_view, kOptions.size()> names{};
    std::transform(kOptions.begin(), kOptions.end(), names.begin(),
                   [](const OptionRow& row) { return row.name; });
    const std::string_view near = nearest(name, names);
    if (near.empty()) {
        return Error{fmt::format("{}: unknown option (--help lists them)", argument)};
    }
    return Error{fmt::format("{}: unknown option, did you mean -{}?", argument, near)};
}

// Nothing to boot was named: the self-nesting hypervisor runs (docs/vmx/rom.md). It needs VMX, and
// reports a failed check through isa-debug-exit.
void start_builtin_rom(CommandLine& line) {
    constexpr u16 kRomExitPort = 0xF4;
    line.machine.boot.builtin = embedded_rom();
    if (line.cpu_model.empty()) {
        line.cpu_model = fmt::format("{},+vmx", kDefaultCpuModel);
    }
    const auto& devices = line.machine.devices;
    const DeviceRequest debug_exit = debug_exit_request(kRomExitPort, 4);
    if (std::none_of(devices.begin(), devices.end(), [&](const DeviceRequest& request) {
            return request.driver == debug_exit.driver;
        })) {
        line.machine.devices.push_back(debug_exit);
    }
}

bool is_stdio(const CharSpec& spec) {
    return spec.kind == CharSpec::Kind::Stdio;
}

Expected<void> choose_cpu(CommandLine& line) {
    const auto choice = parse_cpu(line.cpu_model, line.machine.native);
    if (!choice) {
        return choice.error();
    }
    MachineConfig& machine = line.machine;
    if (const std::string& lacking = choice.value().lacking; !lacking.empty()) {
        if (machine.clock_mode == Clock::Mode::Counting) {
            return Error{
                fmt::format("-cpu {}: this machine's own CPU lacks {}, and with --icount a run "
                            "must be the same on "
                            "any machine: choose a model without them (-cpu MODEL,-FEATURE)",
                            line.cpu_model, lacking)};
        }
        if (!choice.value().is_max) {
            line.warnings.push_back(
                fmt::format("-cpu {}: this machine's own CPU lacks {}; the guest's is without them",
                            line.cpu_model, lacking));
        }
    }
    machine.cpu_model = line.cpu_model;
    machine.cpu = choice.value().cpu;
    machine.vmx.features = choice.value().vmx.features;
    if (line.explain.wants_vmx() && !machine.cpu.has(Feature::VMX)) {
        line.warnings.push_back(
            fmt::format("-cpu {} has no VMX: there will be no VM exit to explain "
                        "(-cpu MODEL,+vmx)",
                        line.cpu_model));
    }
    return {};
}

// What can be checked and filled in only when all options are known.
Expected<void> finish(Parse& parse, Purpose purpose) {
    CommandLine& line = parse.line;
    const BootRequest& boot = line.machine.boot;
    if (boot.kernel.empty()) {
        if (!boot.initrd.empty()) {
            return Error{"-initrd without -kernel: an initrd needs a kernel to use it"};
        }
        if (!line.machine.bios.empty() && !boot.append.empty()) {
            return Error{"-append without -kernel: a command line needs a kernel to read it"};
        }
        if (line.machine.bios.empty() && purpose == Purpose::Run) {
            start_builtin_rom(line);
        }
    } else if (!line.machine.bios.empty()) {
        return Error{
            "-bios with -kernel: a kernel is started without firmware, give only one of them"};
    }
    if (line.machine.threads) {
        if (line.machine.clock_mode == Clock::Mode::Counting) {
            return Error{"-accel thread=multi with --icount: instructions are counted on one "
                         "thread; leave thread=multi out"};
        }
        line.machine.clock_mode = Clock::Mode::Native;
    }
    if (auto checked = check_translator_options(line); !checked) {
        return checked;
    }
    if (!line.rtc_base_given) {
        constexpr i64 kFixedStart = 1'704'067'200;  // 2024-01-01: runs with --icount repeat exactly
        line.machine.rtc_start_seconds =
            line.machine.clock_mode == Clock::Mode::Counting ? kFixedStart : parse.time.now_seconds;
    }
    if (line.cpu_model.empty()) {
        line.cpu_model = kDefaultCpuModel;
    }
    for (DebugConsoleSpec& spec : line.debug_consoles) {
        spec.port = spec.port == 0 ? line.debug_console_port : spec.port;
    }
    if (line.serials.empty() && line.defaults && (line.nographic || !line.display_none)) {
        line.serials.push_back({.kind = CharSpec::Kind::Stdio, .path = {}, .with_monitor = true});
    }
    line.explain.console_on_stdout =
        std::any_of(line.serials.begin(), line.serials.end(), is_stdio) ||
        std::any_of(line.debug_consoles.begin(), line.debug_consoles.end(),
                    [](const DebugConsoleSpec& spec) { return is_stdio(spec.chars); });
    return choose_cpu(line);
}

}  // namespace

Expected<std::vector<GivenOption>> split_arguments(std::span<const std::string_view> arguments) {
    std::vector<GivenOption> options;
    for (std::size_t i = 0; i < arguments.size(); ++i) {
        const std::string_view argument = arguments[i];
        if (argument.size() < 2 || argument[0] != '-') {
            return Error{
                fmt::format("'{}': not an option; disk images cannot be given yet", argument)};
        }
        std::string_view name = argument.substr(argument[1] == '-' ? 2 : 1);
        std::optional<std::string> value;
        if (const std::size_t equals = name.find('=');
            argument[1] == '-' && equals != std::string_view::npos) {
            value = name.substr(equals + 1);
            name = name.substr(0, equals);
        }
        const OptionRow* option = find_option(name);
        if (option == nullptr) {
            return unknown_option(argument, name);
        }
        if (value && option->value.empty()) {
            return Error{fmt::format("{}: takes no value", argument)};
        }
        if (!value && !option->value.empty()) {
            const bool another = i + 1 < arguments.size();
            if (option->value_is_optional()) {
                if (another && (!arguments[i + 1].starts_with('-') || arguments[i + 1] == "-")) {
                    value = arguments[++i];
                }
            } else if (!another) {
                return Error{fmt::format("{}: needs a value ({})", argument, option->value)};
            } else {
                value = arguments[++i];
            }
        }
        options.push_back({std::string(name), std::move(value), {}, 0});
    }
    return options;
}

Expected<std::vector<GivenOption>> options_of(const ConfigFile& file) {
    std::vector<GivenOption> options;
    for (std::size_t i = 0; i < file.lines.size(); ++i) {
        const ConfigLine& line = file.lines[i];
        if (line.name.empty()) {
            continue;
        }
        const std::string where = fmt::format("{}:{}: ", file.path, i + 1);
        const OptionRow* option = find_option(line.name);
        if (option == nullptr) {
            return Error{where + unknown_option(line.name, line.name).message};
        }
        if (line.name == "config") {
            return Error{where + "a file of options cannot name another"};
        }
        if (line.value && option->value.empty()) {
            return Error{fmt::format("{}{}: takes no value", where, line.name)};
        }
        if (!line.value && !option->value.empty() && !option->value_is_optional()) {
            return Error{fmt::format("{}{}: needs a value ({} = {})", where, line.name, line.name,
                                     option->value)};
        }
        options.push_back({line.name, line.value, where, i});
    }
    return options;
}

Expected<std::vector<GivenOption>> expand_config(std::vector<GivenOption> options) {
    std::vector<GivenOption> expanded;
    for (GivenOption& option : options) {
        if (option.name != "config") {
            expanded.push_back(std::move(option));
            continue;
        }
        const auto file = read_config(option.value.value_or(""));
        if (!file) {
            return file.error();
        }
        auto contents = options_of(file.value());
        if (!contents) {
            return contents.error();
        }
        for (GivenOption& inner : contents.value()) {
            expanded.push_back(std::move(inner));
        }
    }
    return expanded;
}

bool option_repeats(std::string_view name) {
    const OptionRow* option = find_option(name);
    return option != nullptr && option->repeats;
}

Expected<CommandLine> parse_options(std::span<const GivenOption> options,
                                    Purpose purpose,
                                    i64 now_seconds,
                                    i64 utc_offset_seconds) {
    Parse parse;
    parse.time = {now_seconds, utc_offset_seconds};
    for (const GivenOption& given : options) {
        const OptionRow* option = find_option(given.name);
        DROSTE_ASSERT(option != nullptr);
        if (const auto applied = option->apply(parse, given.value.value_or("")); !applied) {
            return Error{given.where + applied.error().message};
        }
        if (!parse.line.answer.empty()) {
            return std::move(parse.line);
        }
    }
    if (const auto finished = finish(parse, purpose); !finished) {
        return finished.error();
    }
    return std::move(parse.line);
}

Expected<CommandLine> parse_command_line(std::span<const std::string_view> arguments,
                                         i64 now_seconds,
                                         i64 utc_offset_seconds) {
    auto given = split_arguments(arguments);
    if (!given) {
        return given.error();
    }
    const auto options = expand_config(std::move(given).value());
    if (!options) {
        return options.error();
    }
    return parse_options(options.value(), Purpose::Run, now_seconds, utc_offset_seconds);
}

std::string help_text() {
    std::string text =
        "usage: droste -kernel FILE [-initrd FILE] [-append TEXT] [options]\n"
        "       droste -bios FILE [options]\n"
        "       droste [options]          (the built-in ROM, a hypervisor that nests itself)\n"
        "       droste nested status|enable [--config FILE] [options]\n"
        "                                 (is this machine fit for a hypervisor inside? make it "
        "so)\n\n"
        "An x86-64 PC. Options have one dash or two, as in QEMU.\n\n";
    for (const OptionRow& row : kOptions) {
        if (!row.help.empty()) {
            const std::string left = row.value.empty() ? fmt::format("-{}", row.name)
                                                       : fmt::format("-{} {}", row.name, row.value);
            if (left.size() > 22) {
                text += fmt::format("  {}\n  {:<22} {}\n", left, "", row.help);
            } else {
                text += fmt::format("  {:<22} {}\n", left, row.help);
            }
        }
    }
    text +=
        "\nOn the terminal: Ctrl-A x ends the run, Ctrl-A c opens the monitor, Ctrl-A h helps.\n"
        "\nExit status:\n";
    for (const ExitRow& row : kExitRows) {
        text += fmt::format("  {:<10} {}\n", row.status, row.meaning);
    }
    return text;
}

std::string version_text() {
    return "droste " DROSTE_VERSION "\n";  // meson.build has the number
}

}  // namespace droste::cli
