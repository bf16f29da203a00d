#pragma once
// What the run loop needs from the outside world: a place to sleep in, where input and signals wake
// it.

#include "core/types.hpp"

namespace droste {

class MachineLock;

class NativeIo {
  public:
    NativeIo() = default;
    NativeIo(const NativeIo&) = delete;
    NativeIo& operator=(const NativeIo&) = delete;
    virtual ~NativeIo() = default;

    // Sends what is buffered and takes what has arrived; waits for either at most `timeout_ns`.
    virtual void serve(u64 timeout_ns) = 0;
    // serve() gives it up while it waits. Borrowed; null: there is none.
    virtual void set_lock(MachineLock* /*lock*/) {}
    // serve() returns soon, or the next one does. From any thread, and from a signal handler.
    virtual void wake() {}
    // Somebody does not take our output and the buffer is full: the guest has to wait.
    virtual bool output_blocked() const = 0;
    // A person is at the other end: idle time passes as real time even when counting instructions.
    virtual bool interactive() const = 0;
};

}  // namespace droste
