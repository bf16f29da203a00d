#pragma once
// Everything VMX of one logical processor, and the instructions' seam (VmxInstructions).
//
// The parts are free functions over VmxState&, one file an idea: exec_*.cpp (instructions),
// entry*.cpp, exit*.cpp, intercept*.cpp and boundary.cpp (what a guest may not do), ept.cpp,
// apic_virt.cpp. State is in three layers: what the processor is (config, caps), what VMX operation
// has (VMXON pointer, current VMCS, cache of bound VMCSs), and what one stay in non-root operation
// has (NonRoot), reset at each VM entry.

#include "core/code_pages.hpp"
#include "core/event_queue.hpp"
#include "core/types.hpp"
#include "cpu/vmx/capabilities.hpp"
#include "cpu/vmx/exit/exit.hpp"
#include "cpu/vmx/explain/exit_trace.hpp"
#include "cpu/vmx/guest/ept.hpp"
#include "cpu/vmx/guest/intercepts.hpp"
#include "cpu/vmx/instructions/field_access.hpp"
#include "cpu/vmx/vmcs/vmcs.hpp"
#include "cpu/vmx/vmcs/vmcs_cache.hpp"
#include "cpu/x86/seams/intercept.hpp"
#include "cpu/x86/vcpu.hpp"

#include <array>
#include <functional>
#include <memory>
#include <string>

namespace droste {

ActiveControls active_controls(const Vmcs& vmcs);

// Monitor trap flag. SDM Vol. 3C, "Monitor Trap Flag".
enum class MtfState : u8 {
    Off,
    Armed,     // VM entry with the control set; the first instruction has not been reached
    Watching,  // exit at the first boundary after something retired or was delivered
    Pending,   // exit at the next boundary
};

// An exit (or #VE) found in the middle of a memory access, made once the access has unwound.
struct PendingExit {
    enum class Kind : u8 { None, Exit, VirtualizationException };
    Kind kind = Kind::None;
    ExitInfo info;
};

// A stay in VMX non-root operation.
struct NonRoot {
    ActiveControls controls;
    BoundVmcs* shadow = nullptr;  // what VMREAD/VMWRITE reach with VMCS shadowing
    PendingExit pending;

    // Which of the members below hold something; they lie together, for begin().
    bool delivering = false;  // an event is going through the IDT: IDT-vectoring information
    bool timer_active = false;
    MtfState mtf = MtfState::Off;
    bool trap_pending = false;  // trap-like exits of APIC virtualization, made at the next boundary
    bool iret_unblocked_nmi = false;  // by the IRET at ...
    u32 timer_start_value = 0;

    Event delivered_event;
    u64 mtf_icount = 0;
    u64 timer_start_ticks = 0;  // TSC >> rate at VM entry
    ExitInfo trap;
    u64 first_pause_tsc = 0, last_pause_tsc = 0;
    u64 iret_rip = 0;

    u64 entry_icount = 0;  // for the trace
    u64 entry_ns = 0;

    // A new stay. What a flag or state here guards need not be reset.
    void begin(const ActiveControls& in_force) {
        controls = in_force;
        shadow = nullptr;
        pending.kind = PendingExit::Kind::None;
        delivering = false;
        timer_active = false;
        mtf = MtfState::Off;
        trap_pending = false;
        iret_unblocked_nmi = false;
        first_pause_tsc = last_pause_tsc = 0;
    }
};

class VmxState final : public VmxInstructions, private CodePages::Watcher {
  public:
    VmxState(Vcpu& vcpu, const VmxConfig& vmx_config);
    ~VmxState() override;

    // VmxInstructions
    Status execute(Vcpu& vcpu, const Insn& insn) override;
    u32 held_back(const Vcpu& vcpu) const override;
    bool loses_init(const Vcpu& vcpu) const override;
    bool in_vmx_operation(const Vcpu& vcpu) const override;
    u64 cr0_required(const Vcpu& vcpu) const override;
    u64 cr4_required(const Vcpu& vcpu) const override;
    bool read_msr(Vcpu& vcpu, u32 index, u64& value) override;
    bool write_msr(Vcpu& vcpu, u32 index, u64 value) override;
    void reset(Vcpu& vcpu) override;
    void physical_addresses_changed() override { refresh_view(); }

    // CodePages::Watcher
    void page_became_code(PhysAddr /*page*/) override {}
    void layout_changed() override { refresh_view(); }

    Vcpu& cpu;
    const VmxConfig config;
    const VmxCapabilities caps;
    const FieldAccessTable field_access;

    u64 feature_control = 0;
    bool in_operation = false;  // between VMXON and VMXOFF
    bool non_root = false;
    bool aborted = false;  // a VMX abort; until reset
    PhysAddr vmxon_pointer = kNoVmcs;
    BoundVmcs* current = nullptr;  // null: the current-VMCS pointer is FFFFFFFF_FFFFFFFFh
    VmcsCache cache;
    NonRoot guest;

    GuestIntercepts intercepts;
    Ept ept;
    Timer preemption_timer;
    ExitTrace trace;
    // --vmcs-dump: the whole VMCS when a VM entry fails, to the sink if there is one, else to the
    // log.
    bool dump_failed_entries = false;
    FailedEntrySink* failed_entry_sink = nullptr;
    // Symbols, for messages: the name of what lies at an address of code of a level. May be empty.
    std::function<std::string(unsigned level, u64 rip)> name_of_code;

    Vmcs& vmcs() { return current->fields; }
    const Vmcs& vmcs() const { return current->fields; }
    PhysAddr current_pointer() const { return current == nullptr ? kNoVmcs : current->address; }

    // Leaves non-root operation: seams and tags of the vCPU as in root operation, no translation
    // switched yet.
    void leave_non_root() {
        if (non_root && cpu.non_root.vpid == 0) {
            flush_without_vpid();
        }
        non_root = false;
        guest.delivering = false;
        guest.timer_active = false;
        guest.shadow = nullptr;
        refresh_view();
        cpu.non_root = {};
        constexpr u32 kOfGuest = attention::kVmx | attention::kInterruptWindow;
        if ((cpu.attention.load(std::memory_order_relaxed) & kOfGuest) != 0) {
            cpu.withdraw(kOfGuest);
        }
    }
    // Ends VMX operation (VMXOFF, reset, VMX abort).
    void leave_vmx_operation();
    // Of an instruction without operand that is intercepted (intercepts.cpp): reason and length, the
    // rest is always 0.
    ExitInfo exiting;

    // Whether VMRESUME comes to a VM entry: the first of its checks hold. A VMCS is current in VMX
    // operation only.
    bool may_resume() const {
        return current != nullptr && !non_root && cpu.mode.long_mode64 && cpu.mode.cpl == 0 &&
               current->launch_state == LaunchState::Launched && !current->shadow &&
               (cpu.state.interruptibility & blocking::kMovSs) == 0;
    }
    // Brings `view` up to date: after a change of `current`, `non_root` or `guest.shadow`.
    void refresh_view() {
        if (non_root) {
            close_view();
            if (guest.shadow != nullptr) {
                open_shadow_view();
            }
        } else if (current != nullptr) {
            view = {field_access.closed_to_reads().data(), field_access.closed_to_writes().data(),
                    reinterpret_cast<u8*>(&current->fields)};
        } else {
            close_view();
        }
    }

  private:
    Status execute_any(Vcpu& vcpu, const Insn& insn);
    void flush_without_vpid();
    const u8* guests_bitmap(PhysAddr address) const;
    void open_shadow_view();
    bool waits_for_sipi() const;  // the guest does
};

// Builds VMX for `vcpu` and installs it as vcpu.vmx. `config.features` is made consistent with the
// CPU model first.
std::unique_ptr<VmxState> make_vmx(Vcpu& vcpu, VmxConfig config);

}  // namespace droste
