#pragma once
// Runs the vCPUs of a machine in turn on the calling thread until something ends the run.
//
// A turn is a quantum of instructions; it is run in slices that end at the next timer's deadline,
// so that devices see their ticks at the right instruction. A vCPU that waits (HLT, wait-for-SIPI)
// is passed over; one that spins (PAUSE) gives its turn away, and so does one whose interrupt
// message wakes another. When all wait, time moves to the next deadline: by sleeping, or with
// --icount at once.
//
// Two rules meet here. In counting mode nothing depends on the native machine's timing: whose turn
// it is and how long are functions of instructions alone. And the outside world is heard within
// milliseconds whatever the guest does: a tick from NativeIo, a signal, the end of a device's wish
// all stop the running vCPU at its next boundary (attention::kStop). So a stop ends a slice and
// never a turn.
//
// A thread per vCPU would replace begin_turn(), slice() and the idle wait, nothing else: wishes
// travel through RunControl, interrupts through Vcpu::attention.

#include "core/types.hpp"
#include "frontends/machine/native_io.hpp"
#include "frontends/machine/run_control.hpp"

#include <atomic>
#include <chrono>
#include <cstddef>
#include <optional>

namespace droste {

class Pc;
class Vcpu;

struct RunLimits {
    std::optional<std::chrono::nanoseconds> timeout;
    bool reboot_allowed = true;
    bool shutdown_allowed = true;  // otherwise a power-off pauses the machine
};

// The machine resets itself for this reason: it is reset, or the run ends where reboots are not
// allowed.
void reset_or_end(RunControl& control, const RunLimits& limits, EndReason reason);

// It has something to do, or was asked for something that it may look at now.
bool runnable(const Vcpu& cpu);

// A second machine that makes the same steps (--lockstep). It follows the vCPUs by itself and is told
// what else happens to the machine, just after it has happened there. Only in counting mode.
class RunShadow {
  public:
    RunShadow() = default;
    RunShadow(const RunShadow&) = delete;
    RunShadow& operator=(const RunShadow&) = delete;
    virtual ~RunShadow() = default;

    virtual void events_ran() = 0;                       // what was due
    virtual void time_advanced_to(u64 deadline_ns) = 0;  // while all vCPUs waited
    virtual void was_reset() = 0;
};

// NOLINTNEXTLINE(cppcoreguidelines-virtual-class-destructor): final, never held as an observer
class RunLoop final : private RunObserver {
  public:
    RunLoop(Pc& pc, NativeIo& io, RunControl& control, const RunLimits& limits);
    ~RunLoop();
    RunLoop(const RunLoop&) = delete;
    RunLoop& operator=(const RunLoop&) = delete;

    // Borrowed.
    void set_shadow(RunShadow* shadow) { shadow_ = shadow; }
    // Returns when control.ended().
    void run();

  private:
    void look_up() override;
    void message_accepted(std::size_t index);
    bool begin_turn();
    void slice();
    bool others_wait() const;
    bool any_runnable() const;
    void idle();
    void serve(u64 timeout_ns);
    void serve_now_and_then();
    void run_due_events();
    void wait_while_halted();
    u64 timeout_left_ns() const;

    Pc& pc_;
    NativeIo& io_;
    RunControl& control_;
    RunLimits limits_;
    RunShadow* shadow_ = nullptr;
    std::chrono::steady_clock::time_point start_;
    std::chrono::steady_clock::time_point served_;
    std::atomic<Vcpu*> running_ = nullptr;  // read by look_up(), which a signal may call
    std::size_t current_;                   // whose turn it is, or was last
    u64 turn_left_ = 0;                     // of the present turn, in instructions
    u64 instructions_since_look_ = 0;       // at the native clock
    std::size_t idle_turns_ = 0;            // in a row, without an instruction
};

}  // namespace droste
