#pragma once
// SIGINT, SIGTERM and SIGHUP end the run cleanly. The handler only notes the signal and wakes the
// poll loop; a third one, should the run not end, restores the terminal and leaves at once.

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
    RunControl& control_;
    int event_fd_;
};

}  // namespace droste
