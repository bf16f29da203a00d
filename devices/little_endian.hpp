#pragma once
// Register values to and from the bytes of a bus access.

#include "core/types.hpp"

#include <span>

namespace droste {

// The little-endian value of up to eight bytes.
constexpr u64 load_le(std::span<const u8> data) {
    u64 value = 0;
    for (std::size_t i = 0; i < data.size() && i < 8; ++i) {
        value |= u64{data[i]} << (8 * i);
    }
    return value;
}

// Bytes beyond the eighth become 0.
constexpr void store_le(std::span<u8> data, u64 value) {
    for (u8& byte : data) {
        byte = static_cast<u8>(value);
        value >>= 8;
    }
}

// `current` with data.size() bytes from byte `offset` on replaced; what lies beyond byte 7 is
// dropped.
constexpr u64 merge_le(u64 current, unsigned offset, std::span<const u8> data) {
    for (std::size_t i = 0; i < data.size() && offset + i < 8; ++i) {
        const auto shift = static_cast<unsigned>(8 * (offset + i));
        current = (current & ~(u64{0xFF} << shift)) | (u64{data[i]} << shift);
    }
    return current;
}

}  // namespace droste
