// The lock of a machine with a thread for each vCPU. Threads here pretend to be in guest code: they
// look at the word that guest code looks at, and leave when it says so.

#include "core/machine_lock.hpp"

#include <catch2/catch.hpp>

#include <atomic>
#include <mutex>
#include <thread>

using namespace droste;

namespace {

// A vCPU that is always in guest code unless it is asked to leave.
class Guest {
  public:
    explicit Guest(MachineLock& lock) : lock_(lock) { lock.add(thread); }
    void start() {
        native_ = std::thread([this] { run(); });
    }
    void end() {
        ended_ = true;
        {
            const std::unique_lock hold{lock_};
            lock_.stop_others();
        }
        native_.join();
    }

    MachineLock::Thread thread;
    std::atomic<u64> steps{0};

  private:
    void run() {
        std::unique_lock hold{lock_};
        while (!ended_) {
            thread.budget_floor = 0;
            if (lock_.barred()) {
                lock_.give_way();
                continue;
            }
            thread.within = true;
            thread.in_guest = true;
            hold.unlock();
            while (thread.budget_floor.load() == 0) {
                ++steps;
            }
            thread.in_guest = false;
            hold.lock();
            thread.within = false;
        }
    }

    MachineLock& lock_;
    std::atomic<bool> ended_{false};
    std::thread native_;
};

void wait_for_steps(const Guest& guest) {
    const u64 before = guest.steps;
    while (guest.steps == before) {
        std::this_thread::yield();
    }
}

}  // namespace

TEST_CASE("nobody executes guest code from stop_others() until the lock is given up",
          "[core][threads]") {
    MachineLock lock;
    Guest one{lock};
    Guest other{lock};
    one.start();
    other.start();
    for (int round = 0; round < 200; ++round) {
        wait_for_steps(one);
        wait_for_steps(other);
        const std::unique_lock hold{lock};
        lock.stop_others();
        CHECK_FALSE(one.thread.in_guest);
        CHECK_FALSE(other.thread.in_guest);
        const u64 before = one.steps + other.steps;
        std::this_thread::yield();
        CHECK(one.steps + other.steps == before);
    }
    one.end();
    other.end();
}

TEST_CASE("wait_until_alone() lets the others come out, and keeps them out", "[core][threads]") {
    MachineLock lock;
    MachineLock::Thread own;
    lock.add(own);
    Guest one{lock};
    Guest other{lock};
    one.start();
    other.start();
    for (int round = 0; round < 100; ++round) {
        wait_for_steps(one);
        const std::unique_lock hold{lock};
        lock.wait_until_alone(own);
        CHECK_FALSE(one.thread.within);
        CHECK_FALSE(other.thread.within);
        lock.give_way();  // they have the lock now and then, but may not go on
        CHECK_FALSE(one.thread.within);
        CHECK_FALSE(other.thread.within);
        lock.let_in();
    }
    one.end();
    other.end();
}

TEST_CASE("who gives way to one that waits is not the next to have the lock", "[core][threads]") {
    MachineLock lock;
    std::atomic<int> had{0};
    std::unique_lock hold{lock};
    std::thread waits([&] {
        const std::unique_lock taken{lock};
        ++had;
    });
    while (!lock.contended()) {
        std::this_thread::yield();
    }
    lock.give_way();
    CHECK(had == 1);
    hold.unlock();
    waits.join();
}
