// VMCS shadowing: VMREAD and VMWRITE of a guest hypervisor without exits.

#include "cpu/x86/apic/local_apic.hpp"
#include "tests/unit/vmx/vmx_machine.hpp"

#include <catch2/catch.hpp>

using namespace droste;
using namespace droste::test;

namespace {

constexpr u64 kReadBitmap = VmxMachine::kBitmaps + 0x2000,
              kWriteBitmap = VmxMachine::kBitmaps + 0x3000;

struct ShadowGuest : VmxMachine {
    explicit ShadowGuest(std::initializer_list<u8> code) {
        prepare();
        guest_code(code);
        Vmcs& v = vmcs();
        v.proc_controls |= proc::kActivateSecondary;
        v.proc2_controls = proc2::kVmcsShadowing;
        v.vmread_bitmap = kReadBitmap;
        v.vmwrite_bitmap = kWriteBitmap;
        v.vmcs_link_pointer = kShadowVmcs;
        vmx().current->stale_checks = ~0U;
    }
};

}  // namespace

TEST_CASE("shadowed VMREAD and VMWRITE reach the shadow VMCS and do not exit", "[vmx][shadowing]") {
    ShadowGuest m{0x0F, 0x79, 0xC3, 0x0F,
                  0x78, 0xC1, 0x0F, 0xA2};  // vmwrite rax, rbx; vmread rcx, rax; cpuid
    m.state().gpr[RAX] = 0x681E;
    m.state().gpr[RBX] = 0x1234'5678'9ABC;
    REQUIRE(m.run_guest());
    CHECK(m.exited_with(ExitReason::CPUID));
    CHECK(m.state().gpr[RCX] == 0x1234'5678'9ABC);
    CHECK(m.vmcs().guest_rip == VmxMachine::kGuestCode + 6);  // the current VMCS is another one
    (void)m.vmclear(VmxMachine::kVmcsRegion);
    (void)m.vmptrld(VmxMachine::kShadowVmcs);
    u64 value = 0;
    (void)m.vmread(0x681E, value);
    CHECK(value == 0x1234'5678'9ABC);
}

TEST_CASE("a bitmap bit or an encoding above 15 bits exits", "[vmx][shadowing]") {
    ShadowGuest read{0x0F, 0x78, 0xC1};  // vmread rcx, rax
    read.machine().poke_value<u8>(kReadBitmap + 0x681E / 8, 1U << (0x681E % 8));
    read.state().gpr[RAX] = 0x681E;
    REQUIRE(read.run_guest());
    CHECK(read.exited_with(ExitReason::VMREAD));
    ShadowGuest write{0x0F, 0x79, 0xC1};  // vmwrite rax, rcx
    write.machine().poke_value<u8>(kWriteBitmap + 0x4402 / 8, 1U << (0x4402 % 8));
    write.state().gpr[RAX] = 0x4402;
    REQUIRE(write.run_guest());
    CHECK(write.exited_with(ExitReason::VMWRITE));
    ShadowGuest wide{0x0F, 0x78, 0xC1};  // vmread rcx, rax
    wide.state().gpr[RAX] = 0x8000;
    REQUIRE(wide.run_guest());
    CHECK(wide.exited_with(ExitReason::VMREAD));
}

TEST_CASE("without a shadow VMCS the shadowed access fails invalidly; at CPL 3 it raises #GP",
          "[vmx][shadowing]") {
    ShadowGuest none{0x0F, 0x78, 0xC1, 0x9C, 0x5A, 0x0F, 0xA2};  // vmread; pushf; pop rdx; cpuid
    none.set(&Vmcs::vmcs_link_pointer, kNoVmcs);
    none.state().gpr[RAX] = 0x681E;
    REQUIRE(none.run_guest());
    CHECK(none.exited_with(ExitReason::CPUID));
    CHECK((none.state().gpr[RDX] & rflags::kStatus) == rflags::kCf);
}

TEST_CASE("a shadowed access that fails reports in the current VMCS, not in the shadow VMCS",
          "[vmx][shadowing]") {
    struct Row {
        bool write;
        u64 encoding;
        u64 error;
    };
    for (const Row& row :
         {Row{false, 1, 12}, Row{false, 0x7FFE, 12}, Row{true, 1, 12}, Row{true, 0x7FFE, 12}}) {
        CAPTURE(row.write, row.encoding);
        const u8 opcode = row.write ? 0x79 : 0x78;
        // vmread rcx, rax or vmwrite rax, rcx; pushf; pop rdx; cpuid
        ShadowGuest m({0x0F, opcode, 0xC1, 0x9C, 0x5A, 0x0F, 0xA2});
        m.state().gpr[RAX] = row.encoding;
        REQUIRE(m.run_guest());
        CHECK(m.exited_with(ExitReason::CPUID));
        CHECK((m.state().gpr[RDX] & rflags::kStatus) == rflags::kZf);
        u64 error = 0;
        (void)m.vmread(0x4400, error);
        CHECK(error == row.error);
        CHECK(m.vmx().cache.find(VmxMachine::kShadowVmcs)->fields.instruction_error == 0);
    }
}

TEST_CASE("without VMCS shadowing every VMREAD in the guest exits", "[vmx][shadowing]") {
    VmxMachine m;
    m.prepare();
    m.guest_code({0x0F, 0x78, 0xC1});  // vmread rcx, rax
    REQUIRE(m.run_guest());
    CHECK(m.exited_with(ExitReason::VMREAD));
}

TEST_CASE("a VMREAD bitmap that lies in no memory closes nothing and opens nothing by itself",
          "[vmx][shadowing]") {
    // Where nothing answers, reads yield ones: every access exits.
    ShadowGuest m{0xB8, 0x1E, 0x68, 0, 0, 0x0F, 0x78, 0xC1};  // mov eax, 681Eh; vmread rcx, rax
    m.set(&Vmcs::vmread_bitmap, u64{0x40'0000'0000 - 0x1000});
    REQUIRE(m.run_guest());
    CHECK(m.exited_with(ExitReason::VMREAD));
}

TEST_CASE("the bitmaps are looked at when the local APIC has moved there, and away again",
          "[vmx][shadowing]") {
    // mov eax, 681Eh; vmread rcx, rax; jmp back
    ShadowGuest m{0xB8, 0x1E, 0x68, 0, 0, 0x0F, 0x78, 0xC1, 0xEB, 0xF6};
    REQUIRE(!m.run_guest(30));
    constexpr u64 kEnabled = 1U << 11;
    // Registers that are not there read as zeros; the one at 681Eh / 8 & ~15 is not.
    REQUIRE(m.cpu().apic->write_base_msr(kReadBitmap | kEnabled | 1U << 8));
    CHECK(m.vmx().view.read_closed[0x681E / 8] == 0xFF);
    REQUIRE(m.cpu().apic->write_base_msr(0xFEE0'0000 | kEnabled | 1U << 8));
    CHECK(m.vmx().view.read_closed[0x681E / 8] == 0);
    CHECK(!m.continue_guest(30));
    CHECK(m.vmx().non_root);
}

TEST_CASE("code that was translated in one guest asks the bitmaps of the other",
          "[vmx][shadowing]") {
    // mov eax, 681Eh; vmread rcx, rax; cpuid
    ShadowGuest m{0xB8, 0x1E, 0x68, 0, 0, 0x0F, 0x78, 0xC1, 0x0F, 0xA2};
    REQUIRE(m.run_guest());
    CHECK(m.exited_with(ExitReason::CPUID));
    m.set(&Vmcs::guest_rip, VmxMachine::kGuestCode);
    m.set(&Vmcs::proc2_controls, 0);
    m.set(&Vmcs::vmcs_link_pointer, kNoVmcs);
    REQUIRE(m.run_guest());
    CHECK(m.exited_with(ExitReason::VMREAD));
    m.set(&Vmcs::guest_rip, VmxMachine::kGuestCode);
    m.set(&Vmcs::proc2_controls, proc2::kVmcsShadowing);
    m.set(&Vmcs::vmcs_link_pointer, VmxMachine::kShadowVmcs);
    m.machine().poke_value<u8>(kReadBitmap + 0x681E / 8, 1U << (0x681E % 8));
    REQUIRE(m.run_guest());
    CHECK(m.exited_with(ExitReason::VMREAD));
}
