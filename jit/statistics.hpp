#pragma once
// What the translator counts, for --stats. An engine counts what its vCPU does, the code cache what
// is made and dropped; each has its numbers to itself, and whoever asks adds them up.

#include "core/types.hpp"
#include "cpu/x86/decode/insn.hpp"
#include "cpu/x86/interp/block_cache.hpp"

#include <array>
#include <cstddef>

namespace droste::jit {

struct EngineStatistics {
    u64 entries = 0;      // of translated code, from C++
    u64 cold = 0;         // instructions interpreted in blocks that were not entered translated
    u64 not_carried = 0;  // ... in the midst of a translation: not carried over
    u64 slow = 0;         // ... carried over, but the TLB missed or the like
    u64 rejoined = 0;     // ... without leaving it, elsewhere behind an interpreted instruction
    u64 jump_table_clears = 0;
    std::array<u64, static_cast<std::size_t>(Op::kCount)> by_op{};  // of the three together

    u64 interpreted() const { return cold + not_carried + slow; }
};

struct CacheStatistics {
    u64 made = 0;  // translations
    u64 made_guest_insns = 0, made_guest_bytes = 0, made_code_bytes = 0;
    u64 translation_ns = 0;
    u64 links = 0;
    u64 evictions = 0;  // of a region of code
    // Translations that died with a block of theirs, by why that did.
    std::array<u64, static_cast<std::size_t>(BlockDeath::kCount)> killed{};
    u64 killed_for_slots = 0;    // ... without a page slot that missed too often
    u64 killed_for_windows = 0;  // made again without windows (windows.hpp): their checks failed
    // Present, in bytes.
    std::size_t code_bytes = 0, table_bytes = 0;
};

struct Statistics {
    EngineStatistics engines;
    CacheStatistics cache;
};

}  // namespace droste::jit
