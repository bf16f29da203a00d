#pragma once
// What this processor's VMX can do: the capability MSRs, all derived from one feature set.
// SDM Vol. 3D, Appendix A, "VMX Capability Reporting Facility"; policy and models:
// docs/vmx/capabilities.md.

#include "core/types.hpp"
#include "cpu/vmx/features.hpp"
#include "cpu/vmx/vmcs/vmcs.hpp"
#include "cpu/x86/state/features.hpp"

#include <array>
#include <string>
#include <vector>

namespace droste {

struct VmxConfig {
    VmxFeatures features;
    // IA32_FEATURE_CONTROL at power-on: as firmware leaves it, locked, with "enable VMX outside
    // SMX" (5) or without (1); or not locked (0), as before firmware ran.
    bool feature_control_locked = true;
    bool feature_control_vmx = true;
    u8 preemption_timer_rate = 5;  // the timer counts when bit 5 of the TSC changes
    u8 cr3_target_count = 4;       // 0..4

    static VmxConfig nested();  // what today's KVM, Xen and Hyper-V know
    static VmxConfig max();     // everything implemented
    static VmxConfig none() { return {}; }
};

// A feature taken out of a configuration, and why.
struct DroppedVmxFeature {
    VmxFeature feature;
    std::string reason;
};

// Removes what cannot work without something else that is absent (EPT features without EPT, half of
// a save/load pair, "enable RDTSCP" on a CPU without RDTSCP ...): drivers refuse inconsistent
// combinations.
std::vector<DroppedVmxFeature> make_consistent(VmxFeatures& features, const CpuFeatures& cpu);

namespace msr {
inline constexpr u32 kFeatureControl = 0x3A;
inline constexpr u32 kVmxBasic = 0x480, kVmxPin = 0x481, kVmxProc = 0x482, kVmxExit = 0x483,
                     kVmxEntry = 0x484, kVmxMisc = 0x485, kVmxCr0Fixed0 = 0x486,
                     kVmxCr0Fixed1 = 0x487, kVmxCr4Fixed0 = 0x488, kVmxCr4Fixed1 = 0x489,
                     kVmxVmcsEnum = 0x48A, kVmxProc2 = 0x48B, kVmxEptVpidCap = 0x48C,
                     kVmxTruePin = 0x48D, kVmxTrueProc = 0x48E, kVmxTrueExit = 0x48F,
                     kVmxTrueEntry = 0x490, kVmxVmFunc = 0x491, kVmxLast = 0x493;
}  // namespace msr

// IA32_FEATURE_CONTROL. SDM Vol. 4.
inline constexpr u64 kFeatureControlLock = 1U << 0;
inline constexpr u64 kFeatureControlVmxInSmx = 1U << 1;
inline constexpr u64 kFeatureControlVmxOutsideSmx = 1U << 2;

class VmxCapabilities {
  public:
    // `config.features` must be consistent. `cr4_allowed`: bits software may set in CR4
    // (IA32_VMX_CR4_FIXED1).
    VmxCapabilities(const VmxConfig& config, const CpuFeatures& cpu, u64 cr4_allowed);

    bool has(VmxFeature feature) const { return features_.has(feature); }
    bool supports(const VmcsFieldRow& row) const { return features_.has(row.needs); }
    // False: the MSR does not exist (#GP).
    bool read_msr(u32 index, u64& value) const;

    // What a control field may hold: all of `must_be_1`, none outside `may_be_1` (the TRUE
    // semantics if advertised).
    struct Controls {
        u32 must_be_1 = 0;
        u32 may_be_1 = 0;
        u32 legacy_must_be_1 = 0;  // IA32_VMX_PINBASED_CTLS etc. report the default1 class here
        bool allows(u32 value) const {
            return (value & must_be_1) == must_be_1 && (value & ~may_be_1) == 0;
        }
    };
    Controls pin, proc, proc2, exit, entry;
    u64 basic = 0, misc = 0, vmcs_enum = 0, ept_vpid = 0, vm_functions = 0;
    u64 cr0_fixed0 = 0, cr0_fixed1 = 0, cr4_fixed0 = 0, cr4_fixed1 = 0;
    u8 physical_address_bits = 46;
    u8 linear_address_bits = 48;
    u8 preemption_timer_rate = 5;
    u8 cr3_target_count = 4;

    bool physical_address_fits(u64 address) const {
        return (address >> physical_address_bits) == 0;
    }

  private:
    VmxFeatures features_;
};

}  // namespace droste
