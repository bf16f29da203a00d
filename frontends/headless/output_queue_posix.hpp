#pragma once
// Bytes on their way to a file descriptor that may be slow, blocked or closed. Writing never
// blocks: what does not fit now is kept, and past kHighWater the owner reports itself blocked so
// that the guest waits.

#include "core/types.hpp"

#include <span>
#include <vector>

namespace droste {

class OutputQueue {
  public:
    static constexpr std::size_t kHighWater = std::size_t{64} << 10;

    // Borrows `fd`, which should be non-blocking.
    explicit OutputQueue(int fd) : fd_(fd) {}

    void write(std::span<const u8> bytes);
    // Sends what the descriptor takes; false once the peer is gone (all further bytes are dropped).
    bool flush();
    // Gives a slow peer up to `patience_ms` to take the rest.
    void drain(int patience_ms);

    bool empty() const { return sent_ == pending_.size(); }
    bool blocked() const { return pending_.size() - sent_ >= kHighWater; }
    bool closed() const { return closed_; }
    int error() const { return error_; }  // errno of the write that found the peer gone

  private:
    int fd_;
    std::vector<u8> pending_;
    std::size_t sent_ = 0;
    bool closed_ = false;
    int error_ = 0;
};

// A descriptor for what is behind `fd` that does not block, without forcing O_NONBLOCK on others
// who share the terminal or pipe (other kinds, such as sockets, share the flag). -1 on failure.
int reopen_nonblocking(int fd, int access_mode);

}  // namespace droste
