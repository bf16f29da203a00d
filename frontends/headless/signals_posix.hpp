#pragma once
// Signals of the process. SIGINT, SIGTERM and SIGHUP end the run cleanly: the handler makes the wish
// itself, which stops the running vCPU whatever its guest does, and wakes the poll loop. A third
// one, should the run not end, restores the terminal and leaves at once. SIGALRM comes fifty
// times a second and makes the run loop look at the outside world (RunControl::tick).

#include "frontends/headless/poll_loop_posix.hpp"
#include "frontends/machine/run_control.hpp"

namespace droste {

class EndingSignals final : public PollClient {
  public:
    explicit EndingSignals(RunControl& control);
    ~EndingSignals() override;

    int poll_fd() const override { return event_fd_; }
    short wanted_events() const override;
    void ready(short events) override;

  private:
    int event_fd_;
};

}  // namespace droste
