#pragma once
// The VMCSs that are active on this logical processor, bound to structs. SDM Vol. 3C, "Format of
// the VMCS Region".
//
// The problem: VM entries, VM exits and VMREADs touch a hundred fields, and a nested hypervisor
// changes its current VMCS several times for each exit of its guest.
//
// The choice: a VMCS becomes active at VMPTRLD (or as the shadow VMCS of a VM entry) and stays bound
// to a struct until VMCLEAR, VMXOFF or, when the cache is full, until it is the least recently used.
// Write-back is lazy: guest memory holds the image only then. "Launch state" and what passed the
// VM-entry checks live and die with the binding. A hypervisor that reuses the page without VMCLEAR may
// see it overwritten, as on hardware. Sixteen bindings: KVM in KVM in KVM keeps two or three a virtual
// CPU in use, and a miss copies one page.
//
// Rejected: fields in guest memory, read where they lie (each access a look-up and a check that the
// page is still RAM; other CPUs and devices could change a VMCS that was checked); one bound VMCS,
// written back at each VMPTRLD (two copies of it a nested exit); writing through (the manual promises
// nothing about memory before VMCLEAR).

#include "core/types.hpp"
#include "cpu/vmx/explain/exit_levels.hpp"
#include "cpu/vmx/vmcs/controls.hpp"
#include "cpu/vmx/vmcs/segment_image.hpp"
#include "cpu/vmx/vmcs/vmcs.hpp"
#include "cpu/x86/vcpu.hpp"

#include <array>
#include <memory>
#include <span>

namespace droste {

// What the processor was when it left one side of a VMCS, and is again when it comes back with the
// fields as they were: the address space's context and the derived state, which need not be looked
// for and worked out then.
struct RememberedSide {
    TlbContext* context = nullptr;
    u64 epoch = 0;  // Tlb::epoch(); 0: nothing is remembered
    // What derived state and the address space depend on besides the fields.
    u64 efer = 0;
    u64 xcr0 = 0;
    u64 rflags = 0;  // RFLAGS.VM and AC count
    ModeState mode;

    // Requires: derived state and the context are up to date.
    void remember(Vcpu& cpu) {
        const CpuState& s = cpu.state;
        context = &cpu.tlb.current();
        // Control-flow enforcement has state of its own in MSRs; it is worked out each time.
        epoch = (s.cr4 & cr4::kCet) == 0 ? cpu.tlb.epoch() : 0;
        efer = s.efer;
        xcr0 = s.xcr0;
        rflags = s.rflags_system;
        mode = cpu.mode;
    }
    // Puts them back, if what was loaded since is as it was then; false: nothing is done.
    bool restore(Vcpu& cpu) const {
        constexpr u64 kModeFlags = rflags::kVm | rflags::kAc;
        const CpuState& s = cpu.state;
        const u64 differs =
            (efer ^ s.efer) | (xcr0 ^ s.xcr0) | ((rflags ^ s.rflags_system) & kModeFlags);
        if (differs != 0 || !cpu.tlb.return_to(context, epoch)) {
            return false;
        }
        ++cpu.counters.context_switches;
        cpu.mode = mode;
        return true;
    }
};

struct BoundVmcs {
    PhysAddr address = kNoVmcs;
    LaunchState launch_state = LaunchState::Clear;
    bool shadow = false;
    bool blank = false;  // the region held no image when it was bound
    u64 last_use = 0;
    // Check groups (entry_checks.hpp) to run again at the next VM entry because something they read
    // changed since they passed, and which of the members below are out of date.
    u32 stale_checks = ~0U;
    Vmcs fields;                  // right behind stale_checks: VmcsView::kStaleBefore
    u64 check_inputs = 0;         // of the last VM entry: check_input
    ActiveControls controls;      // kStaleControls
    RememberedSide guest_side;    // kStaleGuestSide
    RememberedSide host_side;     // kStaleHostSide
    SegmentImage guest_segments;  // kStaleGuestSegments
    SegmentImage host_segments;   // kStaleHostSegments
    GuestLevels::Memo traced;     // kStaleGuestSide
    // Fields at the last VM entry that succeeded, for the dump's diff; only kept while something
    // asks for it.
    std::unique_ptr<Vmcs> last_good;

    bool bound() const { return address != kNoVmcs; }
};

class VmcsCache {
  public:
    // Binds the VMCS at `address`. `keep`, `keep_too` are not evicted. Requires: revision
    // identifier checked.
    BoundVmcs& bind(Vcpu& cpu, PhysAddr address, const BoundVmcs* keep, const BoundVmcs* keep_too);
    BoundVmcs* find(PhysAddr address);
    // VMCLEAR: launch state becomes clear, the image is in memory, the VMCS is inactive. True: the
    // region held no image before; software had erased it or never used it.
    bool clear(Vcpu& cpu, PhysAddr address);
    void write_back_all(Vcpu& cpu);
    void forget_all();

    std::span<const BoundVmcs> entries() const { return entries_; }

    u64 binds = 0, evictions = 0;

  private:
    static constexpr unsigned kEntries = 16;
    static void load(Vcpu& cpu, BoundVmcs& vmcs);
    static void write_back(Vcpu& cpu, const BoundVmcs& vmcs);
    static void release(BoundVmcs& vmcs);

    std::array<BoundVmcs, kEntries> entries_;
    u64 use_counter_ = 0;
};

}  // namespace droste
