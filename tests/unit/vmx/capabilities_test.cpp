// Capability MSRs: what drivers insist on.

#include "cpu/x86/model/msr.hpp"
#include "cpu/x86/system/control_regs.hpp"
#include "tests/unit/vmx/vmx_machine.hpp"

#include <catch2/catch.hpp>

using namespace droste;
using namespace droste::test;

namespace {

u64 read(VmxMachine& m, u32 index) {
    u64 value = 0;
    CAPTURE(index);
    REQUIRE(m.vmx().read_msr(m.cpu(), index, value));
    return value;
}

}  // namespace

TEST_CASE("legacy control MSRs require the default1 class, TRUE ones do not",
          "[vmx][capabilities]") {
    VmxMachine m(VmxConfig::nested());
    struct Pair {
        u32 legacy, exact;
        u64 default1;
    };
    for (const auto& [legacy, exact, default1] :
         {Pair{msr::kVmxPin, msr::kVmxTruePin, 0x16},
          Pair{msr::kVmxProc, msr::kVmxTrueProc, 0x0401E172},
          Pair{msr::kVmxExit, msr::kVmxTrueExit, 0x36DFF},
          Pair{msr::kVmxEntry, msr::kVmxTrueEntry, 0x11FF}}) {
        CAPTURE(legacy);
        const u64 l = read(m, legacy);
        const u64 t = read(m, exact);
        CHECK((l >> 32) == (t >> 32));
        CHECK(static_cast<u32>(l) == (static_cast<u32>(t) | default1));
        CHECK((static_cast<u32>(t) & ~static_cast<u32>(t >> 32)) == 0);
    }
    // Clearable only through the TRUE MSRs: CR3-load/store exiting, save/load debug controls.
    CHECK((read(m, msr::kVmxTrueProc) & (1U << 15 | 1U << 16)) == 0);
    CHECK((read(m, msr::kVmxTrueExit) & 4) == 0);
    CHECK((read(m, msr::kVmxTrueEntry) & 4) == 0);
}

TEST_CASE("the default nested model shows only what today's KVM knows", "[vmx][capabilities]") {
    VmxMachine m(VmxConfig::nested());
    u64 known = 0;
    for (const unsigned b :
         {0U, 6U, 7U, 8U, 14U, 16U, 17U, 20U, 21U, 22U, 25U, 26U, 32U, 40U, 41U, 42U, 43U}) {
        known |= u64{1} << b;
    }
    CHECK((read(m, msr::kVmxEptVpidCap) & ~known) == 0);
    CHECK((read(m, msr::kVmxMisc) & (0x3FU << 9 | 1U << 31)) == 0);
    CHECK((read(m, msr::kVmxBasic) >> 57) == 0);
    CHECK((read(m, msr::kVmxMisc) & 0x20) != 0);  // MISC[5] with unrestricted guest
    CHECK((read(m, msr::kVmxVmcsEnum) & 0x3FF) >= 0x2A);
    CHECK((read(m, msr::kVmxMisc) & 0x1F) == 5);
    const u64 basic = read(m, msr::kVmxBasic);
    CHECK(((basic >> 32) & 0x1FFF) == 4096);
    CHECK(((basic >> 48) & 1) == 0);
    CHECK(((basic >> 50) & 0xF) == 6);
    CHECK((basic & 0x8000'0000) == 0);
    CHECK(((basic >> 54) & 3) == 3);
}

TEST_CASE("capability MSRs exist only with the control that gives them meaning",
          "[vmx][capabilities]") {
    VmxConfig config = VmxConfig::max();
    config.features.enable(VmxFeature::SecondaryControls, false);
    config.features.enable(VmxFeature::TrueControls, false);
    VmxMachine m(config);
    u64 value = 0;
    for (const u32 index :
         {msr::kVmxProc2, msr::kVmxEptVpidCap, msr::kVmxVmFunc, msr::kVmxTruePin, msr::kVmxTrueProc,
          msr::kVmxTrueExit, msr::kVmxTrueEntry, 0x492U, 0x493U}) {
        CAPTURE(index);
        CHECK_FALSE(m.vmx().read_msr(m.cpu(), index, value));
    }
    CHECK_FALSE(m.vmx().write_msr(m.cpu(), msr::kVmxBasic, 0));
}

TEST_CASE("make_consistent drops halves of pairs and EPT features without EPT",
          "[vmx][capabilities]") {
    VmxFeatures features = VmxConfig::max().features;
    features.enable(VmxFeature::Ept, false);
    features.enable(VmxFeature::EntryLoadPat, false);
    const auto dropped = make_consistent(features, vmx_features());
    CHECK_FALSE(dropped.empty());
    for (const VmxFeature gone :
         {VmxFeature::UnrestrictedGuest, VmxFeature::Pml, VmxFeature::EptExecuteOnly,
          VmxFeature::Invept, VmxFeature::EptpSwitching, VmxFeature::VmFunctions,
          VmxFeature::ModeBasedExecute, VmxFeature::StoreLma, VmxFeature::ExitLoadPat,
          VmxFeature::ExitSavePat}) {
        CAPTURE(row_of(gone).name);
        CHECK_FALSE(features.has(gone));
    }
    CHECK(features.has(VmxFeature::Vpid));
    CHECK(features.has(VmxFeature::ExitLoadEfer));
    CHECK(make_consistent(features, vmx_features()).empty());
}

TEST_CASE("a control for an instruction the CPU model lacks is not advertised",
          "[vmx][capabilities]") {
    CpuFeatures cpu = vmx_features();
    cpu.enable(Feature::RDTSCP, false);
    cpu.enable(Feature::XSAVES, false);
    VmxMachine m(VmxConfig::max(), cpu);
    CHECK((m.vmx().caps.proc2.may_be_1 & proc2::kEnableRdtscp) == 0);
    CHECK((m.vmx().caps.proc2.may_be_1 & proc2::kEnableXsaves) == 0);
}

TEST_CASE("CR4_FIXED1 is what MOV to CR4 accepts, and includes VMXE", "[vmx][capabilities]") {
    VmxMachine m;
    CHECK(read(m, msr::kVmxCr4Fixed1) == (cr4_allowed(m.cpu()) | cr4::kVmxe));
    CHECK(read(m, msr::kVmxCr4Fixed0) == cr4::kVmxe);
    CHECK(read(m, msr::kVmxCr0Fixed0) == 0x8000'0021);
}

TEST_CASE("IA32_FEATURE_CONTROL is 5 and locked by default; unlocked it locks on demand",
          "[vmx][capabilities]") {
    VmxMachine locked;
    CHECK(read(locked, msr::kFeatureControl) == 5);
    CHECK_FALSE(locked.vmx().write_msr(locked.cpu(), msr::kFeatureControl, 5));
    VmxConfig config = VmxConfig::max();
    config.feature_control_locked = false;
    VmxMachine open(config);
    CHECK(open.vmxon() == Status::Fault);
    CHECK(open.cpu().fault.vector == static_cast<u8>(Exception::GP));
    CHECK_FALSE(open.vmx().write_msr(open.cpu(), msr::kFeatureControl, 8));
    CHECK(open.vmx().write_msr(open.cpu(), msr::kFeatureControl, 4));
    CHECK(open.vmxon() == Status::Fault);  // not locked
    CHECK(open.vmx().write_msr(open.cpu(), msr::kFeatureControl, 5));
    CHECK_FALSE(open.vmx().write_msr(open.cpu(), msr::kFeatureControl, 5));
    CHECK(open.vmxon() == Status::Sync);
}

TEST_CASE("every feature name is found again and every row has its own bit",
          "[vmx][capabilities]") {
    for (unsigned i = 0; i < kVmxFeatureCount; ++i) {
        const VmxFeatureRow& row = row_of(static_cast<VmxFeature>(i));
        CHECK(vmx_feature_by_name(row.name) == row.feature);
        for (unsigned j = 0; j < i; ++j) {
            const VmxFeatureRow& other = row_of(static_cast<VmxFeature>(j));
            CHECK_FALSE((row.word == other.word && row.bit == other.bit));
        }
    }
    CHECK(vmx_feature_by_name("vmx-nonsense") == VmxFeature::kCount);
}
