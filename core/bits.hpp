#pragma once
// Small bit arithmetic shared by all layers.

#include "core/types.hpp"

#include <type_traits>

namespace droste {

// Bit `n` set, 0 <= n <= 63.
constexpr u64 bit(unsigned n) {
    return u64{1} << n;
}

// The bits first..last inclusive (0 <= first <= last <= 63) of `value`, moved down to bit 0.
constexpr u64 bits(u64 value, unsigned first, unsigned last) {
    const unsigned count = last - first + 1;
    return count == 64 ? value : (value >> first) & (bit(count) - 1);
}

constexpr bool test_bit(u64 value, unsigned n) {
    return ((value >> n) & 1) != 0;
}

// Sign-extends the low `width_bits` (1..64) of `value` to 64 bits.
constexpr u64 sign_extend(u64 value, unsigned width_bits) {
    const unsigned shift = 64 - width_bits;
    return static_cast<u64>(static_cast<i64>(value << shift) >> shift);
}

template <typename T>
constexpr T truncate(u64 value) {
    return static_cast<T>(value);
}

template <typename T>
constexpr T align_up(T value, T alignment) {
    return static_cast<T>((value + alignment - 1) / alignment * alignment);
}

template <typename T>
inline constexpr unsigned kBitsOf = sizeof(T) * 8;

}  // namespace droste
