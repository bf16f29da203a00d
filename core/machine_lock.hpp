#pragma once
// The lock of a machine whose vCPUs have threads of their own (docs/threads.md).
//
// The problem: guest code must run on several threads at once, and nearly everything beside it
// (devices, timers, caches of code, another vCPU's TLB) is shared, rarely touched, and was written
// for one thread.
//
// The choice: translated code runs without a lock and touches nothing but guest memory and its own
// vCPU; all that is C++ runs under this lock. Who has it may also need that no guest code runs
// meanwhile, because it is about to change what such code stands on: a translation dies, a page
// that others may write becomes code, the memory map changes. stop_others() waits for that. As one
// enters guest code only from under the lock, none comes back before it is given up.
//
// Rejected: a lock for each structure (what is shared is touched in 0.3 % of the instructions, and
// an order of twenty locks is a thing to get wrong); signals to get others out of guest code (they
// cost several microseconds each, and more in a VM: translated code looks at a word instead).

#include "core/types.hpp"

#include <atomic>
#include <limits>
#include <vector>

#include <pthread.h>

namespace droste {

class MachineLock {
  public:
    // A vCPU's thread as the others see it.
    struct Thread {
        // It executes guest code, or is about to, without the lock. Set under it.
        std::atomic<bool> in_guest{false};
        // It is in guest code or has left it for the lock, and will go back to what it knows of
        // that code. Guarded by the lock.
        bool within = false;
        // What guest code compares its budget with: kLeave makes it leave.
        std::atomic<i64> budget_floor{0};
    };
    static constexpr i64 kLeave = std::numeric_limits<i64>::max();

    MachineLock();
    ~MachineLock();
    MachineLock(const MachineLock&) = delete;
    MachineLock& operator=(const MachineLock&) = delete;

    // Borrowed. Before the threads start.
    void add(Thread& thread) { threads_.push_back(&thread); }

    void lock();
    void unlock();
    // Somebody waits for it.
    bool contended() const { return waiting_.load(std::memory_order_relaxed) != 0; }
    // Lets one of those that wait have it, and takes it again.
    void give_way();

    // Returns when no thread executes guest code; none does until the lock is given up. Requires:
    // the caller has the lock, and is not in guest code.
    void stop_others();
    // Gives the lock up until no other thread than `own` will go back to translated code that it
    // has left; none enters such code before let_in(). Requires: `own` is not within.
    void wait_until_alone(const Thread& own);
    void let_in() { barred_ = false; }
    // Nobody may enter guest code now, but run on without it.
    bool barred() const { return barred_; }

  private:
    pthread_mutex_t mutex_;
    std::atomic<u32> waiting_{0};
    std::atomic<u32> taken_{0};  // how often, by those that had to wait
    std::vector<Thread*> threads_;
    bool barred_ = false;  // guarded by the lock itself
};

}  // namespace droste
