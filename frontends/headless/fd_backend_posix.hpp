#pragma once
// Character backends on file descriptors: standard input and output, a pseudo-terminal, a file.

#include "core/char_backend.hpp"
#include "core/error.hpp"
#include "frontends/headless/output_queue_posix.hpp"
#include "frontends/headless/poll_loop_posix.hpp"

#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace droste {

// Bytes go to `output_fd`; bytes from `input_fd` go to the receiver as it has room for them. -1: no
// such direction. Owns both descriptors.
class FdBackend final : public CharBackend, public PollClient {
  public:
    FdBackend(PollLoop& loop, int input_fd, int output_fd);
    ~FdBackend() override;

    // Called once when whoever reads the output is gone.
    void set_on_output_closed(std::function<void(int error)> callback) {
        on_closed_ = std::move(callback);
    }

    // Closed together with the backend; -1 is nothing.
    void keep_open(int fd) { kept_fd_ = fd; }
    // For peers that nobody may be reading (a pseudo-terminal): when the buffer is full, drop
    // instead of waiting.
    void set_lossy() { lossy_ = true; }

    void write(std::span<const u8> bytes) override;
    void set_receiver(CharReceiver* receiver) override { receiver_ = receiver; }
    void receiver_ready() override { deliver(); }

    int poll_fd() const override { return input_fd_; }
    short wanted_events() const override;
    void ready(short events) override;
    void flush() override;
    bool blocked() const override { return !lossy_ && output_.blocked() && !output_.closed(); }

  private:
    // The output side's own entry in the poll loop: input and output may be different descriptors.
    class OutputSide final : public PollClient {
      public:
        explicit OutputSide(FdBackend& owner) : owner_(owner) {}
        int poll_fd() const override { return owner_.output_fd_; }
        short wanted_events() const override;
        void ready(short /*events*/) override { owner_.flush(); }

      private:
        FdBackend& owner_;
    };

    void deliver();

    PollLoop& loop_;
    int input_fd_;
    int output_fd_;
    int kept_fd_ = -1;
    bool lossy_ = false;
    OutputQueue output_;
    OutputSide output_side_;
    CharReceiver* receiver_ = nullptr;
    std::vector<u8> input_;  // read, but not yet taken by the receiver from input_taken_ on
    std::size_t input_taken_ = 0;
    std::function<void(int)> on_closed_;
    bool input_ended_ = false;
    bool told_ = false;
};

Expected<std::unique_ptr<FdBackend>> make_stdio_backend(PollLoop& loop);
Expected<std::unique_ptr<FdBackend>> make_file_backend(PollLoop& loop, const std::string& path);
// `slave_name` becomes the path to open at the other end (/dev/pts/N).
Expected<std::unique_ptr<FdBackend>> make_pty_backend(PollLoop& loop, std::string& slave_name);

// Swallows everything.
class NullBackend final : public CharBackend {
  public:
    void write(std::span<const u8> /*bytes*/) override {}
    void set_receiver(CharReceiver* /*receiver*/) override {}
};

}  // namespace droste
