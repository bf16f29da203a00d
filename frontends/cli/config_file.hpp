#pragma once
// Files of options (--config): a line each, "name = value" or "name", the names of the command
// line. '#' starts a comment line. A value is the rest of its line; in double quotes it keeps its
// outer blanks. Plain text, because people edit it.

#include "core/error.hpp"

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace droste::cli {

struct ConfigLine {
    std::string text;  // as it stands in the file
    std::string name;  // without dashes; empty: a comment or blank line
    std::optional<std::string> value;
};

struct ConfigFile {
    std::string path;
    std::vector<ConfigLine> lines;
};

Expected<ConfigFile> parse_config(std::string_view text, const std::string& path);
Expected<ConfigFile> read_config(const std::string& path);
bool config_exists(const std::string& path);
ConfigLine make_config_line(std::string_view name, std::optional<std::string_view> value);
// All or nothing: a new file beside it takes its place.
Expected<void> write_config(const ConfigFile& file);

}  // namespace droste::cli
