#pragma once
// The decoder: bytes -> Insn, by tables in the manual's notation (opcode_map_*.cpp).

#include "core/types.hpp"
#include "cpu/x86/decode/insn.hpp"
#include "cpu/x86/state/features.hpp"

#include <span>

namespace droste {

struct DecodeMode {
    u8 code_bits = 64;         // 16, 32, 64: default operand/address size (CS.D, CS.L)
    bool real_or_v86 = false;  // real-address or virtual-8086 mode: no VEX; LLDT & co. are #UD
};

enum class DecodeResult : u8 {
    Ok,  // insn is complete (possibly Op::UD for an invalid encoding: executing it raises #UD)
    NeedBytes,  // `bytes` ended before the instruction did (and is shorter than 15)
    TooLong,    // more than 15 bytes: #GP(0)
};

// Decodes the instruction at the start of `bytes` (at most 15 are looked at). Leaves insn.exec
// null. An instruction whose feature the CPU lacks decodes to Op::UD, or to the instruction it was
// before the feature existed (TZCNT -> BSF, LZCNT -> BSR).
DecodeResult
decode(std::span<const u8> bytes, DecodeMode mode, const CpuFeatures& features, Insn& insn);

// The SDM mnemonic of an Op ("ADD", "MOV"), for logs and the Capstone comparison.
const char* mnemonic(Op op);

}  // namespace droste
