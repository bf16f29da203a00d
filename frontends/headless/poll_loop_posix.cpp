#include "frontends/headless/poll_loop_posix.hpp"

#include <algorithm>
#include <array>
#include <csignal>

#include <poll.h>

namespace droste {

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
    // Interrupted or failed: the caller comes back soon anyway.
    if (ppoll(fds.data(), count, &timeout, &mask) <= 0) {
        return;
    }
    for (std::size_t i = 0; i < count; ++i) {
        if (fds[i].revents != 0) {
            polled[i]->ready(fds[i].revents);
        }
    }
}

}  // namespace droste
