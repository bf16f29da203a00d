#pragma once
// `droste nested status` and `droste nested enable`: is the machine that some options describe fit
// for a hypervisor inside, and what would make it so. The items are in machine/nested_report.hpp.

#include "core/error.hpp"

#include <span>
#include <string>
#include <string_view>

namespace droste::cli {

struct NestedAnswer {
    std::string output;   // standard output
    std::string remarks;  // standard error
    int status = 0;       // 1: something is missing
};

// `arguments` behind "nested". Enabling reads and replaces --config's file.
Expected<NestedAnswer> nested_command(std::span<const std::string_view> arguments);

}  // namespace droste::cli
