// EPT: permissions, misconfigurations, exit qualification, guest paging-structure accesses, A/D,
// PML, MBEC, #VE, EPTP switching, and what INVEPT and INVVPID invalidate.

#include "cpu/vmx/exit/exit_qualification.hpp"
#include "tests/unit/vmx/vmx_machine.hpp"

#include <catch2/catch.hpp>

using namespace droste;
using namespace droste::test;

namespace {

namespace q = ept_violation;
// guest linear and guest-physical address of the page under test ...
constexpr u64 kData = 0x4000'0000;
constexpr u64 kFrame = 0x100'0000;      // ... and where it really lies
constexpr u64 kUserData = 0x4020'0000;  // a user page
constexpr u64 kRwx = 7, kWriteBack = 6U << 3, kUserExecute = 1U << 10;

// A guest under EPT: an identity map of 1 GiB, and the page under test at 1 GiB with a size and
// rights of its own.
struct EptGuest : VmxMachine {
    explicit EptGuest(u32 more_controls = 0,
                      bool accessed_dirty = false,
                      VmxConfig config = VmxConfig::max())
        : VmxMachine(config) {
        prepare();
        eptp = make_identity_ept(kRwx | kUserExecute, accessed_dirty);
        (void)ept_entry_address(0);
        vmcs().proc_controls |= proc::kActivateSecondary | proc::kHltExiting;
        vmcs().proc2_controls = proc2::kEnableEpt | proc2::kEnableVpid | more_controls;
        vmcs().vpid = 1;
        vmcs().ept_pointer = eptp;
        machine().map(kData, kData);
        machine().map(kUserData, kUserData);
        vmx().current->stale_checks = ~0U;
    }
    // EPT entry of kData as a page of 4 KiB, 2 MiB or 1 GiB.
    void map_data(u64 rights, unsigned level, u64 extra = 0) {
        const u64 pdpt = kEptTables + 0x1000, pd = kEptTables + 0x4000, pt = kEptTables + 0x5000;
        const u64 leaf = rights | kWriteBack | extra;
        if (level == 3) {
            entry = pdpt + 8;
            machine().poke_value<u64>(entry, leaf | 0x80);  // frame 0
            return;
        }
        machine().poke_value<u64>(pdpt + 8, pd | kRwx | kUserExecute);
        if (level == 2) {
            entry = pd;
            machine().poke_value<u64>(entry, leaf | 0x80 | kFrame);
            machine().poke_value<u64>(pd + 8, leaf | 0x80 | kFrame);
            return;
        }
        machine().poke_value<u64>(pd, pt | kRwx | kUserExecute);
        machine().poke_value<u64>(pd + 8, pt | kRwx | kUserExecute);
        entry = pt;
        machine().poke_value<u64>(entry, leaf | kFrame);
    }
    u64 eptp = 0;
    u64 entry = 0;
};

enum class Kind : u8 { Read, Write, Fetch };

// mov al,[rbx] / mov [rbx],al / jmp rbx, and CPUID where it ends up.
void arrange_access(EptGuest& m, Kind kind, u64 address) {
    switch (kind) {
    case Kind::Read: m.guest_code({0x8A, 0x03, 0x0F, 0xA2}); break;   // mov al, [rbx]; cpuid
    case Kind::Write: m.guest_code({0x88, 0x03, 0x0F, 0xA2}); break;  // mov [rbx], al; cpuid
    case Kind::Fetch: m.guest_code({0xFF, 0xE3}); break;              // jmp rbx
    }
    m.machine().poke(kFrame, {0x0F, 0xA2});  // cpuid
    m.machine().poke(0, {0x0F, 0xA2});       // the 1-GiB page maps frame 0
    m.state().gpr[RBX] = address;
}

u64 qualification_of(Kind kind) {
    return kind == Kind::Read ? q::kRead : kind == Kind::Write ? q::kWrite : q::kFetch;
}

}  // namespace

TEST_CASE("EPT permission matrix: rights x access x page size", "[vmx][ept]") {
    for (const unsigned level : {1U, 2U, 3U}) {
        for (u64 rights = 0; rights < 8; ++rights) {
            for (const Kind kind : {Kind::Read, Kind::Write, Kind::Fetch}) {
                CAPTURE(level, rights, static_cast<int>(kind));
                EptGuest m;
                m.map_data(rights, level);
                if (rights == 0) {
                    m.machine().poke_value<u64>(m.entry, 0);
                }
                arrange_access(m, kind, kData);
                REQUIRE(m.run_guest());
                const bool misconfigured = rights == 2 || rights == 6;
                const u64 needed = kind == Kind::Read ? 1 : kind == Kind::Write ? 2 : 4;
                if (misconfigured) {
                    CHECK(m.exited_with(ExitReason::EPT_MISCONFIGURATION));
                    CHECK(m.vmcs().guest_physical_address == kData);
                    CHECK(m.vmcs().exit_instruction_length == (kind == Kind::Fetch ? 0U : 2U));
                } else if ((rights & needed) == 0) {
                    CHECK(m.exited_with(ExitReason::EPT_VIOLATION));
                    u64 expected =
                        qualification_of(kind) | (rights << 3) | q::kLinearValid | q::kTranslated;
                    expected |= q::kUserLinear | q::kWritableLinear;  // what map() grants
                    CHECK(m.vmcs().exit_qualification == expected);
                    CHECK(m.vmcs().guest_physical_address == kData);
                    CHECK(m.vmcs().guest_linear_address == kData);
                    CHECK(m.vmcs().guest_rip ==
                          (kind == Kind::Fetch ? kData : VmxMachine::kGuestCode));
                } else {
                    CHECK(m.exited_with(ExitReason::CPUID));
                }
            }
        }
    }
}

TEST_CASE("mode-based execute control: user and supervisor addresses have their own execute right",
          "[vmx][ept]") {
    for (const bool user_page : {false, true}) {
        for (const u64 rights : {u64{1}, u64{5}, 1 | kUserExecute, 5 | kUserExecute}) {
            CAPTURE(user_page, rights);
            EptGuest m(proc2::kModeBasedExecute);
            m.map_data(rights, 1);
            arrange_access(m, Kind::Fetch, kData);
            if (!user_page) {
                // The guest's leaf entry for kData: clear U/S.
                u64 table = m.state().cr3;
                for (unsigned shift = 39; shift > 12; shift -= 9) {
                    table = m.machine().peek_value<u64>(table + ((kData >> shift) & 511) * 8) &
                            kPageMask;
                }
                const u64 leaf = m.machine().peek_value<u64>(table + ((kData >> 12) & 511) * 8);
                m.machine().poke_value<u64>(table + ((kData >> 12) & 511) * 8, leaf & ~u64{4});
            }
            REQUIRE(m.run_guest());
            const bool allowed = (rights & (user_page ? kUserExecute : 4)) != 0;
            CHECK(m.exited_with(allowed ? ExitReason::CPUID : ExitReason::EPT_VIOLATION));
            if (!allowed) {
                CHECK((m.vmcs().exit_qualification & q::kFetch) != 0);
                CHECK(((m.vmcs().exit_qualification & q::kExecutable) != 0) == ((rights & 4) != 0));
                CHECK(((m.vmcs().exit_qualification & q::kUserExecutable) != 0) ==
                      ((rights & kUserExecute) != 0));
                CHECK(((m.vmcs().exit_qualification & q::kUserLinear) != 0) == user_page);
            }
        }
    }
}

TEST_CASE("EPT misconfigurations: reserved memory types, reserved bits, unsupported sizes",
          "[vmx][ept]") {
    struct Row {
        unsigned level;
        u64 entry;
        bool misconfigured;
    };
    for (const auto& [level, entry, misconfigured] :
         {Row{1, kRwx | 2U << 3 | kFrame, true}, Row{1, kRwx | 3U << 3 | kFrame, true},
          Row{1, kRwx | 7U << 3 | kFrame, true}, Row{1, kRwx | 0U << 3 | kFrame, false},
          Row{1, kRwx | 5U << 3 | kFrame, false},
          Row{1, kRwx | kWriteBack | kFrame | u64{1} << 46, true},
          Row{1, kRwx | kWriteBack | kFrame | u64{1} << 52, false},
          Row{1, kRwx | kWriteBack | kFrame | 1U << 11, false},
          Row{2, kRwx | kWriteBack | 0x80 | kFrame | 1U << 13, true},
          Row{3, kRwx | kWriteBack | 0x80 | 1U << 21, true}, Row{1, u64{1} << 51, false}}) {
        CAPTURE(level, entry);
        EptGuest m;
        m.map_data(kRwx, level);
        m.machine().poke_value<u64>(m.entry, entry);
        arrange_access(m, Kind::Read, kData);
        REQUIRE(m.run_guest());
        CHECK(m.exited_with(ExitReason::EPT_MISCONFIGURATION) == misconfigured);
    }
}

TEST_CASE("without execute-only support, execute-only is a misconfiguration", "[vmx][ept]") {
    VmxConfig config = VmxConfig::max();
    config.features.enable(VmxFeature::EptExecuteOnly, false);
    EptGuest m(0, false, config);
    m.map_data(4, 1);
    arrange_access(m, Kind::Fetch, kData);
    REQUIRE(m.run_guest());
    CHECK(m.exited_with(ExitReason::EPT_MISCONFIGURATION));
}

TEST_CASE("a guest paging structure out of reach: violation of a paging-structure access",
          "[vmx][ept]") {
    struct Row {
        bool accessed_dirty;
        u64 rights;
        bool guest_bits_set;
        u64 qualification;  // 0: no violation
    };
    // The guest's page table for kGuestData lies in the identity map; take rights from its page.
    for (const auto& [ad, rights, bits_set, expected] :
         {Row{false, 0, true, q::kRead | q::kLinearValid}, Row{false, 1, true, 0},
          Row{false, 1, false, q::kRead | q::kWrite | q::kReadable | q::kLinearValid},
          Row{true, 1, true, q::kRead | q::kWrite | q::kReadable | q::kLinearValid}}) {
        CAPTURE(ad, rights, bits_set);
        EptGuest m(0, ad);
        m.map_data(kRwx, 1);
        u64 table = m.state().cr3;
        for (unsigned shift = 39; shift > 12; shift -= 9) {
            const u64 slot = table + ((kData >> shift) & 511) * 8;
            m.machine().poke_value<u64>(slot, m.machine().peek_value<u64>(slot) | 0x20);
            table = m.machine().peek_value<u64>(slot) & kPageMask & 0x000F'FFFF'FFFF'F000;
        }
        const u64 leaf_slot = table + ((kData >> 12) & 511) * 8;
        m.machine().poke_value<u64>(leaf_slot,
                                    m.machine().peek_value<u64>(leaf_slot) | (bits_set ? 0x60 : 0));
        m.machine().poke_value<u64>(m.ept_entry_address(table),
                                    rights == 0 ? 0 : (table | kWriteBack | rights));
        arrange_access(m, Kind::Read, kData);
        REQUIRE(m.run_guest());
        if (expected == 0) {
            CHECK(m.exited_with(ExitReason::CPUID));
            continue;
        }
        CHECK(m.exited_with(ExitReason::EPT_VIOLATION));
        CHECK(m.vmcs().exit_qualification == expected);
        CHECK(m.vmcs().guest_physical_address == leaf_slot);
        CHECK(m.vmcs().guest_linear_address == kData);
    }
}

TEST_CASE("accessed and dirty flags are set as used, at every size", "[vmx][ept]") {
    for (const unsigned level : {1U, 2U, 3U}) {
        for (const Kind kind : {Kind::Read, Kind::Write}) {
            CAPTURE(level, static_cast<int>(kind));
            EptGuest m(0, true);
            m.map_data(kRwx, level);
            arrange_access(m, kind, kData);
            REQUIRE(m.run_guest());
            const u64 entry = m.machine().peek_value<u64>(m.entry);
            CHECK((entry & 0x100) != 0);
            CHECK(((entry & 0x200) != 0) == (kind == Kind::Write));
        }
    }
    EptGuest off(0, false);
    off.map_data(kRwx, 1);
    arrange_access(off, Kind::Write, kData);
    REQUIRE(off.run_guest());
    CHECK((off.machine().peek_value<u64>(off.entry) & 0x300) == 0);
}

TEST_CASE("a write after a read of the same page still sets dirty", "[vmx][ept]") {
    EptGuest m(0, true);
    m.map_data(kRwx, 1);
    m.guest_code({0x8A, 0x03, 0x88, 0x03, 0x0F, 0xA2});  // mov al, [rbx]; mov [rbx], al; cpuid
    m.state().gpr[RBX] = kData;
    REQUIRE(m.run_guest());
    CHECK((m.machine().peek_value<u64>(m.entry) & 0x200) != 0);
}

TEST_CASE("page-modification logging: one entry for each page that becomes dirty; full log exits",
          "[vmx][ept]") {
    constexpr u64 kLog = VmxMachine::kBitmaps + 0x2000;
    EptGuest m(proc2::kEnablePml, true);
    m.map_data(kRwx, 1);
    m.vmcs().pml_address = kLog;
    m.set(&Vmcs::pml_index, 511);
    // mov [rbx + 0x10], al; mov [rbx + 0x20], al; cpuid
    m.guest_code({0x88, 0x43, 0x10, 0x88, 0x43, 0x20, 0x0F, 0xA2});
    m.state().gpr[RBX] = kData;
    REQUIRE(m.run_guest());
    bool found = false;
    unsigned hits = 0;
    for (u64 i = m.vmcs().pml_index + 1U; i < 512; ++i) {
        const u64 logged = m.machine().peek_value<u64>(kLog + i * 8);
        found |= logged == kData;
        hits += logged == kData ? 1 : 0;
    }
    CHECK(found);
    CHECK(hits == 1);

    EptGuest full(proc2::kEnablePml, true);
    full.map_data(kRwx, 1);
    full.vmcs().pml_address = kLog;
    full.set(&Vmcs::pml_index, 0xFFFF);
    arrange_access(full, Kind::Write, kData);
    REQUIRE(full.run_guest());
    CHECK(full.exited_with(ExitReason::PML_FULL));
    CHECK((full.machine().peek_value<u64>(full.entry) & 0x200) == 0);
}

TEST_CASE("EPT violation while delivering an event fills the IDT-vectoring fields", "[vmx][ept]") {
    EptGuest m;
    m.make_guest_idt();
    m.map_data(kRwx, 1);
    m.machine().poke_value<u64>(m.ept_entry_address(VmxMachine::kGuestIdt), 0);
    m.guest_code({0x0F, 0x0B});  // ud2
    REQUIRE(m.run_guest());
    CHECK(m.exited_with(ExitReason::EPT_VIOLATION));
    CHECK(m.vmcs().idt_vectoring_info == (interruption::kValid | 3U << 8 | 6));
    CHECK(m.vmcs().guest_rip == VmxMachine::kGuestCode);
    CHECK(m.vmcs().guest_physical_address == VmxMachine::kGuestIdt + 6 * 16);
}

TEST_CASE("convertible violations become #VE with their information; bit 63 or a busy area exits",
          "[vmx][ept]") {
    constexpr u64 kArea = VmxMachine::kBitmaps + 0x2000;
    EptGuest m(proc2::kEptViolationVe);
    m.make_guest_idt();
    m.map_data(1, 1);
    m.vmcs().eptp_index = 9;
    m.set(&Vmcs::ve_information_address, kArea);
    arrange_access(m, Kind::Write, kData);
    REQUIRE(m.run_guest());
    CHECK(m.exited_with(ExitReason::HLT));
    CHECK(m.vmcs().guest_rip == VmxMachine::kHandlers + 20 * 16);
    CHECK(m.machine().peek_value<u32>(kArea) == 48);
    CHECK(m.machine().peek_value<u32>(kArea + 4) == 0xFFFF'FFFF);
    CHECK((m.machine().peek_value<u64>(kArea + 8) & 0x1FF) ==
          (q::kWrite | q::kReadable | q::kLinearValid | q::kTranslated));
    CHECK(m.machine().peek_value<u64>(kArea + 16) == kData);
    CHECK(m.machine().peek_value<u64>(kArea + 24) == kData);
    CHECK(m.machine().peek_value<u16>(kArea + 32) == 9);
    m.set(&Vmcs::guest_rip, VmxMachine::kGuestCode);
    REQUIRE(m.run_guest());
    CHECK(m.exited_with(ExitReason::EPT_VIOLATION));  // the area is busy

    EptGuest suppressed(proc2::kEptViolationVe);
    suppressed.map_data(1, 1, u64{1} << 63);
    suppressed.set(&Vmcs::ve_information_address, kArea);
    arrange_access(suppressed, Kind::Write, kData);
    REQUIRE(suppressed.run_guest());
    CHECK(suppressed.exited_with(ExitReason::EPT_VIOLATION));
}

TEST_CASE("VMFUNC 0 switches the EPTP; bad index or EPTP exits; other functions #UD or exit",
          "[vmx][ept]") {
    constexpr u64 kList = VmxMachine::kBitmaps + 0x2000;
    struct Row {
        u64 rax, rcx;
        ExitReason reason;
    };
    for (const auto& [rax, rcx, reason] :
         {Row{0, 3, ExitReason::CPUID}, Row{0, 4, ExitReason::VMFUNC},
          Row{0, 512, ExitReason::VMFUNC}, Row{1, 0, ExitReason::VMFUNC},
          Row{64, 0, ExitReason::EXCEPTION_OR_NMI}}) {
        CAPTURE(rax, rcx);
        EptGuest m(proc2::kEnableVmFunctions | proc2::kEptViolationVe);
        m.map_data(kRwx, 1);
        m.vmcs().vm_function_controls = 1;
        m.vmcs().eptp_list_address = kList;
        m.vmcs().ve_information_address = VmxMachine::kBitmaps + 0x3000;
        m.set(&Vmcs::exception_bitmap, 1U << 6);
        m.machine().poke_value<u64>(kList + 3 * 8, m.eptp | eptp::kAccessedDirty);
        m.guest_code({0x0F, 0x01, 0xD4, 0x0F, 0xA2});  // vmfunc; cpuid
        m.state().gpr[RAX] = rax;
        m.state().gpr[RCX] = rcx;
        REQUIRE(m.run_guest());
        CHECK(m.exited_with(reason));
        if (reason == ExitReason::CPUID) {
            CHECK(m.vmcs().ept_pointer == (m.eptp | eptp::kAccessedDirty));
            CHECK(m.vmcs().eptp_index == 3);
        }
    }
}

TEST_CASE("VMFUNC outside non-root operation or without its control raises #UD", "[vmx][ept]") {
    EptGuest m;
    m.map_data(kRwx, 1);
    m.guest_code({0x0F, 0x01, 0xD4});  // vmfunc
    m.set(&Vmcs::exception_bitmap, 1U << 6);
    REQUIRE(m.run_guest());
    CHECK(m.exited_with(ExitReason::EXCEPTION_OR_NMI));
}

TEST_CASE("translations survive exits until INVEPT or INVVPID says otherwise", "[vmx][ept]") {
    EptGuest m;
    m.map_data(kRwx, 1);
    m.guest_code({0x8A, 0x03, 0x0F, 0xA2});  // mov al, [rbx]; cpuid
    m.machine().poke_value<u8>(kFrame, 0x11);
    m.machine().poke_value<u8>(kFrame + 0x1000, 0x22);
    m.state().gpr[RBX] = kData;
    REQUIRE(m.run_guest());
    CHECK((m.state().gpr[RAX] & 0xFF) == 0x11);
    m.machine().poke_value<u64>(m.entry, (kFrame + 0x1000) | kWriteBack | kRwx);
    const auto run_again = [&m] {
        m.set(&Vmcs::guest_rip, VmxMachine::kGuestCode);
        m.state().gpr[RBX] = kData;
        REQUIRE(m.run_guest());
        return m.state().gpr[RAX] & 0xFF;
    };
    CHECK(run_again() == 0x11);  // stale, as the manual allows: nothing was invalidated
    (void)m.invept(1, m.eptp);
    CHECK(run_again() == 0x22);
    // INVVPID drops combined mappings, and the leaf is read anew; what the upper levels say may be
    // remembered until INVEPT.
    m.machine().poke_value<u64>(m.entry, kFrame | kWriteBack | kRwx);
    (void)m.invvpid(1, 1, 0);
    CHECK(run_again() == 0x11);
    constexpr u64 kTables = VmxMachine::kEptTables;
    m.machine().poke_value<u64>(kTables + 0x6000, (kFrame + 0x1000) | kWriteBack | kRwx);
    m.machine().poke_value<u64>(kTables + 0x4000, (kTables + 0x6000) | kRwx | kUserExecute);
    (void)m.invvpid(1, 1, 0);
    CHECK(run_again() == 0x11);
    (void)m.invept(2, 0);
    CHECK(run_again() == 0x22);
}

namespace {

// mov byte [rbx], al; cpuid, with PML on: whether the page under test was logged.
bool write_is_logged(EptGuest& m) {
    constexpr u16 kLastIndex = 511;
    m.vmcs().pml_address = VmxMachine::kGuestData;
    m.vmcs().pml_index = kLastIndex;
    m.guest_code({0x88, 0x03, 0x0F, 0xA2});  // mov [rbx], al; cpuid
    m.state().gpr[RBX] = kData;
    m.set(&Vmcs::guest_rip, VmxMachine::kGuestCode);
    REQUIRE(m.run_guest());
    REQUIRE(m.exited_with(ExitReason::CPUID));
    for (unsigned index = kLastIndex; index != m.vmcs().pml_index; --index) {
        if (m.machine().peek_value<u64>(m.vmcs().pml_address + index * 8) == kData) {
            return true;
        }
    }
    return false;
}

void clear_dirty(EptGuest& m) {
    constexpr u64 kDirty = 1U << 9;
    const u64 entry = m.machine().peek_value<u64>(m.entry);
    REQUIRE((entry & kDirty) != 0);
    m.machine().poke_value<u64>(m.entry, entry & ~kDirty);
}

}  // namespace

TEST_CASE("a dirty flag cleared without INVEPT is set and logged again by the next write behind a "
          "VM entry without VPID",
          "[vmx][ept]") {
    for (const unsigned level : {1U, 2U}) {
        CAPTURE(level);
        EptGuest m(proc2::kEnablePml, true);
        m.set(&Vmcs::proc2_controls, m.vmcs().proc2_controls & ~proc2::kEnableVpid);
        m.map_data(kRwx, level);
        CHECK(write_is_logged(m));
        CHECK_FALSE(write_is_logged(m));
        for (unsigned i = 0; i < 3; ++i) {
            clear_dirty(m);
            CHECK(write_is_logged(m));
            CHECK((m.machine().peek_value<u64>(m.entry) & 1U << 9) != 0);
            CHECK_FALSE(write_is_logged(m));
        }
    }
}

TEST_CASE("with VPID it is when the TLB forgets the page: INVVPID, INVEPT", "[vmx][ept]") {
    EptGuest m(proc2::kEnablePml, true);
    m.map_data(kRwx, 1);
    CHECK(write_is_logged(m));
    clear_dirty(m);
    CHECK_FALSE(write_is_logged(m));  // the write does not look
    (void)m.invvpid(1, 1, 0);
    CHECK(write_is_logged(m));
    clear_dirty(m);
    (void)m.invept(1, m.eptp);
    CHECK(write_is_logged(m));
}

TEST_CASE("a right taken from a leaf without INVEPT is missed behind a VM entry without VPID",
          "[vmx][ept]") {
    EptGuest m(proc2::kEnablePml, true);
    m.set(&Vmcs::proc2_controls, m.vmcs().proc2_controls & ~proc2::kEnableVpid);
    m.map_data(kRwx, 1);
    CHECK(write_is_logged(m));
    m.machine().poke_value<u64>(m.entry, m.machine().peek_value<u64>(m.entry) & ~u64{2});
    m.set(&Vmcs::guest_rip, VmxMachine::kGuestCode);
    REQUIRE(m.run_guest());
    CHECK(m.exited_with(ExitReason::EPT_VIOLATION));
    CHECK(m.vmcs().guest_physical_address == kData);
}

TEST_CASE("guests with different VPIDs and EPTs do not share translations", "[vmx][ept]") {
    EptGuest m;
    m.map_data(kRwx, 1);
    m.guest_code({0x8A, 0x03, 0x0F, 0xA2});  // mov al, [rbx]; cpuid
    m.machine().poke_value<u8>(kFrame, 0x11);
    m.state().gpr[RBX] = kData;
    REQUIRE(m.run_guest());
    m.set(&Vmcs::vpid, 2);
    m.machine().poke_value<u64>(m.entry, 0);
    (void)m.invept(2, 0);
    m.set(&Vmcs::guest_rip, VmxMachine::kGuestCode);
    m.state().gpr[RBX] = kData;
    REQUIRE(m.run_guest());
    CHECK(m.exited_with(ExitReason::EPT_VIOLATION));
}

TEST_CASE("EPT tables outside RAM or in a loop answer architecturally", "[vmx][ept]") {
    EptGuest outside;
    outside.vmcs().ept_pointer = (u64{1} << 40) | eptp::kWriteBack | eptp::kWalkLength4;
    outside.vmx().current->stale_checks = ~0U;
    REQUIRE(outside.run_guest());
    CHECK((outside.exited_with(ExitReason::EPT_MISCONFIGURATION) ||
           outside.exited_with(ExitReason::EPT_VIOLATION)));
    EptGuest loop;
    loop.machine().poke_value<u64>(VmxMachine::kEptTables, VmxMachine::kEptTables | kRwx);
    REQUIRE(loop.run_guest());
    CHECK((loop.exited_with(ExitReason::EPT_MISCONFIGURATION) ||
           loop.exited_with(ExitReason::EPT_VIOLATION)));
    EptGuest high;  // a guest-physical address beyond 48 bits cannot be mapped
    high.vmcs().guest_cr3 = u64{1} << 45;
    high.vmx().current->stale_checks = ~0U;
    REQUIRE(high.run_guest());
    CHECK(high.exited_with(ExitReason::EPT_VIOLATION));
}

TEST_CASE("unrestricted guest: real mode runs under EPT", "[vmx][ept]") {
    EptGuest m(proc2::kUnrestrictedGuest);
    set_guest_real_mode(m);
    m.vmcs().guest_cs_selector = 0x1000;
    m.set(&Vmcs::guest_cs_base, 0x1'0000);
    m.machine().poke(0x1'0000, {0xB8, 0x34, 0x12, 0x0F, 0xA2});  // mov ax, 1234h; cpuid
    REQUIRE(m.run_guest());
    CHECK(m.exited_with(ExitReason::CPUID));
    CHECK((m.state().gpr[RAX] & 0xFFFF) == 0x1234);
    CHECK(m.vmcs().guest_rip == 3);
}

TEST_CASE("PAE guests take their PDPTEs from the VMCS", "[vmx][ept]") {
    EptGuest m(proc2::kUnrestrictedGuest);
    set_guest_32bit(m);
    Vmcs& v = m.vmcs();
    v.guest_cr0 |= cr0::kPg;
    v.guest_cr3 = 0xFFFF'F000;  // never looked at
    constexpr u64 kDirectory = 0x100'2000;
    m.machine().poke_value<u64>(kDirectory, 0x83 | 0x60);  // one 2-MiB page at 0
    m.set(&Vmcs::guest_pdpte0, kDirectory | 1);
    m.guest_code({0x0F, 0xA2});  // cpuid
    REQUIRE(m.run_guest());
    CHECK(m.exited_with(ExitReason::CPUID));
    CHECK(m.vmcs().guest_pdpte0 == (kDirectory | 1));
}

TEST_CASE("INVLPG drops a whole guest large page that EPT maps in small ones", "[vmx][ept]") {
    EptGuest m;
    m.map_data(kRwx, 1);
    constexpr u64 kLinear = 0x8000'0000;  // a page directory entry of its own
    constexpr u64 kOld = 0, kNew = 0x20'0000;
    m.machine().map(kLinear, 0);
    u64 table = m.state().cr3;
    for (const unsigned shift : {39U, 30U}) {
        table = m.machine().peek_value<u64>(table + ((kLinear >> shift) & 511) * 8) & kPageMask;
    }
    const u64 directory_entry = table + ((kLinear >> 21) & 511) * 8;
    m.machine().poke_value<u64>(directory_entry, kOld | 0xE7);
    m.machine().poke_value<u8>(kOld + VmxMachine::kGuestData, 0x11);
    m.machine().poke_value<u8>(kNew + VmxMachine::kGuestData, 0x22);
    // mov al,[rbx]; mov cl,[rbx+1000h]; cpuid; invlpg [rbx]; mov dl,[rbx+1000h]; hlt
    m.guest_code({0x8A, 0x03, 0x8A, 0x8B, 0,    0x10, 0,    0, 0x0F, 0xA2,
                  0x0F, 0x01, 0x3B, 0x8A, 0x93, 0,    0x10, 0, 0,    0xF4});
    m.state().gpr[RBX] = kLinear + VmxMachine::kGuestData - 0x1000;
    REQUIRE(m.run_guest());
    REQUIRE(m.exited_with(ExitReason::CPUID));
    CHECK((m.state().gpr[RCX] & 0xFF) == 0x11);
    m.machine().poke_value<u64>(directory_entry, kNew | 0xE7);
    m.set(&Vmcs::guest_rip, VmxMachine::kGuestCode + 10);
    REQUIRE(m.run_guest());
    CHECK(m.exited_with(ExitReason::HLT));
    CHECK((m.state().gpr[RDX] & 0xFF) == 0x22);
}
