#pragma once
// A machine whose page tables are one chain of entries, in any paging mode, and accesses to the
// page they map. What the walker does with them is compared with paging_model.hpp.

#include "cpu/x86/mmu/mem_access.hpp"
#include "cpu/x86/mmu/paging.hpp"
#include "tests/support/test_machine.hpp"
#include "tests/unit/mmu/paging_model.hpp"

#include <catch2/catch.hpp>

#include <string>

namespace droste::test {

// A paging mode and the size of the page at its end.
struct PagingShape {
    const char* name;
    PagingMode mode;
    unsigned first_level;
    unsigned leaf_level;
    // An address whose index is not 0 at any level; 2 to 8 MiB into the largest page.
    u64 linear;

    bool wide() const { return mode != PagingMode::Bits32; }
    unsigned index_bits() const { return wide() ? 9 : 10; }
    unsigned page_shift() const { return 12 + (leaf_level - 1) * index_bits(); }
};

inline constexpr std::array kPagingShapes = std::to_array<PagingShape>({
    {"32-bit, 4 KiB", PagingMode::Bits32, 2, 1, 0x8041'5678},
    {"32-bit, 4 MiB", PagingMode::Bits32, 2, 2, 0x8041'5678},
    {"PAE, 4 KiB", PagingMode::Pae, 2, 1, 0x8061'5678},
    {"PAE, 2 MiB", PagingMode::Pae, 2, 2, 0x8061'5678},
    {"4-level, 4 KiB", PagingMode::FourLevel, 4, 1, 0x7F12'8061'5678},
    {"4-level, 2 MiB", PagingMode::FourLevel, 4, 2, 0x7F12'8061'5678},
    {"4-level, 1 GiB", PagingMode::FourLevel, 4, 3, 0x7F12'8061'5678},
    {"5-level, 4 KiB", PagingMode::FiveLevel, 5, 1, 0xE1'7F12'8061'5678},
    {"5-level, 2 MiB", PagingMode::FiveLevel, 5, 2, 0xE1'7F12'8061'5678},
    {"5-level, 1 GiB", PagingMode::FiveLevel, 5, 3, 0xE1'7F12'8061'5678},
});

struct AccessResult {
    bool fault = false;
    u32 error_code = 0;
};

class PagingMachine {
  public:
    static constexpr u64 kTables = 0x10'0000;  // a page a level
    static constexpr u64 kLegal = 0x27;        // P, R/W, U/S, A

    explicit PagingMachine(const CpuFeatures& features = all_features()) : machine_(features) {}

    TestMachine& machine() { return machine_; }
    Vcpu& cpu() { return machine_.cpu(); }

    // Puts the processor into `s`; the physical width and 1-GiB pages are the features'.
    void enter(const PagingShape& shape, const PagingState& s) {
        shape_ = shape;
        CpuState& state = cpu().state;
        const bool long_mode = shape.mode >= PagingMode::FourLevel;
        state.cr0 = cr0::kPe | cr0::kEt | cr0::kNe | cr0::kPg | (s.wp ? cr0::kWp : 0);
        state.cr4 = cr4::kOsfxsr | cr4::kOsxmmexcpt | (shape.wide() ? cr4::kPae : 0) |
                    (s.pse ? cr4::kPse : 0) | (s.smep ? cr4::kSmep : 0) |
                    (s.smap ? cr4::kSmap : 0) | (s.pke ? cr4::kPke : 0) |
                    (shape.mode == PagingMode::FiveLevel ? cr4::kLa57 : 0);
        state.efer = (s.nxe ? efer::kNxe : 0) | (long_mode ? efer::kLme | efer::kLma : 0);
        state.pkru = s.pkru;
        state.cr3 = table(shape.first_level);
        state.pdpte.fill(table(2) | 1);
        const u32 code = long_mode ? 0xA09B : 0xC09B;
        state.seg[CS] = flat_segment(0x10, code);
        for (const SegReg reg : {SS, DS, ES, FS, GS}) {
            state.seg[reg] = flat_segment(0x18, 0xC093);
        }
        state.set_rflags(rflags::kFixed1);
        cpu().tlb.activate(cpu());
        cpu().tlb.flush_current(false);
        mode_changed(cpu());
    }

    // Entries of kLegal rights: tables, then a page at `frame`.
    PagingEntries chain() const { return chain(frame()); }
    PagingEntries chain(u64 frame) const {
        PagingEntries entries;
        entries.first_level = shape_.first_level;
        entries.count = shape_.first_level - shape_.leaf_level + 1;
        for (unsigned i = 0; i < entries.count; ++i) {
            entries.value[i] = kLegal | table(entries.level(i) - 1);
        }
        entries.value[entries.count - 1] =
            kLegal | frame | (shape_.leaf_level > 1 ? paging_model::kPs : 0);
        return entries;
    }

    void write_entries(const PagingEntries& entries) {
        for (unsigned i = 0; i < entries.count; ++i) {
            const u64 slot = slot_of(entries.level(i));
            if (shape_.wide()) {
                machine_.poke_value<u64>(slot, entries.value[i]);
            } else {
                machine_.poke_value<u32>(slot, static_cast<u32>(entries.value[i]));
            }
        }
    }
    PagingEntries read_entries(const PagingEntries& like) {
        PagingEntries entries = like;
        for (unsigned i = 0; i < entries.count; ++i) {
            const u64 slot = slot_of(entries.level(i));
            entries.value[i] =
                shape_.wide() ? machine_.peek_value<u64>(slot) : machine_.peek_value<u32>(slot);
        }
        return entries;
    }

    // CPL 3 by SS.DPL.
    void set_privilege(bool user_mode, bool ac) {
        CpuState& state = cpu().state;
        const u32 dpl = user_mode ? 3U << 5 : 0;
        state.seg[SS].rights = 0xC093 | dpl;
        state.seg[CS].rights = (state.seg[CS].rights & ~(3U << 5)) | dpl;
        state.set_rflags(rflags::kFixed1 | (ac ? rflags::kAc : 0));
        mode_changed(cpu());
    }

    // One access as an instruction makes it, at the privilege set.
    AccessResult access(Access kind) {
        const u64 linear = shape_.linear;
        Status status = Status::Next;
        u8 byte = 0;
        CodePage page;
        switch (kind) {
        case Access::Read: status = load_linear(cpu(), linear, byte); break;
        case Access::Write: status = store_linear(cpu(), linear, byte); break;
        case Access::Execute: status = fetch_page(cpu(), linear, page); break;
        }
        if (status == Status::Next) {
            return {};
        }
        const bool page_fault =
            cpu().fault.vector == static_cast<u8>(Exception::PF) && cpu().fault.payload == linear;
        REQUIRE(page_fault);
        return {true, cpu().fault.error_code};
    }

    // Where the page lies in RAM.
    u64 frame() const { return 0x60'0000 & ~((u64{1} << shape_.page_shift()) - 1); }
    u64 physical() const {
        return frame() + (shape_.linear & ((u64{1} << shape_.page_shift()) - 1));
    }

    // Where the entry of a level lies.
    u64 slot_of(unsigned level) const {
        const unsigned shift = 12 + (level - 1) * shape_.index_bits();
        const u64 index = (shape_.linear >> shift) & ((u64{1} << shape_.index_bits()) - 1);
        return table(level) + index * (shape_.wide() ? 8 : 4);
    }
    static u64 table(unsigned level) { return kTables + (level - 1) * kPageBytes; }

  private:
    TestMachine machine_;
    PagingShape shape_ = kPagingShapes[4];
};

}  // namespace droste::test
