#pragma once
// The RAM of two machines, compared. What neither has touched is not looked at, so that nothing is
// committed for it.

#include "core/guest_memory.hpp"

#include <optional>

namespace droste {

// The first physical address in RAM whose bytes differ. Requires: the same size.
std::optional<PhysAddr> first_difference(const GuestMemory& one, const GuestMemory& other);
// The same within [first, first + bytes), which lies in one page.
std::optional<PhysAddr> first_difference(const GuestMemory& one,
                                         const GuestMemory& other,
                                         PhysAddr first,
                                         std::size_t bytes);

}  // namespace droste
