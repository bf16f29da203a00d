#include "frontends/headless/fd_backend_posix.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <termios.h>
#include <unistd.h>

namespace droste {

namespace {

constexpr int kDrainPatienceMs = 200;

Error cannot_open(std::string_view what, int error) {
    return Error{fmt::format("-serial {}: cannot open it: {}", what, std::strerror(error))};
}

}  // namespace

FdBackend::FdBackend(PollLoop& loop, int input_fd, int output_fd)
    : loop_(loop)
    , input_fd_(input_fd)
    , output_fd_(output_fd)
    , output_(output_fd)
    , output_side_(*this) {
    loop_.add(*this);
    loop_.add(output_side_);
}

FdBackend::~FdBackend() {
    output_.drain(lossy_ ? 0 : kDrainPatienceMs);
    loop_.remove(output_side_);
    loop_.remove(*this);
    if (input_fd_ >= 0) {
        close(input_fd_);
    }
    if (output_fd_ >= 0 && output_fd_ != input_fd_) {
        close(output_fd_);
    }
    if (kept_fd_ >= 0) {
        close(kept_fd_);
    }
}

void FdBackend::write(std::span<const u8> bytes) {
    if (output_fd_ >= 0 && !(lossy_ && output_.blocked())) {
        output_.write(bytes);
    }
}

void FdBackend::flush() {
    if (!output_.flush() && !told_) {
        told_ = true;
        if (on_closed_) {
            on_closed_(output_.error());
        }
    }
}

short FdBackend::wanted_events() const {
    const bool wanted = receiver_ != nullptr && receiver_->receive_room() != 0 && input_.empty();
    return input_fd_ >= 0 && !input_ended_ && wanted ? POLLIN : 0;
}

short FdBackend::OutputSide::wanted_events() const {
    return owner_.output_.empty() ? 0 : POLLOUT;
}

void FdBackend::ready(short /*events*/) {
    constexpr std::size_t kReadBytes = 4096;
    input_.resize(kReadBytes);
    input_taken_ = 0;
    const ssize_t got = read(input_fd_, input_.data(), kReadBytes);
    input_.resize(static_cast<std::size_t>(std::max<ssize_t>(got, 0)));
    if (got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR)) {
        input_ended_ = true;  // end of file, or a terminal that is gone
    }
    deliver();
}

// A receiver that takes a byte may report itself ready from within: the loop outside carries on
// then.
void FdBackend::deliver() {
    while (receiver_ != nullptr && input_taken_ < input_.size()) {
        const std::size_t count = std::min(receiver_->receive_room(), input_.size() - input_taken_);
        if (count == 0) {
            return;
        }
        const auto bytes = std::span<const u8>(input_).subspan(input_taken_, count);
        input_taken_ += count;
        receiver_->receive(bytes);
    }
    input_.clear();
    input_taken_ = 0;
}

Expected<std::unique_ptr<FdBackend>> make_stdio_backend(PollLoop& loop) {
    const int output = reopen_nonblocking(STDOUT_FILENO, O_WRONLY);
    if (output < 0) {
        return cannot_open("stdio", errno);
    }
    // Reading follows POLLIN, so it does not block whatever the descriptor's flags are.
    const int input = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3);
    return std::make_unique<FdBackend>(loop, input, output);
}

Expected<std::unique_ptr<FdBackend>> make_file_backend(PollLoop& loop, const std::string& path) {
    const int fd = open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NONBLOCK, 0666);
    if (fd < 0) {
        return cannot_open("file:" + path, errno);
    }
    return std::make_unique<FdBackend>(loop, -1, fd);
}

Expected<std::unique_ptr<FdBackend>> make_pty_backend(PollLoop& loop, std::string& slave_name) {
    const int master = posix_openpt(O_RDWR | O_NOCTTY);
    if (master < 0 || grantpt(master) != 0 || unlockpt(master) != 0) {
        const int error = errno;
        if (master >= 0) {
            close(master);
        }
        return cannot_open("pty", error);
    }
    std::array<char, 64> name{};
    if (ptsname_r(master, name.data(), name.size()) != 0) {
        const int error = errno;
        close(master);
        return cannot_open("pty", error);
    }
    slave_name = name.data();
    // Bytes as they are, no echo; holding the other end open ourselves keeps EIO and SIGHUP away
    // until a user comes.
    const int slave = open(name.data(), O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (slave >= 0) {
        termios mode{};
        tcgetattr(slave, &mode);
        cfmakeraw(&mode);
        tcsetattr(slave, TCSANOW, &mode);
    }
    fcntl(master, F_SETFD, FD_CLOEXEC);
    fcntl(master, F_SETFL, O_RDWR | O_NONBLOCK);
    auto backend = std::make_unique<FdBackend>(loop, master, master);
    backend->keep_open(slave);
    backend->set_lossy();
    return backend;
}

}  // namespace droste
