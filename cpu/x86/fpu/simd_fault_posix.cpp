// SIGFPE at a thunk's address -> the thunk's landing code.
//
// This file holds the only process-wide state of the CPU: a signal's disposition belongs to the
// process, so the handler is installed once, and it must find out from the interrupted address
// alone whether the signal is ours. It reads the table below, which every ThunkCache of every
// machine enters itself into; the entries are atomics because a handler may run on one thread while
// another adds or removes its range. A range cannot vanish under a running thunk: its owner
// outlives the vCPUs. Any other SIGFPE goes to the handler that was there before.

#include "core/assert.hpp"
#include "cpu/x86/fpu/simd_fault.hpp"

#include <array>
#include <atomic>
#include <csignal>
#include <cstdint>

#include <ucontext.h>

namespace droste {
namespace {

struct Slot {
    std::atomic<bool> taken{false};
    std::atomic<std::uintptr_t> first{0};
    std::atomic<std::uintptr_t> end{0};  // 0: not (any more) a range
    std::atomic<std::uintptr_t> landing{0};
};
std::array<Slot, 1024>
    slots;  // NOLINT(*-avoid-non-const-global-variables): see the head of the file
struct sigaction previous_action;  // NOLINT(*-avoid-non-const-global-variables)

void pass_on(int signal, siginfo_t* info, void* context) {
    if ((previous_action.sa_flags & SA_SIGINFO) != 0) {
        previous_action.sa_sigaction(signal, info, context);
    } else if (previous_action.sa_handler == SIG_DFL) {
        // Returning executes the faulting instruction again, now with the default action.
        sigaction(signal, &previous_action, nullptr);
    } else if (previous_action.sa_handler != SIG_IGN) {
        previous_action.sa_handler(signal);
    }
}

void on_sigfpe(int signal, siginfo_t* info, void* context) {
    greg_t& rip = static_cast<ucontext_t*>(context)->uc_mcontext.gregs[REG_RIP];
    const auto address = static_cast<std::uintptr_t>(rip);
    for (const Slot& slot : slots) {
        if (address >= slot.first.load(std::memory_order_relaxed) &&
            address < slot.end.load(std::memory_order_acquire)) {
            rip = static_cast<greg_t>(slot.landing.load(std::memory_order_relaxed));
            return;
        }
    }
    pass_on(signal, info, context);
}

bool install_handler() {
    struct sigaction action {};
    action.sa_sigaction = on_sigfpe;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK;
    sigemptyset(&action.sa_mask);
    return sigaction(SIGFPE, &action, &previous_action) == 0;
}

}  // namespace

SimdFaultRange::SimdFaultRange(const u8* first, const u8* end, const u8* landing) {
    static const bool kInstalled = install_handler();
    DROSTE_ASSERT(kInstalled);
    slot_ = 0;
    while (slot_ < slots.size() && slots[slot_].taken.exchange(true)) {
        ++slot_;
    }
    DROSTE_ASSERT(slot_ < slots.size());
    Slot& slot = slots[slot_];
    slot.first.store(reinterpret_cast<std::uintptr_t>(first), std::memory_order_relaxed);
    slot.landing.store(reinterpret_cast<std::uintptr_t>(landing), std::memory_order_relaxed);
    slot.end.store(reinterpret_cast<std::uintptr_t>(end), std::memory_order_release);
}

SimdFaultRange::~SimdFaultRange() {
    Slot& slot = slots[slot_];
    slot.end.store(0, std::memory_order_release);
    slot.taken.store(false);
}

}  // namespace droste
