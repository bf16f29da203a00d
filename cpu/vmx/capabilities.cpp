#include "cpu/vmx/capabilities.hpp"

#include "core/bits.hpp"
#include "cpu/vmx/vmcs/controls.hpp"
#include "cpu/x86/state/regs.hpp"

#include <algorithm>

namespace droste {

namespace {

constexpr std::array<VmxFeatureRow, kVmxFeatureCount> kRows = {{
#define DROSTE_VMX_FEATURE(id, name, word, bit, nested, max) \
    VmxFeatureRow{VmxFeature::id, name, CapabilityWord::word, bit, nested, max},
#include "cpu/vmx/features.inc"
#undef DROSTE_VMX_FEATURE
}};

// `feature` needs `needs`. A pair that must come and go together is two rows.
struct Dependency {
    VmxFeature feature;
    VmxFeature needs;
};
using F = VmxFeature;
constexpr auto kDependencies = std::to_array<Dependency>({
    {F::VirtualNmis, F::NmiExiting},
    {F::NmiWindowExiting, F::VirtualNmis},
    {F::PreemptionTimer, F::SavePreemptionTimer},
    {F::SavePreemptionTimer, F::PreemptionTimer},
    {F::PostedInterrupts, F::VirtualInterruptDelivery},
    {F::PostedInterrupts, F::AcknowledgeInterrupt},
    {F::VirtualInterruptDelivery, F::ExternalInterruptExiting},
    {F::VirtualInterruptDelivery, F::TprShadow},
    {F::ApicRegisterVirtualization, F::TprShadow},
    {F::VirtualizeX2apicMode, F::TprShadow},
    {F::Ept, F::EptPageWalk4},
    {F::Ept, F::EptWriteBack},
    {F::Ept, F::Invept},
    {F::UnrestrictedGuest, F::Ept},
    {F::StoreLma, F::UnrestrictedGuest},
    {F::UnrestrictedGuest, F::StoreLma},
    {F::Pml, F::EptAccessedDirty},
    {F::EptViolationVe, F::Ept},
    {F::ModeBasedExecute, F::Ept},
    {F::EptpSwitching, F::Ept},
    {F::EptpSwitching, F::VmFunctions},
    {F::VmFunctions, F::EptpSwitching},
    {F::Vpid, F::Invvpid},
    {F::InveptSingle, F::Invept},
    {F::InveptAll, F::Invept},
    {F::InvvpidAddress, F::Invvpid},
    {F::InvvpidSingle, F::Invvpid},
    {F::InvvpidAll, F::Invvpid},
    {F::InvvpidRetainGlobals, F::Invvpid},
    // KVM refuses half of a pair ("inconsistent VMCS config").
    {F::ExitLoadPat, F::EntryLoadPat},
    {F::EntryLoadPat, F::ExitLoadPat},
    {F::ExitSavePat, F::EntryLoadPat},
    {F::ExitLoadEfer, F::EntryLoadEfer},
    {F::EntryLoadEfer, F::ExitLoadEfer},
    {F::ExitSaveEfer, F::EntryLoadEfer},
    {F::ExitLoadPerfGlobalCtrl, F::EntryLoadPerfGlobalCtrl},
    {F::EntryLoadPerfGlobalCtrl, F::ExitLoadPerfGlobalCtrl},
    {F::ExitLoadCetState, F::EntryLoadCetState},
    {F::EntryLoadCetState, F::ExitLoadCetState},
    {F::VmcsShadowing, F::VmwriteAnyField},
});

struct CpuDependency {
    VmxFeature feature;
    Feature needs;
    std::string_view name;
    Feature alternative = needs;  // either will do
};
constexpr auto kCpuDependencies = std::to_array<CpuDependency>({
    {F::EnableRdtscp, Feature::RDTSCP, "RDTSCP"},
    {F::EnableInvpcid, Feature::INVPCID, "INVPCID"},
    {F::EnableXsaves, Feature::XSAVES, "XSAVES"},
    {F::RdrandExiting, Feature::RDRAND, "RDRAND"},
    {F::RdseedExiting, Feature::RDSEED, "RDSEED"},
    {F::UserWaitAndPause, Feature::WAITPKG, "WAITPKG"},
    {F::VirtualizeX2apicMode, Feature::X2APIC, "x2APIC"},
    {F::ExitLoadCetState, Feature::CET_SS, "CET", Feature::CET_IBT},
    {F::EntryLoadCetState, Feature::CET_SS, "CET", Feature::CET_IBT},
});

bool drop(VmxFeatures& features,
          VmxFeature feature,
          std::string reason,
          std::vector<DroppedVmxFeature>& dropped) {
    if (!features.has(feature)) {
        return false;
    }
    features.enable(feature, false);
    dropped.push_back({feature, std::move(reason)});
    return true;
}

// What a word as a whole needs: without the control that gives it meaning the capability MSR must
// read 0.
VmxFeature owner_of(const VmxFeatureRow& row) {
    switch (row.word) {
    case CapabilityWord::Proc2: return F::SecondaryControls;
    case CapabilityWord::EptVpid: return row.bit < 32 ? F::Ept : F::Vpid;
    case CapabilityWord::VmFunc: return F::VmFunctions;
    default: return F::Always;
    }
}

u64 word_bits(const VmxFeatures& features, CapabilityWord word) {
    u64 value = 0;
    for (const VmxFeatureRow& row : kRows) {
        if (row.word == word && features.has(row.feature)) {
            value |= bit(row.bit);
        }
    }
    return value;
}

VmxConfig model(bool VmxFeatureRow::*member) {
    VmxConfig config;
    for (const VmxFeatureRow& row : kRows) {
        config.features.enable(row.feature, row.*member);
    }
    return config;
}

}  // namespace

const VmxFeatureRow& row_of(VmxFeature feature) {
    return kRows[static_cast<std::size_t>(feature)];
}

VmxFeature vmx_feature_by_name(std::string_view name) {
    const auto* found = std::find_if(kRows.begin(), kRows.end(),
                                     [&](const VmxFeatureRow& row) { return row.name == name; });
    return found == kRows.end() ? VmxFeature::kCount : found->feature;
}

VmxConfig VmxConfig::nested() {
    return model(&VmxFeatureRow::in_nested);
}

VmxConfig VmxConfig::max() {
    return model(&VmxFeatureRow::in_max);
}

std::vector<DroppedVmxFeature> make_consistent(VmxFeatures& features, const CpuFeatures& cpu) {
    std::vector<DroppedVmxFeature> dropped;
    for (const CpuDependency& row : kCpuDependencies) {
        if (!cpu.has(row.needs) && !cpu.has(row.alternative)) {
            drop(features, row.feature, "the CPU model has no " + std::string(row.name), dropped);
        }
    }
    bool changed = true;
    while (changed) {
        changed = false;
        for (const Dependency& row : kDependencies) {
            if (!features.has(row.needs)) {
                changed |= drop(features, row.feature,
                                "needs " + std::string(row_of(row.needs).name), dropped);
            }
        }
        for (const VmxFeatureRow& row : kRows) {
            // INVEPT and INVVPID types are listed under their own rows; the word's owner decides
            // for all of them.
            if (const VmxFeature owner = owner_of(row); !features.has(owner)) {
                changed |= drop(features, row.feature, "needs " + std::string(row_of(owner).name),
                                dropped);
            }
        }
    }
    return dropped;
}

VmxCapabilities::VmxCapabilities(const VmxConfig& config, const CpuFeatures& cpu, u64 cr4_allowed)
    : physical_address_bits(cpu.physical_address_bits)
    , linear_address_bits(cpu.linear_address_bits)
    , preemption_timer_rate(config.preemption_timer_rate)
    , cr3_target_count(config.cr3_target_count)
    , features_(config.features) {
    // The TRUE MSRs may clear what the default1 class otherwise forces: "Reserved Controls and
    // Default Settings".
    const auto controls = [&](CapabilityWord word, u32 default1, u32 true_default1) {
        const bool exact = has(F::TrueControls);
        return Controls{exact ? true_default1 : default1,
                        static_cast<u32>(word_bits(features_, word)) | default1, default1};
    };
    pin = controls(CapabilityWord::Pin, pin::kDefault1, pin::kDefault1);
    proc = controls(CapabilityWord::Proc, proc::kDefault1, proc::kTrueDefault1);
    proc2 = controls(CapabilityWord::Proc2, 0, 0);
    exit =
        controls(CapabilityWord::Exit, vm_exit_control::kDefault1, vm_exit_control::kTrueDefault1);
    entry = controls(CapabilityWord::Entry, vm_entry_control::kDefault1,
                     vm_entry_control::kTrueDefault1);

    constexpr u64 kWriteBack = 6;
    basic = kVmcsRevision | (kVmcsRegionBytes << 32) | (kWriteBack << 50) |
            word_bits(features_, CapabilityWord::Basic);
    misc = preemption_timer_rate | word_bits(features_, CapabilityWord::Misc) |
           (u64{cr3_target_count} << 16);
    ept_vpid = word_bits(features_, CapabilityWord::EptVpid);
    vm_functions = word_bits(features_, CapabilityWord::VmFunc);
    for (const VmcsFieldRow& row : kVmcsFields) {
        if (supports(row)) {
            // bits 9:1: highest index in use
            vmcs_enum = std::max<u64>(vmcs_enum, row.encoding & 0x3FE);
        }
    }
    cr0_fixed0 = cr0::kPe | cr0::kNe | cr0::kPg;
    cr0_fixed1 = 0xFFFF'FFFF;
    cr4_fixed0 = cr4::kVmxe;
    cr4_fixed1 = cr4_allowed | cr4::kVmxe;
}

bool VmxCapabilities::read_msr(u32 index, u64& value) const {
    const auto pair = [](u32 low, u32 high) { return low | (u64{high} << 32); };
    const bool true_controls = has(F::TrueControls);
    switch (index) {
    case msr::kVmxBasic: value = basic; return true;
    case msr::kVmxPin: value = pair(pin.legacy_must_be_1, pin.may_be_1); return true;
    case msr::kVmxProc: value = pair(proc.legacy_must_be_1, proc.may_be_1); return true;
    case msr::kVmxExit: value = pair(exit.legacy_must_be_1, exit.may_be_1); return true;
    case msr::kVmxEntry: value = pair(entry.legacy_must_be_1, entry.may_be_1); return true;
    case msr::kVmxMisc: value = misc; return true;
    case msr::kVmxCr0Fixed0: value = cr0_fixed0; return true;
    case msr::kVmxCr0Fixed1: value = cr0_fixed1; return true;
    case msr::kVmxCr4Fixed0: value = cr4_fixed0; return true;
    case msr::kVmxCr4Fixed1: value = cr4_fixed1; return true;
    case msr::kVmxVmcsEnum: value = vmcs_enum; return true;
    case msr::kVmxProc2: value = pair(0, proc2.may_be_1); return has(F::SecondaryControls);
    case msr::kVmxEptVpidCap: value = ept_vpid; return has(F::Ept) || has(F::Vpid);
    case msr::kVmxTruePin: value = pair(pin.must_be_1, pin.may_be_1); return true_controls;
    case msr::kVmxTrueProc: value = pair(proc.must_be_1, proc.may_be_1); return true_controls;
    case msr::kVmxTrueExit: value = pair(exit.must_be_1, exit.may_be_1); return true_controls;
    case msr::kVmxTrueEntry: value = pair(entry.must_be_1, entry.may_be_1); return true_controls;
    case msr::kVmxVmFunc: value = vm_functions; return has(F::VmFunctions);
    default: return false;
    }
}

}  // namespace droste
