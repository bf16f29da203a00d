// Structures a hypervisor gets wrong: loops, addresses outside RAM or beyond the physical-address
// width, absurd lengths. Each has its architectural answer, after a bounded amount of work.

#include "cpu/x86/apic/local_apic.hpp"
#include "cpu/x86/system/verify.hpp"
#include "tests/unit/vmx/vmx_machine.hpp"

#include <catch2/catch.hpp>

#include <functional>
#include <vector>

using namespace droste;
using namespace droste::test;

namespace {

using M = VmxMachine;
// A page that is neither RAM nor a device: reads as all ones, writes are lost.
constexpr u64 kNowhere = u64{1} << 40;
constexpr u64 kBeyondWidth = u64{1} << 46;
constexpr u32 kStar = 0xC000'0081;

void secondary(M& m, u32 bits) {
    m.vmcs().proc_controls |= proc::kActivateSecondary;
    m.vmcs().proc2_controls |= bits;
}
void ept(M& m, u32 more = 0, bool accessed_dirty = false) {
    secondary(m, proc2::kEnableEpt | more);
    m.vmcs().ept_pointer = m.make_identity_ept(7, accessed_dirty);
}
void stale(M& m) {
    m.vmx().current->stale_checks = ~0U;
}

}  // namespace

TEST_CASE("VMXON, VMCLEAR and VMPTRLD: outside RAM, beyond the width, at the VMXON region",
          "[vmx][limits]") {
    M m;
    (void)m.vmxon(kNowhere);
    CHECK(m.failed_invalid());  // no revision identifier there
    (void)m.vmxon(kBeyondWidth);
    CHECK(m.failed_invalid());
    CHECK(m.vmxon() == Status::Sync);
    (void)m.vmptrld(M::kVmcsRegion);
    (void)m.vmxon();
    CHECK(m.instruction_error() == 15);
    (void)m.vmptrld(kNowhere);
    CHECK(m.instruction_error() == 11);
    (void)m.vmptrld(kBeyondWidth);
    CHECK(m.instruction_error() == 9);
    (void)m.vmptrld(M::kVmxonRegion);
    CHECK(m.instruction_error() == 10);
    m.machine().poke_value<u32>(M::kOtherVmcs, kVmcsRevision + 1);
    (void)m.vmptrld(M::kOtherVmcs);
    CHECK(m.instruction_error() == 11);
    (void)m.vmclear(kBeyondWidth);
    CHECK(m.instruction_error() == 2);
    (void)m.vmclear(M::kVmxonRegion);
    CHECK(m.instruction_error() == 3);
    (void)m.vmclear(kNowhere);  // nothing to write to: no error for that
    CHECK(m.succeeded());
    CHECK(m.vmx().current_pointer() == M::kVmcsRegion);
}

TEST_CASE("VMCLEAR of a VMCS that is not active here only makes it clear", "[vmx][limits]") {
    M m;
    m.prepare();
    m.guest_code({0x0F, 0xA2});  // cpuid
    REQUIRE(m.run_guest());
    (void)m.vmwrite(0x681E, 0x1234);
    Insn vmxoff;
    vmxoff.op = Op::VMXOFF;
    (void)m.execute(vmxoff);  // writes the image back, launched
    (void)m.vmxon();
    (void)m.vmclear(M::kVmcsRegion);
    (void)m.vmptrld(M::kVmcsRegion);
    u64 value = 0;
    (void)m.vmread(0x681E, value);
    CHECK(value == 0x1234);
    CHECK(m.vmx().current->launch_state == LaunchState::Clear);
}

TEST_CASE("an EPT that loops at any level, with and without A/D flags and PML, ends in an exit",
          "[vmx][limits]") {
    constexpr u64 kPml4 = M::kEptTables, kPdpt = kPml4 + 0x1000, kPd = kPml4 + 0x2000;
    for (const u64 entry : {kPml4, kPdpt, kPd}) {
        for (const u64 target : {kPml4, kPdpt, kPd}) {
            for (const bool accessed_dirty : {false, true}) {
                CAPTURE(entry, target, accessed_dirty);
                M m;
                m.prepare();
                m.make_guest_idt();
                m.guest_code({0x0F, 0xA2});  // cpuid
                ept(m, accessed_dirty ? proc2::kEnablePml : 0, accessed_dirty);
                m.vmcs().pml_address = M::kBitmaps + 0x2000;
                m.vmcs().pml_index = 511;
                m.machine().poke_value<u64>(entry, target | 7);
                stale(m);
                // A table that serves as its own next level can even map something: then the guest
                // runs what lies there, and INIT ends it.
                if (!m.run_guest(300)) {
                    m.cpu().request(attention::kInit);
                    REQUIRE(m.continue_guest(10));
                }
                CHECK_FALSE(m.vmx().non_root);
                CHECK(m.vmx().ept.walks < 20'000);
            }
        }
    }
}

TEST_CASE("EPT tables outside RAM are misconfigured, pages outside RAM read as all ones",
          "[vmx][limits]") {
    M table;
    table.prepare();
    ept(table);
    table.set(&Vmcs::ept_pointer, kNowhere | eptp::kWriteBack | eptp::kWalkLength4);
    REQUIRE(table.run_guest());
    CHECK(table.exited_with(ExitReason::EPT_MISCONFIGURATION));

    M page;
    page.prepare();
    page.guest_code({0x48, 0x8B, 0x03, 0x48, 0x89, 0x0B, 0x0F, 0xA2});  // load; store; cpuid
    ept(page);
    page.machine().poke_value<u64>(page.ept_entry_address(M::kGuestData), kNowhere | 0x37);
    page.state().gpr[RBX] = M::kGuestData;
    stale(page);
    REQUIRE(page.run_guest());
    CHECK(page.exited_with(ExitReason::CPUID));
    CHECK(page.machine().peek_value<u64>(M::kGuestData) == 0);
}

TEST_CASE("a guest whose own page tables loop or lie outside RAM exits on its faults",
          "[vmx][limits]") {
    for (const u64 cr3 : {kNowhere, u64{0xFEE0'0000}, M::kGuestData}) {
        CAPTURE(cr3);
        M m;
        m.prepare();
        m.machine().poke_value<u64>(M::kGuestData, M::kGuestData | 7);  // itself, at every level
        m.set(&Vmcs::guest_cr3, cr3);
        REQUIRE(m.run_guest());  // #PF without an IDT: triple fault, or what lies there exits
        CHECK_FALSE(m.vmx().non_root);
    }
}

TEST_CASE("I/O and MSR bitmaps outside RAM are all ones: everything exits", "[vmx][limits]") {
    M io;
    io.prepare();
    io.guest_code({0xE4, 0x80});  // in al, 0x80
    io.vmcs().proc_controls |= proc::kUseIoBitmaps;
    io.vmcs().io_bitmap_a = io.vmcs().io_bitmap_b = kNowhere;
    stale(io);
    REQUIRE(io.run_guest());
    CHECK(io.exited_with(ExitReason::IO_INSTRUCTION));
    M msr;
    msr.prepare();
    msr.guest_code({0x0F, 0x32});  // rdmsr
    msr.state().gpr[RCX] = 0x10;
    msr.set(&Vmcs::msr_bitmap, kNowhere);
    REQUIRE(msr.run_guest());
    CHECK(msr.exited_with(ExitReason::RDMSR));
}

TEST_CASE("VMREAD and VMWRITE bitmaps outside RAM exit; a shadow VMCS outside RAM has no revision",
          "[vmx][limits]") {
    for (const u8 opcode : {u8{0x78}, u8{0x79}}) {
        M m;
        m.prepare();
        m.guest_code({0x0F, opcode, 0xC1});
        secondary(m, proc2::kVmcsShadowing);
        m.vmcs().vmread_bitmap = m.vmcs().vmwrite_bitmap = kNowhere;
        m.state().gpr[RAX] = 0x681E;
        stale(m);
        REQUIRE(m.run_guest());
        CHECK(m.exited_with(opcode == 0x78 ? ExitReason::VMREAD : ExitReason::VMWRITE));
    }
    M link;
    link.prepare();
    secondary(link, proc2::kVmcsShadowing);
    link.set(&Vmcs::vmcs_link_pointer, kNowhere);
    CHECK(link.vmlaunch() == Status::Switched);
    CHECK(link.exit_reason() == 0x8000'0021);
    CHECK(link.vmcs().exit_qualification == kQualificationLinkPointer);
}

TEST_CASE("virtual-APIC page, posted-interrupt descriptor, PML, #VE area and EPTP list outside RAM",
          "[vmx][limits]") {
    M apic;  // VTPR reads as FFh
    apic.prepare();
    // mov cr8, rax; mov rcx, cr8; cpuid
    apic.guest_code({0x44, 0x0F, 0x22, 0xC0, 0x44, 0x0F, 0x20, 0xC1, 0x0F, 0xA2});
    apic.vmcs().proc_controls |= proc::kTprShadow;
    apic.set(&Vmcs::virtual_apic_address, kNowhere);
    apic.state().gpr[RAX] = 3;
    REQUIRE(apic.run_guest());
    CHECK(apic.exited_with(ExitReason::CPUID));
    CHECK(apic.state().gpr[RCX] == 15);

    M posted;  // the notification is taken, nothing is posted
    posted.prepare();
    posted.guest_code({0x90, 0x90, 0x0F, 0xA2});  // nop; nop; cpuid
    posted.vmcs().pin_controls |= pin::kExternalInterruptExiting | pin::kPostedInterrupts;
    posted.vmcs().exit_controls |= vm_exit_control::kAcknowledgeInterrupt;
    posted.vmcs().proc_controls |= proc::kTprShadow;
    secondary(posted, proc2::kVirtualInterruptDelivery);
    posted.vmcs().virtual_apic_address = M::kVirtualApic;
    posted.vmcs().posted_interrupt_vector = 0xF2;
    posted.set(&Vmcs::posted_interrupt_descriptor, kNowhere);
    posted.cpu().apic->mmio_write(0xF0, 4, 0x1FF);
    InterruptMessage message;
    message.vector = 0xF2;
    posted.cpu().apic->accept(message);
    REQUIRE(posted.run_guest());
    CHECK(posted.exited_with(ExitReason::CPUID));

    M log;  // logged into nowhere until the index runs out
    log.prepare();
    log.guest_code({0x0F, 0xA2});  // cpuid
    ept(log, proc2::kEnablePml, true);
    log.vmcs().pml_address = kNowhere;
    log.set(&Vmcs::pml_index, 511);
    REQUIRE(log.run_guest());
    CHECK(log.exited_with(ExitReason::CPUID));
    CHECK(log.vmcs().pml_index < 511);

    M ve;  // "busy" reads as all ones: the violation is not convertible
    ve.prepare();
    ve.guest_code({0x8A, 0x03});  // mov al, byte [rbx]
    ept(ve, proc2::kEptViolationVe);
    ve.machine().poke_value<u64>(ve.ept_entry_address(M::kGuestData), 0);
    ve.state().gpr[RBX] = M::kGuestData;
    ve.set(&Vmcs::ve_information_address, kNowhere);
    REQUIRE(ve.run_guest());
    CHECK(ve.exited_with(ExitReason::EPT_VIOLATION));

    M list;  // an EPTP of all ones is not valid
    list.prepare();
    list.guest_code({0x0F, 0x01, 0xD4});  // vmfunc
    ept(list, proc2::kEnableVmFunctions);
    list.vmcs().vm_function_controls = 1;
    list.state().gpr[RAX] = list.state().gpr[RCX] = 0;
    list.set(&Vmcs::eptp_list_address, kNowhere);
    REQUIRE(list.run_guest());
    CHECK(list.exited_with(ExitReason::VMFUNC));
}

TEST_CASE("MSR areas of absurd length stop behind 512 entries: exit reason 34, or a VMX abort",
          "[vmx][limits]") {
    for (const u32 count : {513U, 0x0FFF'FFFFU, 0xFFFF'FFFFU}) {
        CAPTURE(count);
        const auto fill = [](M& m) {
            m.prepare();
            m.guest_code({0x0F, 0xA2});  // cpuid
            for (u64 i = 0; i < 513; ++i) {
                m.machine().poke_value<u64>(M::kMsrLists + i * 16, kStar);
            }
        };
        M load;
        fill(load);
        load.vmcs().entry_msr_load_address = M::kMsrLists;
        load.set(&Vmcs::entry_msr_load_count, count);
        CHECK(load.vmlaunch() == Status::Switched);
        CHECK(load.exit_reason() == 0x8000'0022);
        CHECK(load.vmcs().exit_qualification == 513);

        M store;
        fill(store);
        store.vmcs().exit_msr_store_address = M::kMsrLists;
        store.set(&Vmcs::exit_msr_store_count, count);
        (void)store.run_guest();
        CHECK(store.state().activity == Activity::Shutdown);
        CHECK(store.machine().peek_value<u32>(M::kVmcsRegion + 4) == 1);
        CHECK(verify(store.cpu()) == nullptr);  // half a host, but without EPT and VPID

        M host;
        fill(host);
        host.vmcs().exit_msr_load_address = M::kMsrLists;
        host.set(&Vmcs::exit_msr_load_count, count);
        (void)host.run_guest();
        CHECK(host.state().activity == Activity::Shutdown);
        CHECK(host.machine().peek_value<u32>(M::kVmcsRegion + 4) == 4);
    }
    M most;  // 512 are fine
    most.prepare();
    most.guest_code({0x0F, 0xA2});  // cpuid
    for (u64 i = 0; i < 512; ++i) {
        most.machine().poke_value<u64>(M::kMsrLists + i * 16, kStar);
    }
    most.vmcs().entry_msr_load_address = M::kMsrLists;
    most.set(&Vmcs::entry_msr_load_count, 512);
    REQUIRE(most.run_guest());
    CHECK(most.exited_with(ExitReason::CPUID));
}

TEST_CASE("MSR areas beyond the width fail the check, outside RAM they hold no MSR",
          "[vmx][limits]") {
    M wide;  // the last byte counts
    wide.prepare();
    wide.vmcs().entry_msr_load_address = kBeyondWidth - 16;
    wide.set(&Vmcs::entry_msr_load_count, 2);
    (void)wide.vmlaunch();
    CHECK(wide.failed_valid());
    CHECK(wide.instruction_error() == 7);
    M outside;
    outside.prepare();
    outside.vmcs().entry_msr_load_address = kNowhere;
    outside.set(&Vmcs::entry_msr_load_count, 3);
    CHECK(outside.vmlaunch() == Status::Switched);
    CHECK(outside.exit_reason() == 0x8000'0022);
    CHECK(outside.vmcs().exit_qualification == 1);
}

TEST_CASE("a VM entry that fails on MSR loading leaves no blocking of the guest's",
          "[vmx][limits]") {
    for (const u32 host_blocking : {0U, blocking::kNmi}) {
        CAPTURE(host_blocking);
        M m;
        m.prepare();
        m.machine().poke_value<u64>(M::kMsrLists, 0xC000'0100);
        m.vmcs().entry_msr_load_address = M::kMsrLists;
        m.vmcs().entry_msr_load_count = 1;
        m.set(&Vmcs::guest_interruptibility, blocking::kMovSs | blocking::kNmi);
        m.state().interruptibility = host_blocking;
        CHECK(m.vmlaunch() == Status::Switched);
        CHECK(m.exit_reason() == 0x8000'0022);
        CHECK(m.state().interruptibility == host_blocking);
    }
}

TEST_CASE("a host CR3 outside RAM is the host's own triple fault, not ours", "[vmx][limits]") {
    M m;
    m.prepare();
    m.guest_code({0x0F, 0xA2});  // cpuid
    m.set(&Vmcs::host_cr3, kNowhere);
    (void)m.run_guest();
    CHECK_FALSE(m.vmx().non_root);
    CHECK(m.exited_with(ExitReason::CPUID));
}

TEST_CASE("a 32-bit host with reserved bits in its PDPTEs aborts", "[vmx][limits]") {
    M m;
    m.prepare();
    m.guest_code({0x0F, 0xA2});  // cpuid
    CpuState& s = m.state();
    s.efer &= ~(efer::kLma | efer::kLme);
    Vmcs& v = m.vmcs();
    v.exit_controls &= ~vm_exit_control::kHostAddressSpaceSize;
    set_guest_32bit(m);
    ept(m, proc2::kUnrestrictedGuest);
    v.host_cr3 = M::kGuestData;
    m.machine().poke_value<u64>(M::kGuestData, 3);  // bit 1 is reserved
    stale(m);
    (void)m.run_guest();
    CHECK(s.activity == Activity::Shutdown);
    CHECK(m.machine().peek_value<u32>(M::kVmcsRegion + 4) == 2);
}

TEST_CASE("a #DB handler with a breakpoint on itself uses up the budget", "[vmx][limits]") {
    M m;
    m.prepare();
    m.make_guest_idt();
    m.guest_code({0x90, 0x90});  // nop; nop
    m.vmcs().entry_controls |= vm_entry_control::kLoadDebugControls;
    m.set(&Vmcs::guest_dr7, dr7::kReset | 3);
    m.state().dr[0] = M::kHandlers + 16;
    m.vmcs().entry_interruption_info = interruption::kValid | 3U << 8 | 1;
    stale(m);
    (void)m.run_guest(500);  // comes back
    m.cpu().request(attention::kInit);
    if (m.vmx().non_root) {
        REQUIRE(m.continue_guest(10));
    }
    CHECK_FALSE(m.vmx().non_root);
}
