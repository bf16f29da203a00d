#include "frontends/machine/run_loop.hpp"

#include "core/clock.hpp"
#include "core/event_queue.hpp"
#include "cpu/x86/seams/execution_engine.hpp"
#include "cpu/x86/vcpu.hpp"
#include "frontends/machine/pc.hpp"

#include <algorithm>

namespace droste {

namespace {

// Turns are short where another vCPU may be waiting for this one's answer.
constexpr u64 kQuantumAlone = 200'000;
constexpr u64 kQuantumShared = 10'000;
// How often the outside world is looked at, in instructions and in turns: about a millisecond.
constexpr u64 kServeInstructions = 200'000;
constexpr u64 kServeTurns = 2'000;
constexpr u64 kLongestWaitNs = 500'000'000;

bool runnable(const Vcpu& cpu) {
    return cpu.state.activity == Activity::Active ||
           (cpu.attention.load(std::memory_order_relaxed) & cpu.attention_mask &
            ~attention::kStop) != 0;
}

}  // namespace

RunLoop::RunLoop(Pc& pc, HostIo& io, RunControl& control, const RunLimits& limits)
    : pc_(pc)
    , io_(io)
    , control_(control)
    , limits_(limits) {
    const auto stop_running = [this] {
        if (running_ != nullptr) {
            running_->request(attention::kStop);
        }
    };
    control_.set_observer(stop_running);
    pc_.events().set_earlier_callback(stop_running);
}

RunLoop::~RunLoop() {
    control_.set_observer({});
    pc_.events().set_earlier_callback({});
}

u64 RunLoop::timeout_left_ns() const {
    if (!limits_.timeout) {
        return kLongestWaitNs;
    }
    const auto left = *limits_.timeout - (std::chrono::steady_clock::now() - start_);
    return left.count() > 0 ? std::min<u64>(static_cast<u64>(left.count()), kLongestWaitNs) : 0;
}

void RunLoop::serve(u64 timeout_ns) {
    instructions_since_serve_ = 0;
    turns_since_serve_ = 0;
    const u64 left = timeout_left_ns();
    if (left == 0) {
        control_.end(EndReason::Timeout);
        return;
    }
    io_.serve(std::min(timeout_ns, left));
}

void RunLoop::serve_now_and_then() {
    ++turns_since_serve_;
    if (instructions_since_serve_ < kServeInstructions && turns_since_serve_ < kServeTurns) {
        return;
    }
    pc_.clock().synchronize();
    serve(0);
    while (io_.output_blocked() && !control_.ended()) {
        serve(kLongestWaitNs);
    }
}

std::size_t RunLoop::runnable_count() const {
    std::size_t count = 0;
    for (const auto& cpu : pc_.vcpus()) {
        count += runnable(*cpu) ? 1U : 0U;
    }
    return count;
}

void RunLoop::run_vcpu(Vcpu& cpu, bool alone) {
    EventQueue& events = pc_.events();
    const u64 start = cpu.icount;
    const u64 quantum = alone ? kQuantumAlone : kQuantumShared;
    pc_.clock().set_counter(&cpu.icount);
    running_ = &cpu;
    RunResult result = RunResult::Yielded;
    // Alone, there is nobody to yield to.
    for (u64 done = 0; done < quantum && result == RunResult::Yielded && !control_.ended();) {
        const u64 budget =
            std::min(quantum - done, pc_.clock().instructions_until(events.next_deadline_ns()));
        result = pc_.engine(cpu).run(cpu, budget);
        cpu.withdraw(attention::kStop);
        events.run_due();
        done = cpu.icount - start;
        if (!alone) {
            break;
        }
    }
    running_ = nullptr;
    instructions_since_serve_ += cpu.icount - start;
    // The board answers the shutdown cycle with a reset.
    if (cpu.state.activity == Activity::Shutdown) {
        reset_or_end(EndReason::TripleFault);
    }
}

void RunLoop::reset_or_end(EndReason reason) {
    if (limits_.reboot_allowed) {
        control_.request_reset();
    } else {
        control_.end(reason);
    }
}

void RunLoop::turn() {
    const bool alone = runnable_count() == 1;
    for (const auto& cpu : pc_.vcpus()) {
        if (runnable(*cpu)) {
            run_vcpu(*cpu, alone);
        }
        if (control_.ended()) {
            return;
        }
    }
}

void RunLoop::idle() {
    Clock& clock = pc_.clock();
    EventQueue& events = pc_.events();
    const u64 deadline = events.next_deadline_ns();
    if (deadline == kNever) {
        serve(kLongestWaitNs);
        clock.resume_from_sleep(kNever);
        return;
    }
    if (clock.mode() == Clock::Mode::FreeRunning) {
        serve(clock.host_sleep_ns(deadline));
        clock.resume_from_sleep(deadline);
    } else {
        if (io_.interactive()) {
            const u64 now = clock.now_ns();
            serve(deadline > now ? deadline - now : 0);
        } else {
            serve_now_and_then();
        }
        if (runnable_count() == 0) {
            clock.advance_to(deadline);
        }
    }
    events.run_due();
}

void RunLoop::wait_while_halted() {
    while (control_.paused() && !control_.ended()) {
        serve(kLongestWaitNs);
    }
}

void RunLoop::run() {
    start_ = std::chrono::steady_clock::now();
    while (!control_.ended()) {
        if (control_.paused()) {
            wait_while_halted();
        }
        const PowerEvent event = control_.take_power_event();
        if (event == PowerEvent::Off && limits_.shutdown_allowed) {
            control_.end(EndReason::PowerOff);
            break;
        }
        if (event == PowerEvent::Off) {
            control_.set_paused(true);
            continue;
        }
        if (event == PowerEvent::Reset) {
            reset_or_end(EndReason::GuestReset);
        }
        if (control_.take_reset()) {
            pc_.reset();
        }
        if (runnable_count() != 0) {
            turn();
            pc_.events().run_due();
            serve_now_and_then();
        } else if (!control_.ended()) {
            idle();
        }
    }
    serve(0);
}

}  // namespace droste
