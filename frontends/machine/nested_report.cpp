#include "frontends/machine/nested_report.hpp"

#include "cpu/x86/model/cpu_models.hpp"

#include <algorithm>
#include <array>
#include <string_view>

#include <fmt/format.h>

namespace droste {

namespace {

using State = NestedItem::State;
using F = VmxFeature;

// --- What the hypervisors ask for. ---

enum Hypervisor : u8 { kKvm = 1, kXen = 2, kHyperV = 4 };

// Who does not start without it, and who is slower or offers less. KVM: setup_vmcs_config() of
// Linux 6.1 and 6.12; Xen: vmx_init_vmcs_config() of 4.17; Hyper-V publishes no list: that it needs
// EPT (SLAT), and the four types of INVVPID (a comment in KVM's nested.c), is known, the rest is
// what KVM's enlightened VMCS carries for it.
struct VmxWish {
    F feature;
    u8 needed_by;
    u8 wanted_by;
};
constexpr u8 kAll = kKvm | kXen | kHyperV;
// clang-format off
constexpr auto kVmxWishes = std::to_array<VmxWish>({
    {F::ExternalInterruptExiting,   kAll,           0},
    {F::NmiExiting,                 kAll,           0},
    {F::VirtualNmis,                0,              kAll},
    {F::PreemptionTimer,            0,              kKvm},
    {F::PostedInterrupts,           0,              kAll},
    {F::InterruptWindowExiting,     kAll,           0},
    {F::TscOffsetting,              kAll,           0},
    {F::HltExiting,                 kAll,           0},
    {F::InvlpgExiting,              kAll,           0},
    {F::MwaitExiting,               kKvm | kXen,    0},
    {F::RdpmcExiting,               kKvm,           0},
    {F::RdtscExiting,               kXen,           0},
    {F::Cr3LoadExiting,             kKvm | kXen,    0},
    {F::Cr3StoreExiting,            kKvm | kXen,    0},
    {F::Cr8LoadExiting,             kKvm | kXen,    0},
    {F::Cr8StoreExiting,            kKvm | kXen,    0},
    {F::TprShadow,                  0,              kAll},
    {F::NmiWindowExiting,           0,              kAll},
    {F::MovDrExiting,               kKvm | kXen,    0},
    {F::UnconditionalIoExiting,     kKvm,           0},
    {F::UseIoBitmaps,               kXen,           kHyperV},
    {F::MonitorTrapFlag,            0,              kKvm | kXen},
    {F::UseMsrBitmaps,              kHyperV,        kKvm | kXen},
    {F::MonitorExiting,             kKvm | kXen,    0},
    {F::SecondaryControls,          kHyperV,        kKvm | kXen},
    {F::VirtualizeApicAccesses,     0,              kAll},
    {F::Ept,                        kHyperV,        kKvm | kXen},
    {F::Vpid,                       kHyperV,        kKvm | kXen},
    {F::UnrestrictedGuest,          0,              kAll},
    {F::ApicRegisterVirtualization, 0,              kAll},
    {F::VirtualInterruptDelivery,   0,              kAll},
    {F::VmcsShadowing,              0,              kAll},
    {F::Pml,                        0,              kKvm | kXen},
    {F::SaveDebugControls,          kKvm,           0},
    {F::HostAddressSpaceSize,       kAll,           0},
    {F::AcknowledgeInterrupt,       kAll,           0},
    {F::LoadDebugControls,          kKvm,           0},
    {F::Ia32eModeGuest,             kAll,           0},
    {F::EntryLoadEfer,              0,              kKvm | kXen},
    {F::Ept2M,                      0,              kKvm | kXen},
    {F::EptAccessedDirty,           0,              kKvm | kXen},
    {F::InveptAll,                  0,              kKvm | kXen},
    {F::InvvpidAddress,             kHyperV,        kKvm},
    {F::InvvpidSingle,              kHyperV,        kKvm},
    {F::InvvpidAll,                 kHyperV,        kXen},
    {F::InvvpidRetainGlobals,       kHyperV,        kKvm},
    {F::PauseLoopExiting,           0,              kKvm | kXen},
    {F::ModeBasedExecute,           0,              kHyperV},
});
struct CpuWish {
    Feature feature;
    u8 needed_by;
    u8 wanted_by;
};
constexpr auto kCpuWishes = std::to_array<CpuWish>({
    {Feature::LM,      kAll,            0},
    {Feature::NX,      kXen | kHyperV,  kKvm},
    {Feature::APIC,    kAll,            0},
    {Feature::CX16,    kHyperV,         0},
    {Feature::LAHF_LM, kHyperV,         0},
    {Feature::X2APIC,  0,               kAll},
    {Feature::XSAVE,   0,               kAll},
    {Feature::RDTSCP,  0,               kAll},
    {Feature::TSC_DEADLINE, 0,          kKvm | kXen},
});
// clang-format on

struct HypervisorRow {
    Hypervisor bit;
    std::string_view name;
    u64 least_ram;
};
constexpr std::array kHypervisors = {
    HypervisorRow{kKvm, "KVM", u64{256} << 20},
    HypervisorRow{kXen, "Xen", u64{512} << 20},
    HypervisorRow{kHyperV, "Hyper-V", u64{4} << 30},
};

// --- Lists of names. ---

std::string joined(std::vector<std::string_view> names) {
    constexpr std::size_t kShown = 6;
    const std::size_t all = names.size();
    if (all > kShown) {
        names.resize(kShown);
    }
    return fmt::format("{}{}", fmt::join(names, ", "),
                       all > kShown ? fmt::format(" and {} more", all - kShown) : "");
}

class Report {
  public:
    explicit Report(const MachineConfig& config) : config_(config) {}

    std::vector<NestedItem> make() {
        cpu_model();
        cpu_features();
        if (config_.cpu.has(Feature::VMX)) {
            vmx();
        } else {
            add(State::Missing, "VMX",
                "hidden from the guest: -cpu MODEL,+vmx shows it (or -cpu max)");
        }
        memory();
        apic();
        timers();
        for (const HypervisorRow& row : kHypervisors) {
            hypervisor(row);
        }
        return std::move(items_);
    }

  private:
    void add(State state, std::string name, std::string reason) {
        items_.push_back({state, std::move(name), std::move(reason)});
    }
    void add_if(
        bool good, State otherwise, std::string name, std::string_view yes, std::string_view no) {
        add(good ? State::Ok : otherwise, std::move(name), std::string(good ? yes : no));
    }
    bool has(F feature) const {
        return config_.cpu.has(Feature::VMX) && config_.vmx.features.has(feature);
    }
    bool has(Feature feature) const { return config_.cpu.has(feature); }

    // Off, and worth a word: what goes with EPT or VPID is not named beside it.
    bool lacks(F feature) const {
        const VmxFeatureRow& row = row_of(feature);
        const F owner = row.bit < 32 ? F::Ept : F::Vpid;
        return !has(feature) && (row.word != CapabilityWord::EptVpid || has(owner));
    }

    template <typename Which>
    std::vector<std::string_view> absent(std::initializer_list<Which> features) const {
        std::vector<std::string_view> names;
        for (const Which feature : features) {
            if (!has(feature)) {
                if constexpr (std::is_same_v<Which, Feature>) {
                    names.push_back(feature_name(feature));
                } else {
                    names.push_back(row_of(feature).name);
                }
            }
        }
        return names;
    }

    void cpu_model() {
        const std::string model = config_.cpu_model.substr(0, config_.cpu_model.find(','));
        const bool old = !has(Feature::XSAVE) || !has(Feature::PCID);
        add(old ? State::Warn : State::Ok, "CPU model",
            old ? fmt::format(
                      "{}: hypervisors run, but they and their guests get an old CPU without "
                      "XSAVE, AVX or PCID; -cpu nested has them",
                      model)
                : model);
    }
    void cpu_features() {
        const auto names = absent({Feature::LM, Feature::NX, Feature::PAE, Feature::APIC});
        add(names.empty() ? State::Ok : State::Missing, "64-bit CPU",
            names.empty() ? "64-bit mode, NX, local APIC" : "off: " + joined(names));
    }

    void vmx() {
        add(State::Ok, "VMX", "visible to the guest");
        feature_control();
        const auto basic = needed_by_all();
        add(basic.empty() ? State::Ok : State::Missing, "VMX controls",
            basic.empty() ? "all that KVM, Xen and Hyper-V start with" : "off: " + joined(basic));
        add_if(has(F::Ept), State::Missing, "EPT", "on",
               "off (vmx-ept): KVM shadows page tables, Xen has no HAP, Hyper-V does not start");
        if (has(F::Ept)) {
            const auto sizes = absent(
                {F::Ept2M, F::Ept1G, F::EptAccessedDirty, F::EptExecuteOnly, F::InveptSingle});
            add(sizes.empty() ? State::Ok : State::Warn, "EPT pages",
                sizes.empty() ? "4K, 2M, 1G, accessed and dirty flags" : "off: " + joined(sizes));
        }
        add_if(has(F::UnrestrictedGuest), State::Missing, "unrestricted guest", "on",
               has(F::Ept) ? "off (vmx-unrestricted-guest): real-mode code of guests has to be "
                             "emulated, firmware often fails"
                           : "off: it needs EPT");
        add_if(has(F::Vpid), State::Missing, "VPID",
               "on, nothing is flushed at VM entry and VM exit",
               "off (vmx-vpid): each VM entry and VM exit flushes the TLB, Hyper-V does not start");
        const auto savers = absent({F::UseMsrBitmaps, F::TprShadow, F::ApicRegisterVirtualization,
                                    F::VirtualInterruptDelivery, F::PostedInterrupts,
                                    F::VmcsShadowing, F::Pml, F::PreemptionTimer});
        add(savers.empty() ? State::Ok : State::Warn, "fewer VM exits",
            savers.empty()
                ? "MSR bitmaps, TPR shadow, APIC virtualization, VMCS shadowing, PML, timer"
                : "more VM exits than need be, off: " + joined(savers));
        if (has(Feature::CET_SS) || has(Feature::CET_IBT)) {
            cet();
        }
    }

    // KVM (vmx_set_cpu_caps() of Linux 6.18) gives CET to its guests only with all of these: a #CP
    // that it injects has an error code.
    void cet() {
        const auto names = absent(
            {F::ExitLoadCetState, F::EntryLoadCetState, F::UnrestrictedGuest, F::AnyErrorCode});
        add(names.empty() ? State::Ok : State::Warn, "CET",
            names.empty() ? "for guests, too"
                          : "KVM hides it from its guests, off: " + joined(names));
    }

    void feature_control() {
        const VmxConfig& vmx = config_.vmx;
        if (!vmx.feature_control_locked) {
            add(State::Warn, "feature control",
                config_.bios.empty()
                    ? "IA32_FEATURE_CONTROL is not locked: Linux and Xen set it, others expect "
                      "firmware to have done so (-machine feature-control=enabled)"
                    : "IA32_FEATURE_CONTROL is left to firmware, but fw_cfg does not ask for VMX");
        } else {
            add_if(
                vmx.feature_control_vmx, State::Missing, "feature control",
                "IA32_FEATURE_CONTROL is locked with VMX allowed",
                "IA32_FEATURE_CONTROL is locked without VMX (-machine feature-control=disabled): "
                "VMXON raises #GP");
        }
    }

    std::vector<std::string_view> needed_by_all() const {
        std::vector<std::string_view> names;
        for (const VmxWish& wish : kVmxWishes) {
            const bool reported_alone = wish.feature == F::Ept || wish.feature == F::Vpid;
            if (wish.needed_by != 0 && !reported_alone && lacks(wish.feature)) {
                names.push_back(row_of(wish.feature).name);
            }
        }
        return names;
    }

    void memory() {
        const u64 ram = config_.ram_bytes;
        add(ram < kLeastNestedRam ? State::Missing : State::Ok, "memory",
            ram < kLeastNestedRam
                ? fmt::format(
                      "{} MiB: a hypervisor and a guest with an operating system need {} MiB "
                      "at least (-m)",
                      ram >> 20, kLeastNestedRam >> 20)
                : fmt::format("{} MiB", ram >> 20));
    }
    void apic() {
        add_if(has(Feature::X2APIC), State::Warn, "x2APIC",
               "available; the machine starts in xAPIC mode",
               "off: the APIC is used through MMIO, which exits more");
    }
    void timers() {
        const auto names = absent({Feature::INVTSC, Feature::TSC_DEADLINE, Feature::RDTSCP});
        add(names.empty() ? State::Ok : State::Warn, "timers",
            names.empty() ? "invariant TSC, TSC deadline, RDTSCP" : "off: " + joined(names));
    }

    void hypervisor(const HypervisorRow& row) {
        std::vector<std::string_view> needs, wants;
        const auto judge = [&](std::string_view name, u8 needed_by, u8 wanted_by) {
            if ((needed_by & row.bit) != 0) {
                needs.push_back(name);
            } else if ((wanted_by & row.bit) != 0) {
                wants.push_back(name);
            }
        };
        for (const CpuWish& wish : kCpuWishes) {
            if (!has(wish.feature)) {
                judge(feature_name(wish.feature), wish.needed_by, wish.wanted_by);
            }
        }
        if (!has(Feature::VMX)) {
            needs.push_back("vmx");
        } else {
            for (const VmxWish& wish : kVmxWishes) {
                if (lacks(wish.feature)) {
                    judge(row_of(wish.feature).name, wish.needed_by, wish.wanted_by);
                }
            }
            if (config_.vmx.feature_control_locked && !config_.vmx.feature_control_vmx) {
                needs.push_back("IA32_FEATURE_CONTROL");
            }
        }
        const bool small = config_.ram_bytes < row.least_ram;
        const std::string memory =
            small ? fmt::format("{}{} MiB of memory", needs.empty() && wants.empty() ? "" : "; ",
                                row.least_ram >> 20)
                  : "";
        if (!needs.empty()) {
            add(State::Missing, std::string(row.name),
                "would not start without " + joined(needs) + memory);
        } else if (!wants.empty() || small) {
            add(State::Warn, std::string(row.name),
                fmt::format("would {}{}{}", wants.empty() ? "want " : "run without ", joined(wants),
                            memory));
        } else {
            add(State::Ok, std::string(row.name), "misses nothing");
        }
    }

    const MachineConfig& config_;
    std::vector<NestedItem> items_;
};

}  // namespace

std::vector<NestedItem> nested_report(const MachineConfig& config) {
    return Report(config).make();
}

std::string render_nested_report(std::span<const NestedItem> items) {
    constexpr std::array<std::string_view, 3> kStates = {"ok", "warn", "missing"};
    std::string text;
    for (const NestedItem& item : items) {
        text += fmt::format("{:<9}{:<20}{}\n", kStates[static_cast<std::size_t>(item.state)],
                            item.name, item.reason);
    }
    return text;
}

std::size_t count_missing(std::span<const NestedItem> items) {
    return static_cast<std::size_t>(std::count_if(
        items.begin(), items.end(), [](const NestedItem& i) { return i.state == State::Missing; }));
}

}  // namespace droste
