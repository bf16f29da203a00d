#pragma once
// Fixed-width names used everywhere, and the strong address types of the memory hierarchy.

#include <cstddef>
#include <cstdint>

namespace droste {

using u8 = std::uint8_t;
using u16 = std::uint16_t;
using u32 = std::uint32_t;
using u64 = std::uint64_t;
using i8 = std::int8_t;
using i16 = std::int16_t;
using i32 = std::int32_t;
using i64 = std::int64_t;
__extension__ using u128 = unsigned __int128;
__extension__ using i128 = __int128;

inline constexpr u64 kPageBytes = 4096;
inline constexpr u64 kPageMask = ~(kPageBytes - 1);
inline constexpr unsigned kPageShift = 12;

// A physical address as the memory bus sees it (after paging and, in VMX non-root operation, EPT).
using PhysAddr = u64;
// A guest-physical address: what guest paging yields. Equal to PhysAddr unless a SecondStage is on.
using GuestPhysAddr = u64;
using LinearAddr = u64;

}  // namespace droste
