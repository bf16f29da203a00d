#pragma once
// Executes one instruction on the CPU we run on, with all registers chosen, and reports what became
// of them: the third witness beside the interpreter and the manual.
//
// The state lies at a fixed low address, so that the code around the instruction needs no register.
// A fault arrives as a signal; the kernel hands over the vector, the error code and CR2, which are
// what a guest would see. Signal handlers and the fixed mappings belong to the whole process: this
// is a test program's private machinery.

#include "core/types.hpp"

#include <array>
#include <span>

namespace droste::differential {

inline constexpr u64 kStateAddress = 0x3000'0000;
inline constexpr u64 kCodeAddress = 0x2000'0000;  // two pages; the instruction may straddle them
// scratch memory of the instructions under test
inline constexpr u64 kScratchAddress = 0x1000'0000;
inline constexpr u64 kScratchBytes = 4 * kPageBytes;  // followed and preceded by unmapped pages

struct alignas(64) NativeState {
    std::array<u64, 16> gpr;
    u64 rflags;
    u64 rip;     // in: where to start (inside the code pages); out: where it ended
    u64 vector;  // out: kNoFault or the exception's vector
    u64 error_code;
    u64 cr2;
    std::array<u64, 3> reserved;
    alignas(64) std::array<u8, 2752> xsave;  // standard format, components x87, SSE, AVX
};

inline constexpr u64 kNoFault = ~u64{0};

// Maps state, code and scratch; installs the handlers; tries both. Null if the native CPU can be a
// witness, else the reason why it cannot: a container, a sandbox or another kernel may take the
// addresses, forbid writable code, or tell less of a fault than its vector, error code and CR2. The
// first call in a process decides.
const char* native_setup();
// Whether YMM registers take part; without AVX their upper halves stay what they were.
bool native_has_ymm();
// waitpid()'s status of a child process that runs `function` and exits with what it returns.
int in_child(int (*function)());
NativeState& native_state();
// Copies `insn` to `rip` (inside the code pages) and runs it from native_state().
void native_run(std::span<const u8> insn, u64 rip);
u8* native_scratch();

}  // namespace droste::differential
