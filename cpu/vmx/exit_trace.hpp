#pragma once
// What happened at the border between VMX root and non-root operation: counters by level and exit
// reason, and an optional sink that gets every exit. Always on; without a sink an exit costs a few
// additions.
//
// Levels. The machine's own software is L1 (VMX root operation). What a VMCS runs is L2 or deeper:
// the processor sees one VMCS at a time, so deeper levels are attributed by lineage. A guest that
// executed VMLAUNCH or VMRESUME (and thereby exited) started something; the next unknown {VMCS,
// EPTP} that L1 enters is one level below the deepest guest that did so.

#include "core/types.hpp"
#include "cpu/vmx/exit.hpp"

#include <array>
#include <string>

namespace droste {

class VmxState;

inline constexpr unsigned kMaxLevels = 10;  // L0 unused, L1 .. L9 and deeper

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
    const struct Vmcs* vmcs =
        nullptr;  // all fields, with the exit information; valid during the call
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

struct ExitCost {
    u64 count = 0;
    u64 instructions = 0;  // retired in root operation until the next VM entry
    u64 ns = 0;            // virtual time of the same
};

class ExitTrace {
  public:
    void set_sink(VmExitSink* sink) { sink_ = sink; }

    void entered(VmxState& vmx);
    void exited(VmxState& vmx, const ExitInfo& info, bool entry_failure);

    const ExitCost& cost(unsigned level, unsigned reason) const { return costs_[level][reason]; }
    u64 entries(unsigned level) const { return entries_[level]; }
    unsigned current_level() const { return level_; }
    // One line per level and reason, most frequent first; empty when nothing exited.
    std::string table() const;

  private:
    // A {VMCS, EPTP} seen at VM entry, with its level.
    struct Lineage {
        u64 vmcs_pointer = ~u64{0};
        u64 ept_pointer = 0;
        u64 last_use = 0;
        unsigned level = 0;
    };
    unsigned level_of(u64 vmcs_pointer, u64 ept_pointer);

    VmExitSink* sink_ = nullptr;
    std::array<Lineage, 64> lineages_{};
    std::size_t last_lineage_ = 0;
    unsigned launching_ =
        1;  // deepest level whose VMLAUNCH/VMRESUME has not been answered by a VM entry yet
    unsigned level_ = 1;
    u64 use_counter_ = 0;
    std::array<std::array<ExitCost, kExitReasonLimit>, kMaxLevels> costs_{};
    std::array<u64, kMaxLevels> entries_{};
    bool between_ = false;
    VmExitRecord last_exit_;
    u64 exit_icount_ = 0;
};

}  // namespace droste
