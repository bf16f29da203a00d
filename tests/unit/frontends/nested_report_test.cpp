// Is a machine fit for a hypervisor inside: the items, and -cpu's vmx-* names they come from.

#include "cpu/x86/model/cpu_models.hpp"
#include "frontends/cli/cpu_choice.hpp"
#include "frontends/machine/nested_report.hpp"

#include <catch2/catch.hpp>

#include <algorithm>

namespace droste {
namespace {

using cli::parse_cpu;

MachineConfig machine(std::string_view cpu, u64 ram_mib = 1024) {
    MachineConfig config;
    const auto choice = parse_cpu(cpu);
    REQUIRE(choice);
    config.cpu_model = cpu;
    config.cpu = choice.value().cpu;
    config.vmx.features = choice.value().vmx.features;
    config.ram_bytes = ram_mib << 20;
    return config;
}

NestedItem item(const MachineConfig& config, std::string_view name) {
    const auto report = nested_report(config);
    const auto found = std::find_if(report.begin(), report.end(),
                                    [&](const NestedItem& entry) { return entry.name == name; });
    REQUIRE(found != report.end());
    return *found;
}

using State = NestedItem::State;

TEST_CASE("Nested report: a machine with VMX and memory misses nothing") {
    for (const char* cpu : {"nested,+vmx", "max", "baseline,+vmx", "nested,+vmx-ept"}) {
        CAPTURE(cpu);
        CHECK(count_missing(nested_report(machine(cpu))) == 0);
    }
    CHECK(item(machine("nested,+vmx", 4096), "Hyper-V").state == State::Ok);
}

TEST_CASE("Nested report: what is not there is named with its consequence") {
    struct Row {
        const char* cpu;
        const char* item;
        State state;
        const char* part;
    };
    for (const Row& row : {
             Row{"nested", "VMX", State::Missing, "+vmx"},
             Row{"nested", "KVM", State::Missing, "without vmx"},
             Row{"max,-vmx-ept", "EPT", State::Missing, "no HAP"},
             Row{"max,-vmx-ept", "unrestricted guest", State::Missing, "needs EPT"},
             Row{"max,-vmx-ept", "Hyper-V", State::Missing, "vmx-ept"},
             Row{"max,-vmx-ept", "KVM", State::Warn, "run without vmx-ept"},
             Row{"max,-vmx-ept-1gb", "EPT pages", State::Warn, "vmx-ept-1gb"},
             Row{"max,-vmx-vpid", "VPID", State::Missing, "flushes"},
             Row{"max,-vmx-vpid", "Hyper-V", State::Missing, "without vmx-vpid"},
             Row{"max,-vmx-unrestricted-guest", "unrestricted guest", State::Missing, "real-mode"},
             Row{"max,-vmx-hlt-exit", "VMX controls", State::Missing, "vmx-hlt-exit"},
             Row{"max,-vmx-hlt-exit", "Xen", State::Missing, "vmx-hlt-exit"},
             Row{"max,-vmx-shadow-vmcs", "fewer VM exits", State::Warn, "vmx-shadow-vmcs"},
             Row{"max,+cet-ss,+cet-ibt", "CET", State::Ok, "for guests, too"},
             Row{"max,+cet-ibt,-vmx-entry-load-cet", "CET", State::Warn, "vmx-exit-save-cet"},
             Row{"nested,+vmx,+cet-ss", "CET", State::Warn, "vmx-any-errcode"},
             Row{"max,-x2apic", "x2APIC", State::Warn, "MMIO"},
             Row{"max,-nx", "64-bit CPU", State::Missing, "nx"},
             Row{"baseline,+vmx", "CPU model", State::Warn, "baseline"},
         }) {
        CAPTURE(row.cpu, row.item);
        const NestedItem found = item(machine(row.cpu), row.item);
        CHECK(found.state == row.state);
        CHECK_THAT(found.reason, Catch::Contains(row.part));
    }
}

TEST_CASE("Nested report: memory and the feature-control lock") {
    CHECK(item(machine("max", 511), "memory").state == State::Missing);
    CHECK(item(machine("max", 512), "memory").state == State::Ok);
    MachineConfig config = machine("max");
    CHECK(item(config, "feature control").state == State::Ok);
    config.vmx.feature_control_vmx = false;
    CHECK(item(config, "feature control").state == State::Missing);
    CHECK(item(config, "KVM").state == State::Missing);
    config.vmx.feature_control_locked = false;
    CHECK(item(config, "feature control").state == State::Warn);
}

TEST_CASE("Nested report: a CPU without CET has no word about it") {
    for (const NestedItem& entry : nested_report(machine("max,-cet-ss,-cet-ibt"))) {
        CHECK(entry.name != "CET");
    }
}

TEST_CASE("Nested report: a line an item, states in a column") {
    const auto report = nested_report(machine("nested"));
    const std::string text = render_nested_report(report);
    CHECK(static_cast<std::size_t>(std::count(text.begin(), text.end(), '\n')) == report.size());
    CHECK_THAT(text, Catch::Contains("\nmissing  VMX                 hidden"));
}

TEST_CASE("-cpu: VMX is hidden unless asked for; max has all of it, nested what hypervisors know") {
    CHECK_FALSE(machine("nested").cpu.has(Feature::VMX));
    CHECK_FALSE(machine("baseline").cpu.has(Feature::VMX));
    CHECK(machine("nested").vmx.features == VmxFeatures{});
    CHECK(machine("max").vmx.features.has(VmxFeature::AnyErrorCode));
    CHECK(machine("host").vmx.features.has(VmxFeature::AnyErrorCode));
    CHECK_FALSE(machine("nested,+vmx").vmx.features.has(VmxFeature::AnyErrorCode));
    CHECK(machine("nested,+vmx,+vmx-any-errcode").vmx.features.has(VmxFeature::AnyErrorCode));
    CHECK_FALSE(machine("max,-vmx").cpu.has(Feature::VMX));
}

TEST_CASE("-cpu: vmx-* in QEMU's spellings; what needs an absent feature goes, too") {
    for (const char* cpu : {"nested,+vmx,-vmx-ept", "nested,vmx=on,vmx-ept=off", "max,-VMX_EPT",
                            "max,+vmx-ept,-vmx-ept"}) {
        CAPTURE(cpu);
        const VmxFeatures features = machine(cpu).vmx.features;
        CHECK_FALSE(features.has(VmxFeature::Ept));
        CHECK_FALSE(features.has(VmxFeature::UnrestrictedGuest));
        CHECK_FALSE(features.has(VmxFeature::Pml));
        CHECK(features.has(VmxFeature::Vpid));
    }
    CHECK(machine("nested,+vmx-pml").cpu.has(Feature::VMX));
    CHECK(machine("nested,-vmx-pml").cpu.has(Feature::VMX) == false);
}

TEST_CASE("-cpu: contradictions among vmx-* are errors with the reason") {
    const auto message = [](std::string_view spec) {
        const auto choice = parse_cpu(spec);
        return choice ? std::string() : choice.error().message;
    };
    CHECK_THAT(message("max,-vmx-ept,+vmx-pml"), Catch::Contains("vmx-ept"));
    CHECK_THAT(message("nested,+vmx-ept,-vmx"), Catch::Contains("exclude each other"));
    CHECK_THAT(message("nested,+vmx,+vmx-epd"), Catch::Contains("did you mean 'vmx-ept'"));
    CHECK_THAT(message("nosuch,+vmx-ept"), Catch::Contains("nosuch"));
    CHECK(message("nested,-vmx,+vmx,+vmx-ept").empty());
    CHECK_THAT(message("nested,+cet-ss,+vmx-entry-load-cet"),
               Catch::Contains("needs vmx-exit-save-cet"));
    CHECK_THAT(message("max,-cet-ss,-cet-ibt,+vmx-entry-load-cet"),
               Catch::Contains("the CPU model has no CET"));
    CHECK(
        message("nested,+cet-ss,+vmx-entry-load-cet,+vmx-exit-save-cet,+vmx-any-errcode").empty());
}

}  // namespace
}  // namespace droste
