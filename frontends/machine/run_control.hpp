#pragma once
// Wishes that come from anywhere (a device, a signal, the monitor, the console watcher) and that
// the run loop carries out between two quanta: end the run, reset the machine, pause it. Atomic,
// because signals and, one day, other threads make them.

#include "core/types.hpp"

#include <atomic>
#include <string_view>

namespace droste {

enum class EndReason : u8 {
    None,
    PowerOff,      // the guest switched the machine off
    GuestReset,    // the guest asked for a reset, and -no-reboot says to end then
    TripleFault,   // a CPU shut itself down, and -no-reboot
    DebugExit,     // isa-debug-exit, with the value written
    UntilMatched,  // --until's text was printed
    Timeout,
    Signal,        // with its number
    Quit,          // Ctrl-A x, or the monitor
    OutputClosed,  // whoever read our standard output is gone
    Difference,    // --lockstep: the engines do not agree
};

enum class PowerEvent : u8 { None, Reset, Off };

// Who must look up when something was asked for: the run loop, which stops the running vCPU.
class RunObserver {
  public:
    // May be called from a signal handler.
    virtual void look_up() = 0;

  protected:
    RunObserver() = default;
    RunObserver(const RunObserver&) = delete;
    RunObserver& operator=(const RunObserver&) = delete;
    ~RunObserver() = default;
};

// Async-signal-safe throughout.
class RunControl {
  public:
    void set_observer(RunObserver* observer) { observer_ = observer; }
    // Without a wish: it is time to serve the outside world.
    void tick() { tell(); }

    // The first reason stays.
    void end(EndReason reason, u32 value = 0) {
        u64 none = 0;
        const u64 packed = static_cast<u64>(reason) | (static_cast<u64>(value) << 8);
        ended_.compare_exchange_strong(none, packed);
        tell();
    }
    bool ended() const { return ended_.load(std::memory_order_relaxed) != 0; }
    EndReason reason() const { return static_cast<EndReason>(ended_.load() & 0xFF); }
    u32 value() const { return static_cast<u32>(ended_.load() >> 8); }

    // The guest pulled a reset or power-off line; what follows depends on -no-reboot and
    // -no-shutdown.
    void guest_power_event(PowerEvent event) {
        power_event_.store(event);
        tell();
    }
    PowerEvent take_power_event() {
        return power_event_.load(std::memory_order_relaxed) == PowerEvent::None
                   ? PowerEvent::None
                   : power_event_.exchange(PowerEvent::None);
    }

    // The user wants a reset, whatever the options say.
    void request_reset() {
        reset_.store(true);
        tell();
    }
    bool take_reset() { return reset_.load(std::memory_order_relaxed) && reset_.exchange(false); }

    void set_paused(bool paused) {
        paused_.store(paused);
        tell();
    }
    bool paused() const { return paused_.load(std::memory_order_relaxed); }

  private:
    void tell() {
        if (RunObserver* observer = observer_.load(std::memory_order_relaxed);
            observer != nullptr) {
            observer->look_up();
        }
    }

    std::atomic<u64> ended_{0};  // reason in bits 7:0, value above
    std::atomic<PowerEvent> power_event_{PowerEvent::None};
    std::atomic<bool> reset_{false};
    std::atomic<bool> paused_{false};
    std::atomic<RunObserver*> observer_{nullptr};
};

}  // namespace droste
