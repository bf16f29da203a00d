#pragma once
// One ppoll() over everything the machine talks to outside: terminals, pipes, pseudo-terminals,
// signals.

#include "core/types.hpp"
#include "frontends/machine/native_io.hpp"

#include <vector>

namespace droste {

// Somebody with a file descriptor.
class PollClient {
  public:
    PollClient() = default;
    PollClient(const PollClient&) = delete;
    PollClient& operator=(const PollClient&) = delete;
    virtual ~PollClient() = default;

    virtual int poll_fd() const = 0;
    // POLLIN / POLLOUT as wanted now; 0 = not interested.
    virtual short wanted_events() const = 0;
    virtual void ready(short events) = 0;
    // Called at every serve(), before waiting: send what is buffered.
    virtual void flush() {}
    // The buffer is full and the peer takes nothing.
    virtual bool blocked() const { return false; }
};

class PollLoop final : public NativeIo {
  public:
    // Borrowed.
    void add(PollClient& client) { clients_.push_back(&client); }
    void remove(PollClient& client);
    void set_interactive(bool interactive) { interactive_ = interactive; }

    PollLoop();
    ~PollLoop() override;

    void serve(u64 timeout_ns) override;
    void set_lock(MachineLock* lock) override { lock_ = lock; }
    void wake() override;
    bool output_blocked() const override;
    bool interactive() const override { return interactive_; }

  private:
    std::vector<PollClient*> clients_;
    bool interactive_ = false;
    MachineLock* lock_ = nullptr;
    const int wake_fd_;
};

}  // namespace droste
