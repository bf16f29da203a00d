#pragma once
// --lockstep: a second machine of the same configuration runs behind the translated one on the
// interpreter, in the same process, and both are compared as they go. It is how a translation bug
// is found (docs/jit/index.md).
//
// The machine that is seen from outside is the leader. Its engines are wrapped: behind each stretch
// of at most `every` instructions, or with `each` behind each translation, the follower's vCPU of
// the same number runs up to the same count of instructions, and what both hold is compared. Under
// --icount nothing else can make them differ: interrupts come at the same instruction because
// devices see the same accesses and the same time, and what the run loop does between slices it
// tells (RunShadow). Input from outside is taken when both are at the same instruction (CharTwin).
//
// Status flags that nobody reads before they are overwritten need not be right in translated code
// (docs/jit/flags.md), and may be seen by a debugger, in the frame of an exception or in a VMCS
// (LockstepExits). Where that can be shown the follower takes the leader's; it is counted.
//
// Compared are the registers of the vCPU that ran, the bytes around what its registers point to,
// what serial ports send, and now and then all of RAM.
//
// Rejected: two threads that hand over to each other (nothing runs at the same time anyway, and the
// leader's run loop decides for both); reruns of single blocks in the interpreter on a copy of the
// memory (accesses to devices cannot be made twice).

#include "core/error.hpp"
#include "core/log.hpp"
#include "frontends/debugger/char_twin.hpp"
#include "frontends/debugger/disassembler.hpp"
#include "frontends/debugger/lockstep_exits.hpp"
#include "frontends/debugger/lockstep_options.hpp"
#include "frontends/debugger/translation_listing.hpp"
#include "frontends/machine/pc.hpp"
#include "frontends/machine/run_control.hpp"
#include "frontends/machine/run_loop.hpp"
#include "jit/listener.hpp"

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace droste {

class Lockstep final : public RunShadow, public jit::Listener {
  public:
    // Before the configuration's backends are opened.
    Lockstep(const LockstepOptions& options, const MachineConfig& leader);
    ~Lockstep() override;

    // Serial ports of the leader get backends of ours in front of theirs.
    void connect(MachineConfig& leader);
    // The follower has it, too, and what it writes there goes nowhere.
    void add_debug_console(u16 port, const std::string& id);
    // Makes the follower, and follows the leader from now on. Borrows both.
    Expected<void> start(Pc& leader, RunControl& control);
    // After the run: compares all of RAM once more.
    void finish();

    // What differs, with both states and the code; empty if nothing did.
    const std::string& report() const { return report_; }
    // Requires: start() has succeeded.
    const Pc& follower() const { return *follower_; }
    // How much was compared, in a line.
    std::string summary() const;

    // Runs the leader's vCPU on its engine, and the follower's behind it.
    RunResult run(Vcpu& cpu, ExecutionEngine& engine, u64 budget);

    void events_ran() override;
    void time_advanced_to(u64 deadline_ns) override;
    void was_reset() override;
    void translated(Vcpu& cpu, const jit::TranslationReport& report) override;
    void left(Vcpu& cpu, u64 rip) override;

  private:
    class NoOutput final : public CharBackend {
      public:
        void write(std::span<const u8> /*bytes*/) override {}
        void set_receiver(CharReceiver* /*receiver*/) override {}
    };

    bool differs() const { return !report_.empty(); }
    void follow(Vcpu& cpu);
    void compare(Vcpu& cpu, Vcpu& twin);
    void excuse_dead_status(Vcpu& cpu, Vcpu& twin);
    bool excuse_image(Vcpu& twin, PhysAddr address);
    bool compare_memory_near(Vcpu& cpu, Vcpu& twin, std::string& text);
    bool compare_all_memory(Vcpu& twin, std::string& text);
    void flip_if_due(Vcpu& cpu);
    void give_up(Vcpu& cpu, Vcpu& twin, const std::string& what);
    std::string describe_code(Vcpu& twin);
    std::string describe_memory(PhysAddr address) const;

    LockstepOptions options_;
    MachineConfig config_;  // the follower's
    NoOutput no_output_;
    std::vector<std::unique_ptr<CharTwin>> twins_;
    Log log_;
    RunControl follower_control_;
    std::unique_ptr<Pc> follower_;
    std::unique_ptr<LockstepExits> exits_;  // uses follower_
    Pc* leader_ = nullptr;
    RunControl* control_ = nullptr;
    Disassembler disassembler_;
    std::map<std::pair<u64, unsigned>, TranslationCopy> translations_;  // by RIP and code size
    std::string report_;
    u64 comparisons_ = 0;
    u64 excused_ = 0;
    u64 instructions_ = 0;        // compared, of all vCPUs
    u64 memory_compared_at_ = 0;  // of instructions_
    // Where the two last agreed.
    u64 agreed_icount_ = 0;
    u64 agreed_rip_ = 0;
    std::optional<u64> translation_rip_;  // of what ran since, with `each`
};

}  // namespace droste
