// Status flags as the interpreter keeps them (cpu/x86/state/rflags.hpp): the remembered form and the
// one that is worked out agree, and nothing that was remembered outlives a change.

#include "cpu/x86/state/rflags.hpp"

#include <catch2/catch.hpp>

#include <array>
#include <vector>

namespace droste {

namespace {

constexpr std::array kFlags = {rflags::kCf, rflags::kPf, rflags::kAf,
                               rflags::kZf, rflags::kSf, rflags::kOf};

std::vector<u64> all_status() {
    std::vector<u64> all;
    for (unsigned chosen = 0; chosen < 64; ++chosen) {
        u64 status = 0;
        for (unsigned i = 0; i < kFlags.size(); ++i) {
            status |= (chosen >> i & 1) != 0 ? kFlags[i] : 0;
        }
        all.push_back(status);
    }
    return all;
}

// Each flag by itself.
u64 one_by_one(const LazyFlags& f) {
    return (f.cf() ? rflags::kCf : 0) | (f.pf() ? rflags::kPf : 0) | (f.af() ? rflags::kAf : 0) |
           (f.zf() ? rflags::kZf : 0) | (f.sf() ? rflags::kSf : 0) | (f.of() ? rflags::kOf : 0);
}

}  // namespace

TEST_CASE("Status flags: what is given is read back, together and one by one") {
    for (const u64 status : all_status()) {
        const LazyFlags flags = LazyFlags::from_status(status);
        CHECK(flags.status() == status);
        CHECK(flags.worked_out() == status);
        CHECK(one_by_one(flags) == status);
    }
}

TEST_CASE("Status flags: other bits of RFLAGS are not taken for status flags") {
    constexpr u64 kOthers = ~rflags::kStatus;
    for (const u64 status : all_status()) {
        CHECK(LazyFlags::from_status(status | kOthers).status() == status);
    }
}

TEST_CASE("Status flags: CF and OF that are replaced show in what was given before") {
    for (const u64 status : all_status()) {
        for (const bool carry : {false, true}) {
            LazyFlags flags = LazyFlags::from_status(status);
            flags.set_carry(carry);
            const u64 with_carry = (status & ~rflags::kCf) | (carry ? rflags::kCf : 0);
            CHECK(flags.status() == with_carry);
            flags.set_carry_overflow(carry, !carry);
            CHECK(flags.status() == ((with_carry & ~rflags::kOf) | (carry ? 0 : rflags::kOf)));
        }
    }
}

}  // namespace droste
