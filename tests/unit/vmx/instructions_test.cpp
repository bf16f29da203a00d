// The VMX instructions: faults, and VMsucceed / VMfailInvalid / VMfailValid with their numbers.

#include "tests/unit/vmx/vmx_machine.hpp"

#include <catch2/catch.hpp>

using namespace droste;
using namespace droste::test;

namespace {

constexpr u64 kBeyondWidth = u64{1} << 50;

bool faulted(VmxMachine& m, Status status, Exception vector) {
    return status == Status::Fault && m.cpu().fault.vector == static_cast<u8>(vector);
}
bool error(VmxMachine& m, u32 number) {
    return m.failed_valid() && m.instruction_error() == number;
}
Insn plain(Op op) {
    Insn insn;
    insn.op = op;
    insn.length = 3;
    return insn;
}
Insn with_memory(Op op) {
    Insn insn = plain(op);
    insn.flags = kInsnMem;
    insn.disp = static_cast<i64>(VmxMachine::kScratch);
    insn.addrsize = 8;
    insn.opsize = 8;
    return insn;
}

constexpr auto kAll =
    std::to_array<Op>({Op::VMCLEAR, Op::VMLAUNCH, Op::VMRESUME, Op::VMXOFF, Op::VMPTRLD,
                       Op::VMPTRST, Op::VMREAD, Op::VMWRITE, Op::INVEPT, Op::INVVPID});

}  // namespace

TEST_CASE("VMX instructions outside VMX operation raise #UD", "[vmx][instructions]") {
    VmxMachine m;
    for (const Op op : kAll) {
        CHECK(faulted(m, m.execute(with_memory(op)), Exception::UD));
    }
    CHECK(faulted(m, m.execute(plain(Op::VMCALL)), Exception::UD));
    CHECK(faulted(m, m.execute(plain(Op::VMFUNC)), Exception::UD));
}

// These have a short way (VmcsView) of their own.
TEST_CASE("VMREAD and VMWRITE with registers raise #GP(0) at any CPL but 0",
          "[vmx][instructions]") {
    VmxMachine m;
    m.prepare();
    u64 value = 0;
    CHECK(m.vmread(0x681E, value) == Status::Next);
    for (const u8 cpl : {1, 2, 3}) {
        CAPTURE(cpl);
        m.cpu().mode.cpl = cpl;
        CHECK(faulted(m, m.vmread(0x681E, value), Exception::GP));
        CHECK(faulted(m, m.vmwrite(0x681E, 1), Exception::GP));
    }
}

TEST_CASE("code that executed VMREAD at CPL 0 faults at CPL 1 and 2", "[vmx][instructions]") {
    for (const u32 cpl : {1U, 2U}) {
        CAPTURE(cpl);
        VmxMachine m;
        m.prepare();
        CpuState& s = m.state();
        const auto run = [&] {
            s.gpr[RBX] = 0;
            s.activity = Activity::Active;
            // mov edx, 681Eh; vmread rbx, rdx; hlt
            (void)m.run_host({0xBA, 0x1E, 0x68, 0, 0, 0x0F, 0x78, 0xD3, 0xF4}, 3);
        };
        run();
        REQUIRE(s.gpr[RBX] == VmxMachine::kGuestCode);
        s.seg[SS].rights |= cpl << 5;
        mode_changed(m.cpu());
        run();
        CHECK(s.gpr[RBX] == 0);
        CHECK(s.activity == Activity::Shutdown);  // there is no IDT
    }
}

TEST_CASE("VMX instructions at CPL 3 raise #GP(0), in real mode and compatibility mode #UD",
          "[vmx][instructions]") {
    VmxMachine m;
    m.prepare();
    m.cpu().mode.cpl = 3;
    for (const Op op : kAll) {
        CHECK(faulted(m, m.execute(with_memory(op)), Exception::GP));
    }
    CHECK(faulted(m, m.execute(plain(Op::VMCALL)), Exception::GP));
    m.cpu().mode.cpl = 0;
    m.cpu().mode.long_mode64 = false;  // EFER.LMA = 1: compatibility mode
    for (const Op op : kAll) {
        CHECK(faulted(m, m.execute(with_memory(op)), Exception::UD));
    }
    m.state().efer &= ~efer::kLma;
    m.cpu().mode.protected_mode = false;
    for (const Op op : kAll) {
        CHECK(faulted(m, m.execute(with_memory(op)), Exception::UD));
    }
}

TEST_CASE("VMXON: CR4.VMXE, A20, fixed bits, region", "[vmx][instructions]") {
    VmxMachine m;
    m.state().cr4 &= ~cr4::kVmxe;
    CHECK(faulted(m, m.vmxon(), Exception::UD));
    m.state().cr4 |= cr4::kVmxe;
    m.state().cr0 &= ~cr0::kNe;
    CHECK(faulted(m, m.vmxon(), Exception::GP));
    m.state().cr0 |= cr0::kNe;
    m.cpu().a20_enabled = false;
    CHECK(faulted(m, m.vmxon(), Exception::GP));
    m.cpu().a20_enabled = true;
    (void)m.vmxon(VmxMachine::kVmxonRegion + 8);
    CHECK(m.failed_invalid());
    (void)m.vmxon(kBeyondWidth);
    CHECK(m.failed_invalid());
    (void)m.vmxon(VmxMachine::kGuestData);  // no revision identifier
    CHECK(m.failed_invalid());
    (void)m.vmxon(VmxMachine::kShadowVmcs);  // bit 31
    CHECK(m.failed_invalid());
    CHECK_FALSE(m.vmx().in_operation);
    CHECK(m.vmxon() == Status::Sync);
    CHECK(m.succeeded());
    CHECK(m.vmx().held_back(m.cpu()) == attention::kInit);
    (void)m.vmxon();
    CHECK(m.failed_invalid());  // no current VMCS yet
    (void)m.vmptrld(VmxMachine::kVmcsRegion);
    (void)m.vmxon();
    CHECK(error(m, 15));
}

TEST_CASE("in VMX operation CR0 and CR4 keep their fixed bits", "[vmx][instructions]") {
    VmxMachine m;
    CHECK(m.vmx().cr0_required(m.cpu()) == 0);
    (void)m.vmxon();
    CHECK(m.vmx().cr0_required(m.cpu()) == 0x8000'0021);
    CHECK(m.vmx().cr4_required(m.cpu()) == cr4::kVmxe);
}

TEST_CASE("VMCLEAR: error numbers", "[vmx][instructions]") {
    VmxMachine m;
    (void)m.vmxon();
    (void)m.vmptrld(VmxMachine::kVmcsRegion);
    (void)m.vmclear(VmxMachine::kVmcsRegion + 1);
    CHECK(error(m, 2));
    (void)m.vmclear(kBeyondWidth);
    CHECK(error(m, 2));
    (void)m.vmclear(VmxMachine::kVmxonRegion);
    CHECK(error(m, 3));
    (void)m.vmclear(VmxMachine::kOtherVmcs);
    CHECK(m.succeeded());
    CHECK(m.vmx().current_pointer() == VmxMachine::kVmcsRegion);
    (void)m.vmclear(VmxMachine::kVmcsRegion);
    CHECK(m.vmx().current_pointer() == kNoVmcs);
}

TEST_CASE("VMPTRLD: error numbers; VMPTRST stores the pointer", "[vmx][instructions]") {
    VmxMachine m;
    (void)m.vmxon();
    CHECK(m.execute(with_memory(Op::VMPTRST)) == Status::Next);
    CHECK(m.machine().peek_value<u64>(VmxMachine::kScratch) == kNoVmcs);
    (void)m.vmptrld(VmxMachine::kVmcsRegion + 8);
    CHECK(m.failed_invalid());
    (void)m.vmptrld(VmxMachine::kVmcsRegion);
    CHECK(m.succeeded());
    (void)m.vmptrld(kBeyondWidth);
    CHECK(error(m, 9));
    (void)m.vmptrld(VmxMachine::kVmxonRegion);
    CHECK(error(m, 10));
    (void)m.vmptrld(VmxMachine::kGuestData);
    CHECK(error(m, 11));
    (void)m.vmptrld(VmxMachine::kShadowVmcs);
    CHECK(m.succeeded());
    (void)m.execute(with_memory(Op::VMPTRST));
    CHECK(m.machine().peek_value<u64>(VmxMachine::kScratch) == VmxMachine::kShadowVmcs);
}

TEST_CASE("without VMCS shadowing the shadow indicator is a wrong revision",
          "[vmx][instructions]") {
    VmxConfig config = VmxConfig::max();
    config.features.enable(VmxFeature::VmcsShadowing, false);
    VmxMachine m(config);
    (void)m.vmxon();
    (void)m.vmptrld(VmxMachine::kVmcsRegion);
    (void)m.vmptrld(VmxMachine::kShadowVmcs);
    CHECK(error(m, 11));
}

TEST_CASE("VMLAUNCH and VMRESUME: launch state, shadow VMCS, MOV SS", "[vmx][instructions]") {
    VmxMachine m;
    (void)m.vmxon();
    (void)m.vmlaunch();
    CHECK(m.failed_invalid());
    m.prepare();
    (void)m.vmresume();
    CHECK(error(m, 5));
    m.state().interruptibility = blocking::kMovSs;
    (void)m.vmlaunch();
    CHECK(error(m, 26));
    m.state().interruptibility = 0;
    m.guest_code({0x0F, 0xA2});  // cpuid
    REQUIRE(m.run_guest());
    (void)m.vmlaunch();
    CHECK(error(m, 4));
    (void)m.vmptrld(VmxMachine::kShadowVmcs);
    (void)m.vmlaunch();
    CHECK(m.failed_invalid());
}

TEST_CASE("VMCLEAR makes a launched VMCS clear, active or not", "[vmx][instructions]") {
    for (const bool active : {true, false}) {
        CAPTURE(active);
        VmxMachine m;
        m.prepare();
        m.guest_code({0x0F, 0xA2});  // cpuid
        REQUIRE(m.run_guest());
        CHECK(m.vmx().current->launch_state == LaunchState::Launched);
        if (!active) {
            REQUIRE(m.execute(plain(Op::VMXOFF)) == Status::Sync);
            (void)m.vmxon();
        }
        (void)m.vmclear(VmxMachine::kVmcsRegion);
        REQUIRE(m.succeeded());
        (void)m.vmptrld(VmxMachine::kVmcsRegion);
        (void)m.vmresume();
        CHECK(error(m, 5));
        CHECK(m.vmlaunch() == Status::Switched);
    }
}

TEST_CASE("VMREAD and VMWRITE: no VMCS, unsupported component", "[vmx][instructions]") {
    VmxMachine m;
    (void)m.vmxon();
    u64 value = 0;
    (void)m.vmread(0x4402, value);
    CHECK(m.failed_invalid());
    (void)m.vmptrld(VmxMachine::kVmcsRegion);
    (void)m.vmread(0x4403, value);
    CHECK(error(m, 12));
    (void)m.vmread(0x2034, value);  // tertiary controls
    CHECK(error(m, 12));
    (void)m.vmwrite(u64{1} << 40, 0);
    CHECK(error(m, 12));
    (void)m.vmread(0x4400, value);
    CHECK(value == 12);
}

TEST_CASE("VMCALL in VMX root operation fails with error 1", "[vmx][instructions]") {
    VmxMachine m;
    m.prepare();
    (void)m.execute(plain(Op::VMCALL));
    CHECK(error(m, 1));
}

TEST_CASE("INVEPT: types and EPTP", "[vmx][instructions]") {
    VmxMachine m;
    m.prepare();
    const u64 eptp = m.make_identity_ept();
    for (const u64 type : {u64{0}, u64{3}, ~u64{0}}) {
        (void)m.invept(type, eptp);
        CHECK(error(m, 28));
    }
    CHECK(m.invept(1, eptp) == Status::Sync);
    CHECK(m.succeeded());
    (void)m.invept(1, eptp | 0x80);
    CHECK(error(m, 28));
    (void)m.invept(1, eptp & ~u64{0x38});
    CHECK(error(m, 28));
    (void)m.invept(2, 0);
    CHECK(m.succeeded());
}

TEST_CASE("INVVPID: types, VPID 0, reserved bits, canonical address", "[vmx][instructions]") {
    VmxMachine m;
    m.prepare();
    (void)m.invvpid(4, 1, 0);
    CHECK(error(m, 28));
    for (const u64 type : {u64{0}, u64{1}, u64{3}}) {
        (void)m.invvpid(type, 0, 0);
        CHECK(error(m, 28));
        (void)m.invvpid(type, 1, 0x1000);
        CHECK(m.succeeded());
        (void)m.invvpid(type, 0x1'0001, 0);
        CHECK(error(m, 28));
    }
    (void)m.invvpid(0, 1, u64{1} << 63);
    CHECK(error(m, 28));
    (void)m.invvpid(2, 0, 0);
    CHECK(m.succeeded());
}

TEST_CASE("INVEPT and INVVPID without the capability raise #UD", "[vmx][instructions]") {
    VmxConfig config = VmxConfig::max();
    config.features.enable(VmxFeature::Ept, false);
    config.features.enable(VmxFeature::Vpid, false);
    VmxMachine m(config);
    m.prepare();
    CHECK(faulted(m, m.invept(2, 0), Exception::UD));
    CHECK(faulted(m, m.invvpid(2, 0, 0), Exception::UD));
}

TEST_CASE("a failed VMX instruction names its cause in the log", "[vmx][instructions]") {
    VmxMachine m;
    m.prepare();
    (void)m.vmptrld(VmxMachine::kVmcsRegion + 8);
    CHECK(m.log_text().find("VMPTRLD failed: VMPTRLD with invalid physical address; 0x9008") !=
          std::string::npos);
}
