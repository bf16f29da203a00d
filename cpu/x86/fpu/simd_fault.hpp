#pragma once
// Unmasked SIMD floating-point exceptions in generated code. A thunk runs with the guest's MXCSR;
// when the native unit raises #XM there, the kernel's SIGFPE becomes a jump to the landing code of
// the range the thunk lies in.

#include "core/types.hpp"

namespace droste {

// While it lives, a SIGFPE at an address in [first, end) continues at `landing`, all other
// registers unchanged.
class SimdFaultRange {
  public:
    SimdFaultRange(const u8* first, const u8* end, const u8* landing);
    ~SimdFaultRange();
    SimdFaultRange(const SimdFaultRange&) = delete;
    SimdFaultRange& operator=(const SimdFaultRange&) = delete;

  private:
    unsigned slot_;
};

}  // namespace droste
