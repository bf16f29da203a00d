// Entries bit by bit: which are reserved, what a clear present bit hides, and which address the rest
// names. Compared with paging_model.hpp where a rule has many cases.

#include "tests/unit/mmu/paging_machine.hpp"

#include <fmt/format.h>

namespace droste::test {

namespace {

CpuFeatures features_with(unsigned physical_bits, bool gib_pages) {
    CpuFeatures features = all_features();
    features.physical_address_bits = static_cast<u8>(physical_bits);
    features.enable(Feature::PDPE1GB, gib_pages);
    return features;
}

// Sets each bit of each entry in turn. Address bits move the walk elsewhere, so a bit counts only if
// it is reserved, or if it is no address bit at all.
unsigned wrong_bits(PagingMachine& m, const PagingShape& shape, const PagingState& s) {
    unsigned wrong = 0;
    m.enter(shape, s);
    for (const bool user_mode : {false, true}) {
        m.set_privilege(user_mode, false);
        for (unsigned i = 0; i < m.chain().count; ++i) {
            for (unsigned bit = 0; bit < (shape.wide() ? 64 : 32); ++bit) {
                PagingEntries entries = m.chain();
                u64& entry = entries.value[i];
                entry ^= u64{1} << bit;
                const bool reserved =
                    (entry & paging_model::reserved_bits(s, entries.level(i), entry)) != 0;
                const bool address = bit >= 12 && bit < 52;
                const bool shape_changes = bit == 7;
                if (!reserved && (address || shape_changes)) {
                    continue;
                }
                m.write_entries(entries);
                m.cpu().tlb.flush_current(false);
                const PagingVerdict expected =
                    expected_of(s, entries, {Access::Read, user_mode, false});
                const AccessResult got = m.access(Access::Read);
                const bool right =
                    got.fault == expected.fault && got.error_code == expected.error_code;
                if (!right) {
                    UNSCOPED_INFO(fmt::format("{}: level {}, bit {}: #PF {} ({:#x})", shape.name,
                                              entries.level(i), bit, got.fault, got.error_code));
                }
                wrong += right ? 0 : 1;
            }
        }
    }
    return wrong;
}

}  // namespace

TEST_CASE("each reserved bit of each entry faults with RSVD, no other bit does",
          "[mmu][paging][reserved]") {
    for (const unsigned physical_bits : {36U, 39U, 40U, 46U, 51U}) {
        for (const bool gib_pages : {false, true}) {
            PagingMachine m(features_with(physical_bits, gib_pages));
            for (const PagingShape& shape : kPagingShapes) {
                if (shape.leaf_level == 3 && !gib_pages) {
                    continue;
                }
                for (const bool nxe : {false, true}) {
                    PagingState s;
                    s.mode = shape.mode;
                    s.nxe = nxe;
                    s.gib_pages = gib_pages;
                    s.physical_bits = physical_bits;
                    CAPTURE(shape.name, physical_bits, gib_pages, nxe);
                    CHECK(wrong_bits(m, shape, s) == 0);
                }
            }
        }
    }
}

TEST_CASE("bit 7 of a PDPTE is reserved without 1-GiB pages", "[mmu][paging][reserved]") {
    PagingMachine m(features_with(40, false));
    PagingState s;
    s.gib_pages = false;
    m.enter(kPagingShapes[6], s);
    m.write_entries(m.chain());
    CHECK(m.access(Access::Read).error_code == 0x9);
}

TEST_CASE("bit 7 of a PDE is ignored in 32-bit paging without CR4.PSE", "[mmu][paging]") {
    PagingMachine m;
    PagingState s;
    s.mode = PagingMode::Bits32;
    s.pse = false;
    m.enter(kPagingShapes[0], s);
    PagingEntries entries = m.chain();
    entries.value[0] |= paging_model::kPs;
    m.write_entries(entries);
    CHECK_FALSE(m.access(Access::Read).fault);
}

TEST_CASE("an entry that is not present has no reserved bits", "[mmu][paging][reserved]") {
    PagingMachine m;
    for (const PagingShape& shape : kPagingShapes) {
        PagingState s;
        s.mode = shape.mode;
        m.enter(shape, s);
        for (unsigned i = 0; i < m.chain().count; ++i) {
            PagingEntries entries = m.chain();
            entries.value[i] = ~u64{1};
            m.write_entries(entries);
            CAPTURE(shape.name, i);
            const AccessResult got = m.access(Access::Write);
            CHECK(got.fault);
            CHECK(got.error_code == 2);
        }
    }
}

TEST_CASE("every address bit of an entry reaches the physical address", "[mmu][paging][address]") {
    PagingMachine m(features_with(51, true));
    for (const PagingShape& shape : kPagingShapes) {
        PagingState s;
        s.mode = shape.mode;
        s.physical_bits = 51;
        m.enter(shape, s);
        const u64 offset_mask = (u64{1} << shape.page_shift()) - 1;
        for (unsigned bit = shape.page_shift(); bit < s.physical_bits; ++bit) {
            const bool pse36 = shape.leaf_level == 2 && !shape.wide();
            if (!shape.wide() && bit >= (pse36 ? 40U : 32U)) {
                continue;
            }
            PagingEntries entries = m.chain(u64{1} << bit);
            if (pse36 && bit >= 32) {  // SDM Vol. 3A, "Format of a ... 4-MByte Page": 20:13
                entries.value[0] = (entries.value[0] & 0xFFFF'FFFF) | u64{1} << (bit - 32 + 13);
            }
            m.write_entries(entries);
            m.cpu().tlb.flush_current(false);
            Translation translation;
            CAPTURE(shape.name, bit);
            REQUIRE(walk(m.cpu(), shape.linear, Access::Read, PrivilegeClass::Supervisor,
                         translation) == Status::Next);
            CHECK(translation.address == ((u64{1} << bit) | (shape.linear & offset_mask)));
        }
    }
}

TEST_CASE("tables above 4 GiB are read there", "[mmu][paging][address]") {
    constexpr PhysAddr kHigh = 0x1'2340'0000;
    std::array<u8, 8 * kPageBytes> high_ram{};
    for (const PagingShape& shape : kPagingShapes) {
        if (!shape.wide()) {
            continue;
        }
        PagingMachine m;
        m.machine().memory().overlay(kHigh, high_ram.size(), PageKind::Ram, high_ram.data());
        PagingState s;
        s.mode = shape.mode;
        m.enter(shape, s);
        const PagingEntries low = m.chain();
        m.write_entries(low);
        // The same tables once more above 4 GiB, and nothing at the cut addresses.
        PagingEntries high = low;
        for (unsigned i = 0; i + 1 < high.count; ++i) {
            high.value[i] += kHigh - PagingMachine::kTables;
        }
        for (unsigned i = 0; i < high.count; ++i) {
            m.machine().poke_value<u64>(m.slot_of(high.level(i)) + kHigh - PagingMachine::kTables,
                                        high.value[i]);
            m.machine().poke_value<u64>(m.slot_of(high.level(i)), 0);
        }
        CpuState& state = m.cpu().state;
        state.cr3 += kHigh - PagingMachine::kTables;
        for (u64& pdpte : state.pdpte) {
            pdpte += kHigh - PagingMachine::kTables;
        }
        m.cpu().tlb.activate(m.cpu());
        CAPTURE(shape.name);
        CHECK_FALSE(m.access(Access::Write).fault);
    }
}

TEST_CASE("bits 63:32 of CR3 do not matter in 32-bit paging", "[mmu][paging][address]") {
    PagingMachine m;
    PagingState s;
    s.mode = PagingMode::Bits32;
    m.enter(kPagingShapes[0], s);
    m.write_entries(m.chain());
    m.cpu().state.cr3 |= 0xABCD'0000'0000;
    m.cpu().tlb.activate(m.cpu());
    CHECK_FALSE(m.access(Access::Read).fault);
}

TEST_CASE("a PDPTE register that is not present faults for its GiB alone", "[mmu][paging][pae]") {
    PagingMachine m;
    PagingState s;
    s.mode = PagingMode::Pae;
    m.enter(kPagingShapes[2], s);
    m.write_entries(m.chain());
    const u64 gib = kPagingShapes[2].linear >> 30;
    for (unsigned i = 0; i < 4; ++i) {
        m.cpu().tlb.flush_current(false);
        m.cpu().state.pdpte.fill(PagingMachine::table(2) | 1);
        m.cpu().state.pdpte[i] = 0;
        CAPTURE(i);
        CHECK(m.access(Access::Read).fault == (i == gib));
    }
}

}  // namespace droste::test
