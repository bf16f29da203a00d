#pragma once
// RFLAGS as --lockstep's two machines save it at a VM exit. Status flags that were dead may differ
// there, and a hypervisor copies the field wherever it likes: so they are made equal where they
// come from, while the guest is still there to show that they were dead.
//
// The leader runs ahead; what each of its exits saved waits here for the follower's.

#include "cpu/vmx/explain/exit_trace.hpp"
#include "frontends/machine/pc.hpp"

#include <deque>
#include <memory>
#include <vector>

namespace droste {

class LockstepExits {
  public:
    // Watches the VM exits of both, which are of the same configuration and borrowed. What else
    // watches the leader's is still told.
    LockstepExits(Pc& leader, Pc& follower);
    ~LockstepExits();
    LockstepExits(const LockstepExits&) = delete;
    LockstepExits& operator=(const LockstepExits&) = delete;

    // How often the follower took the leader's flags.
    u64 excused() const { return excused_; }

  private:
    class LeaderSink;
    class FollowerSink;
    struct Saved {
        u64 icount = 0;
        u64 rip = 0;
        u64 rflags = 0;
    };

    void leader_exited(const VmExitRecord& record);
    void follower_exited(const VmExitRecord& record);

    Pc& follower_;
    std::vector<std::deque<Saved>> saved_;  // by vCPU
    std::vector<std::unique_ptr<VmExitSink>> sinks_;
    u64 excused_ = 0;
};

}  // namespace droste
