#pragma once
// Options that look at the translator: --lockstep, --perf-map, --jitdump.

#include "core/error.hpp"
#include "frontends/cli/command_line.hpp"

#include <string_view>

namespace droste::cli {

// "", "each" or properties.
Expected<void> set_lockstep(CommandLine& line, std::string_view value);
Expected<void> set_jitdump(CommandLine& line, std::string_view value);
// When all options are known.
Expected<void> check_translator_options(const CommandLine& line);

}  // namespace droste::cli
