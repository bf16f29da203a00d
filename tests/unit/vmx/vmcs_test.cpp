// The VMCS field table, the region in memory, VMREAD and VMWRITE.

#include "tests/unit/vmx/vmx_machine.hpp"

#include <catch2/catch.hpp>

using namespace droste;
using namespace droste::test;

TEST_CASE("every row of the field table is found by its encoding, and nothing else is",
          "[vmx][vmcs]") {
    unsigned found = 0;
    for (u64 encoding = 0; encoding < 0x10000; encoding += 2) {
        if (const VmcsFieldRow* row = find_vmcs_field(encoding); row != nullptr) {
            CHECK(row->encoding == encoding);
            ++found;
        }
    }
    CHECK(found == kVmcsFieldCount);
    CHECK(find_vmcs_field(0x2001) != nullptr);  // high half of a 64-bit field
    CHECK(find_vmcs_field(0x4001) == nullptr);  // 32-bit fields have none
    CHECK(find_vmcs_field(0x6801) == nullptr);
    CHECK(find_vmcs_field(u64{1} << 32) == nullptr);
    CHECK(find_vmcs_field(0x8000) == nullptr);
}

TEST_CASE("VMWRITE then VMREAD returns the value truncated to the field's width", "[vmx][vmcs]") {
    VmxMachine m;
    m.prepare();
    u64 pattern = 0x1122'3344'5566'7788;
    for (const VmcsFieldRow& row : kVmcsFields) {
        CAPTURE(row.name);
        pattern = pattern * 0x9E37'79B9'7F4A'7C15 + 1;
        const bool supported = m.vmx().caps.supports(row);
        CHECK(m.vmwrite(row.encoding, pattern) == Status::Next);
        if (!supported) {
            CHECK(m.failed_valid());
            CHECK(m.instruction_error() == static_cast<u32>(VmError::UnsupportedComponent));
            continue;
        }
        REQUIRE(m.succeeded());
        u64 value = 0;
        CHECK(m.vmread(row.encoding, value) == Status::Next);
        REQUIRE(m.succeeded());
        const u64 mask = row.bytes == 8 ? ~u64{0} : (u64{1} << (row.bytes * 8)) - 1;
        CHECK(value == (pattern & mask));
    }
}

TEST_CASE("the high access type reaches bits 63:32 of a 64-bit field", "[vmx][vmcs]") {
    VmxMachine m;
    m.prepare();
    (void)m.vmwrite(0x2010, 0x1111'1111'2222'2222);
    u64 value = 0;
    (void)m.vmread(0x2011, value);
    CHECK(value == 0x1111'1111);
    (void)m.vmwrite(0x2011, 0x3333'3333);
    (void)m.vmread(0x2010, value);
    CHECK(value == 0x3333'3333'2222'2222);
}

TEST_CASE("VMCLEAR writes the image back, and a copy of the region is the same VMCS",
          "[vmx][vmcs]") {
    VmxMachine m;
    m.prepare();
    (void)m.vmwrite(0x6800, 0xABCD);
    (void)m.vmclear(VmxMachine::kVmcsRegion);
    CHECK(m.vmx().current == nullptr);
    std::array<u8, kPageBytes> region{};
    REQUIRE(m.machine().memory().read(VmxMachine::kVmcsRegion, region));
    m.machine().poke(VmxMachine::kOtherVmcs, region);
    (void)m.vmptrld(VmxMachine::kOtherVmcs);
    u64 value = 0;
    (void)m.vmread(0x6800, value);
    CHECK(value == 0xABCD);
    CHECK(m.vmx().current->launch_state == LaunchState::Clear);
}

TEST_CASE("more VMCSs than the cache holds keep their contents", "[vmx][vmcs]") {
    VmxMachine m;
    (void)m.vmxon();
    constexpr u64 kFirst = 0x10'0000 + 0x8'0000, kCount = 40;
    for (u64 i = 0; i < kCount; ++i) {
        m.machine().poke_value<u32>(kFirst + i * kPageBytes, kVmcsRevision);
        (void)m.vmclear(kFirst + i * kPageBytes);
        (void)m.vmptrld(kFirst + i * kPageBytes);
        (void)m.vmwrite(0x681E, 1000 + i);
    }
    for (u64 i = 0; i < kCount; ++i) {
        (void)m.vmptrld(kFirst + i * kPageBytes);
        u64 value = 0;
        (void)m.vmread(0x681E, value);
        CHECK(value == 1000 + i);
    }
    CHECK(m.vmx().cache.evictions > 0);
}

TEST_CASE("VMXOFF writes back VMCSs that software did not clear", "[vmx][vmcs]") {
    VmxMachine m;
    m.prepare();
    (void)m.vmwrite(0x681E, 0x77);
    Insn vmxoff;
    vmxoff.op = Op::VMXOFF;
    CHECK(m.execute(vmxoff) == Status::Sync);
    CHECK_FALSE(m.vmx().in_operation);
    (void)m.vmxon();
    (void)m.vmptrld(VmxMachine::kVmcsRegion);
    u64 value = 0;
    (void)m.vmread(0x681E, value);
    CHECK(value == 0x77);
}

TEST_CASE("without MISC[29], VMWRITE to a read-only field fails with error 13", "[vmx][vmcs]") {
    VmxConfig config = VmxConfig::max();
    config.features.enable(VmxFeature::VmwriteAnyField, false);
    VmxMachine m(config);
    m.prepare();
    (void)m.vmwrite(0x4402, 1);
    CHECK(m.failed_valid());
    CHECK(m.instruction_error() == static_cast<u32>(VmError::VmwriteReadOnly));
}
