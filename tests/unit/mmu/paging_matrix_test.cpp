// Every access right against every control that changes its meaning: {mode and page size} x
// {CR0.WP, EFER.NXE, CR4.SMEP, SMAP, PKE, PKRU} x {U/S, R/W, XD, A, D of the page, one right and A
// missing above it} x {supervisor, supervisor with AC, user} x {read, write, fetch, in two orders}.
// Each access is compared with paging_model.hpp: fault, error code, accessed and dirty flags, and
// what the TLB may answer afterwards by itself. The second access onwards meets a warm TLB.

#include "tests/unit/mmu/paging_machine.hpp"

#include <fmt/format.h>

namespace droste::test {

namespace {

constexpr u64 kRw = paging_model::kRw, kUs = paging_model::kUs, kA = paging_model::kA,
              kD = paging_model::kD, kXd = paging_model::kXd;
constexpr unsigned kKey = 5;

struct Privilege {
    const char* name;
    bool user_mode;
    bool ac;
};
constexpr std::array kPrivileges = std::to_array<Privilege>({
    {"supervisor", false, false},
    {"supervisor, AC", false, true},
    {"user", true, false},
});

using Order = std::array<Access, 5>;
constexpr std::array kOrders = std::to_array<Order>({
    {Access::Read, Access::Write, Access::Execute, Access::Read, Access::Write},
    {Access::Execute, Access::Write, Access::Read, Access::Write, Access::Execute},
});

struct Mismatches {
    unsigned count = 0;
    std::string first;
};

class Matrix {
  public:
    explicit Matrix(const PagingShape& shape) : shape_(shape) {}

    Mismatches run() {
        for (unsigned controls = 0; controls < 32; ++controls) {
            for (const u32 rights_of_key : {0U, 1U, 2U}) {
                state_.mode = shape_.mode;
                state_.wp = (controls & 1) != 0;
                state_.nxe = (controls & 2) != 0;
                state_.smep = (controls & 4) != 0;
                state_.smap = (controls & 8) != 0;
                state_.pke = (controls & 16) != 0;
                state_.pkru = rights_of_key << (2 * kKey);
                const bool keys_count = state_.pke && shape_.mode >= PagingMode::FourLevel;
                if (!keys_count && rights_of_key != 1) {
                    continue;  // once, to see PKRU ignored
                }
                m_.enter(shape_, state_);
                pages();
            }
        }
        return mismatches_;
    }

  private:
    // The page's own bits, and a right that a table above it withholds.
    void pages() {
        const bool long_mode = shape_.mode >= PagingMode::FourLevel;
        for (unsigned own = 0; own < 32; ++own) {
            for (unsigned missing = 0; missing < (shape_.first_level > shape_.leaf_level ? 4 : 1);
                 ++missing) {
                PagingEntries entries = m_.chain();
                u64& leaf = entries.value[entries.count - 1];
                leaf &= ~(kUs | kRw | kA | kD);
                leaf |= (own & 1) != 0 ? kUs : 0;
                leaf |= (own & 2) != 0 ? kRw : 0;
                leaf |= (own & 4) != 0 ? kD : 0;
                leaf |= (own & 8) != 0 ? kA : 0;
                leaf |= (own & 16) != 0 && shape_.wide() ? kXd : 0;
                leaf |= long_mode ? u64{kKey} << 59 : 0;
                u64& table = entries.value[own % (entries.count > 1 ? entries.count - 1 : 1)];
                table &= ~(missing == 1 ? kUs : missing == 2 ? kRw : 0);
                table |= missing == 3 && shape_.wide() ? kXd : 0;
                table &= ~((missing & 1) != 0 ? kA : 0);
                for (const Privilege& privilege : kPrivileges) {
                    for (const Order& order : kOrders) {
                        accesses(entries, privilege, order);
                    }
                }
            }
        }
    }

    void accesses(PagingEntries entries, const Privilege& privilege, const Order& order) {
        m_.write_entries(entries);
        m_.set_privilege(privilege.user_mode, privilege.ac);
        m_.cpu().tlb.flush_current(false);
        for (unsigned i = 0; i < order.size(); ++i) {
            const PagedAccess access{order[i], privilege.user_mode, privilege.ac};
            const PagingVerdict expected = expected_of(state_, entries, access);
            const AccessResult got = m_.access(access.kind);
            const PagingEntries after = m_.read_entries(entries);
            const DataTlb& tlb = *m_.cpu().mode.data_tlb;
            const bool data = access.kind != Access::Execute && !expected.fault;
            const bool tags_right =
                !data || (tlb.hits_read(shape_.linear, 1) &&
                          tlb.hits_write(shape_.linear, 1) == expected.write_is_plain);
            if (got.fault != expected.fault || got.error_code != expected.error_code ||
                after.value != expected.after.value || !tags_right) {
                note(entries, privilege, access.kind, i, expected, got, after, tags_right);
                return;
            }
            entries = expected.after;
        }
    }

    void note(const PagingEntries& before,
              const Privilege& privilege,
              Access kind,
              unsigned position,
              const PagingVerdict& expected,
              const AccessResult& got,
              const PagingEntries& after,
              bool tags_right) {
        if (mismatches_.count++ != 0) {
            return;
        }
        const unsigned leaf = before.count - 1;
        mismatches_.first = fmt::format(
            "{}, {}, access {} ({}): WP {} NXE {} SMEP {} SMAP {} PKE {} PKRU {:#x}, entries {:#x} "
            ".. "
            "{:#x}: #PF {} ({:#x}) instead of {} ({:#x}), leaf {:#x} instead of {:#x}, tags {}",
            shape_.name, privilege.name, position,
            kind == Access::Read    ? "read"
            : kind == Access::Write ? "write"
                                    : "fetch",
            state_.wp, state_.nxe, state_.smep, state_.smap, state_.pke, state_.pkru,
            before.value[0], before.value[leaf], got.fault, got.error_code, expected.fault,
            expected.error_code, after.value[leaf], expected.after.value[leaf],
            tags_right ? "right" : "wrong");
    }

    const PagingShape& shape_;
    PagingMachine m_;
    PagingState state_;
    Mismatches mismatches_;
};

}  // namespace

TEST_CASE("access rights, error codes, A and D are the manual's in every paging mode",
          "[mmu][paging][matrix]") {
    for (const PagingShape& shape : kPagingShapes) {
        const Mismatches mismatches = Matrix(shape).run();
        INFO(mismatches.first);
        CHECK(mismatches.count == 0);
    }
}

}  // namespace droste::test
