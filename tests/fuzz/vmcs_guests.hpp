#pragma once
// The guests the VMCS fuzzer starts from: a VMCS that enters, for every mode a guest can be in, and
// the memory that goes with it.

#include "tests/unit/vmx/vmx_machine.hpp"

#include <random>
#include <string_view>
#include <vector>

namespace droste::test {

// Same numbers with every standard library, so that a seed means the same everywhere.
class Random {
  public:
    explicit Random(u64 seed) : engine_(seed) {}
    u64 next() { return engine_(); }
    u64 below(u64 limit) { return engine_() % limit; }
    bool one_in(u64 n) { return below(n) == 0; }
    template <std::size_t N>
    u64 pick(const u64 (&values)[N]) {
        return values[below(N)];
    }

  private:
    std::mt19937_64 engine_;
};

enum class GuestMode : u8 {
    Long,
    Compatibility,
    Pae,
    Paged32,
    Virtual8086,
    Flat32,  // CR0.PG = 0: unrestricted guest
    Real,    // CR0.PE = 0: unrestricted guest
    kCount
};
std::string_view name_of(GuestMode mode);

struct GuestKind {
    GuestMode mode = GuestMode::Long;
    bool ept = false;
    bool vpid = false;
    bool accessed_dirty = false;
    bool handlers_return = false;  // exception handlers skip two bytes; otherwise they are HLT
    bool host_32 = false;          // the host is a 32-bit one with PAE paging
    bool cet = false;              // guest and host have CR4.CET and load their CET state
    u64 s_cet = 0;                 // then the guest's
};
GuestKind random_guest_kind(Random& random);

// What lies where, beside VmxMachine's own areas (all below kImageBytes, identity-mapped).
inline constexpr u64 kImageBytes = 0x20'0000;
inline constexpr u64 kPaePointers = 0x18'0000, kPaeDirectory = 0x18'1000, kDirectory32 = 0x18'2000,
                     kIdt32 = 0x18'4000, kRealIdt = 0x18'6000, kSpare = 0x18'8000,
                     kShadowStack = 0x18'F000;  // a supervisor shadow-stack page in 64-bit mode

// After prepare(): tables, descriptor tables and the VMCS of `kind`; the host's own mode too.
void make_guest(VmxMachine& m, const GuestKind& kind);
// Instructions a guest might execute, privileged and benign ones, and a little noise.
std::vector<u8> random_guest_code(Random& random);

}  // namespace droste::test
