#pragma once
// An oracle: run() returns within 50 ms of a stop request, whatever the guest does. Times are of the
// processor that this process used, so a busy machine does not fail the test; a guest that makes
// the emulator deaf for good is killed by the second tick, and the seed last printed names it.

#include "cpu/x86/seams/execution_engine.hpp"
#include "cpu/x86/vcpu.hpp"

#include <algorithm>
#include <atomic>
#include <csignal>
#include <ctime>

#include <sys/time.h>
#include <unistd.h>

namespace droste::test {

class Listening {
  public:
    static constexpr u64 kMostNs = 50'000'000;

    Listening() {
        struct sigaction action {};
        action.sa_handler = tick;
        sigaction(SIGPROF, &action, nullptr);
    }
    ~Listening() {
        constexpr itimerval kNever{};
        setitimer(ITIMER_PROF, &kNever, nullptr);
    }
    Listening(const Listening&) = delete;
    Listening& operator=(const Listening&) = delete;

    // Runs without a budget until the stop request of a tick, 10 ms from now, is heard.
    RunResult run(ExecutionEngine& engine, Vcpu& cpu) {
        running() = &cpu;
        requested_at() = 0;
        constexpr itimerval kTicks = {{2, 0}, {0, 10'000}};
        setitimer(ITIMER_PROF, &kTicks, nullptr);
        const RunResult result = engine.run(cpu, ~u64{0});
        const u64 returned = processor_ns();
        constexpr itimerval kNever{};
        setitimer(ITIMER_PROF, &kNever, nullptr);
        running() = nullptr;
        if (const u64 requested = requested_at(); requested != 0) {
            worst_ns_ = std::max(worst_ns_, returned - requested);
            ++stops_;
        }
        cpu.withdraw(attention::kStop);
        return result;
    }
    u64 worst_ns() const { return worst_ns_; }
    u64 stops() const { return stops_; }

  private:
    // A signal handler can reach nothing but static state.
    static std::atomic<Vcpu*>& running() {
        static std::atomic<Vcpu*> cpu{nullptr};
        return cpu;
    }
    static std::atomic<u64>& requested_at() {
        static std::atomic<u64> ns{0};
        return ns;
    }
    static u64 processor_ns() {
        timespec now{};
        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
        return static_cast<u64>(now.tv_sec) * 1'000'000'000 + static_cast<u64>(now.tv_nsec);
    }
    static void tick(int /*signal_number*/) {
        Vcpu* cpu = running();
        if (cpu == nullptr) {
            return;
        }
        if (requested_at() != 0) {
            constexpr char kDeaf[] = "\ndeaf: run() did not return for 2 s\n";
            [[maybe_unused]] const ssize_t written = write(STDERR_FILENO, kDeaf, sizeof kDeaf - 1);
            _exit(1);
        }
        requested_at() = processor_ns();
        cpu->request(attention::kStop);
    }

    u64 worst_ns_ = 0;
    u64 stops_ = 0;
};

}  // namespace droste::test
