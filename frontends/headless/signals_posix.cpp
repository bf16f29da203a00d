#include "frontends/headless/signals_posix.hpp"

#include "frontends/headless/terminal_posix.hpp"

#include <array>
#include <atomic>
#include <cerrno>
#include <csignal>

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/time.h>
#include <unistd.h>

namespace droste {

namespace {

constexpr std::array kEnding = {SIGINT, SIGTERM, SIGHUP};
constexpr suseconds_t kTickMicroseconds = 20'000;

// A signal handler can reach nothing but static state.
struct Noted {
    volatile std::sig_atomic_t count = 0;
    volatile std::sig_atomic_t event_fd = -1;
    std::atomic<RunControl*> control = nullptr;
};

Noted& noted() {
    static Noted instance;
    return instance;
}

void note(int signal_number) {
    const int saved_errno = errno;
    Noted& instance = noted();
    instance.count = instance.count + 1;
    if (instance.count >= 3) {
        RawTerminal::restore();
        _exit(128 + signal_number);
    }
    if (RunControl* control = instance.control; control != nullptr) {
        control->end(EndReason::Signal, static_cast<u32>(signal_number));
    }
    const u64 one = 1;
    [[maybe_unused]] const ssize_t written = write(instance.event_fd, &one, sizeof one);
    errno = saved_errno;
}

void tick(int /*signal_number*/) {
    if (RunControl* control = noted().control; control != nullptr) {
        control->tick();
    }
}

void back_in_foreground(int /*signal_number*/) {
    const int saved_errno = errno;
    RawTerminal::enter_again();
    errno = saved_errno;
}

}  // namespace

EndingSignals::EndingSignals(RunControl& control)
    : event_fd_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
    noted().event_fd = event_fd_;
    noted().control = &control;
    struct sigaction action {};
    action.sa_handler = note;
    for (const int signal_number : kEnding) {
        struct sigaction current {};
        sigaction(signal_number, nullptr, &current);
        // nohup and background jobs: what was ignored stays ignored.
        if (current.sa_handler != SIG_IGN || signal_number == SIGTERM) {
            sigaction(signal_number, &action, nullptr);
        }
    }
    std::signal(SIGPIPE, SIG_IGN);
    std::signal(SIGCONT, back_in_foreground);
    struct sigaction ticking {};
    ticking.sa_handler = tick;
    ticking.sa_flags = SA_RESTART;
    sigaction(SIGALRM, &ticking, nullptr);
    const itimerval period = {{0, kTickMicroseconds}, {0, kTickMicroseconds}};
    setitimer(ITIMER_REAL, &period, nullptr);
}

EndingSignals::~EndingSignals() {
    const itimerval never{};
    setitimer(ITIMER_REAL, &never, nullptr);
    std::signal(SIGALRM, SIG_IGN);
    for (const int signal_number : kEnding) {
        std::signal(signal_number, SIG_DFL);
    }
    std::signal(SIGCONT, SIG_DFL);
    noted().control = nullptr;
    noted().event_fd = -1;
    close(event_fd_);
}

short EndingSignals::wanted_events() const {
    return POLLIN;
}

// The wish has been made already; what matters is that poll() returned.
void EndingSignals::ready(short /*events*/) {
    u64 count = 0;
    [[maybe_unused]] const ssize_t taken = read(event_fd_, &count, sizeof count);
}

}  // namespace droste
