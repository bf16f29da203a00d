#pragma once
// What the translator makes, and what of it the engine needs to know.

#include "core/types.hpp"
#include "cpu/x86/decode/insn.hpp"

namespace droste {
struct Block;
}  // namespace droste

namespace droste::jit {

inline constexpr u32 kNoExit = ~u32{0};

// Beside mode_key's bits in a translation's key: MXCSR unmasks an exception, so that floating-point
// vector instructions are interpreted.
inline constexpr u32 kKeyMxcsrUnmasked = 1U << 31;
// The x87's control word does: x87 and MMX instructions are.
inline constexpr u32 kKeyX87Unmasked = 1U << 30;
// Indirect branches are tracked, but not now: IA32_U_CET or IA32_S_CET says SUPPRESS.
inline constexpr u32 kKeyTrackingSuppressed = 1U << 29;
// Privilege level 1 or 2: what depends on the level is interpreted.
inline constexpr u32 kKeyMiddleLevel = 1U << 28;
// Of 32-bit code, by SegReg, ES to DS: addresses in the segment are linear addresses, and all may be
// read and (but for CS) written. FS and GS change too often to be in a key.
inline constexpr unsigned kKeyFlatShift = 22;
inline constexpr u32 key_flat(unsigned seg) {
    return 1U << (kKeyFlatShift + seg);
}

// Native code for a straight run of guest instructions at one linear address in one mode. It is
// entered at its first instruction and left at its end, through side exits, or at an instruction
// that the interpreter executes.
struct Translation {
    u64 rip = 0;
    u32 key = 0;
    u32 count = 0;  // instructions
    u32 window_misses = 0;
    u32 samples = 0;  // how often a slice of time ended just before it
    bool dead = false;
    u8 region = 0;                     // of CodeCache's
    Block* block = nullptr;            // the decoded block it begins with
    const u8* entry = nullptr;         // with the status flags in TranslatedCode::status
    const u8* entry_native = nullptr;  // ... and in RFLAGS: for links alone
    // For links, with the flags as for `entry`. Another place only if the instruction reaches into
    // the next page: what lies there may have changed, and the jump table is asked (links.md).
    const u8* entry_linked = nullptr;
    const u8* stale = nullptr;  // leaves to the engine with RIP at its first instruction
    // For tracked branches, or null: it begins with ENDBR. And the way to the engine, which has to
    // wait for that then.
    const u8* entry_tracked = nullptr;
    const u8* stale_tracked = nullptr;
    u32 incoming = kNoExit;  // exits linked to it
};

// A decoded block is used by the translations that were made of it.
struct Use {
    Translation* translation = nullptr;
    Use* next = nullptr;
};

// A way out to a known address.
struct Exit {
    u64 rip = 0;
    u32 key = 0;
    const u8* place = nullptr;     // of the displacement of its jump; null: never linked
    const u8* unlinked = nullptr;  // where that leads while it is not linked
    bool native_status = false;    // the status flags are in RFLAGS there
    bool waits = false;            // for ENDBR
    bool linked = false;           // it is in the list of a translation's incoming exits
    u32 next_incoming = kNoExit;
};

// Instructions that the interpreter may have to execute.
struct Site {
    Translation* translation = nullptr;
    u64 rip = 0;
    const u8* resume = nullptr;  // behind it, with the status flags in TranslatedCode::status
    const Insn* insn = nullptr;  // the first of them
    u32 left = 0;                // instructions of the translation from this one on
    u32 first = 0;               // where it stands in CodeCache::insns()
    u32 count = 1;               // so many instructions, one behind the other
    bool window = false;         // because a window's check failed
    bool carried_over = false;   // only if its access is not a plain one
    bool shadowed = false;       // the first one is in the shadow of an STI
    u32 slot = 0;                // or because this page slot has missed often
    u32 window_slot = 0;         // the page slot of that window, or 0
};

}  // namespace droste::jit
