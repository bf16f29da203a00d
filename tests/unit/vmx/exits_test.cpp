// VM exits caused by instructions: reason, qualification, length and instruction information.

#include "cpu/vmx/exit/exit_qualification.hpp"
#include "tests/unit/vmx/exit_cases.hpp"
#include "tests/unit/vmx/vmx_machine.hpp"

#include <catch2/catch.hpp>

#include <functional>
#include <vector>

using namespace droste;
using namespace droste::test;

namespace {

struct Case {
    const char* name;
    std::vector<u8> code;
    std::function<void(VmxMachine&)> arrange;
    ExitReason reason;
    u64 qualification = 0;
    u32 instruction_info = 0;
};

void primary(VmxMachine& m, u32 bits) {
    m.vmcs().proc_controls |= bits;
}
void secondary(VmxMachine& m, u32 bits) {
    m.vmcs().proc_controls |= proc::kActivateSecondary;
    m.vmcs().proc2_controls |= bits;
}
void nothing(VmxMachine&) {}

constexpr u32 kNoIndex = 1U << 22, kNoBase = 1U << 27, kAddress64 = 2U << 7, kDs = 3U << 15,
              kRegister = 1U << 10;
constexpr u32 base(unsigned gpr) {
    return gpr << 23;
}

// mov cr0, rax etc. with the value already in RAX.
// clang-format off
const std::vector<Case> kCases = {
    {"CPUID", {0x0F, 0xA2}, nothing, ExitReason::CPUID},
    {"HLT", {0xF4}, [](VmxMachine& m) { primary(m, proc::kHltExiting); }, ExitReason::HLT},
    {"INVD", {0x0F, 0x08}, nothing, ExitReason::INVD},
    {"INVLPG [rax]", {0x0F, 0x01, 0x38}, [](VmxMachine& m) { primary(m, proc::kInvlpgExiting), m.state().gpr[RAX] = 0x1234'5000; }, ExitReason::INVLPG, 0x1234'5000},
    {"RDPMC", {0x0F, 0x33}, [](VmxMachine& m) { primary(m, proc::kRdpmcExiting); }, ExitReason::RDPMC},
    {"RDTSC", {0x0F, 0x31}, [](VmxMachine& m) { primary(m, proc::kRdtscExiting); }, ExitReason::RDTSC},
    {"RDTSCP", {0x0F, 0x01, 0xF9}, [](VmxMachine& m) { primary(m, proc::kRdtscExiting), secondary(m, proc2::kEnableRdtscp); }, ExitReason::RDTSCP},
    {"VMCALL", {0x0F, 0x01, 0xC1}, nothing, ExitReason::VMCALL},
    {"VMLAUNCH", {0x0F, 0x01, 0xC2}, nothing, ExitReason::VMLAUNCH},
    {"VMRESUME", {0x0F, 0x01, 0xC3}, nothing, ExitReason::VMRESUME},
    {"VMXOFF", {0x0F, 0x01, 0xC4}, nothing, ExitReason::VMXOFF},
    {"VMCLEAR [rbx+8]", {0x66, 0x0F, 0xC7, 0x73, 0x08}, nothing, ExitReason::VMCLEAR, 8, kAddress64 | kDs | kNoIndex | base(RBX)},
    {"VMPTRLD [rsp+rcx*4-16]", {0x0F, 0xC7, 0x74, 0x8C, 0xF0}, nothing, ExitReason::VMPTRLD, ~u64{15}, 2 | kAddress64 | 2U << 15 | RCX << 18 | base(RSP)},
    {"VMPTRST [rip+0x10]", {0x0F, 0xC7, 0x3D, 0x10, 0, 0, 0}, nothing, ExitReason::VMPTRST, VmxMachine::kGuestCode + 7 + 0x10, kAddress64 | kDs | kNoIndex | kNoBase},
    {"VMXON [rax]", {0xF3, 0x0F, 0xC7, 0x30}, nothing, ExitReason::VMXON, 0, kAddress64 | kDs | kNoIndex | base(RAX)},
    {"VMREAD rdx, rsi", {0x0F, 0x78, 0xF2}, nothing, ExitReason::VMREAD, 0, kRegister | RDX << 3 | u32{RSI} << 28},
    {"VMREAD [rdi], r9", {0x44, 0x0F, 0x78, 0x0F}, nothing, ExitReason::VMREAD, 0, kAddress64 | kDs | kNoIndex | base(RDI) | u32{R9} << 28},
    {"VMWRITE rsi, rdx", {0x0F, 0x79, 0xF2}, nothing, ExitReason::VMWRITE, 0, kRegister | RDX << 3 | u32{RSI} << 28},
    {"INVEPT rcx, [rax]", {0x66, 0x0F, 0x38, 0x80, 0x08}, nothing, ExitReason::INVEPT, 0, kAddress64 | kDs | kNoIndex | base(RAX) | u32{RCX} << 28},
    {"INVVPID rcx, fs:[rax]", {0x64, 0x66, 0x0F, 0x38, 0x81, 0x08}, nothing, ExitReason::INVVPID, 0, kAddress64 | 4U << 15 | kNoIndex | base(RAX) | u32{RCX} << 28},
    {"INVPCID rcx, [rax]", {0x66, 0x0F, 0x38, 0x82, 0x08}, [](VmxMachine& m) { primary(m, proc::kInvlpgExiting), secondary(m, proc2::kEnableInvpcid), m.state().gpr[RAX] = VmxMachine::kGuestData; }, ExitReason::INVPCID, 0, kAddress64 | kDs | kNoIndex | base(RAX) | u32{RCX} << 28},
    {"MOV CR0, RAX (owned bit)", {0x0F, 0x22, 0xC0}, [](VmxMachine& m) { m.vmcs().cr0_guest_host_mask = cr0::kTs, m.state().gpr[RAX] = m.state().cr0 | cr0::kTs; }, ExitReason::CR_ACCESS, 0},
    {"MOV CR3, R9", {0x41, 0x0F, 0x22, 0xD9}, [](VmxMachine& m) { primary(m, proc::kCr3LoadExiting); }, ExitReason::CR_ACCESS, 3 | u64{R9} << 8},
    {"MOV RBX, CR3", {0x0F, 0x20, 0xDB}, [](VmxMachine& m) { primary(m, proc::kCr3StoreExiting); }, ExitReason::CR_ACCESS, 3 | 1 << 4 | u64{RBX} << 8},
    {"MOV CR4, RAX (owned bit)", {0x0F, 0x22, 0xE0}, [](VmxMachine& m) { m.vmcs().cr4_guest_host_mask = cr4::kPge, m.state().gpr[RAX] = m.state().cr4 | cr4::kPge; }, ExitReason::CR_ACCESS, 4},
    {"MOV CR8, RAX", {0x44, 0x0F, 0x22, 0xC0}, [](VmxMachine& m) { primary(m, proc::kCr8LoadExiting); }, ExitReason::CR_ACCESS, 8},
    {"MOV RCX, CR8", {0x44, 0x0F, 0x20, 0xC1}, [](VmxMachine& m) { primary(m, proc::kCr8StoreExiting); }, ExitReason::CR_ACCESS, 8 | 1 << 4 | u64{RCX} << 8},
    {"CLTS (owned, shadow set)", {0x0F, 0x06}, [](VmxMachine& m) { m.vmcs().cr0_guest_host_mask = cr0::kTs, m.vmcs().cr0_read_shadow = cr0::kTs; }, ExitReason::CR_ACCESS, 2 << 4},
    {"LMSW AX (sets owned TS)", {0x0F, 0x01, 0xF0}, [](VmxMachine& m) { m.vmcs().cr0_guest_host_mask = cr0::kTs, m.state().gpr[RAX] = 0xABC9; }, ExitReason::CR_ACCESS, 3 << 4 | u64{0xABC9} << 16},
    {"MOV DR7, RCX", {0x0F, 0x23, 0xF9}, [](VmxMachine& m) { primary(m, proc::kMovDrExiting); }, ExitReason::MOV_DR, 7 | u64{RCX} << 8},
    {"MOV RCX, DR6", {0x0F, 0x21, 0xF1}, [](VmxMachine& m) { primary(m, proc::kMovDrExiting); }, ExitReason::MOV_DR, 6 | 1 << 4 | u64{RCX} << 8},
    {"IN AL, DX", {0xEC}, [](VmxMachine& m) { primary(m, proc::kUnconditionalIoExiting), m.state().gpr[RDX] = 0x3F8; }, ExitReason::IO_INSTRUCTION, 8 | u64{0x3F8} << 16},
    {"OUT 80h, EAX", {0xE7, 0x80}, [](VmxMachine& m) { primary(m, proc::kUnconditionalIoExiting); }, ExitReason::IO_INSTRUCTION, 3 | 1 << 6 | u64{0x80} << 16},
    {"REP OUTSB", {0xF3, 0x6E}, [](VmxMachine& m) { primary(m, proc::kUnconditionalIoExiting), m.state().gpr[RDX] = 0x80, m.state().gpr[RCX] = 5, m.state().gpr[RSI] = VmxMachine::kGuestData; }, ExitReason::IO_INSTRUCTION, 1 << 4 | 1 << 5 | u64{0x80} << 16, kAddress64 | kDs},
    {"INSW", {0x66, 0x6D}, [](VmxMachine& m) { primary(m, proc::kUnconditionalIoExiting), m.state().gpr[RDX] = 0x80, m.state().gpr[RDI] = VmxMachine::kGuestData; }, ExitReason::IO_INSTRUCTION, 1 | 8 | 1 << 4 | u64{0x80} << 16, kAddress64},
    {"RDMSR without bitmaps", {0x0F, 0x32}, [](VmxMachine& m) { m.vmcs().proc_controls &= ~proc::kUseMsrBitmaps; }, ExitReason::RDMSR},
    {"WRMSR without bitmaps", {0x0F, 0x30}, [](VmxMachine& m) { m.vmcs().proc_controls &= ~proc::kUseMsrBitmaps; }, ExitReason::WRMSR},
    {"MWAIT", {0x0F, 0x01, 0xC9}, [](VmxMachine& m) { primary(m, proc::kMwaitExiting), m.state().gpr[RCX] = 0; }, ExitReason::MWAIT},
    {"MONITOR", {0x0F, 0x01, 0xC8}, [](VmxMachine& m) { primary(m, proc::kMonitorExiting), m.state().gpr[RAX] = VmxMachine::kGuestData, m.state().gpr[RCX] = 0; }, ExitReason::MONITOR},
    {"PAUSE", {0xF3, 0x90}, [](VmxMachine& m) { primary(m, proc::kPauseExiting); }, ExitReason::PAUSE},
    {"WBINVD", {0x0F, 0x09}, [](VmxMachine& m) { secondary(m, proc2::kWbinvdExiting); }, ExitReason::WBINVD},
    {"XSETBV", {0x0F, 0x01, 0xD1}, [](VmxMachine& m) { m.state().gpr[RCX] = 0, m.state().gpr[RAX] = 7, m.state().gpr[RDX] = 0; }, ExitReason::XSETBV},
    {"RDRAND ebp", {0x0F, 0xC7, 0xF5}, [](VmxMachine& m) { secondary(m, proc2::kRdrandExiting); }, ExitReason::RDRAND, 0, RBP << 3 | 1U << 11},
    {"RDSEED r10", {0x49, 0x0F, 0xC7, 0xFA}, [](VmxMachine& m) { secondary(m, proc2::kRdseedExiting); }, ExitReason::RDSEED, 0, R10 << 3 | 2U << 11},
    {"LGDT [rax]", {0x0F, 0x01, 0x10}, [](VmxMachine& m) { secondary(m, proc2::kDescriptorTableExiting); }, ExitReason::GDTR_OR_IDTR, 0, kAddress64 | kDs | kNoIndex | base(RAX) | 2U << 28 | 1U << 11},
    {"SIDT [rax]", {0x0F, 0x01, 0x08}, [](VmxMachine& m) { secondary(m, proc2::kDescriptorTableExiting); }, ExitReason::GDTR_OR_IDTR, 0, kAddress64 | kDs | kNoIndex | base(RAX) | 1U << 28 | 1U << 11},
    {"LTR cx", {0x0F, 0x00, 0xD9}, [](VmxMachine& m) { secondary(m, proc2::kDescriptorTableExiting); }, ExitReason::LDTR_OR_TR, 0, kRegister | RCX << 3 | 3U << 28},
    {"SLDT [rbx]", {0x0F, 0x00, 0x03}, [](VmxMachine& m) { secondary(m, proc2::kDescriptorTableExiting); }, ExitReason::LDTR_OR_TR, 0, kAddress64 | kDs | kNoIndex | base(RBX)},
    {"XSAVES [rbx]", {0x0F, 0xC7, 0x2B}, [](VmxMachine& m) { secondary(m, proc2::kEnableXsaves), m.vmcs().xss_exiting_bitmap = 0x100, m.state().xss = 0x100, m.state().gpr[RAX] = 0x100, m.state().gpr[RBX] = VmxMachine::kGuestData; }, ExitReason::XSAVES, 0, kAddress64 | kDs | kNoIndex | base(RBX)},
    {"XRSTORS [rbx]", {0x0F, 0xC7, 0x1B}, [](VmxMachine& m) { secondary(m, proc2::kEnableXsaves), m.vmcs().xss_exiting_bitmap = 0x100, m.state().xss = 0x100, m.state().gpr[RAX] = 0x100, m.state().gpr[RBX] = VmxMachine::kGuestData; }, ExitReason::XRSTORS, 0, kAddress64 | kDs | kNoIndex | base(RBX)},
    {"TPAUSE ecx", {0x66, 0x0F, 0xAE, 0xF1}, [](VmxMachine& m) { primary(m, proc::kRdtscExiting), secondary(m, proc2::kEnableUserWaitAndPause), m.state().gpr[RCX] = 0; }, ExitReason::TPAUSE, 0, RCX << 3},
    {"UMWAIT ecx", {0xF2, 0x0F, 0xAE, 0xF1}, [](VmxMachine& m) { primary(m, proc::kRdtscExiting), secondary(m, proc2::kEnableUserWaitAndPause), m.state().gpr[RCX] = 0; }, ExitReason::UMWAIT, 0, RCX << 3},
};
// clang-format on

}  // namespace

std::vector<ExitReason> droste::test::instruction_exit_reasons() {
    std::vector<ExitReason> reasons;
    for (const Case& c : kCases) {
        reasons.push_back(c.reason);
    }
    return reasons;
}

TEST_CASE("an intercepted instruction exits with its reason, qualification, length and information",
          "[vmx][exits]") {
    for (const Case& c : kCases) {
        CAPTURE(c.name);
        VmxMachine m;
        m.prepare();
        m.machine().poke(VmxMachine::kGuestCode, c.code);
        c.arrange(m);
        m.vmx().current->stale_checks = ~0U;
        REQUIRE(m.run_guest());
        CHECK(m.exit_reason() == static_cast<u32>(c.reason));
        CHECK(m.vmcs().exit_qualification == c.qualification);
        CHECK(m.vmcs().exit_instruction_length == c.code.size());
        CHECK(m.vmcs().exit_instruction_info == c.instruction_info);
        CHECK(m.vmcs().guest_rip == VmxMachine::kGuestCode);
        CHECK(m.vmcs().idt_vectoring_info == 0);
        CHECK(m.state().rip() == VmxMachine::kHostCode);
        CHECK(m.cpu().non_root.intercepts == nullptr);
    }
}

TEST_CASE("the same instructions without their control do not exit", "[vmx][exits]") {
    // RDTSC; RDPMC is left out (it may fault); IN; MOV CR3; MOV CR8; MOV DR; PAUSE; WBINVD; then
    // CPUID.
    VmxMachine m;
    m.prepare();
    m.guest_code({0x0F, 0x31, 0xEC, 0x0F, 0x20, 0xDB, 0x0F, 0x22, 0xDB, 0x44, 0x0F,
                  0x20, 0xC1, 0x0F, 0x21, 0xF1, 0xF3, 0x90, 0x0F, 0x09, 0x0F, 0xA2});
    REQUIRE(m.run_guest());
    CHECK(m.exited_with(ExitReason::CPUID));
    CHECK(m.vmcs().guest_rip == VmxMachine::kGuestCode + 20);
}

TEST_CASE("RDTSCP, INVPCID, XSAVES and TPAUSE raise #UD unless enabled", "[vmx][exits]") {
    for (const std::vector<u8>& code : {std::vector<u8>{0x0F, 0x01, 0xF9},  // rdtscp
                                        {0x66, 0x0F, 0x38, 0x82, 0x08},     // invpcid rcx, [rax]
                                        {0x0F, 0xC7, 0x2B},                 // xsaves [rbx]
                                        {0x66, 0x0F, 0xAE, 0xF1},           // tpause ecx
                                        {0xF3, 0x0F, 0xC7, 0xF8}}) {        // rdpid rax
        CAPTURE(code);
        VmxMachine m;
        m.prepare();
        m.machine().poke(VmxMachine::kGuestCode, code);
        m.set(&Vmcs::exception_bitmap, 1U << 6);
        REQUIRE(m.run_guest());
        CHECK(m.exited_with(ExitReason::EXCEPTION_OR_NMI));
        CHECK(m.vmcs().exit_interruption_info == (interruption::kValid | 3U << 8 | 6));
    }
}

TEST_CASE("CR0 and CR4: the guest reads shadows, owned bits keep their value, others are written",
          "[vmx][exits]") {
    VmxMachine m;
    m.prepare();
    // mov rax, cr0; or rax, MP|WP.. stays; mov cr0, rax; mov rbx, cr4; cpuid
    m.guest_code(
        {0x0F, 0x20, 0xC0, 0x48, 0x83, 0xC8, 0x08, 0x0F, 0x22, 0xC0, 0x0F, 0x20, 0xE3, 0x0F, 0xA2});
    m.vmcs().cr0_guest_host_mask = cr0::kNe;
    m.vmcs().cr0_read_shadow = 0;
    m.vmcs().cr4_guest_host_mask = cr4::kVmxe;
    m.set(&Vmcs::cr4_read_shadow, 0);
    REQUIRE(m.run_guest());
    CHECK(m.exited_with(ExitReason::CPUID));
    CHECK((m.state().gpr[RAX] & cr0::kNe) == 0);
    CHECK((m.state().gpr[RBX] & cr4::kVmxe) == 0);
    CHECK((m.vmcs().guest_cr0 & (cr0::kNe | cr0::kTs)) == (cr0::kNe | cr0::kTs));
}

TEST_CASE("CR3-target values let a MOV to CR3 pass", "[vmx][exits]") {
    VmxMachine m;
    m.prepare();
    m.guest_code({0x0F, 0x22, 0xD8, 0x0F, 0xA2});  // mov cr3, rax; cpuid
    m.vmcs().proc_controls |= proc::kCr3LoadExiting;
    m.vmcs().cr3_target_value_1 = m.state().cr3;
    m.set(&Vmcs::cr3_target_count, 2);
    m.state().gpr[RAX] = m.state().cr3;
    REQUIRE(m.run_guest());
    CHECK(m.exited_with(ExitReason::CPUID));
    m.set(&Vmcs::cr3_target_count, 1);
    m.set(&Vmcs::guest_rip, VmxMachine::kGuestCode);
    m.state().gpr[RAX] = m.vmcs().guest_cr3;
    REQUIRE(m.run_guest());
    CHECK(m.exited_with(ExitReason::CR_ACCESS));
}

TEST_CASE("I/O bitmaps decide by every byte of the access, and a wrap exits", "[vmx][exits]") {
    struct Port {
        u16 port;
        u8 opcode;
        u64 bitmap_byte;
        u8 value;
        bool exits;
    };
    constexpr u64 kA = VmxMachine::kBitmaps, kB = VmxMachine::kBitmaps + 0x1000;
    for (const auto& [port, opcode, byte, value, exits] :
         {Port{0x80, 0xEC, kA + 0x10, 0x01, true}, Port{0x80, 0xEC, kA + 0x10, 0xFE, false},
          Port{0x7E, 0xED, kA + 0x10, 0x01, true}, Port{0x7FFF, 0xEC, kA + 0xFFF, 0x80, true},
          Port{0x8000, 0xEC, kB, 0x01, true}, Port{0x7FFE, 0xED, kB, 0x02, true},
          Port{0xFFFF, 0xEC, kB + 0xFFF, 0x80, true}, Port{0xFFFE, 0xED, kA, 0x00, true},
          Port{0xFFFC, 0xED, kA, 0x00, false}}) {
        CAPTURE(port);
        VmxMachine m;
        m.prepare();
        m.guest_code({opcode, 0x0F, 0xA2});
        m.machine().poke_value<u8>(byte, value);
        m.vmcs().proc_controls |= proc::kUseIoBitmaps;
        m.vmcs().msr_bitmap = VmxMachine::kBitmaps + 0x4000;
        m.vmcs().io_bitmap_a = kA;
        m.set(&Vmcs::io_bitmap_b, kB);
        m.state().gpr[RDX] = port;
        REQUIRE(m.run_guest());
        CHECK(m.exited_with(exits ? ExitReason::IO_INSTRUCTION : ExitReason::CPUID));
    }
}

TEST_CASE("MSR bitmaps cover 0-1FFFh and C0000000h-C0001FFFh, everything else exits",
          "[vmx][exits]") {
    struct Msr {
        u32 index;
        bool write;
        u64 byte;
        u8 value;
        bool exits;
    };
    for (const auto& [index, write, byte, value, exits] :
         {Msr{0x10, false, 2, 1, true}, Msr{0x10, false, 2, 0xFE, false},
          Msr{0x10, true, 0x802, 1, true}, Msr{0x10, true, 2, 1, false},
          Msr{0xC000'0081, false, 0x410, 2, true}, Msr{0xC000'0081, true, 0xC10, 2, true},
          Msr{0xC000'0081, true, 0x410, 2, false}, Msr{0x2000, false, 0, 0, true},
          Msr{0xC000'2000, false, 0, 0, true}}) {
        CAPTURE(index, write);
        VmxMachine m;
        m.prepare();
        m.guest_code({0x0F, static_cast<u8>(write ? 0x30 : 0x32), 0x0F, 0xA2});
        m.machine().poke_value<u8>(VmxMachine::kBitmaps + byte, value);
        m.state().gpr[RCX] = index;
        m.state().gpr[RAX] = m.state().gpr[RDX] = 0;
        REQUIRE(m.run_guest());
        const ExitReason msr_exit = write ? ExitReason::WRMSR : ExitReason::RDMSR;
        CHECK(m.exited_with(exits ? msr_exit : ExitReason::CPUID));
    }
}

TEST_CASE("LMSW from memory: the linear address wraps at 4 GiB outside 64-bit mode",
          "[vmx][exits][compatibility]") {
    VmxMachine m;
    m.prepare();
    m.guest_code({0x0F, 0x01, 0x36});  // lmsw [esi]
    m.vmcs().guest_cs_access_rights = 0xC09B;
    m.vmcs().guest_ds_base = 0xFFFF'F000;
    m.set(&Vmcs::cr0_guest_host_mask, cr0::kTs);
    m.machine().poke_value<u16>(VmxMachine::kGuestData, 0xABC9);
    m.state().gpr[RSI] = VmxMachine::kGuestData + 0x1000;
    REQUIRE(m.run_guest());
    REQUIRE(m.exited_with(ExitReason::CR_ACCESS));
    CHECK(m.vmcs().guest_linear_address == VmxMachine::kGuestData);
}

TEST_CASE("TSC offsetting and scaling apply to RDTSC and RDMSR in the guest only", "[vmx][exits]") {
    VmxMachine m;
    m.prepare();
    m.guest_code({0x0F, 0x31, 0x0F, 0xA2});  // rdtsc; cpuid
    m.vmcs().proc_controls |= proc::kTscOffsetting | proc::kActivateSecondary;
    m.vmcs().proc2_controls = proc2::kUseTscScaling;
    m.vmcs().tsc_multiplier = u64{3} << 48;
    m.set(&Vmcs::tsc_offset, u64{1} << 40);
    const u64 before = m.cpu().tsc();
    REQUIRE(m.run_guest());
    const u64 seen = m.state().gpr[RAX] | (m.state().gpr[RDX] << 32);
    CHECK(seen >= before * 3 + (u64{1} << 40));
    CHECK(seen <= m.cpu().tsc() * 3 + (u64{1} << 40));
}

TEST_CASE("PAUSE-loop exiting: only a long run of close PAUSEs at CPL 0 exits", "[vmx][exits]") {
    VmxMachine m;
    m.prepare();
    m.guest_code({0xF3, 0x90, 0xEB, 0xFC});  // pause; jmp back
    m.vmcs().proc_controls |= proc::kActivateSecondary;
    m.vmcs().proc2_controls = proc2::kPauseLoopExiting;
    m.vmcs().ple_gap = 128;
    m.set(&Vmcs::ple_window, 4096);
    REQUIRE(m.run_guest(5000));
    CHECK(m.exited_with(ExitReason::PAUSE));
    CHECK(m.cpu().icount > 150);
}

TEST_CASE("a compatibility-mode or real-mode VMCALL still exits", "[vmx][exits]") {
    VmxMachine m;
    m.prepare();
    m.guest_code({0x0F, 0x01, 0xC1});          // vmcall
    m.vmcs().guest_cs_access_rights = 0xC09B;  // CS.L = 0
    m.vmx().current->stale_checks = ~0U;
    REQUIRE(m.run_guest());
    CHECK(m.exited_with(ExitReason::VMCALL));
}

TEST_CASE("VM exits and VM entries with a VPID flush nothing", "[vmx][exits]") {
    VmxMachine m;
    m.prepare();
    m.guest_code({0x0F, 0xA2});  // cpuid
    m.vmcs().proc_controls |= proc::kActivateSecondary;
    m.vmcs().proc2_controls = proc2::kEnableVpid;
    m.set(&Vmcs::vpid, 7);
    REQUIRE(m.run_guest());
    const u64 flushes = m.cpu().counters.tlb_flushes;
    for (int i = 0; i < 10; ++i) {
        REQUIRE(m.run_guest());
    }
    CHECK(m.cpu().counters.tlb_flushes == flushes);
    CHECK(m.cpu().counters.vm_exits == 11);
}
