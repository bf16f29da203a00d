#include "core/assert.hpp"
#include "core/machine_lock.hpp"

#include <algorithm>

#include <sched.h>

namespace droste {

MachineLock::MachineLock() {
    // It is held for a microsecond mostly: who finds it taken spins a little before it sleeps.
    pthread_mutexattr_t kind;
    pthread_mutexattr_init(&kind);
    pthread_mutexattr_settype(&kind, PTHREAD_MUTEX_ADAPTIVE_NP);
    const int made = pthread_mutex_init(&mutex_, &kind);
    DROSTE_ASSERT(made == 0);
    pthread_mutexattr_destroy(&kind);
}

MachineLock::~MachineLock() {
    pthread_mutex_destroy(&mutex_);
}

void MachineLock::lock() {
    if (pthread_mutex_trylock(&mutex_) == 0) {
        return;
    }
    waiting_.fetch_add(1, std::memory_order_relaxed);
    pthread_mutex_lock(&mutex_);
    taken_.fetch_add(1, std::memory_order_relaxed);
    waiting_.fetch_sub(1, std::memory_order_relaxed);
}

void MachineLock::unlock() {
    pthread_mutex_unlock(&mutex_);
}

void MachineLock::give_way() {
    // A mutex is not fair: without waiting here this thread would mostly be the next again.
    constexpr unsigned kYields = 1000;
    const u32 taken = taken_.load(std::memory_order_relaxed);
    unlock();
    for (unsigned i = 0;
         i < kYields && contended() && taken_.load(std::memory_order_relaxed) == taken; ++i) {
        sched_yield();
    }
    lock();
}

void MachineLock::stop_others() {
    constexpr unsigned kSpins = 2000;
    for (Thread* thread : threads_) {
        if (thread->in_guest.load(std::memory_order_acquire)) {
            thread->budget_floor.store(kLeave, std::memory_order_relaxed);
        }
    }
    for (Thread* thread : threads_) {
        for (unsigned spins = 0; thread->in_guest.load(std::memory_order_acquire); ++spins) {
            if (spins < kSpins) {
                __builtin_ia32_pause();
            } else {
                sched_yield();  // it has no core at present
            }
        }
    }
}

void MachineLock::wait_until_alone(const Thread& own) {
    const auto within = [&own](const Thread* thread) { return thread != &own && thread->within; };
    while (barred_) {
        give_way();  // another waits for this thread, among others
    }
    barred_ = true;
    while (std::any_of(threads_.begin(), threads_.end(), within)) {
        stop_others();
        give_way();
    }
}

}  // namespace droste
