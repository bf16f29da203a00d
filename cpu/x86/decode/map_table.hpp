#pragma once
// Turns the rows of one opcode map into lookup tables, at compile time.
//
// cells[64-bit mode][mandatory prefix][opcode] is one of
//   - the number of a leaf: the instruction is known;
//   - a split: eight or two further cells, chosen by ModRM, VEX.W, VEX.L or REX.B;
//   - an escape into another map.
// A split is made only where the rows of an opcode differ in that condition, so most instructions
// are found by one load. The rows of an opcode are tried in order; the first one some condition of
// which is not known yet says what to split on next.

#include "core/assert.hpp"
#include "core/types.hpp"
#include "cpu/x86/decode/leaf.hpp"
#include "cpu/x86/decode/opcode_map_groups.hpp"
#include "cpu/x86/decode/row.hpp"

#include <array>
#include <cstddef>
#include <span>

namespace droste::opcode_map {

// Kinds of cell, in its top four bits.
enum class CellKind : u8 {
    Leaf = 0,
    ByModReg = 1,
    ByRm = 2,
    ByW = 3,
    ByL = 4,
    ByB = 5,
    Escape = 6
};
inline constexpr unsigned kCellShift = 12;
inline constexpr u16 kCellMask = (1U << kCellShift) - 1;

constexpr u16 make_cell(CellKind kind, std::size_t value) {
    DROSTE_ASSERT(value <= kCellMask);
    return static_cast<u16>(static_cast<unsigned>(kind) << kCellShift | value);
}

// Columns of mandatory prefixes.
inline constexpr unsigned kColumnNP = 0, kColumn66 = 1, kColumnF3 = 2, kColumnF2 = 3, kColumns = 4;

using Columns = std::array<std::array<u16, 256>, kColumns>;

// What decode() uses of a map.
struct MapView {
    const std::array<Columns, 2>& cells;
    const u16* splits;
    const Leaf* leaves;
    std::span<const Row> rows;
};

// --- rows: groups unfolded, "+r" and "+cc" spelled out -------------------------------------------

template <std::size_t N>
constexpr std::size_t expanded_count(const std::array<Row, N>& rows) {
    std::size_t count = 0;
    for (const Row& row : rows) {
        count += row.entry.group == Group::Ungrouped ? row.opcode_count()
                                                     : group_rows(row.entry.group).size();
    }
    return count;
}

template <std::size_t Count, std::size_t N>
constexpr std::array<Row, Count> expand_rows(const std::array<Row, N>& rows) {
    std::array<Row, Count> out{};
    std::size_t next = 0;
    for (const Row& row : rows) {
        if (row.entry.group != Group::Ungrouped) {
            for (const Row& member : group_rows(row.entry.group)) {
                out[next++] = with_implied_conditions(group_member(row, member));
            }
            continue;
        }
        for (unsigned i = 0; i < row.opcode_count(); ++i) {
            out[next] = with_implied_conditions(row);
            out[next++].opcode = static_cast<u8>(row.opcode + i);
        }
    }
    return out;
}

// --- the table -----------------------------------------------------------------------------------

// What is known of an instruction while its opcode's decision tree is built.
struct Known {
    bool long64 = false;
    Attributes column{};      // the mandatory prefix
    Attributes conditions{};  // one of kModMem and kModReg, of kW0 and kW1 ...; none: not known yet
    int reg = -1;
    int rm = -1;
};

enum class Verdict : u8 { No, Yes, NeedModReg, NeedRm, NeedW, NeedL, NeedB };

// A row's say on one pair of conditions.
constexpr Verdict judge_pair(Attributes row, Attributes known, Attributes pair, Verdict need) {
    if (!row.any(pair)) {
        return Verdict::Yes;
    }
    if (!known.any(pair)) {
        return need;
    }
    return row.any({known.bits & pair.bits}) ? Verdict::Yes : Verdict::No;
}

constexpr Verdict judge_number(bool matters, unsigned wanted, int known, Verdict need) {
    if (!matters) {
        return Verdict::Yes;
    }
    return known < 0 ? need : static_cast<unsigned>(known) == wanted ? Verdict::Yes : Verdict::No;
}

// May `row` be the instruction, as far as is known; and what must be known next to say so.
constexpr Verdict judge(const Row& row, const Known& known) {
    const Attributes a = row.attributes;
    if (a.has(known.long64 ? kNot64 : kOnly64) ||
        (row.prefixes().bits != 0 && !a.any(known.column))) {
        return Verdict::No;
    }
    const Attributes c = known.conditions;
    for (const Verdict verdict :
         {judge_pair(a, c, kModMem | kModReg, Verdict::NeedModReg),
          judge_number(row.has_reg(), row.reg(), known.reg, Verdict::NeedModReg),
          judge_number(row.has_rm(), row.rm(), known.rm, Verdict::NeedRm),
          judge_pair(a, c, kW0 | kW1, Verdict::NeedW), judge_pair(a, c, kL0 | kL1, Verdict::NeedL),
          judge_pair(a, c, kB0 | kB1, Verdict::NeedB)}) {
        if (verdict != Verdict::Yes) {
            return verdict;
        }
    }
    return Verdict::Yes;
}

template <std::size_t Rows, std::size_t Splits>
struct MapTable {
    std::array<Columns, 2> cells{};
    std::array<u16, Splits> splits{};
    std::array<Leaf, Rows + kFirstRow> leaves{};
    std::size_t split_count = 0;

    // The rows of one opcode: rows[first, last).
    struct Range {
        std::size_t first;
        std::size_t last;
        bool modrm;
    };

    constexpr u16 cell_for(const std::array<Row, Rows>& rows, Range range, const Known& known) {
        for (std::size_t i = range.first; i < range.last; ++i) {
            switch (judge(rows[i], known)) {
            case Verdict::No: continue;
            case Verdict::Yes:
                return rows[i].entry.escape != Escape::NoEscape
                           ? make_cell(CellKind::Escape,
                                       static_cast<std::size_t>(rows[i].entry.escape))
                           : make_cell(CellKind::Leaf, i + kFirstRow);
            case Verdict::NeedModReg: return split(rows, range, known, CellKind::ByModReg, 16);
            case Verdict::NeedRm: return split(rows, range, known, CellKind::ByRm, 8);
            case Verdict::NeedW: return split(rows, range, known, CellKind::ByW, 2);
            case Verdict::NeedL: return split(rows, range, known, CellKind::ByL, 2);
            case Verdict::NeedB: return split(rows, range, known, CellKind::ByB, 2);
            }
        }
        return range.modrm ? kUndefinedModRm : kUndefined;
    }

  private:
    static constexpr Known learn(Known known, CellKind kind, unsigned branch) {
        switch (kind) {
        case CellKind::ByModReg:
            known.reg = static_cast<int>(branch % 8);
            known.conditions = known.conditions | (branch >= 8 ? kModReg : kModMem);
            break;
        case CellKind::ByRm: known.rm = static_cast<int>(branch); break;
        case CellKind::ByW: known.conditions = known.conditions | (branch != 0 ? kW1 : kW0); break;
        case CellKind::ByL: known.conditions = known.conditions | (branch != 0 ? kL1 : kL0); break;
        case CellKind::ByB: known.conditions = known.conditions | (branch != 0 ? kB1 : kB0); break;
        case CellKind::Leaf:
        case CellKind::Escape: break;
        }
        return known;
    }

    constexpr u16 split(const std::array<Row, Rows>& rows,
                        Range range,
                        const Known& known,
                        CellKind kind,
                        unsigned ways) {
        const std::size_t at = split_count;
        split_count += ways;
        for (unsigned branch = 0; branch < ways; ++branch) {
            const u16 cell = cell_for(rows, range, learn(known, kind, branch));
            if (at + branch < Splits) {
                splits[at + branch] = cell;
            }
        }
        return make_cell(kind, at);
    }
};

template <std::size_t Splits, std::size_t Rows>
constexpr MapTable<Rows, Splits> build_map(const std::array<Row, Rows>& rows, MapTraits traits) {
    MapTable<Rows, Splits> table;
    table.leaves[kUndefined].map = table.leaves[kUndefinedModRm].map = traits.map;
    table.leaves[kUndefinedModRm].modrm = ModRmUse::Operand;
    for (std::size_t i = 0; i < Rows; ++i) {
        table.leaves[i + kFirstRow] = LeafMaker(rows[i], traits).make();
    }
    constexpr std::array<Attributes, kColumns> kPrefixOfColumn = {kNP, k66, kF3, kF2};
    for (std::size_t first = 0; first < Rows;) {
        const u8 opcode = rows[first].opcode;
        std::size_t last = first;
        bool modrm = false;
        Attributes all{};
        for (; last < Rows && rows[last].opcode == opcode; ++last) {
            modrm = modrm || rows[last].has_modrm();
            all = all | rows[last].attributes;
        }
        for (unsigned long64 = 0; long64 < 2; ++long64) {
            for (unsigned column = 0; column < kColumns; ++column) {
                // Equal by construction to a cell already made: no row looks at the mode, or at the
                // prefix.
                if (long64 == 1 && !all.any(kNot64 | kOnly64)) {
                    table.cells[1][column][opcode] = table.cells[0][column][opcode];
                } else if (column > 0 && !all.any(kAnyPrefix)) {
                    table.cells[long64][column][opcode] = table.cells[long64][0][opcode];
                } else {
                    Known known;
                    known.long64 = long64 == 1;
                    known.column = kPrefixOfColumn[column];
                    table.cells[long64][column][opcode] =
                        table.cell_for(rows, {first, last, modrm}, known);
                }
            }
        }
        first = last;
    }
    return table;
}

// How many split cells a map needs: build it once without room for them.
template <std::size_t Rows>
consteval std::size_t count_split_cells_of(const std::array<Row, Rows>& rows) {
    const std::size_t count = build_map<0>(rows, {OpcodeMap::OneByte, false}).split_count;
    return count == 0 ? 1 : count;
}

template <const auto& rows>
inline constexpr std::size_t kSplitCells = count_split_cells_of(rows);

template <std::size_t Rows, std::size_t Splits>
constexpr MapView view_of(const MapTable<Rows, Splits>& table, const std::array<Row, Rows>& rows) {
    return {table.cells, table.splits.data(), table.leaves.data(), rows};
}

}  // namespace droste::opcode_map
