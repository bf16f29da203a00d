#include "frontends/headless/log_file_posix.hpp"

#include <cerrno>
#include <cstring>
#include <string_view>

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

namespace droste {

Expected<std::unique_ptr<LogFile>> LogFile::open(const std::string& path,
                                                 u64 limit_bytes,
                                                 std::function<void(const std::string&)> tell) {
    const auto failed = [&] {
        return Error{fmt::format("-D {}: cannot write it: {}", path, std::strerror(errno))};
    };
    const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (fd < 0) {
        return failed();
    }
    std::unique_ptr<LogFile> file(new LogFile(path, fd, limit_bytes, std::move(tell)));
    cookie_io_functions_t functions{};
    functions.write = [](void* cookie, const char* bytes, std::size_t count) {
        static_cast<LogFile*>(cookie)->take(bytes, count);
        return static_cast<ssize_t>(count);
    };
    file->stream_ = fopencookie(file.get(), "w", functions);
    if (file->stream_ == nullptr) {
        return failed();
    }
    return file;
}

LogFile::~LogFile() {
    if (stream_ != nullptr) {
        std::fclose(stream_);
    }
    close(fd_);
}

void LogFile::write_all(const char* bytes, std::size_t count) {
    while (count != 0) {
        const ssize_t sent = write(fd_, bytes, count);
        if (sent < 0 && errno == EINTR) {
            continue;
        }
        if (sent <= 0) {
            ended_ = true;
            tell_(fmt::format("-D {}: cannot write it: {}; the rest of the log is lost", path_,
                              std::strerror(errno)));
            return;
        }
        bytes += sent;
        count -= static_cast<std::size_t>(sent);
        written_bytes_ += static_cast<u64>(sent);
    }
}

void LogFile::take(const char* bytes, std::size_t count) {
    if (ended_) {
        return;
    }
    if (limit_bytes_ == 0 || count <= limit_bytes_ - written_bytes_) {
        write_all(bytes, count);
        return;
    }
    // Up to the last line that fits.
    const auto room = static_cast<std::size_t>(limit_bytes_ - written_bytes_);
    const std::size_t newline = std::string_view(bytes, room).rfind('\n');
    write_all(bytes, newline == std::string_view::npos ? 0 : newline + 1);
    if (!ended_) {
        ended_ = true;
        tell_(
            fmt::format("-D {}: the limit of {} bytes is reached, the rest of the log is left out",
                        path_, limit_bytes_));
    }
}

}  // namespace droste
