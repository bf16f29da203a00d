// The whole permission matrix of EPT: rights, access, privilege, page size, A/D flags, mode-based
// execute control. What must come out is computed here from the manual's sentences, not from the
// emulator's tables. SDM Vol. 3C, "EPT Violations", "EPT Misconfigurations", "Accessed and Dirty
// Flags for EPT".

#include "cpu/vmx/exit/exit_qualification.hpp"
#include "tests/unit/vmx/vmx_machine.hpp"

#include <catch2/catch.hpp>

using namespace droste;
using namespace droste::test;

namespace {

namespace q = ept_violation;
using M = VmxMachine;
constexpr u64 kData = 0x4000'0000, kFrame = 0x100'0000;
constexpr u64 kWriteBack = 6U << 3, kLarge = 0x80, kAccessed = 0x100, kDirty = 0x200,
              kUserExecute = 1U << 10;

enum class Kind : u8 { Read, Write, Fetch };
enum class Privilege : u8 { Supervisor, SupervisorOnUserPage, User };

struct Point {
    unsigned level;
    bool accessed_dirty;
    bool mode_based;
    u64 rights;  // bits 2:0
    bool user_execute;
    Kind kind;
    Privilege privilege;
    bool user_page() const { return privilege != Privilege::Supervisor; }
};

enum class Outcome : u8 { Done, Violation, Misconfiguration };

Outcome expected_outcome(const Point& p) {
    const bool readable = (p.rights & 1) != 0, writable = (p.rights & 2) != 0;
    if (writable && !readable) {
        return Outcome::Misconfiguration;
    }
    switch (p.kind) {
    case Kind::Read: return readable ? Outcome::Done : Outcome::Violation;
    case Kind::Write: return writable ? Outcome::Done : Outcome::Violation;
    default: break;
    }
    const bool executable = p.mode_based && p.user_page() ? p.user_execute : (p.rights & 4) != 0;
    return executable ? Outcome::Done : Outcome::Violation;
}

u64 expected_qualification(const Point& p) {
    const u64 access = p.kind == Kind::Read    ? q::kRead
                       : p.kind == Kind::Write ? q::kWrite
                                               : q::kFetch;
    return access | p.rights << 3 | (p.mode_based && p.user_execute ? q::kUserExecutable : 0) |
           q::kLinearValid | q::kTranslated | (p.user_page() ? q::kUserLinear : 0) |
           q::kWritableLinear;
}

class Matrix : public M {
  public:
    Matrix(unsigned level, bool accessed_dirty, bool mode_based) {
        prepare();
        Vmcs& v = vmcs();
        v.proc_controls |= proc::kActivateSecondary;
        v.proc2_controls =
            proc2::kEnableEpt | proc2::kEnableVpid | (mode_based ? proc2::kModeBasedExecute : 0);
        v.vpid = 1;
        v.ept_pointer = make_identity_ept(7 | kUserExecute, accessed_dirty);
        machine().map(kData, kData);
        guest_leaf_ = state().cr3;
        for (unsigned shift = 39; shift > 12; shift -= 9) {
            guest_leaf_ =
                machine().peek_value<u64>(guest_leaf_ + ((kData >> shift) & 511) * 8) & kPageMask;
        }
        make_tables(level);
        machine().poke(kFrame, {0x0F, 0xA2});  // cpuid
        machine().poke(0, {0x0F, 0xA2});       // the 1-GiB page maps frame 0
        good_ = v;
    }

    void run(const Point& p);
    u64 entry() { return machine().peek_value<u64>(entry_); }

  private:
    void make_tables(unsigned level) {
        constexpr u64 kPdpt = kEptTables + 0x1000, kPd = kEptTables + 0x4000,
                      kPt = kEptTables + 0x5000, kTable = 7 | kUserExecute;
        entry_ = kPdpt + 8;
        leaf_ = kLarge;
        if (level < 3) {
            machine().poke_value<u64>(entry_, kPd | kTable);
            entry_ = kPd;
            leaf_ = kFrame | kLarge;
        }
        if (level < 2) {
            machine().poke_value<u64>(entry_, kPt | kTable);
            entry_ = kPt;
            leaf_ = kFrame;
        }
    }

    u64 guest_leaf_ = 0, entry_ = 0, leaf_ = 0;
    Vmcs good_;
};

void Matrix::run(const Point& p) {
    const bool present = p.rights != 0 || p.user_execute;
    machine().poke_value<u64>(
        entry_, present ? leaf_ | kWriteBack | p.rights | (p.user_execute ? kUserExecute : 0) : 0);
    machine().poke_value<u64>(guest_leaf_, kData | 3 | (p.user_page() ? 4U : 0U));
    switch (p.kind) {
    // mov al, byte [rbx]; cpuid
    case Kind::Read: guest_code({0x8A, 0x03, 0x0F, 0xA2}); break;
    // mov byte [rbx + 0x40], al; cpuid
    case Kind::Write: guest_code({0x88, 0x43, 0x40, 0x0F, 0xA2}); break;
    case Kind::Fetch: guest_code({0xFF, 0xE3}); break;  // jmp rbx
    }
    (void)invept(2, 0);
    Vmcs& v = vmcs();
    v = good_;
    if (p.privilege == Privilege::User) {
        constexpr u32 kDpl3 = 3U << 5;
        v.guest_cs_selector |= 3;
        v.guest_ss_selector |= 3;
        v.guest_cs_access_rights |= kDpl3;
        v.guest_ss_access_rights |= kDpl3;
        v.guest_ds_access_rights |= kDpl3;
    }
    vmx().current->stale_checks = ~0U;
    state().gpr[RBX] = kData;
    REQUIRE(run_guest());
}

void check(Matrix& m, const Point& p) {
    m.run(p);
    const u64 at = kData + (p.kind == Kind::Write ? 0x40 : 0);
    const u64 flags = m.entry() & (kAccessed | kDirty);
    switch (expected_outcome(p)) {
    case Outcome::Done:
        CHECK(m.exited_with(ExitReason::CPUID));
        CHECK(flags == (!p.accessed_dirty       ? 0
                        : p.kind == Kind::Write ? kAccessed | kDirty
                                                : kAccessed));
        break;
    case Outcome::Misconfiguration:
        CHECK(m.exited_with(ExitReason::EPT_MISCONFIGURATION));
        CHECK(m.vmcs().guest_physical_address == at);
        CHECK(flags == 0);
        break;
    case Outcome::Violation:
        CHECK(m.exited_with(ExitReason::EPT_VIOLATION));
        CHECK(m.vmcs().exit_qualification == expected_qualification(p));
        CHECK(m.vmcs().guest_physical_address == at);
        CHECK(m.vmcs().guest_linear_address == at);
        CHECK((flags & kDirty) == 0);
        break;
    }
}

}  // namespace

TEST_CASE("EPT permission matrix: rights x access x privilege x size x A/D x mode-based execute",
          "[vmx][ept]") {
    unsigned points = 0;
    for (const unsigned level : {1U, 2U, 3U}) {
        for (unsigned variant = 0; variant < 4; ++variant) {
            const bool accessed_dirty = (variant & 1) != 0, mode_based = (variant & 2) != 0;
            Matrix m(level, accessed_dirty, mode_based);
            for (unsigned rights = 0; rights < 16; ++rights) {
                // Without the control bit 10 is ignored: not even "present".
                if (!mode_based && rights == 8) {
                    continue;
                }
                for (const Kind kind : {Kind::Read, Kind::Write, Kind::Fetch}) {
                    for (const Privilege privilege :
                         {Privilege::Supervisor, Privilege::SupervisorOnUserPage,
                          Privilege::User}) {
                        CAPTURE(level, accessed_dirty, mode_based, rights, static_cast<int>(kind),
                                static_cast<int>(privilege));
                        check(m, {level, accessed_dirty, mode_based, rights & 7U, (rights & 8) != 0,
                                  kind, privilege});
                        ++points;
                    }
                }
            }
        }
    }
    CHECK(points == 3 * 2 * (16 + 15) * 9);
}

TEST_CASE("the rights of all levels are combined, and reported combined", "[vmx][ept]") {
    // The page is RWX; one level above it at a time lacks a right.
    for (const unsigned level : {4U, 3U, 2U}) {
        for (const u64 rights : {u64{1}, u64{3}, u64{5}, u64{4}}) {
            CAPTURE(level, rights);
            M m;
            m.prepare();
            constexpr u64 kFar = 0x2'0000'0000;  // its own entries down to the page directory
            constexpr u64 kPml4 = M::kEptTables, kPdpt = kPml4 + 0x6000, kPd = kPml4 + 0x7000,
                          kPt = kPml4 + 0x8000;
            m.vmcs().proc_controls |= proc::kActivateSecondary;
            m.vmcs().proc2_controls = proc2::kEnableEpt;
            m.vmcs().ept_pointer = m.make_identity_ept(7);
            // A second PML4 entry serves guest-physical 512 GiB.
            constexpr u64 kAddress = (u64{1} << 39) + kFar;
            m.machine().poke_value<u64>(kPml4 + 8, kPdpt | (level == 4 ? rights : 7));
            m.machine().poke_value<u64>(kPdpt + ((kAddress >> 30) & 511) * 8,
                                        kPd | (level == 3 ? rights : 7));
            m.machine().poke_value<u64>(kPd, kPt | (level == 2 ? rights : 7));
            m.machine().poke_value<u64>(kPt, kFrame | kWriteBack | 7);
            m.machine().map(kData, kAddress);
            m.guest_code({0x88, 0x03, 0x0F, 0xA2});  // mov byte [rbx], al; cpuid
            m.state().gpr[RBX] = kData;
            m.vmx().current->stale_checks = ~0U;
            REQUIRE(m.run_guest());
            if ((rights & 2) != 0) {
                CHECK(m.exited_with(ExitReason::CPUID));
                continue;
            }
            CHECK(m.exited_with(ExitReason::EPT_VIOLATION));
            CHECK((m.vmcs().exit_qualification & 0x3F) == (q::kWrite | rights << 3));
            CHECK(m.vmcs().guest_physical_address == kAddress);
        }
    }
}
