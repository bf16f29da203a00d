#pragma once
// Checking several accesses at once.
//
// The problem: half of the accesses of a program go to its stack, and most others come in groups
// with one pointer; each costs ten instructions to check, and the flags.
//
// Choice: accesses of a translation by the same registers, unchanged between them, are a window:
// from the lowest byte to the highest that any of them touches. The first one checks that the whole
// window lies in one page that all may access so, and keeps the addend in TranslatedCode; the
// others take it from there. If the check fails, the interpreter executes everything from there to
// the window's last access. A translation whose windows fail often is made again without them.
//
// RSP moves by known amounts, so accesses by RSP are told apart by where RSP was at first: pushes,
// pops and the locals between them are one window. So are, in 64-bit code, accesses by a register
// that a constant is added to in between: an element and its neighbor in an unrolled loop.
//
// Rejected: two versions of the code, with windows and without (twice the code, and the second is
// seldom run); a check of each access against a remembered page (half as fast where it hits, and
// the flags are lost at each).

#include "core/types.hpp"
#include "jit/register_effect.hpp"

#include <array>
#include <vector>

namespace droste::jit {

struct Item;

struct Window {
    OperandAccess by;  // registers; displacements count from where they were at first
    std::array<u32, 2> versions{};
    i64 low = 0, high = 0;   // [low, high), displacements
    unsigned alignment = 0;  // at least one access must be aligned to so many bytes
    i64 aligned_at = 0;      // ... there, and so `low` is in the end
    bool write = false;
    unsigned uses = 0;
    unsigned last = 0;        // item of the last access
    bool checked = false;     // by an access that has been written
    unsigned checked_at = 0;  // item
    unsigned place = 0;       // in TranslatedCode::windows

    unsigned bytes() const { return static_cast<unsigned>(high - low); }
};

inline constexpr int kNoWindow = -1;

struct WindowPlan {
    std::vector<Window> windows;
    struct Use {
        int window = kNoWindow;
        i64 stepped = 0;  // how far the sum of the registers but RSP has come since the first
    };
    std::vector<std::array<Use, 2>> of_item;  // by access of the item
};

// Which are wanted; the later ones are for translations whose windows failed often.
enum class WindowKinds : u8 {
    All,
    Fixed,  // a register that is stepped has changed
    None,
};

WindowPlan plan_windows(const std::vector<Item>& items, WindowKinds wanted);

}  // namespace droste::jit
