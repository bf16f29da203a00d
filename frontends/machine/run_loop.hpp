#pragma once
// Runs the vCPUs of a machine in turn on the calling thread until something ends the run.
//
// A turn is a quantum of instructions, cut short at the next timer's deadline, so that devices see
// their ticks at the right instruction. A vCPU that waits (HLT, wait-for-SIPI) is passed over; one
// that spins (PAUSE) gives its turn away. When all wait, time moves to the next deadline: by
// sleeping, or with
// --icount at once. Nothing here depends on the host's timing in counting mode, so a run repeats
// exactly.
//
// A thread per vCPU would replace turn() and the idle wait, nothing else: wishes travel through
// RunControl, interrupts through Vcpu::attention.

#include "core/types.hpp"
#include "frontends/machine/host_io.hpp"
#include "frontends/machine/run_control.hpp"

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

class RunLoop {
  public:
    RunLoop(Pc& pc, HostIo& io, RunControl& control, const RunLimits& limits);
    ~RunLoop();
    RunLoop(const RunLoop&) = delete;
    RunLoop& operator=(const RunLoop&) = delete;

    // Returns when control.ended().
    void run();

  private:
    void turn();
    void run_vcpu(Vcpu& cpu, bool alone);
    std::size_t runnable_count() const;
    void idle();
    void serve(u64 timeout_ns);
    void serve_now_and_then();
    void wait_while_halted();
    void reset_or_end(EndReason reason);
    u64 timeout_left_ns() const;

    Pc& pc_;
    HostIo& io_;
    RunControl& control_;
    RunLimits limits_;
    std::chrono::steady_clock::time_point start_;
    Vcpu* running_ = nullptr;
    u64 instructions_since_serve_ = 0;
    u64 turns_since_serve_ = 0;
};

}  // namespace droste
