#include "frontends/machine/image_file.hpp"

#include <cerrno>
#include <cstring>

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

namespace droste {

namespace {

constexpr std::size_t kReadStep = std::size_t{1} << 20;

class File {
  public:
    explicit File(const std::string& path) : fd_(open(path.c_str(), O_RDONLY | O_CLOEXEC)) {}
    ~File() {
        if (fd_ >= 0) {
            close(fd_);
        }
    }
    File(const File&) = delete;
    File& operator=(const File&) = delete;
    int fd() const { return fd_; }

  private:
    int fd_;
};

Error cannot_read(std::string_view what, const std::string& path, int error) {
    const bool native = error == EMFILE || error == ENFILE || error == ENOMEM;
    return Error{fmt::format("could not load {} '{}': {}", what, path, std::strerror(error)),
                 native};
}

// Appends what can be read now; 0 at the end of the file, -1 with errno on failure.
ssize_t read_more(int fd, std::vector<u8>& bytes, std::size_t count) {
    const std::size_t old_size = bytes.size();
    bytes.resize(old_size + count);
    ssize_t got = -1;
    do {
        got = read(fd, bytes.data() + old_size, count);
    } while (got < 0 && errno == EINTR);
    bytes.resize(old_size + static_cast<std::size_t>(got > 0 ? got : 0));
    return got;
}

}  // namespace

Expected<std::vector<u8>>
read_image_file(std::string_view what, const std::string& path, u64 limit_bytes, LimitIs limit_is) {
    const auto too_large = [&](u64 bytes) {
        if (limit_is == LimitIs::Fixed) {
            return Error{fmt::format("could not load {} '{}': it is larger than {} MiB", what, path,
                                     limit_bytes >> 20)};
        }
        return Error{fmt::format("could not load {} '{}': its {} MiB do not fit into the {} MiB of "
                                 "RAM (-m)",
                                 what, path, (bytes + 0xFFFFF) >> 20, limit_bytes >> 20)};
    };
    const File file(path);
    if (file.fd() < 0) {
        return cannot_read(what, path, errno);
    }
    struct stat info {};
    if (fstat(file.fd(), &info) != 0) {
        return cannot_read(what, path, errno);
    }
    if (S_ISDIR(info.st_mode)) {
        return Error{
            fmt::format("could not load {} '{}': it is a directory, expected a file", what, path)};
    }
    if (S_ISCHR(info.st_mode) || S_ISBLK(info.st_mode)) {
        return Error{
            fmt::format("could not load {} '{}': it is a device, expected a file", what, path)};
    }
    std::vector<u8> bytes;
    const auto size_hint = static_cast<u64>(info.st_size > 0 ? info.st_size : 0);
    if (size_hint > limit_bytes) {
        return too_large(size_hint);
    }
    // One read for a regular file of the size stat() told; pipes and the like grow step by step.
    std::size_t step = S_ISREG(info.st_mode) ? static_cast<std::size_t>(size_hint) + 1 : kReadStep;
    for (;;) {
        const ssize_t got = read_more(file.fd(), bytes, step);
        if (got < 0) {
            return cannot_read(what, path, errno);
        }
        if (got == 0) {
            break;
        }
        if (bytes.size() > limit_bytes) {
            return too_large(bytes.size());
        }
        step = kReadStep;
    }
    if (bytes.empty()) {
        return Error{fmt::format("could not load {} '{}': it is empty", what, path)};
    }
    return bytes;
}

}  // namespace droste
