#pragma once
// A row of an opcode map, in the manual's notation. SDM Vol. 2D, "Opcode Map".
//
// Several rows may share an opcode; they are tried in table order and the first whose conditions hold (prefix, ModRM,
// VEX.W, VEX.L, 64-bit mode) is the instruction, so the special one stands before the general one. That search happens
// at compile time: map_table.hpp turns the rows into direct lookup tables. Nothing after the decoder looks at rows,
// except tests, the random instruction generator and documentation.

#include "core/types.hpp"
#include "cpu/x86/decode/operand.hpp"
#include "cpu/x86/features.hpp"
#include "cpu/x86/insn.hpp"

#include <array>
#include <cstddef>
#include <span>

namespace droste::opcode_map {

struct Attributes {
    u64 bits = 0;

    constexpr Attributes operator|(Attributes other) const { return {bits | other.bits}; }
    constexpr bool has(Attributes other) const { return (bits & other.bits) == other.bits; }
    constexpr bool any(Attributes other) const { return (bits & other.bits) != 0; }
    constexpr bool operator==(const Attributes&) const = default;
};

// --- conditions -------------------------------------------------------------------------------------
// Mandatory prefix. None given: any. Several: each of them. F2 and F3 win over 66.
inline constexpr Attributes kNP{1U << 0};
inline constexpr Attributes k66{1U << 1};
inline constexpr Attributes kF3{1U << 2};
inline constexpr Attributes kF2{1U << 3};
inline constexpr Attributes kModMem{1U << 4};  // ModRM.mod != 11b. Implied by M operands
inline constexpr Attributes kModReg{1U << 5};  // ModRM.mod = 11b. Implied by R, U and N operands
inline constexpr Attributes kW0{1U << 6};      // REX.W or VEX.W
inline constexpr Attributes kW1{1U << 7};
inline constexpr Attributes kL0{1U << 8};  // VEX.L
inline constexpr Attributes kL1{1U << 9};
inline constexpr Attributes kB0{1U << 10};     // REX.B = 0: 90h is NOP, not XCHG r8, rAX
inline constexpr Attributes kNot64{1U << 11};  // not in 64-bit mode
inline constexpr Attributes kOnly64{1U << 12};
// ModRM.reg and ModRM.r/m: the manual's "/digit" and Table A-6.
inline constexpr unsigned kRegShift = 16, kRmShift = 20;
constexpr Attributes reg(unsigned value) {
    return {u64{8 | value} << kRegShift};
}
constexpr Attributes rm(unsigned value) {
    return {u64{8 | value} << kRmShift};
}
// --- properties -------------------------------------------------------------------------------------
inline constexpr Attributes kLock{u64{1} << 24};       // LOCK is legal when E is memory
inline constexpr Attributes kNotReal{u64{1} << 25};    // #UD in real-address and virtual-8086 mode
inline constexpr Attributes kDefault64{u64{1} << 26};  // "d64": operand size 64 in 64-bit mode; 66 makes it 16
inline constexpr Attributes kForce64{u64{1} << 27};    // "f64": operand size 64 in 64-bit mode, 66 is ignored
inline constexpr Attributes kEndsBlock{u64{1} << 28};  // control flow, or changes state that decoded blocks depend on
inline constexpr Attributes kReadsTime{u64{1} << 29};  // may observe virtual time or I/O
inline constexpr Attributes kNative{u64{1} << 30};     // a native thunk executes it
inline constexpr Attributes kAligned{u64{1} << 31};    // a 16- or 32-byte memory operand must be aligned
inline constexpr Attributes kElsePlain{u64{1} << 32};  // CPU lacks the feature: what the opcode is without the prefix
inline constexpr Attributes kElseNop{u64{1} << 33};    // CPU lacks the feature: NOP
inline constexpr Attributes kYmmAvx2{u64{1} << 34};    // the 256-bit form needs AVX2
inline constexpr Attributes kPlusR{u64{1} << 35};      // "+rb", "+rd": the row stands for eight opcodes
inline constexpr Attributes kPlusCc{u64{1} << 36};     // "+cc": the row stands for sixteen opcodes
inline constexpr Attributes kSse = kNative | kAligned;
inline constexpr Attributes kAnyPrefix = kNP | k66 | kF3 | kF2;

// "Grp" entries of the maps; their rows are in opcode_map_groups.hpp.
enum class Group : u8 {
    Ungrouped, Grp1, Grp1A, Grp2, Grp3b, Grp3v, Grp4, Grp5, Grp6, Grp7, Grp8, Grp9, Grp11, Grp12, Grp13, Grp14, Grp15,
    Grp16, GrpP,
};

// Opcodes that lead into another map.
enum class Escape : u8 { NoEscape, Esc0F, Esc0F38, Esc0F3A, EscX87, EscVex2, EscVex3 };

// The second column of a row: an instruction, a group, or an escape.
struct Entry {
    Op op = Op::UD;
    Group group = Group::Ungrouped;
    Escape escape = Escape::NoEscape;

    constexpr Entry() = default;
    constexpr Entry(Op instruction) : op(instruction) {}  // NOLINT(google-explicit-constructor): rows stay readable
    constexpr Entry(Group of_rows) : group(of_rows) {}    // NOLINT(google-explicit-constructor)
    constexpr Entry(Escape to) : escape(to) {}            // NOLINT(google-explicit-constructor)
};

using Operands = std::array<Operand, 4>;

struct Row {
    u8 opcode = 0;
    Entry entry{};
    Operands operands{};
    Attributes attributes{};
    Feature feature = Feature::kNone;

    constexpr Op op() const { return entry.op; }
    constexpr bool has(Attributes attribute) const { return attributes.has(attribute); }
    // The mandatory prefixes; none means any.
    constexpr Attributes prefixes() const { return {attributes.bits & kAnyPrefix.bits}; }
    constexpr bool has_reg() const { return ((attributes.bits >> kRegShift) & 8) != 0; }
    constexpr bool has_rm() const { return ((attributes.bits >> kRmShift) & 8) != 0; }
    constexpr unsigned reg() const { return (attributes.bits >> kRegShift) & 7; }
    constexpr unsigned rm() const { return (attributes.bits >> kRmShift) & 7; }
    // How many opcodes the row stands for.
    constexpr unsigned opcode_count() const { return has(kPlusCc) ? 16 : has(kPlusR) ? 8 : 1; }
    constexpr bool has_place(Place place) const {
        for (const Operand operand : operands) {
            if (operand != Operand::None && info(operand).place == place) {
                return true;
            }
        }
        return false;
    }
    constexpr bool has_modrm() const {
        return has_reg() || has_rm() || attributes.any(kModMem | kModReg) || has_place(Place::RegOrMem) ||
               has_place(Place::RegAnyMod) || has_place(Place::Reg);
    }
};

template <std::size_t N>
constexpr bool sorted_by_opcode(const std::array<Row, N>& rows) {
    for (std::size_t i = 1; i < N; ++i) {
        if (rows[i].opcode < rows[i - 1].opcode) {
            return false;
        }
    }
    return true;
}

// Makes explicit what an operand code implies about ModRM.mod.
constexpr Row with_implied_conditions(Row row) {
    if (row.has_place(Place::MemOnly) || row.has_place(Place::Vsib)) {
        row.attributes = row.attributes | kModMem;
    }
    if (row.has_place(Place::RegOnly)) {
        row.attributes = row.attributes | kModReg;
    }
    return row;
}

}  // namespace droste::opcode_map
