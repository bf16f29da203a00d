#pragma once
// Random 64- and 32-bit programs for comparing two engines: pieces of code that may refer to each other, so
// that any of them can be dropped and the rest still is a program. Every program runs in circles;
// what faults is skipped by the handlers of jit_fuzz.cpp.

#include "core/types.hpp"
#include "cpu/x86/state/features.hpp"
#include "tests/decode/insn_generator.hpp"

#include <string>
#include <vector>

namespace droste::test {

// Where the program's pages lie, by linear address. The data area has pages of each kind:
// writable, writable, read-only, none, writable, for the supervisor alone.
struct ProgramPlace {
    u64 code = 0x40'0000;  // kCodePages, writable
    u64 data = 0x50'0000;
    u64 mask = ~u64{0};  // of addresses: they wrap in 32-bit code
    static constexpr u64 kCodePages = 4, kDataPages = 6;
    u64 stack_top() const {
        return (data + 0x10'0000) & mask;
    }  // two pages below it, none around them
    static constexpr u64 kStackPages = 2;
};

struct Piece {
    enum class Reference : u8 { None, Rel8, Rel32, Abs32, Abs64 };
    std::vector<u8> bytes;
    Reference reference = Reference::None;
    u8 at = 0;          // where in `bytes` the reference stands
    u32 target = 0;     // the piece it refers to ...
    u32 target_at = 0;  // ... and the byte of it
    bool fixed = false;
};

// The bytes of a program, and for each how long the instruction is that begins there.
struct Image {
    u64 start = 0;  // offset of the first instruction in the code pages
    std::vector<u8> bytes;
    std::vector<u8> lengths;
    std::vector<bool> piece_begins;
};

struct Program {
    ProgramPlace place;
    u64 start = 0;  // offset in the code pages
    std::vector<Piece> pieces;
    unsigned code_bits = 64;
    bool user = false;  // CPL 3
    u64 u_cet = 0;      // IA32_U_CET: control-flow enforcement, of user code
    u64 seed = 0;       // of the registers and of how it is run

    Image image(const CpuFeatures& features) const;
    std::string listing(const CpuFeatures& features) const;
};

struct ProgramKind {
    unsigned code_bits = 64;    // 32: of compatibility mode. jit_program32.cpp
    bool control_flow = false;  // user code whose indirect branches are tracked; 64-bit code only
};
Program make_program(u64 seed, const ProgramKind& kind, const CpuFeatures& features);
Program make_program32(u64 seed, const CpuFeatures& features);

// Selectors for 32-bit programs to load: flat, for all; flat, for the supervisor; ending between the
// data pages; based at 3; read-only; expand-down; and none. Code: at CPL 0, at CPL 3.
namespace program_selector {
inline constexpr u16 kCode = 0x58, kUserCode = 0x63;
inline constexpr u16 kFlat = 0x33, kSupervisor = 0x18, kShort = 0x3B, kBased = 0x43,
                     kReadOnly = 0x4B, kExpandDown = 0x53, kNull = 0;
}  // namespace program_selector

}  // namespace droste::test
