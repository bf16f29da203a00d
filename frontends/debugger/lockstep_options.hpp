#pragma once
// How --lockstep compares. See lockstep.hpp.

#include "core/types.hpp"

#include <optional>

namespace droste {

struct LockstepOptions {
    bool on = false;
    u64 every = 1000;         // instructions between two comparisons at most
    bool each = false;        // compare behind each translation, which then are not linked
    u64 memory = 16'000'000;  // instructions between two comparisons of all of RAM
    // For tests: behind so many instructions of vCPU 0 a bit of the leader is flipped, in the byte
    // of RAM with this address or else in R15.
    std::optional<u64> flip;
    std::optional<PhysAddr> flip_address;
};

}  // namespace droste
