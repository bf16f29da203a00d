#pragma once
// The values of --vmexit-trace, --symbols and --vmcs-dump.

#include "core/error.hpp"
#include "frontends/cli/command_line.hpp"

#include <string_view>

namespace droste::cli {

// FILE[,format=text|json][,limit=SIZE]
Expected<void> set_exit_trace(CommandLine& line, std::string_view value);
// LEVEL:FILE[,offset=N]
Expected<void> add_symbols(CommandLine& line, std::string_view value);
// [FILE]
Expected<void> set_vmcs_dump(CommandLine& line, std::string_view value);

}  // namespace droste::cli
