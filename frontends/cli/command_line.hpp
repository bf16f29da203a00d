#pragma once
// The command line: QEMU's names for what both have, ours for the rest. One table of options; each
// row knows its value's name, its help and how to take it.

#include "core/error.hpp"
#include "core/types.hpp"
#include "frontends/cli/config_file.hpp"
#include "frontends/debugger/lockstep_options.hpp"
#include "frontends/debugger/vmx_explainer.hpp"
#include "frontends/machine/config.hpp"

#include <chrono>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace droste::cli {

// Where a character device leads.
struct CharSpec {
    enum class Kind : u8 { None /* no device */, Null, Stdio, File, Pty };
    Kind kind = Kind::None;
    std::string path;           // File
    bool with_monitor = false;  // Stdio: shared with the monitor, Ctrl-A escapes
};

struct DebugConsoleSpec {
    u16 port = 0xE9;
    std::string id = {};  // of -device
    CharSpec chars;
};

struct CommandLine {
    // When not empty: print this and exit with status 0; nothing else counts.
    std::string answer;
    // To standard error before the start.
    std::vector<std::string> warnings;

    MachineConfig machine;  // backends are still to be filled in
    std::string cpu_model;
    ExplainOptions explain;
    LockstepOptions lockstep;
    bool perf_map = false;
    std::string jitdump_directory;  // empty: no dump
    std::vector<CharSpec> serials;
    std::vector<DebugConsoleSpec> debug_consoles;
    std::map<std::string, CharSpec> chardevs;
    std::set<std::string> device_ids;
    u16 debug_console_port = 0xE9;  // of -debugcon; -global isa-debugcon.iobase

    std::string name;
    bool defaults = true;
    bool nographic = false;
    bool display_none = false;
    bool no_reboot = false;
    bool no_shutdown = false;
    bool start_paused = false;
    bool verbose = false;
    bool stats = false;
    std::vector<std::string> log_items;
    std::string log_file;
    u64 log_limit_bytes = 0;  // 0: none
    std::string until;
    std::optional<std::chrono::nanoseconds> timeout;
    bool rtc_base_given = false;
};

// An option as it was given, before anybody looked at its value.
struct GivenOption {
    std::string name;  // without dashes
    std::optional<std::string> value;
    std::string where;            // "FILE:LINE: " if it comes from --config
    std::size_t config_line = 0;  // its position in that file
};

// Takes arguments (without the program's name) apart. --config stays as it is.
Expected<std::vector<GivenOption>> split_arguments(std::span<const std::string_view> arguments);
// Puts the contents of files in the place of --config.
Expected<std::vector<GivenOption>> expand_config(std::vector<GivenOption> options);
// The options of one file, checked for names and for values being there.
Expected<std::vector<GivenOption>> options_of(const ConfigFile& file);

enum class Purpose : u8 {
    Run,       // a machine that starts: something boots, the ROM if nothing else
    Describe,  // a machine to talk about
};
// `now_seconds`, `utc_offset_seconds`: the native wall clock, for -rtc.
Expected<CommandLine> parse_options(std::span<const GivenOption> options,
                                    Purpose purpose,
                                    i64 now_seconds,
                                    i64 utc_offset_seconds);
// All of it.
Expected<CommandLine> parse_command_line(std::span<const std::string_view> arguments,
                                         i64 now_seconds,
                                         i64 utc_offset_seconds);
// May be given more than once, each time adding something.
bool option_repeats(std::string_view name);

std::string help_text();
std::string version_text();

}  // namespace droste::cli
