#pragma once
// What happened at the border between VMX root and non-root operation: counters by level and exit
// reason, and an optional sink that gets every exit. Always on; without a sink an exit costs a few
// additions. How levels are told: exit_levels.hpp.

#include "core/types.hpp"
#include "cpu/vmx/exit/exit.hpp"
#include "cpu/vmx/explain/exit_levels.hpp"

#include <array>
#include <memory>
#include <span>
#include <string>

namespace droste {

class VmxState;
struct Insn;

struct VmExitRecord {
    u32 vcpu = 0;
    unsigned level = 0;  // of the guest that exited
    ExitReason reason{};
    bool entry_failure = false;
    u64 qualification = 0;
    u64 guest_rip = 0;
    u64 vmcs_pointer = 0;
    u64 guest_ns = 0;  // virtual time spent in the guest before the exit
    u64 guest_instructions = 0;
    u64 exit_ns = 0;  // virtual time of the exit
    // Valid during the call: all fields, with the exit information; the processor, still with the
    // guest's registers (but not after a failed entry).
    const struct Vmcs* vmcs = nullptr;
    const class Vcpu* cpu = nullptr;
};

class VmExitSink {
  public:
    VmExitSink() = default;
    VmExitSink(const VmExitSink&) = delete;
    VmExitSink& operator=(const VmExitSink&) = delete;
    virtual ~VmExitSink() = default;

    virtual void vm_exit(const VmExitRecord& record) = 0;
    // The next VM entry: what the exit cost L1.
    virtual void vm_entry(
        const VmExitRecord& last_exit, unsigned level, u64 instructions, u64 ns, u64 now_ns) = 0;
};

// Who wants to see VMCSs that could not be entered (--vmcs-dump).
class FailedEntrySink {
  public:
    FailedEntrySink() = default;
    FailedEntrySink(const FailedEntrySink&) = delete;
    FailedEntrySink& operator=(const FailedEntrySink&) = delete;
    virtual ~FailedEntrySink() = default;

    // `explanation`: which check failed; `dump`: dump_vmcs() with the last good entry.
    virtual void failed_entry(const std::string& explanation, const std::string& dump) = 0;
};

struct ExitCost {
    u64 count = 0;
    u64 instructions = 0;  // retired in root operation until the next VM entry
    u64 ns = 0;            // virtual time of the same

    ExitCost& operator+=(const ExitCost& other) {
        count += other.count;
        instructions += other.instructions;
        ns += other.ns;
        return *this;
    }
};

class ExitTrace {
  public:
    void set_sink(VmExitSink* sink) { sink_ = sink; }
    VmExitSink* sink() const { return sink_; }
    // One table of levels for all logical processors of a machine.
    void share_levels(const ExitTrace& other) { levels_ = other.levels_; }

    // The three steps of every stay in a guest are inline (exit_trace_steps.hpp).
    // L1 tries a VM entry on the current VMCS, whose digest of controls is up to date; its own
    // registers are still there.
    inline void entering(VmxState& vmx);
    // Requires, as exited(): the block is closed, so that icount is exact.
    inline void entered(VmxState& vmx);
    inline void exited(VmxState& vmx, const ExitInfo& info, bool entry_failure);
    // A guest executes VMPTRLD or VMCLEAR, and will exit.
    void named_region(VmxState& vmx, const Insn& insn);
    // The region of a VMCS was erased: a new one begins.
    void born(PhysAddr region) { levels_->born(region); }
    // VM entries and VM exits flush nothing but the mappings of VPID 0.
    void flushed_on_entry() { ++entry_flushes_; }
    void flushed_on_exit() { ++exit_flushes_; }
    // The processor was reset: back in L1, nothing pending.
    void reset();

    const ExitCost& cost(unsigned level, unsigned reason) const { return costs_[level][reason]; }
    u64 entries(unsigned level) const { return entries_[level]; }
    u64 entry_flushes() const { return entry_flushes_; }
    u64 exit_flushes() const { return exit_flushes_; }
    unsigned current_level() const { return guest_.level; }
    // Of the guest that runs, or that the last VM entry was meant for.
    unsigned level_of_current(const VmxState& vmx) const;
    const GuestLevels& levels() const { return *levels_; }

  private:
    void entering_anew(VmxState& vmx);
    void launched(const VmxState& vmx);
    void report(VmxState& vmx, const ExitInfo& info, unsigned level, bool entry_failure);

    VmExitSink* sink_ = nullptr;
    std::shared_ptr<GuestLevels> levels_ = std::make_shared<GuestLevels>();
    GuestLevels::Guest guest_;   // what runs
    GuestLevels::Guest target_;  // of the last VM entry, whether it succeeded or not
    GuestLevels::Launches launches_{};
    std::array<std::array<ExitCost, kExitReasonLimit>, kMaxLevels> costs_{};
    std::array<u64, kMaxLevels> entries_{};
    u64 entry_flushes_ = 0, exit_flushes_ = 0;
    ExitCost* between_ = nullptr;  // of the last VM exit, until the next VM entry
    VmExitRecord last_exit_;       // without a sink: its time alone
    u64 exit_icount_ = 0;
};

// The sum over `traces`: entries by level, then a line for each level and reason, most frequent
// first: how many, how many a second (of `seconds`), what they cost until the next entry. Empty
// when nothing was ever entered.
std::string exit_table(std::span<const ExitTrace* const> traces, double seconds);

}  // namespace droste
