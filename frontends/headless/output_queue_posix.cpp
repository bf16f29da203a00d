#include "frontends/headless/output_queue_posix.hpp"

#include <fmt/format.h>

#include <cerrno>

#include <fcntl.h>
#include <poll.h>
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
    // Opening through /proc makes a new open file description; that works for terminals, pipes and files.
    const std::string path = fmt::format("/proc/self/fd/{}", fd);
    const int append = (fcntl(fd, F_GETFL) & O_APPEND);
    const int own = open(path.c_str(), access_mode | append | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (own >= 0) {
        if (lseek(fd, 0, SEEK_CUR) > 0) {
            lseek(own, lseek(fd, 0, SEEK_CUR), SEEK_SET);  // a regular file: go on where the original is
        }
        return own;
    }
    const int duplicate = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    if (duplicate >= 0) {
        fcntl(duplicate, F_SETFL, fcntl(duplicate, F_GETFL) | O_NONBLOCK);
    }
    return duplicate;
}

}  // namespace droste
