// Writing CR0, CR3, CR4, CR8 and XCR0: reserved bits, illegal combinations, and what a change drags
// along (EFER.LMA, PDPTE registers, TLB contexts). SDM Vol. 3A, "Control Registers"; Vol. 2B,
// "MOV—Move to/from Control Registers". All values are checked before anything changes.

#include "cpu/x86/system/control_regs.hpp"

#include "core/bits.hpp"
#include "core/log.hpp"
#include "cpu/x86/apic/local_apic.hpp"
#include "cpu/x86/mmu/paging.hpp"
#include "cpu/x86/model/xstate.hpp"
#include "cpu/x86/seams/intercept.hpp"
#include "cpu/x86/system/exec_system.hpp"
#include "cpu/x86/system/protection.hpp"
#include "cpu/x86/vcpu.hpp"

#include <array>

namespace droste {

namespace {

Status illegal(Vcpu& cpu) {
    return raise(cpu, Exception::GP, 0);
}

constexpr u64 kCr0Defined = cr0::kPe | cr0::kMp | cr0::kEm | cr0::kTs | cr0::kEt | cr0::kNe |
                            cr0::kWp | cr0::kAm | cr0::kNw | cr0::kCd | cr0::kPg;
constexpr u64 kCr3NoFlush = u64{1} << 63;

// Each CR4 bit with the feature that brings it.
struct Cr4Bit {
    u64 bits;
    Feature feature;
};
constexpr auto kCr4Bits = std::to_array<Cr4Bit>({
    {cr4::kVme | cr4::kPvi, Feature::VME},
    {cr4::kTsd, Feature::TSC},
    {cr4::kDe, Feature::DE},
    {cr4::kPse, Feature::PSE},
    {cr4::kPae, Feature::PAE},
    {cr4::kMce, Feature::MCE},
    {cr4::kPge, Feature::PGE},
    {cr4::kPce, Feature::kNone},
    {cr4::kOsfxsr, Feature::FXSR},
    {cr4::kOsxmmexcpt, Feature::SSE},
    {cr4::kUmip, Feature::UMIP},
    {cr4::kLa57, Feature::LA57},
    {cr4::kVmxe, Feature::VMX},
    {cr4::kFsgsbase, Feature::FSGSBASE},
    {cr4::kPcide, Feature::PCID},
    {cr4::kOsxsave, Feature::XSAVE},
    {cr4::kSmep, Feature::SMEP},
    {cr4::kSmap, Feature::SMAP},
    {cr4::kPke, Feature::PKU},
    {cr4::kCet, Feature::CET_SS},
    {cr4::kCet, Feature::CET_IBT},
});

bool pae_paging(u64 cr0, u64 cr4, u64 efer) {
    return (cr0 & cr0::kPg) != 0 && (cr4 & cr4::kPae) != 0 && (efer & efer::kLma) == 0;
}

bool is_16bit_tss(const Segment& tr) {
    return tr.type() == system_type::kTss16Available || tr.type() == system_type::kTss16Busy;
}

// The combinations that turning paging on or off is subject to.
bool paging_switch_allowed(const Vcpu& cpu, u64 value) {
    const CpuState& s = cpu.state;
    const bool now = (s.cr0 & cr0::kPg) != 0;
    const bool then = (value & cr0::kPg) != 0;
    if (!now && then && (s.efer & efer::kLme) != 0) {
        // Activating IA-32e mode.
        return (s.cr4 & cr4::kPae) != 0 && (s.seg[CS].rights & segment_rights::kL) == 0 &&
               !is_16bit_tss(s.tr);
    }
    if (now && !then) {
        return !cpu.mode.long_mode64 && (s.cr4 & cr4::kPcide) == 0;
    }
    return true;
}

u64 efer_with_paging(u64 efer, u64 cr0) {
    const bool active = (cr0 & cr0::kPg) != 0 && (efer & efer::kLme) != 0;
    return active ? efer | efer::kLma : efer & ~efer::kLma;
}

}  // namespace

void flush_current_vpid(Vcpu& cpu) {
    ++cpu.counters.tlb_flushes;
    cpu.log.write(LogCategory::Mmu, "vCPU {}: TLB: VPID {:#x} flushed", cpu.index,
                  cpu.non_root.vpid);
    cpu.tlb.flush_vpid(cpu.non_root.vpid);
}

Status write_cr0(Vcpu& cpu, u64 value) {
    CpuState& s = cpu.state;
    if ((value >> 32) != 0) {
        return illegal(cpu);
    }
    value = (value & kCr0Defined) | cr0::kEt;  // reserved bits stay clear, ET stays set
    const bool paging_unprotected = (value & (cr0::kPg | cr0::kPe)) == cr0::kPg;
    const bool write_through_without_disable = (value & (cr0::kNw | cr0::kCd)) == cr0::kNw;
    if (paging_unprotected || write_through_without_disable || !paging_switch_allowed(cpu, value)) {
        return illegal(cpu);
    }
    if (cpu.vmx != nullptr && (~value & cpu.vmx->cr0_required(cpu)) != 0) {
        return illegal(cpu);
    }
    if ((s.cr4 & cr4::kCet) != 0 && (value & cr0::kWp) == 0) {
        return illegal(cpu);
    }
    const u64 efer = efer_with_paging(s.efer, value);
    const u64 changed = s.cr0 ^ value;
    if ((changed & (cr0::kPg | cr0::kCd | cr0::kNw)) != 0 && pae_paging(value, s.cr4, efer)) {
        if (const Status status = load_pdptes(cpu, s.cr3); status != Status::Next) {
            return status;
        }
    }
    s.cr0 = value;
    s.efer = efer;
    if ((changed & cr0::kPg) != 0) {
        flush_current_vpid(cpu);
    }
    if ((changed & (cr0::kPg | cr0::kWp | cr0::kPe)) != 0) {
        cpu.tlb.activate(cpu);  // its key holds PG and WP
    }
    mode_changed(cpu);
    return Status::Next;
}

Status write_cr3(Vcpu& cpu, u64 value) {
    CpuState& s = cpu.state;
    const bool pcide = (s.cr4 & cr4::kPcide) != 0;
    bool keep_entries = false;
    if (ia32e_mode(cpu)) {
        if (pcide) {
            keep_entries = (value & kCr3NoFlush) != 0;
            value &= ~kCr3NoFlush;
        }
        if ((value >> cpu.features.physical_address_bits) != 0) {
            return illegal(cpu);
        }
    }
    if (pae_paging(s.cr0, s.cr4, s.efer)) {
        if (const Status status = load_pdptes(cpu, value); status != Status::Next) {
            return status;
        }
    }
    s.cr3 = value;
    if (cpu.tlb.switch_space(value)) {
        ++cpu.counters.context_switches;
        refresh_data_tlb(cpu);
    } else {
        cpu.tlb.activate(cpu);
    }
    if (!keep_entries) {
        cpu.log.write(LogCategory::Mmu, "vCPU {}: TLB: CR3 := {:#x} flushes but for global pages",
                      cpu.index, s.cr3);
        cpu.tlb.flush_current(true);
    }
    return Status::Next;
}

u64 cr4_allowed(const Vcpu& cpu) {
    u64 allowed = 0;
    for (const Cr4Bit& row : kCr4Bits) {
        allowed |= cpu.features.has(row.feature) ? row.bits : 0;
    }
    return allowed;
}

Status write_cr4(Vcpu& cpu, u64 value) {
    CpuState& s = cpu.state;
    const u64 changed = s.cr4 ^ value;
    const bool turns_pcide_on = (changed & value & cr4::kPcide) != 0;
    if ((value & ~cr4_allowed(cpu)) != 0) {
        return illegal(cpu);
    }
    if (ia32e_mode(cpu) && ((value & cr4::kPae) == 0 || (changed & cr4::kLa57) != 0)) {
        return illegal(cpu);
    }
    if (turns_pcide_on && (!ia32e_mode(cpu) || (s.cr3 & 0xFFF) != 0)) {
        return illegal(cpu);
    }
    if (cpu.vmx != nullptr && (~value & cpu.vmx->cr4_required(cpu)) != 0) {
        return illegal(cpu);
    }
    if ((value & cr4::kCet) != 0 && (s.cr0 & cr0::kWp) == 0) {
        return illegal(cpu);
    }
    constexpr u64 kReloadsPdptes = cr4::kPge | cr4::kPse | cr4::kPae | cr4::kSmep;
    if ((changed & kReloadsPdptes) != 0 && pae_paging(s.cr0, value, s.efer)) {
        if (const Status status = load_pdptes(cpu, s.cr3); status != Status::Next) {
            return status;
        }
    }
    s.cr4 = value;
    // SDM Vol. 3A, "Operations that Invalidate TLBs and Paging-Structure Caches". Setting SMAP or
    // PKE need not invalidate on a processor that checks at each access; our tags hold the outcome
    // of the check, so they go.
    constexpr u64 kInvalidates =
        cr4::kPge | cr4::kPse | cr4::kPae | cr4::kPcide | cr4::kSmep | cr4::kSmap | cr4::kPke;
    if ((changed & kInvalidates) != 0) {
        flush_current_vpid(cpu);
    }
    if ((changed & (kInvalidates | cr4::kLa57)) != 0) {
        cpu.tlb.activate(cpu);
    }
    mode_changed(cpu);
    return Status::Next;
}

u64 read_cr8(const Vcpu& cpu) {
    return cpu.apic->tpr() >> 4;
}

Status write_cr8(Vcpu& cpu, u64 value) {
    if ((value >> 4) != 0) {
        return illegal(cpu);
    }
    cpu.apic->set_tpr(static_cast<u8>(value << 4));
    return Status::Next;
}

Status write_xcr0(Vcpu& cpu, u32 index, u64 value) {
    const bool avx_without_sse = (value & (xstate::kSse | xstate::kAvx)) == xstate::kAvx;
    if (index != 0 || (value & xstate::kX87) == 0 || avx_without_sse ||
        (value & ~xcr0_supported(cpu.features)) != 0) {
        return illegal(cpu);
    }
    cpu.state.xcr0 = value;
    mode_changed(cpu);
    return Status::Next;
}

}  // namespace droste
