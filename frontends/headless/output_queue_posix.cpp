#include "frontends/headless/output_queue_posix.hpp"

#include <cerrno>

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

namespace droste {

void OutputQueue::write(std::span<const u8> bytes) {
    if (!closed_) {
        pending_.insert(pending_.end(), bytes.begin(), bytes.end());
    }
}

bool OutputQueue::flush() {
    while (!closed_ && !empty()) {
        const ssize_t sent = ::write(fd_, pending_.data() + sent_, pending_.size() - sent_);
        if (sent >= 0) {
            sent_ += static_cast<std::size_t>(sent);
        } else if (errno == EAGAIN) {
            break;
        } else if (errno != EINTR) {
            closed_ = true;
            error_ = errno;
        }
    }
    if (empty() || closed_) {
        pending_.clear();
        sent_ = 0;
    }
    return !closed_;
}

void OutputQueue::drain(int patience_ms) {
    while (flush() && !empty()) {
        pollfd waiting = {fd_, POLLOUT, 0};
        if (poll(&waiting, 1, patience_ms) <= 0) {
            return;
        }
    }
}

int reopen_nonblocking(int fd, int access_mode) {
    struct stat info {};
    if (fstat(fd, &info) != 0) {
        return -1;
    }
    // Opening through /proc makes a new open file description of a terminal or pipe, with flags of
    // its own.
    if (S_ISCHR(info.st_mode) || S_ISFIFO(info.st_mode)) {
        const std::string path = fmt::format("/proc/self/fd/{}", fd);
        const int own = open(path.c_str(), access_mode | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
        if (own >= 0) {
            return own;
        }
    }
    const int duplicate = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    // A regular file never blocks, and must keep the offset it shares with whoever else writes to
    // it.
    if (duplicate >= 0 && !S_ISREG(info.st_mode)) {
        fcntl(duplicate, F_SETFL, fcntl(duplicate, F_GETFL) | O_NONBLOCK);
    }
    return duplicate;
}

}  // namespace droste
