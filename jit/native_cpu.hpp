#pragma once
// What the CPU we run on must have for translated code.

#include "core/error.hpp"
#include "cpu/x86/model/native_features.hpp"

namespace droste::jit {

// An Error that names what is missing of x86-64-v2 (x86-64 psABI, "Micro-Architecture Levels").
// Everything beyond is asked for where it would be used, and done without.
Expected<void> check_native_cpu(const NativeFeatures& native);

}  // namespace droste::jit
