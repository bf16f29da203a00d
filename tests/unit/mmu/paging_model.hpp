#pragma once
// Paging as the manual tells it, for one access whose entries are all known: the second opinion on
// the page walker. It looks nothing up and caches nothing.
//
// SDM Vol. 3A, chapter "Paging": "Hierarchical Paging Structures: an Overview", "32-Bit Paging",
// "PAE Paging", "4-Level Paging and 5-Level Paging", "Determination of Access Rights",
// "Protection Keys", "Page-Fault Exceptions", "Accessed and Dirty Flags".

#include "core/types.hpp"
#include "cpu/x86/seams/second_stage.hpp"

#include <array>

namespace droste::test {

enum class PagingMode : u8 { Bits32, Pae, FourLevel, FiveLevel };

// What of the processor's state an access depends on.
struct PagingState {
    PagingMode mode = PagingMode::FourLevel;
    bool pse = true;
    bool wp = true;
    bool nxe = true;
    bool smep = false;
    bool smap = false;
    bool pke = false;
    u32 pkru = 0;
    bool gib_pages = true;        // CPUID.80000001H:EDX.Page1GB
    unsigned physical_bits = 46;  // MAXPHYADDR
};

struct PagedAccess {
    Access kind = Access::Read;
    bool user_mode = false;  // a user-mode access; implicit ones of CPL 3 are supervisor-mode
    bool ac = false;         // an explicit access with RFLAGS.AC = 1
};

// The entries from the one CR3 (or a PDPTE register) leads to down to the one that maps the page.
struct PagingEntries {
    std::array<u64, 5> value{};
    unsigned count = 0;
    unsigned first_level = 0;  // of value[0]: 5 is a PML5E ... 1 a PTE

    unsigned level(unsigned i) const { return first_level - i; }
};

struct PagingVerdict {
    bool fault = false;
    u32 error_code = 0;
    PagingEntries after;          // with the accessed and dirty flags set
    bool write_is_plain = false;  // a later write would neither fault nor set a flag
};

namespace paging_model {

inline constexpr u64 kP = 1, kRw = 2, kUs = 4, kA = 1 << 5, kD = 1 << 6, kPs = 1 << 7;
inline constexpr u64 kXd = u64{1} << 63;

constexpr u64 bit_range(unsigned high, unsigned low) {  // as the manual writes it: 51:M
    return high < low ? 0 : (~u64{0} >> (63 - high)) & (~u64{0} << low);
}

inline bool maps_page(const PagingState& s, unsigned level, u64 entry) {
    switch (level) {
    case 1: return true;
    case 2: return (entry & kPs) != 0 && (s.mode != PagingMode::Bits32 || s.pse);
    case 3: return (entry & kPs) != 0 && s.gib_pages;
    default: return false;
    }
}

// Tables "Format of a ... Entry" of the three modes; what is neither used nor ignored is reserved.
inline u64 reserved_bits(const PagingState& s, unsigned level, u64 entry) {
    const unsigned m = s.physical_bits;
    const bool leaf = maps_page(s, level, entry);
    if (s.mode == PagingMode::Bits32) {
        const unsigned m36 = m < 40 ? m : 40;  // PSE-36: (M-20):13 is the address, 21:(M-19) not
        return level == 2 && leaf ? bit_range(21, m36 - 19) : 0;
    }
    u64 reserved = s.mode == PagingMode::Pae ? bit_range(62, m) : bit_range(51, m);
    reserved |= s.nxe ? 0 : kXd;
    if (level == 2 && leaf) {
        reserved |= bit_range(20, 13);
    }
    if (level == 3) {
        reserved |= leaf ? bit_range(29, 13) : (s.gib_pages ? 0 : kPs);
    }
    return reserved | (level >= 4 ? kPs : 0);
}

struct Rights {
    bool user, writable, execute_disable;
    u64 leaf;
};

inline bool key_forbids(const PagingState& s, const Rights& r, const PagedAccess& a) {
    const bool long_mode = s.mode == PagingMode::FourLevel || s.mode == PagingMode::FiveLevel;
    if (!long_mode || !s.pke || !r.user || a.kind == Access::Execute) {
        return false;
    }
    const unsigned key = static_cast<unsigned>(r.leaf >> 59) & 15;
    const bool ad = (s.pkru >> (2 * key) & 1) != 0;
    const bool wd = (s.pkru >> (2 * key + 1) & 1) != 0;
    return ad || (wd && a.kind == Access::Write && (s.wp || a.user_mode));
}

// "For supervisor-mode accesses", "For user-mode accesses": what is allowed apart from keys.
inline bool allowed(const PagingState& s, const Rights& r, const PagedAccess& a) {
    if (a.user_mode) {
        switch (a.kind) {
        case Access::Read: return r.user;
        case Access::Write: return r.user && r.writable;
        case Access::Execute: return r.user && !(s.nxe && r.execute_disable);
        }
    }
    switch (a.kind) {
    case Access::Read: return !r.user || !s.smap || a.ac;
    case Access::Write: return (!r.user || !s.smap || a.ac) && (!s.wp || r.writable);
    case Access::Execute: return !(s.nxe && r.execute_disable) && !(r.user && s.smep);
    }
    return false;
}

}  // namespace paging_model

inline PagingVerdict
expected_of(const PagingState& s, const PagingEntries& entries, const PagedAccess& a) {
    using namespace paging_model;
    PagingVerdict verdict;
    verdict.after = entries;
    const bool pae = s.mode != PagingMode::Bits32;
    const bool fetch_flag = a.kind == Access::Execute && ((pae && s.nxe) || s.smep);
    const u32 of_access =
        (a.kind == Access::Write ? 2U : 0U) | (a.user_mode ? 4U : 0U) | (fetch_flag ? 0x10U : 0U);
    const auto fault = [&](u32 why) {
        verdict.fault = true;
        verdict.error_code = of_access | why;
        return verdict;
    };
    Rights r{true, true, false, 0};
    for (unsigned i = 0; i < entries.count; ++i) {
        const u64 entry = entries.value[i];
        if ((entry & kP) == 0) {
            return fault(0);
        }
        if ((entry & reserved_bits(s, entries.level(i), entry)) != 0) {
            return fault(1 | 8);
        }
        r.user = r.user && (entry & kUs) != 0;
        r.writable = r.writable && (entry & kRw) != 0;
        r.execute_disable = r.execute_disable || (pae && (entry & kXd) != 0);
        r.leaf = entry;
    }
    const bool key = key_forbids(s, r, a);
    if (key || !allowed(s, r, a)) {
        return fault(1U | (key ? 0x20U : 0U));
    }
    for (unsigned i = 0; i < entries.count; ++i) {
        verdict.after.value[i] |= kA;
    }
    u64& leaf = verdict.after.value[entries.count - 1];
    leaf |= a.kind == Access::Write ? kD : 0;
    const PagedAccess write{Access::Write, a.user_mode, a.ac};
    verdict.write_is_plain = (leaf & kD) != 0 && allowed(s, r, write) && !key_forbids(s, r, write);
    return verdict;
}

}  // namespace droste::test
