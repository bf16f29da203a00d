#include "cpu/vmx/explain/exit_trace.hpp"

#include "core/guest_memory.hpp"
#include "cpu/vmx/entry/entry_checks.hpp"
#include "cpu/vmx/vmcs/controls.hpp"
#include "cpu/vmx/vmx_state.hpp"
#include "cpu/x86/mmu/mem_access.hpp"
#include "cpu/x86/mmu/paging.hpp"

#include <algorithm>
#include <bit>
#include <optional>

namespace droste {

namespace {

// A VMCS region that holds nothing but its header: it was erased and not used since. `region` is a
// page of RAM.
bool is_blank(const Vcpu& cpu, PhysAddr region) {
    constexpr std::size_t kHeaderBytes = 8;
    std::array<u8, kVmcsRegionBytes> bytes{};
    return cpu.memory.read(region, bytes) &&
           std::all_of(bytes.begin() + kHeaderBytes, bytes.end(), [](u8 b) { return b == 0; });
}

// The memory operand of a guest's VMPTRLD or VMCLEAR, without side effects.
std::optional<u64> region_operand(Vcpu& cpu, const Insn& insn) {
    LinearAddr linear = 0;
    PhysAddr at = 0;
    std::array<u8, 8> bytes{};
    if (linear_address(cpu, static_cast<SegReg>(insn.seg), effective_offset(cpu, insn),
                       sizeof(bytes), false, linear) != Status::Next ||
        linear % kPageBytes > kPageBytes - sizeof(bytes) || !translate_for_debug(cpu, linear, at) ||
        !cpu.memory.read(at, bytes)) {
        return std::nullopt;
    }
    return std::bit_cast<u64>(bytes);
}

}  // namespace

void ExitTrace::entering_anew(VmxState& vmx) {
    BoundVmcs& bound = *vmx.current;
    const Vmcs& v = bound.fields;
    const ActiveControls& controls = bound.controls;
    target_ = levels_->entered({vmx.current_pointer(), vmx.cpu.state.cr3,
                                controls.has2(proc2::kEnableEpt) ? v.ept_pointer : u64{0},
                                controls.has2(proc2::kEnableVpid) ? v.vpid : u16{0}, v.guest_rip},
                               launches_, bound.traced);
}

void ExitTrace::named_region(VmxState& vmx, const Insn& insn) {
    Vcpu& cpu = vmx.cpu;
    const std::optional<u64> pointer = region_operand(cpu, insn);
    if (!pointer) {
        return;
    }
    PhysAddr region = GuestLevels::unknown_region(guest_.id, *pointer);
    StageTwoResult machine;
    if (cpu.non_root.second_stage != nullptr &&
        cpu.non_root.second_stage->translate_for_debug(cpu, *pointer & kPageMask, machine)) {
        region = machine.address;
        if (insn.op == Op::VMCLEAR && is_blank(cpu, region)) {
            levels_->born(region);
        }
    }
    if (insn.op == Op::VMPTRLD) {
        levels_->loaded(guest_.id, region);
    }
}

unsigned ExitTrace::level_of_current(const VmxState& vmx) const {
    return vmx.non_root ? guest_.level : target_.level;
}

// The guest started one of its own.
void ExitTrace::launched(const VmxState& vmx) {
    levels_->launched(guest_.id, vmx.vmcs().guest_cr3, vmx.vmcs().guest_rip);
    launches_[guest_.level] = guest_.id;
}

void ExitTrace::report(VmxState& vmx, const ExitInfo& info, unsigned level, bool entry_failure) {
    const Vcpu& cpu = vmx.cpu;
    last_exit_.vcpu = cpu.index;
    last_exit_.level = level;
    last_exit_.reason = info.reason;
    last_exit_.entry_failure = entry_failure;
    last_exit_.qualification = info.qualification;
    last_exit_.guest_rip = vmx.vmcs().guest_rip;
    last_exit_.vmcs_pointer = vmx.current_pointer();
    last_exit_.guest_ns = entry_failure ? 0 : last_exit_.exit_ns - vmx.guest.entry_ns;
    last_exit_.guest_instructions = entry_failure ? 0 : cpu.icount - vmx.guest.entry_icount;
    last_exit_.vmcs = &vmx.vmcs();
    last_exit_.cpu = entry_failure ? nullptr : &cpu;
    sink_->vm_exit(last_exit_);
    last_exit_.vmcs = nullptr;
    last_exit_.cpu = nullptr;
}

void ExitTrace::reset() {
    guest_ = {};
    target_ = {};
    launches_ = {};
    between_ = nullptr;
}

}  // namespace droste
