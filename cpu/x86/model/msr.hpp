#pragma once
// Model-specific registers as table rows. SDM Vol. 4, "Model-Specific Registers (MSRs)".
//
// A row says which bits WRMSR may change, which it ignores, and by omission which raise #GP(0) when
// set, so most MSRs need nothing but their row. The rows are in msr_table_*.cpp by chapter;
// MsrStore picks those whose feature this CPU has, and keeps the values of the ones that do not
// live in CpuState. An index without a row is #GP(0), logged as `unimp`. docs/x86/cpuid.md lists
// all of them.

#include "core/types.hpp"
#include "cpu/x86/state/cpu_state.hpp"
#include "cpu/x86/state/exception.hpp"
#include "cpu/x86/state/features.hpp"

#include <span>
#include <vector>

namespace droste {

class Vcpu;

enum class MsrAccess : u8 { ReadWrite, ReadOnly, WriteOnly };

struct MsrRow {
    u32 index = 0;
    const char* name = "";  // the SDM's
    Feature feature = Feature::kNone;
    MsrAccess access = MsrAccess::ReadWrite;
    u64 reset = 0;                   // at power-on
    u64 writable = 0;                // bits WRMSR changes
    u64 ignored = 0;                 // bits WRMSR accepts and drops; all others must be 0
    u64 CpuState::*field = nullptr;  // where the value lives; null: in MsrStore
    bool (*check)(const Vcpu&,
                  u32 index,
                  u64 value) = nullptr;  // false: #GP(0); before anything changed
    bool (*read)(Vcpu&,
                 u32 index,
                 u64& value) = nullptr;  // instead of the stored value; false: #GP(0)
    bool (*write)(Vcpu&, u32 index, u64 value) = nullptr;  // instead of storing; false: #GP(0)
    u32 count = 1;                                         // this many consecutive MSRs are alike
    Feature alternative = Feature::kCount;                 // brings the MSR too; kCount: none does

    bool exists(const CpuFeatures& features) const {
        return features.has(feature) ||
               (alternative != Feature::kCount && features.has(alternative));
    }
};

// All rows, in index order within each table.
std::span<const MsrRow>
msr_rows_platform();  // msr_table_platform.cpp: identification, mitigations, power
std::span<const MsrRow> msr_rows_memory();  // msr_table_memory.cpp: MTRRs, PAT, machine check
std::span<const MsrRow>
msr_rows_cpu();  // msr_table_cpu.cpp: TSC, APIC, SYSENTER, debug, EFER, bases, VMX
std::span<const MsrRow> msr_rows_cet();  // msr_table_cet.cpp: control-flow enforcement

class MsrStore {
  public:
    // One row of this CPU and where its values are.
    struct Entry {
        const MsrRow* row;
        u32 slot;  // of the row's first MSR in values_
    };

    explicit MsrStore(const CpuFeatures& features);

    // Null if this CPU has no such MSR.
    const Entry* find(u32 index) const;
    // The stored value of MSR `index` of `entry`; unused when the row has a field or computes its
    // value.
    u64& cell(const Entry& entry, u32 index) {
        return values_[entry.slot + (index - entry.row->index)];
    }
    // The same by index alone, without checks or effects. Requires: find(index).
    u64 value(u32 index) const;
    void set_value(u32 index, u64 value);
    // Every stored value to its row's.
    void reset();
    // Ascending by index.
    std::span<const Entry> entries() const { return entries_; }

  private:
    std::vector<Entry> entries_;
    std::vector<u64> values_;
    bool has_monitor_;  // IA32_MISC_ENABLE[18] starts as CPUID's MONITOR
};

// IA32_MISC_ENABLE. SDM Vol. 4, "IA-32 Architectural MSRs".
inline constexpr u32 kMiscEnable = 0x1A0;
inline constexpr unsigned kMiscEnableMonitor = 18;     // "ENABLE MONITOR FSM"
inline constexpr unsigned kMiscEnableLimitCpuid = 22;  // "Limit CPUID Maxval"
bool misc_enable_bit(const Vcpu& cpu, unsigned position);

// Power-on (all MSRs) or INIT (what INIT changes). SDM Vol. 3A, Table "IA-32 and Intel 64 Processor
// States Following Power-up, Reset, or INIT". The local APIC's own state is
// LocalApic::reset()/init().
void msr_reset(Vcpu& cpu, bool power_on);

// What firmware sets before an operating system starts, for loaders that skip it: MTRRs on,
// write-back by default, the VGA hole and the PCI hole (GuestMemory::kLowLimit to 4 GiB)
// uncacheable.
void msr_firmware_mtrrs(Vcpu& cpu);

// RDMSR / WRMSR without privilege checks: unknown or illegal -> #GP(0) by Fault. SDM Vol. 4.
Status read_msr(Vcpu& cpu, u32 index, u64& value);
Status write_msr(Vcpu& cpu, u32 index, u64 value);

}  // namespace droste
