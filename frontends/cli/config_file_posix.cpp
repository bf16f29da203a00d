#include "core/types.hpp"
#include "frontends/cli/config_file.hpp"
#include "frontends/machine/image_file.hpp"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

namespace droste::cli {

namespace {

constexpr u64 kMostBytes = u64{1} << 20;

std::string_view trimmed(std::string_view text) {
    constexpr std::string_view kBlanks = " \t\r";
    const std::size_t first = text.find_first_not_of(kBlanks);
    if (first == std::string_view::npos) {
        return {};
    }
    return text.substr(first, text.find_last_not_of(kBlanks) - first + 1);
}

bool is_text(std::string_view line) {
    return std::none_of(line.begin(), line.end(), [](char c) {
        return (static_cast<unsigned char>(c) < 0x20 && c != '\t' && c != '\r') || c == 0x7F;
    });
}

bool is_quoted(std::string_view value) {
    return value.size() >= 2 && value.front() == '"' && value.back() == '"';
}

bool is_name(std::string_view name) {
    return !name.empty() && name.find_first_of(" \t\"") == std::string_view::npos;
}

}  // namespace

Expected<ConfigFile> parse_config(std::string_view text, const std::string& path) {
    ConfigFile file{path, {}};
    const auto wrong = [&](std::string_view what) {
        return Error{fmt::format("{}:{}: {}", path, file.lines.size() + 1, what)};
    };
    while (!text.empty()) {
        const std::size_t end = std::min(text.find('\n'), text.size());
        const std::string_view whole = text.substr(0, end);
        text.remove_prefix(std::min(end + 1, text.size()));
        if (!is_text(whole)) {
            return wrong("not a text file; expected lines NAME = VALUE");
        }
        ConfigLine line{std::string(whole), {}, {}};
        const std::string_view content = trimmed(whole);
        if (!content.empty() && content[0] != '#') {
            const std::size_t equals = content.find('=');
            std::string_view name = trimmed(content.substr(0, equals));
            name.remove_prefix(std::min(name.find_first_not_of('-'), name.size()));
            if (!is_name(name)) {
                return wrong(fmt::format("expected NAME = VALUE or NAME, found '{}'",
                                         content.substr(0, 60)));
            }
            line.name = name;
            if (equals != std::string_view::npos) {
                std::string_view value = trimmed(content.substr(equals + 1));
                if (is_quoted(value)) {
                    value = value.substr(1, value.size() - 2);
                }
                line.value = value;
            }
        }
        file.lines.push_back(std::move(line));
    }
    return file;
}

Expected<ConfigFile> read_config(const std::string& path) {
    struct stat info {};
    if (stat(path.c_str(), &info) == 0 && S_ISREG(info.st_mode) && info.st_size == 0) {
        return ConfigFile{path, {}};  // no options are options, too
    }
    if (S_ISREG(info.st_mode) && static_cast<u64>(info.st_size) > kMostBytes) {
        return Error{fmt::format("--config '{}': larger than 1 MiB, no file of options", path)};
    }
    const auto bytes = read_image_file("options file", path, kMostBytes, LimitIs::Fixed);
    if (!bytes) {
        return bytes.error();
    }
    const auto& contents = bytes.value();
    return parse_config({reinterpret_cast<const char*>(contents.data()), contents.size()}, path);
}

bool config_exists(const std::string& path) {
    struct stat info {};
    return stat(path.c_str(), &info) == 0;
}

ConfigLine make_config_line(std::string_view name, std::optional<std::string_view> value) {
    if (!value) {
        return {std::string(name), std::string(name), {}};
    }
    const bool quote = trimmed(*value) != *value || value->empty() || is_quoted(*value);
    return {fmt::format("{} = {}{}{}", name, quote ? "\"" : "", *value, quote ? "\"" : ""),
            std::string(name), std::string(*value)};
}

Expected<void> write_config(const ConfigFile& file) {
    const auto failed = [&](std::string_view doing) {
        return Error{
            fmt::format("--config '{}': cannot {}: {}", file.path, doing, std::strerror(errno))};
    };
    // A link keeps pointing where it points: what it points to is replaced.
    std::string target = file.path;
    if (char* resolved = realpath(file.path.c_str(), nullptr); resolved != nullptr) {
        target = resolved;
        std::free(resolved);  // NOLINT(cppcoreguidelines-no-malloc)
    }
    struct stat old {};
    const bool replaces = stat(target.c_str(), &old) == 0;
    if (replaces && !S_ISREG(old.st_mode)) {
        return Error{fmt::format("--config '{}': is not a regular file", file.path)};
    }
    std::string temporary = target + ".XXXXXX";
    const int fd = mkstemp(temporary.data());
    if (fd < 0) {
        return failed("write it");
    }
    std::string text;
    for (const ConfigLine& line : file.lines) {
        text += line.text + "\n";
    }
    const mode_t mask = umask(0);
    umask(mask);
    const mode_t mode = replaces ? old.st_mode & 0777 : 0666 & ~mask;
    std::size_t done = 0;
    bool good = fchmod(fd, mode) == 0;
    while (good && done < text.size()) {
        const ssize_t count = write(fd, text.data() + done, text.size() - done);
        good = count > 0 || (count < 0 && errno == EINTR);
        done += static_cast<std::size_t>(std::max<ssize_t>(count, 0));
    }
    good = good && fsync(fd) == 0;
    const int error = errno;
    good = close(fd) == 0 && good;
    if (good && std::rename(temporary.c_str(), target.c_str()) == 0) {
        return {};
    }
    errno = error != 0 ? error : errno;
    const Error result = failed("write it");
    unlink(temporary.c_str());
    return result;
}

}  // namespace droste::cli
