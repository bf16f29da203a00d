#pragma once
// A row of an opcode map, in the manual's notation. SDM Vol. 2D, "Opcode Map".
//
// Several rows may share an opcode; they are tried in table order and the first whose conditions
// hold (prefix, ModRM, VEX.W, VEX.L, 64-bit mode) is the instruction, so the special one stands
// before the general one. That search happens at compile time: map_table.hpp turns the rows into
// direct lookup tables. Nothing after the decoder looks at rows, except tests, the random
// instruction generator and documentation.

#include "core/types.hpp"
#include "cpu/x86/decode/insn.hpp"
#include "cpu/x86/decode/operand.hpp"
#include "cpu/x86/state/features.hpp"

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

constexpr Attributes attribute(unsigned bit) {
    return {u64{1} << bit};
}

// --- conditions ----------------------------------------------------------------------------------
// Mandatory prefix. None given: any. Several: each of them. F2 and F3 win over 66.
inline constexpr Attributes kNP = attribute(0);
inline constexpr Attributes k66 = attribute(1);
inline constexpr Attributes kF3 = attribute(2);
inline constexpr Attributes kF2 = attribute(3);
inline constexpr Attributes kAnyPrefix = kNP | k66 | kF3 | kF2;
// ModRM.mod is not, or is, 11b. M operands imply the one, R, U and N operands the other.
inline constexpr Attributes kModMem = attribute(4);
inline constexpr Attributes kModReg = attribute(5);
// REX.W or VEX.W; VEX.L.
inline constexpr Attributes kW0 = attribute(6);
inline constexpr Attributes kW1 = attribute(7);
inline constexpr Attributes kL0 = attribute(8);
inline constexpr Attributes kL1 = attribute(9);
// REX.B: 90h with REX.B is XCHG r8, rAX.
inline constexpr Attributes kB0 = attribute(10);
inline constexpr Attributes kB1 = attribute(11);
// Not in 64-bit mode; only there.
inline constexpr Attributes kNot64 = attribute(12);
inline constexpr Attributes kOnly64 = attribute(13);
// ModRM.reg and ModRM.r/m: the manual's "/digit" and Table A-6.
inline constexpr unsigned kRegShift = 16, kRmShift = 20;
constexpr Attributes reg(unsigned value) {
    return {u64{8 | value} << kRegShift};
}
constexpr Attributes rm(unsigned value) {
    return {u64{8 | value} << kRmShift};
}

// --- properties ----------------------------------------------------------------------------------
// LOCK is legal when E is memory.
inline constexpr Attributes kLock = attribute(24);
// #UD in real-address and virtual-8086 mode.
inline constexpr Attributes kNotReal = attribute(25);
// "d64" and "f64" of Table A-1: the operand size is 64 bits in 64-bit mode. With d64 a 66 prefix
// makes it 16, with f64 it is ignored.
inline constexpr Attributes kDefault64 = attribute(26);
inline constexpr Attributes kForce64 = attribute(27);
// Control flow, or a change of state that decoded blocks depend on.
inline constexpr Attributes kEndsBlock = attribute(28);
// May observe virtual time or I/O.
inline constexpr Attributes kReadsTime = attribute(29);
// A native thunk executes it: its operands are registers, immediates and at most one ordinary
// memory operand of fixed size.
inline constexpr Attributes kNative = attribute(30);
// A 16- or 32-byte memory operand must be aligned.
inline constexpr Attributes kAligned = attribute(31);
// When the CPU model lacks the feature: what the opcode is without the prefix; a NOP.
inline constexpr Attributes kElsePlain = attribute(32);
inline constexpr Attributes kElseNop = attribute(33);
// The 256-bit form needs AVX2.
inline constexpr Attributes kYmmAvx2 = attribute(34);
// "+rb", "+rd": the row stands for eight opcodes. "+cc": for sixteen.
inline constexpr Attributes kPlusR = attribute(35);
inline constexpr Attributes kPlusCc = attribute(36);
inline constexpr Attributes kSse = kNative | kAligned;

// "Grp" entries of the maps; their rows are in opcode_map_groups.hpp.
enum class Group : u8 {
    Ungrouped,
    Grp1,
    Grp1A,
    Grp2,
    Grp3b,
    Grp3v,
    Grp4,
    Grp5,
    Grp6,
    Grp7,
    Grp8,
    Grp9,
    Grp11,
    Grp12,
    Grp13,
    Grp14,
    Grp15,
    Grp16,
    GrpP,
};

// Opcodes that lead into another map.
enum class Escape : u8 { NoEscape, Esc0F, Esc0F38, Esc0F3A, EscX87, EscVex2, EscVex3 };

// The second column of a row: an instruction, a group, or an escape.
struct Entry {
    Op op = Op::UD;
    Group group = Group::Ungrouped;
    Escape escape = Escape::NoEscape;

    constexpr Entry() = default;
    // NOLINTBEGIN(google-explicit-constructor): so that rows stay readable
    constexpr Entry(Op instruction) : op(instruction) {}
    constexpr Entry(Group of_rows) : group(of_rows) {}
    constexpr Entry(Escape to) : escape(to) {}
    // NOLINTEND(google-explicit-constructor)
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
        return has_reg() || has_rm() || attributes.any(kModMem | kModReg) ||
               has_place(Place::RegOrMem) || has_place(Place::RegAnyMod) || has_place(Place::Reg);
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
