#pragma once
// Lazily evaluated status flags.
//
// An ALU instruction stores its result (sign-extended to 64 bits) and one word of carries; a flag
// is computed only when something reads it. The pair can also represent any combination of the six
// flags, so POPF, SAHF and IRET need no second form:
//   ZF = result == 0
//   SF = bit 63 of result, flipped by bit 16 of carries
//   PF = even parity of (low byte of result XOR bits 15:8 of carries)
//   CF = bit 63 of carries
//   OF = bit 63 XOR bit 62 of carries   (carry out of, and carry into, the most significant bit)
//   AF = bit 3 of carries
// Flags that were given as such (POPF, a VM entry, behind translated code) are often asked for as
// such again, with no arithmetic between: carries remembers them in bits that mean nothing else.
// Only the status flags live here; all others are in CpuState::rflags_system.

#include "core/bits.hpp"
#include "core/types.hpp"
#include "cpu/x86/state/regs.hpp"

#include <array>
#include <bit>

namespace droste {

struct LazyFlags {
    static constexpr u64 kCarryBit = bit(63);
    static constexpr u64 kOverflowXorCarry = bit(62);
    static constexpr u64 kSignFlip = bit(16);
    // from_status() was given the status flags, which are in bits 43:32 as in RFLAGS.
    static constexpr u64 kGiven = bit(44);
    static constexpr unsigned kGivenShift = 32;
    static constexpr u64 kMemory = u64{0x1FFF} << kGivenShift;

    u64 result = 1;
    u64 carries = 0;

    bool cf() const { return (carries >> 63) != 0; }
    bool zf() const { return result == 0; }
    bool sf() const { return (((result >> 63) ^ (carries >> 16)) & 1) != 0; }
    bool of() const { return (((carries >> 63) ^ (carries >> 62)) & 1) != 0; }
    bool af() const { return ((carries >> 3) & 1) != 0; }
    bool pf() const { return (std::popcount(static_cast<u8>(result ^ (carries >> 8))) & 1) == 0; }

    // The six flags at their RFLAGS positions.
    u64 status() const {
        return (carries & kGiven) != 0 ? carries >> kGivenShift & rflags::kStatus : worked_out();
    }
    u64 worked_out() const {
        return (cf() ? rflags::kCf : 0) | (pf() ? rflags::kPf : 0) | (af() ? rflags::kAf : 0) |
               (zf() ? rflags::kZf : 0) | (sf() ? rflags::kSf : 0) | (of() ? rflags::kOf : 0);
    }
    static LazyFlags from_status(u64 flags);

    // From the full carry-out vector of an addition or borrow vector of a subtraction (bit i =
    // carry out of bit i).
    template <typename T>
    static LazyFlags from_carries(T result, T carry_out) {
        constexpr unsigned kShift = 64 - kBitsOf<T>;
        const u64 high = (static_cast<u64>(carry_out) << kShift) & (bit(63) | bit(62));
        return {sign_extend(static_cast<u64>(result), kBitsOf<T>), high | (carry_out & 8U)};
    }
    template <typename T>
    static LazyFlags add(T a, T b, T sum) {
        return from_carries<T>(sum, static_cast<T>((a & b) | ((a | b) & static_cast<T>(~sum))));
    }
    template <typename T>
    static LazyFlags sub(T a, T b, T difference) {
        return from_carries<T>(difference, static_cast<T>((static_cast<T>(~a) & b) |
                                                          (static_cast<T>(~a ^ b) & difference)));
    }
    // AND, OR, XOR, TEST: CF = OF = 0; AF is undefined (we clear it).
    template <typename T>
    static LazyFlags logic(T result) {
        return {sign_extend(static_cast<u64>(result), kBitsOf<T>), 0};
    }

    // Sets CF and OF, keeps the others.
    void set_carry_overflow(bool carry, bool overflow) {
        carries = (carries & ~(bit(63) | bit(62) | kMemory)) | (carry ? bit(63) : 0) |
                  (carry != overflow ? bit(62) : 0);
    }
    // Sets CF, keeps the others (OF too).
    void set_carry(bool carry) { set_carry_overflow(carry, of()); }
};

namespace lazy_flags {

// Those that represent a low byte of RFLAGS, OF = 0.
constexpr LazyFlags of_low_byte(unsigned flags) {
    const bool zero = (flags & rflags::kZf) != 0;
    const u64 result = zero ? 0 : 1;  // low byte 0 has even parity, 1 has odd
    const bool parity_differs = ((flags & rflags::kPf) != 0) != zero;
    constexpr u64 kCarryAndOverflowXorCarry = LazyFlags::kCarryBit | LazyFlags::kOverflowXorCarry;
    const u64 carries = ((flags & rflags::kCf) != 0 ? kCarryAndOverflowXorCarry : 0) |
                        ((flags & rflags::kSf) != 0 ? LazyFlags::kSignFlip : 0) |
                        (parity_differs ? bit(8) : 0) | ((flags & rflags::kAf) != 0 ? bit(3) : 0);
    const u64 given = flags & rflags::kStatus;
    return {result, carries | given << LazyFlags::kGivenShift | LazyFlags::kGiven};
}
inline constexpr auto kOfLowByte = [] {
    std::array<LazyFlags, 256> all;
    for (unsigned flags = 0; flags < all.size(); ++flags) {
        all[flags] = of_low_byte(flags);
    }
    return all;
}();

}  // namespace lazy_flags

inline LazyFlags LazyFlags::from_status(u64 flags) {
    const LazyFlags& low = lazy_flags::kOfLowByte[flags & 0xFF];
    const u64 overflow = flags & rflags::kOf;
    return {low.result, low.carries ^ (overflow << 51 | overflow << kGivenShift)};
}
static_assert(rflags::kOf << 51 == LazyFlags::kOverflowXorCarry);

// Condition codes in the order of the low nibble of Jcc/SETcc/CMOVcc. SDM Vol. 1, Appendix B,
// "EFLAGS Condition Codes".
inline bool condition(const LazyFlags& f, unsigned cc) {
    bool met = false;
    switch (cc >> 1) {
    case 0: met = f.of(); break;
    case 1: met = f.cf(); break;
    case 2: met = f.zf(); break;
    case 3: met = f.cf() || f.zf(); break;
    case 4: met = f.sf(); break;
    case 5: met = f.pf(); break;
    case 6: met = f.sf() != f.of(); break;
    default: met = f.zf() || f.sf() != f.of(); break;
    }
    return met != ((cc & 1) != 0);
}

}  // namespace droste
