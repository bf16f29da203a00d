#pragma once
// The same random starting state for both witnesses, and the comparison of what they made of it.

#include "tests/differential/native_runner.hpp"
#include "tests/support/test_machine.hpp"

#include <string>

namespace droste::differential {

// splitmix64: every run is reproducible from its seed.
class Rng {
  public:
    explicit Rng(u64 seed) : state_(seed) {}
    u64 next() {
        state_ += 0x9E3779B97F4A7C15;
        u64 z = state_;
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9;
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
        return z ^ (z >> 31);
    }
    u64 below(u64 bound) { return next() % bound; }
    bool one_in(u64 n) { return below(n) == 0; }

  private:
    u64 state_;
};

// Where the guest keeps the pages the native run uses, in guest-physical memory.
inline constexpr u64 kGuestScratch = 0x40'0000;
inline constexpr u64 kGuestCode = 0x50'0000;

struct Outcome {
    NativeState state;
    std::array<u8, kScratchBytes> scratch;
};

// Random registers, flags (status and DF), x87, MXCSR, YMM and scratch contents; values that matter
// come up often.
void randomize(Rng& rng, NativeState& state, std::span<u8> scratch);

// The user-visible registers of `from`.
void load_guest(CpuState& s, const NativeState& from);

// A 64-bit user-mode vCPU with the native run's address space.
class GuestRunner {
  public:
    GuestRunner();
    // Runs `insn` at `rip` from `start` and fills `out` in NativeState's terms.
    void run(const Outcome& start, std::span<const u8> insn, u64 rip, Outcome& out);
    test::TestMachine& machine() { return machine_; }

  private:
    test::TestMachine machine_;
};

// Empty when equal; else one line a difference, "name guest native".
std::string compare(const Outcome& guest, const Outcome& native);
// Replaces components that the CPU left in their initial state (XSTATE_BV bit clear) by that state.
void expand_initial_state(NativeState& state);

}  // namespace droste::differential
