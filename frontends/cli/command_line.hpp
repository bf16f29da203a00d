#pragma once
// The command line: QEMU's names for what both have, ours for the rest. One table of options; each
// row knows its value's name, its help and how to take it.

#include "core/error.hpp"
#include "core/types.hpp"
#include "frontends/machine/config.hpp"

#include <chrono>
#include <map>
#include <optional>
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
    CharSpec chars;
};

struct CommandLine {
    // When not empty: print this and exit with status 0; nothing else counts.
    std::string answer;
    // To standard error before the start.
    std::vector<std::string> warnings;

    MachineConfig machine;  // backends and CPU features are still to be filled in
    std::string cpu_model;
    std::vector<CharSpec> serials;
    std::vector<DebugConsoleSpec> debug_consoles;
    std::map<std::string, CharSpec> chardevs;
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
    std::string until;
    std::optional<std::chrono::nanoseconds> timeout;
    bool rtc_base_given = false;
};

// `arguments` without the program's name. `now_seconds`, `utc_offset_seconds`: the native wall
// clock, for -rtc.
Expected<CommandLine> parse_command_line(std::span<const std::string_view> arguments,
                                         i64 now_seconds,
                                         i64 utc_offset_seconds);

std::string help_text();
std::string version_text();

}  // namespace droste::cli
