#include "frontends/debugger/lockstep_exits.hpp"

#include "cpu/vmx/vmx_state.hpp"
#include "frontends/debugger/dead_status.hpp"

namespace droste {

// Passes on what it is told to whoever watched before.
class LockstepExits::LeaderSink final : public VmExitSink {
  public:
    LeaderSink(LockstepExits& exits, VmExitSink* next) : exits_(exits), next_(next) {}
    void vm_exit(const VmExitRecord& record) override {
        exits_.leader_exited(record);
        if (next_ != nullptr) {
            next_->vm_exit(record);
        }
    }
    void vm_entry(const VmExitRecord& last_exit,
                  unsigned level,
                  u64 instructions,
                  u64 ns,
                  u64 now_ns) override {
        if (next_ != nullptr) {
            next_->vm_entry(last_exit, level, instructions, ns, now_ns);
        }
    }

  private:
    LockstepExits& exits_;
    VmExitSink* next_;
};

class LockstepExits::FollowerSink final : public VmExitSink {
  public:
    explicit FollowerSink(LockstepExits& exits) : exits_(exits) {}
    void vm_exit(const VmExitRecord& record) override { exits_.follower_exited(record); }
    void vm_entry(const VmExitRecord& /*last_exit*/,
                  unsigned /*level*/,
                  u64 /*instructions*/,
                  u64 /*ns*/,
                  u64 /*now_ns*/) override {}

  private:
    LockstepExits& exits_;
};

LockstepExits::LockstepExits(Pc& leader, Pc& follower) : follower_(follower) {
    saved_.resize(leader.vmx().size());
    for (const auto& vmx : leader.vmx()) {
        sinks_.push_back(std::make_unique<LeaderSink>(*this, vmx->trace.sink()));
        vmx->trace.set_sink(sinks_.back().get());
    }
    sinks_.push_back(std::make_unique<FollowerSink>(*this));
    for (const auto& vmx : follower.vmx()) {
        vmx->trace.set_sink(sinks_.back().get());
    }
}

LockstepExits::~LockstepExits() = default;

void LockstepExits::leader_exited(const VmExitRecord& record) {
    if (!record.entry_failure) {
        saved_[record.vcpu].push_back(
            {record.cpu->icount, record.guest_rip, record.vmcs->guest_rflags});
    }
}

void LockstepExits::follower_exited(const VmExitRecord& record) {
    if (record.entry_failure) {
        return;
    }
    std::deque<Saved>& saved = saved_[record.vcpu];
    while (!saved.empty() && saved.front().icount < record.cpu->icount) {
        saved.pop_front();
    }
    if (saved.empty() || saved.front().icount != record.cpu->icount) {
        return;  // the two differ in more than flags: the next comparison says in what
    }
    const Saved leaders = saved.front();
    saved.pop_front();
    VmxState& vmx = *follower_.vmx()[record.vcpu];
    u64& rflags = vmx.vmcs().guest_rflags;
    if (rflags != leaders.rflags && record.guest_rip == leaders.rip &&
        images_of_rflags(leaders.rflags, rflags) &&
        ((leaders.rflags ^ rflags) & live_status(vmx.cpu, leaders.rip)) == 0) {
        rflags = leaders.rflags;
        ++excused_;
    }
}

}  // namespace droste
