// The tables themselves: every row can be reached, every Op has a row, and the order is the
// manual's.

#include "cpu/x86/decode/opcode_maps.hpp"
#include "tests/unit/decode/decode_support.hpp"

#include <array>
#include <set>

using namespace droste;
using namespace droste::test;
using namespace droste::opcode_map;

namespace {

struct NamedMap {
    const char* name;
    const MapView& view;
};

const std::array<NamedMap, 8> kMaps = {{{"one byte", kOneByte},
                                        {"0F", kMap0F},
                                        {"0F 38", kMap0F38},
                                        {"0F 3A", kMap0F3A},
                                        {"x87", kX87},
                                        {"VEX 0F", kVex0F},
                                        {"VEX 0F 38", kVex0F38},
                                        {"VEX 0F 3A", kVex0F3A}}};

// Leaves below a cell.
void collect(const MapView& map, u16 cell, std::set<unsigned>& leaves) {
    const unsigned value = cell & kCellMask;
    unsigned ways = 0;
    switch (static_cast<CellKind>(cell >> kCellShift)) {
    case CellKind::Leaf: leaves.insert(value); return;
    case CellKind::Escape: return;
    case CellKind::ByModReg: ways = 16; break;
    case CellKind::ByRm: ways = 8; break;
    case CellKind::ByW:
    case CellKind::ByL:
    case CellKind::ByB: ways = 2; break;
    }
    for (unsigned i = 0; i < ways; ++i) {
        collect(map, map.splits[value + i], leaves);
    }
}

}  // namespace

TEST_CASE("Every row of every opcode map is reached by some encoding", "[decode]") {
    for (const NamedMap& map : kMaps) {
        std::set<unsigned> leaves;
        for (const Columns& mode : map.view.cells) {
            for (const auto& column : mode) {
                for (const u16 cell : column) {
                    collect(map.view, cell, leaves);
                }
            }
        }
        for (unsigned i = 0; i < map.view.rows.size(); ++i) {
            const Row& row = map.view.rows[i];
            if (row.entry.escape == Escape::NoEscape) {
                INFO(map.name << " opcode " << std::hex << unsigned{row.opcode} << ' '
                              << mnemonic(row.op()));
                CHECK(leaves.count(i + kFirstRow) == 1);
            }
        }
    }
}

TEST_CASE("Every Op but UD has a row", "[decode]") {
    std::set<Op> in_rows;
    for (const NamedMap& map : kMaps) {
        for (const Row& row : map.view.rows) {
            if (row.entry.escape == Escape::NoEscape) {
                in_rows.insert(row.op());
            }
        }
    }
    for (unsigned i = 1; i < static_cast<unsigned>(Op::kCount); ++i) {
        const auto op = static_cast<Op>(i);
        INFO(mnemonic(op));
        CHECK(in_rows.count(op) == 1);
    }
    CHECK(in_rows.count(Op::UD) == 0);
}

TEST_CASE("Native rows have register and fixed-size memory operands only", "[decode]") {
    for (const NamedMap& map : kMaps) {
        for (const Row& row : map.view.rows) {
            if (!row.has(kNative)) {
                continue;
            }
            INFO(map.name << ' ' << mnemonic(row.op()));
            CHECK_FALSE(row.has_place(Place::Vsib));
            CHECK(row.has_modrm());
            CHECK(map.view.leaves[&row - map.view.rows.data() + kFirstRow].e_mem != Size::None);
        }
    }
}

TEST_CASE("mnemonic() names an Op as the manual does", "[decode]") {
    CHECK(std::string(mnemonic(Op::CMPXCHG16B)) == "CMPXCHG16B");
    CHECK(std::string(mnemonic(Op::UD)) == "UD");
    CHECK(std::string(mnemonic(Op::VFNMSUB231SD)) == "VFNMSUB231SD");
}
