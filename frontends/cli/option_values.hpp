#pragma once
// The values of single options, turned into settings. One function an option that has something to
// say.

#include "core/error.hpp"
#include "frontends/cli/command_line.hpp"

#include <string_view>

namespace droste::cli {

// What a date may depend on, given from outside so that parsing is a pure function.
struct NativeTime {
    i64 now_seconds = 0;
    i64 utc_offset_seconds = 0;
};

Expected<void> set_memory(CommandLine& line, std::string_view value);
Expected<void> set_smp(CommandLine& line, std::string_view value);
Expected<void> set_machine(CommandLine& line, std::string_view value);
Expected<void> set_accelerator(CommandLine& line, std::string_view value);
Expected<void> set_native_features(CommandLine& line, std::string_view value);
Expected<void> set_rtc(CommandLine& line, std::string_view value, const NativeTime& time);
Expected<void> set_log_items(CommandLine& line, std::string_view value);
Expected<void> set_log_file(CommandLine& line, std::string_view value);
Expected<void> set_timeout(CommandLine& line, std::string_view value);
Expected<void> set_display(CommandLine& line, std::string_view value);
Expected<void> add_chardev(CommandLine& line, std::string_view value);
// `option`: for messages. Takes "chardev:ID" too.
Expected<CharSpec>
parse_char_spec(const CommandLine& line, std::string_view option, std::string_view value);

}  // namespace droste::cli
