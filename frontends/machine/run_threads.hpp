#pragma once
// Runs each vCPU of a machine on a thread of its own until something ends the run (docs/threads.md).
//
// The calling thread is the machine's: it sleeps until the next timer is due or the outside world
// wants something, and carries out wishes (reset, pause, end) while all vCPUs are parked outside
// run(). A vCPU that waits sleeps on its attention word, which every request() wakes.

#include "core/error.hpp"
#include "core/machine_lock.hpp"
#include "core/types.hpp"
#include "frontends/machine/native_io.hpp"
#include "frontends/machine/run_control.hpp"
#include "frontends/machine/run_loop.hpp"

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <mutex>
#include <thread>
#include <vector>

namespace droste {

// NOLINTNEXTLINE(cppcoreguidelines-virtual-class-destructor): final, never held as an observer
class RunThreads final : private RunObserver {
  public:
    // Requires: pc.lock().
    RunThreads(Pc& pc, NativeIo& io, RunControl& control, const RunLimits& limits);
    ~RunThreads();
    RunThreads(const RunThreads&) = delete;
    RunThreads& operator=(const RunThreads&) = delete;

    // Returns when control.ended(). An Error if a thread could not be made.
    Expected<void> run();

  private:
    using Hold = std::unique_lock<MachineLock>;

    void look_up() override { io_.wake(); }
    void timer_is_earlier();
    Expected<void> start();
    void join();
    void run_vcpu(Vcpu& cpu);
    void stay_parked(Hold& hold);
    void sleep(Vcpu& cpu, Hold& hold, bool even_if_runnable);
    void park(Hold& hold);
    void unpark();
    void carry_out_wishes(Hold& hold);
    void serve(u64 timeout_ns);

    Pc& pc_;
    NativeIo& io_;
    RunControl& control_;
    RunLimits limits_;
    std::chrono::steady_clock::time_point start_;
    std::vector<std::thread> threads_;
    // Guarded by the machine's lock.
    bool parking_ = false;
    bool quit_ = false;
    std::size_t parked_ = 0;
    u64 awaited_ns_ = 0;  // the deadline that the machine's thread sleeps to; 0: it is awake
    std::condition_variable_any all_parked_;
    std::condition_variable_any unparked_;
};

}  // namespace droste
