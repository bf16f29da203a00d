#include "frontends/machine/run_threads.hpp"

#include "core/clock.hpp"
#include "core/event_queue.hpp"
#include "cpu/x86/seams/execution_engine.hpp"
#include "cpu/x86/vcpu.hpp"
#include "frontends/machine/pc.hpp"

#include <algorithm>
#include <csignal>
#include <system_error>

#include <fmt/format.h>
#include <sched.h>

namespace droste {

namespace {

// What a vCPU interprets at a stretch before others may have the lock.
constexpr u64 kTurn = 50'000;
constexpr u64 kLongestWaitNs = 500'000'000;

// Signals are for the machine's thread; those of the vCPUs inherit that they take none.
class SignalsBlocked {
  public:
    SignalsBlocked() {
        sigset_t all;
        sigfillset(&all);
        for (const int own : {SIGFPE, SIGSEGV, SIGBUS, SIGILL, SIGTRAP, SIGABRT, SIGPROF}) {
            sigdelset(&all, own);
        }
        pthread_sigmask(SIG_BLOCK, &all, &before_);
    }
    ~SignalsBlocked() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
    SignalsBlocked(const SignalsBlocked&) = delete;
    SignalsBlocked& operator=(const SignalsBlocked&) = delete;

  private:
    sigset_t before_{};
};

}  // namespace

RunThreads::RunThreads(Pc& pc, NativeIo& io, RunControl& control, const RunLimits& limits)
    : pc_(pc)
    , io_(io)
    , control_(control)
    , limits_(limits) {
    io_.set_lock(pc_.lock());
    control_.set_observer(this);
    pc_.events().set_earlier_callback([this] { timer_is_earlier(); });
    const bool scarce = pc_.vcpus().size() > std::thread::hardware_concurrency();
    for (const auto& cpu : pc_.vcpus()) {
        cpu->others_wait = scarce;
    }
}

RunThreads::~RunThreads() {
    control_.set_observer(nullptr);
    pc_.events().set_earlier_callback({});
    io_.set_lock(nullptr);
}

void RunThreads::timer_is_earlier() {
    if (pc_.events().next_deadline_ns() < awaited_ns_) {
        awaited_ns_ = 0;
        io_.wake();
    }
}

void RunThreads::stay_parked(Hold& hold) {
    ++parked_;
    all_parked_.notify_one();
    unparked_.wait(hold, [this] { return !parking_; });
    --parked_;
}

// Until somebody asks for something that is not asked for now.
void RunThreads::sleep(Vcpu& cpu, Hold& hold, bool even_if_runnable) {
    cpu.asleep.store(true);
    const u32 seen = cpu.attention.load();
    if (!parking_ && (even_if_runnable || !runnable(cpu))) {
        hold.unlock();
        cpu.attention.wait(seen);
        hold.lock();
    }
    cpu.asleep.store(false);
}

void RunThreads::run_vcpu(Vcpu& cpu) {
    MachineLock& lock = *pc_.lock();
    Hold hold{lock};
    while (true) {
        cpu.withdraw(attention::kStop);
        if (parking_) {
            stay_parked(hold);
            continue;
        }
        if (quit_) {
            return;
        }
        if (!runnable(cpu)) {
            sleep(cpu, hold, false);
            continue;
        }
        const u64 before = cpu.icount;
        const RunResult result = pc_.engine(cpu).run(cpu, kTurn);
        if (cpu.state.activity == Activity::Shutdown) {
            reset_or_end(control_, limits_, EndReason::TripleFault);
        }
        if (result == RunResult::Idle && cpu.icount == before) {
            // It looks runnable and does nothing: what was asked for does not concern it now.
            cpu.withdraw(attention::kStop);
            sleep(cpu, hold, true);
        } else if (result == RunResult::Yielded) {
            hold.unlock();
            sched_yield();
            hold.lock();
        } else if (lock.contended()) {
            lock.give_way();
        }
    }
}

// All vCPUs are outside run() and stay there.
void RunThreads::park(Hold& hold) {
    parking_ = true;
    for (const auto& cpu : pc_.vcpus()) {
        cpu->request(attention::kStop);
    }
    all_parked_.wait(hold, [this] { return parked_ == threads_.size(); });
    pc_.clock().stop();
}

void RunThreads::unpark() {
    pc_.clock().go_on();
    parking_ = false;
    unparked_.notify_all();
}

void RunThreads::serve(u64 timeout_ns) {
    u64 left = kLongestWaitNs;
    if (limits_.timeout) {
        const auto until_end = *limits_.timeout - (std::chrono::steady_clock::now() - start_);
        if (until_end.count() <= 0) {
            control_.end(EndReason::Timeout);
            return;
        }
        left = std::min(left, static_cast<u64>(until_end.count()));
    }
    io_.serve(std::min(timeout_ns, left));
}

void RunThreads::carry_out_wishes(Hold& hold) {
    const PowerEvent event = control_.take_power_event();
    if (event == PowerEvent::Off && limits_.shutdown_allowed) {
        control_.end(EndReason::PowerOff);
        return;
    }
    if (event == PowerEvent::Off) {
        control_.set_paused(true);
    } else if (event == PowerEvent::Reset) {
        reset_or_end(control_, limits_, EndReason::GuestReset);
    }
    if (control_.take_reset()) {
        park(hold);
        pc_.reset();
        unpark();
    }
    if (control_.paused() || io_.output_blocked()) {
        park(hold);
        while ((control_.paused() || io_.output_blocked()) && !control_.ended()) {
            serve(kLongestWaitNs);
        }
        unpark();
    }
}

Expected<void> RunThreads::start() {
    const SignalsBlocked blocked;
    try {
        for (const auto& cpu : pc_.vcpus()) {
            threads_.emplace_back([this, &cpu = *cpu] { run_vcpu(cpu); });
        }
    } catch (const std::system_error& refused) {
        return Error{fmt::format("could not start a thread for each of {} vCPUs: {}; "
                                 "-accel jit,thread=single needs none",
                                 pc_.vcpus().size(), refused.what())};
    }
    return {};
}

void RunThreads::join() {
    Hold hold{*pc_.lock()};
    quit_ = true;
    for (const auto& cpu : pc_.vcpus()) {
        cpu->request(attention::kStop);
    }
    hold.unlock();
    for (std::thread& thread : threads_) {
        thread.join();
    }
}

Expected<void> RunThreads::run() {
    start_ = std::chrono::steady_clock::now();
    Hold hold{*pc_.lock()};
    if (const auto started = start(); !started) {
        hold.unlock();
        join();
        return started.error();
    }
    EventQueue& events = pc_.events();
    while (!control_.ended()) {
        carry_out_wishes(hold);
        if (control_.ended()) {
            break;
        }
        pc_.clock().move_on();
        awaited_ns_ = events.next_deadline_ns();
        serve(awaited_ns_ == kNever ? kLongestWaitNs : pc_.clock().native_sleep_ns(awaited_ns_));
        awaited_ns_ = 0;
        pc_.clock().move_on();
        events.run_due();
    }
    hold.unlock();
    join();
    hold.lock();
    io_.serve(0);
    return {};
}

}  // namespace droste
