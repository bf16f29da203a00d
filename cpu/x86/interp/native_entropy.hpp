#pragma once
// Random numbers from the native kernel.

#include "core/types.hpp"

#include <optional>

namespace droste {

// Empty if the kernel has none to give (a sandbox without getrandom() and the device).
std::optional<u64> native_entropy();

}  // namespace droste
