#pragma once
// Random numbers from the native kernel.

#include "core/types.hpp"

#include <optional>

namespace droste {

// Nothing if the kernel gives none: neither getrandom() (a seccomp filter may forbid it) nor
// /dev/urandom.
std::optional<u64> native_entropy();

}  // namespace droste
