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
constexpr u64 kTurnAlone = 200'000;
constexpr u64 kTurnShared = 10'000;
// The outside world is looked at this often if it has not asked itself. The native clock is read
// after so many instructions, of which the fastest engine does a few a nanosecond.
constexpr std::chrono::milliseconds kServePeriod{1};
constexpr u64 kLookInstructions = 200'000;
constexpr u64 kLongestWaitNs = 500'000'000;

}  // namespace

void reset_or_end(RunControl& control, const RunLimits& limits, EndReason reason) {
    if (limits.reboot_allowed) {
        control.request_reset();
    } else {
        control.end(reason);
    }
}

bool runnable(const Vcpu& cpu) {
    return cpu.state.activity == Activity::Active ||
           (cpu.attention.load(std::memory_order_relaxed) & cpu.attention_mask &
            ~(attention::kStop | attention::kLeave)) != 0;
}

RunLoop::RunLoop(Pc& pc, NativeIo& io, RunControl& control, const RunLimits& limits)
    : pc_(pc)
    , io_(io)
    , control_(control)
    , limits_(limits)
    , current_(pc.vcpus().size() - 1) {
    control_.set_observer(this);
    pc_.events().set_earlier_callback([this] { look_up(); });
    pc_.apic_bus().set_listener([this](std::size_t index) { message_accepted(index); });
}

RunLoop::~RunLoop() {
    control_.set_observer(nullptr);
    pc_.events().set_earlier_callback({});
    pc_.apic_bus().set_listener({});
}

// Async-signal-safe: the running vCPU returns from run() at its next boundary.
void RunLoop::look_up() {
    if (Vcpu* cpu = running_.load(std::memory_order_relaxed); cpu != nullptr) {
        cpu->request(attention::kStop);
    }
}

// An interrupt message reached vCPU `index`. If it waited, whoever sent the message is likely to
// wait for it next.
void RunLoop::message_accepted(std::size_t index) {
    const Vcpu& target = *pc_.vcpus()[index];
    if (target.state.activity != Activity::Active && runnable(target) && index != current_) {
        turn_left_ = 0;
        look_up();
    }
}

u64 RunLoop::timeout_left_ns() const {
    if (!limits_.timeout) {
        return kLongestWaitNs;
    }
    const auto left = *limits_.timeout - (std::chrono::steady_clock::now() - start_);
    return left.count() > 0 ? std::min<u64>(static_cast<u64>(left.count()), kLongestWaitNs) : 0;
}

void RunLoop::serve(u64 timeout_ns) {
    const u64 left = timeout_left_ns();
    if (left == 0) {
        control_.end(EndReason::Timeout);
        return;
    }
    io_.serve(std::min(timeout_ns, left));
    served_ = std::chrono::steady_clock::now();
}

void RunLoop::serve_now_and_then() {
    instructions_since_look_ = 0;
    if (std::chrono::steady_clock::now() - served_ < kServePeriod) {
        return;
    }
    pc_.clock().synchronize();
    serve(0);
    while (io_.output_blocked() && !control_.ended()) {
        serve(kLongestWaitNs);
    }
}

bool RunLoop::any_runnable() const {
    return std::any_of(pc_.vcpus().begin(), pc_.vcpus().end(),
                       [](const auto& cpu) { return runnable(*cpu); });
}

bool RunLoop::others_wait() const {
    return std::any_of(pc_.vcpus().begin(), pc_.vcpus().end(), [this](const auto& cpu) {
        return cpu->index != current_ && runnable(*cpu);
    });
}

// The next vCPU that has something to do; false if none has.
bool RunLoop::begin_turn() {
    const std::size_t count = pc_.vcpus().size();
    for (std::size_t step = 1; step <= count; ++step) {
        const std::size_t index = (current_ + step) % count;
        if (runnable(*pc_.vcpus()[index])) {
            current_ = index;
            turn_left_ = others_wait() ? kTurnShared : kTurnAlone;
            return true;
        }
    }
    return false;
}

// Runs the vCPU whose turn it is up to the next deadline or to the end of its turn.
void RunLoop::slice() {
    EventQueue& events = pc_.events();
    Vcpu& cpu = *pc_.vcpus()[current_];
    const u64 start = cpu.icount;
    drive_clock(cpu);
    cpu.others_wait = others_wait();
    running_ = &cpu;
    const u64 budget =
        std::min(turn_left_, pc_.clock().instructions_until(events.next_deadline_ns()));
    const RunResult result = pc_.engine(cpu).run(cpu, budget);
    running_ = nullptr;
    cpu.withdraw(attention::kStop);
    const u64 done = cpu.icount - start;
    turn_left_ -= std::min(turn_left_, done);
    run_due_events();
    instructions_since_look_ += done;
    // Alone, there is nobody to yield to.
    if (result == RunResult::Idle || (result == RunResult::Yielded && others_wait())) {
        turn_left_ = 0;
    }
    idle_turns_ = result == RunResult::Idle && done == 0 ? idle_turns_ + 1 : 0;
    if (result == RunResult::Stopped || instructions_since_look_ >= kLookInstructions) {
        serve_now_and_then();
    }
    // The board answers the shutdown cycle with a reset.
    if (cpu.state.activity == Activity::Shutdown) {
        reset_or_end(control_, limits_, EndReason::TripleFault);
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
        serve(clock.native_sleep_ns(deadline));
        clock.resume_from_sleep(deadline);
    } else {
        if (io_.interactive()) {
            const u64 now = clock.now_ns();
            serve(deadline > now ? deadline - now : 0);
        } else {
            serve_now_and_then();
        }
        if (!any_runnable()) {
            clock.advance_to(deadline);
            if (shadow_ != nullptr) {
                shadow_->time_advanced_to(deadline);
            }
        }
    }
    run_due_events();
}

void RunLoop::run_due_events() {
    pc_.events().run_due();
    if (shadow_ != nullptr) {
        shadow_->events_ran();
    }
}

void RunLoop::wait_while_halted() {
    while (control_.paused() && !control_.ended()) {
        serve(kLongestWaitNs);
    }
}

void RunLoop::run() {
    start_ = served_ = std::chrono::steady_clock::now();
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
            reset_or_end(control_, limits_, EndReason::GuestReset);
        }
        if (control_.take_reset()) {
            pc_.reset();
            if (shadow_ != nullptr) {
                shadow_->was_reset();
            }
            turn_left_ = 0;
        }
        // A vCPU that looks runnable and does nothing waits like a halted one.
        const bool all_idle = idle_turns_ >= pc_.vcpus().size();
        if (!all_idle && (turn_left_ != 0 || begin_turn())) {
            slice();
        } else if (!control_.ended()) {
            idle_turns_ = 0;
            idle();
        }
    }
    serve(0);
}

}  // namespace droste
