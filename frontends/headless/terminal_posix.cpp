#include "frontends/headless/terminal_posix.hpp"

#include <array>
#include <csignal>
#include <cstdlib>

#include <fcntl.h>
#include <termios.h>
#include <unistd.h>

namespace droste {

namespace {

struct SavedTerminal {
    volatile std::sig_atomic_t active = 0;
    termios original{};
    termios raw{};
};

SavedTerminal& saved() {
    static SavedTerminal terminal;
    return terminal;
}

constexpr std::array kCrashSignals = {SIGABRT, SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGQUIT};

void restore_and_die(int signal_number) {
    RawTerminal::restore();
    std::signal(signal_number, SIG_DFL);
    std::raise(signal_number);
}

}  // namespace

RawTerminal::RawTerminal(bool keep_signals) {
    SavedTerminal& terminal = saved();
    if (isatty(STDIN_FILENO) == 0 || tcgetattr(STDIN_FILENO, &terminal.original) != 0) {
        return;
    }
    terminal.raw = terminal.original;
    terminal.raw.c_iflag &=
        static_cast<tcflag_t>(~(IGNBRK | BRKINT | PARMRK | ISTRIP | INLCR | IGNCR | ICRNL | IXON));
    terminal.raw.c_oflag |= OPOST;
    terminal.raw.c_lflag &= static_cast<tcflag_t>(~(ECHO | ECHONL | ICANON | IEXTEN));
    if (!keep_signals) {
        terminal.raw.c_lflag &= static_cast<tcflag_t>(~ISIG);
    }
    terminal.raw.c_cflag &= static_cast<tcflag_t>(~(CSIZE | PARENB));
    terminal.raw.c_cflag |= CS8;
    terminal.raw.c_cc[VMIN] = 1;
    terminal.raw.c_cc[VTIME] = 0;
    terminal.active = 1;
    std::atexit(&RawTerminal::restore);
    for (const int signal_number : kCrashSignals) {
        struct sigaction current {};
        // The engine may have a handler of its own for faults of generated code: leave that.
        if (sigaction(signal_number, nullptr, &current) == 0 && current.sa_handler == SIG_DFL) {
            std::signal(signal_number, restore_and_die);
        }
    }
    tcsetattr(STDIN_FILENO, TCSANOW, &terminal.raw);
}

RawTerminal::~RawTerminal() {
    restore();
    saved().active = 0;
}

void occupy_standard_descriptors() {
    int fd = open("/dev/null", O_RDWR);
    while (fd >= 0 && fd <= STDERR_FILENO) {
        fd = open("/dev/null", O_RDWR);
    }
    if (fd >= 0) {
        close(fd);
    }
}

void RawTerminal::restore() {
    const SavedTerminal& terminal = saved();
    if (terminal.active != 0) {
        tcsetattr(STDIN_FILENO, TCSANOW, &terminal.original);
    }
}

void RawTerminal::enter_again() {
    const SavedTerminal& terminal = saved();
    if (terminal.active != 0) {
        tcsetattr(STDIN_FILENO, TCSANOW, &terminal.raw);
    }
}

}  // namespace droste
