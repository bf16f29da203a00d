#pragma once
// Random numbers from the native kernel.

#include "core/types.hpp"

namespace droste {

u64 native_entropy();

}  // namespace droste
