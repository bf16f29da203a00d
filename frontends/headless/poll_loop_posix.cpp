#include "frontends/headless/poll_loop_posix.hpp"

#include "core/machine_lock.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

namespace droste {

PollLoop::PollLoop() : wake_fd_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {}

PollLoop::~PollLoop() {
    close(wake_fd_);
}

void PollLoop::wake() {
    const int saved_errno = errno;
    const u64 one = 1;
    [[maybe_unused]] const ssize_t written = write(wake_fd_, &one, sizeof one);
    errno = saved_errno;
}

void PollLoop::remove(PollClient& client) {
    clients_.erase(std::remove(clients_.begin(), clients_.end(), &client), clients_.end());
}

bool PollLoop::output_blocked() const {
    return std::any_of(clients_.begin(), clients_.end(),
                       [](const PollClient* client) { return client->blocked(); });
}

void PollLoop::serve(u64 timeout_ns) {
    constexpr std::size_t kMaxFds = 64;
    constexpr u64 kNsPerSecond = 1'000'000'000;
    std::array<pollfd, kMaxFds> fds{};
    std::array<PollClient*, kMaxFds> polled{};
    std::size_t count = 0;
    fds[count++] = {wake_fd_, POLLIN, 0};
    for (PollClient* client : clients_) {
        client->flush();
        const short events = client->wanted_events();
        if (events != 0 && count < kMaxFds) {
            fds[count] = {client->poll_fd(), events, 0};
            polled[count] = client;
            ++count;
        }
    }
    timespec timeout{};
    timeout.tv_sec = static_cast<time_t>(timeout_ns / kNsPerSecond);
    timeout.tv_nsec = static_cast<long>(timeout_ns % kNsPerSecond);
    // Ticks (signals_posix) are for a guest that runs; they would only wake a sleeper.
    sigset_t mask;
    sigprocmask(SIG_SETMASK, nullptr, &mask);
    sigaddset(&mask, SIGALRM);
    if (lock_ != nullptr) {
        lock_->unlock();
    }
    const int ready = ppoll(fds.data(), count, &timeout, &mask);
    if (lock_ != nullptr) {
        lock_->lock();
    }
    if (ready <= 0) {
        return;  // interrupted or failed: the caller comes back soon anyway
    }
    if (fds[0].revents != 0) {
        u64 times = 0;
        [[maybe_unused]] const ssize_t taken = read(wake_fd_, &times, sizeof times);
    }
    for (std::size_t i = 1; i < count; ++i) {
        if (fds[i].revents != 0) {
            polled[i]->ready(fds[i].revents);
        }
    }
}

}  // namespace droste
