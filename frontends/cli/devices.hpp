#pragma once
// -device: what can be added, with its properties.

#include "core/error.hpp"
#include "frontends/cli/command_line.hpp"

#include <string>
#include <string_view>

namespace droste::cli {

// `value`: "NAME[,PROPERTY=VALUE...]", "help", "?" or "NAME,help" (the answer goes to line.answer).
Expected<void> add_device(CommandLine& line, std::string_view value);
// -global DRIVER.PROPERTY=VALUE: applied where we have the property, remembered as a warning where
// not.
Expected<void> set_global(CommandLine& line, std::string_view value);

}  // namespace droste::cli
