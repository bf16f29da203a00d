#pragma once
// Where accesses of translated code went last (docs/jit/memory.md): a check against that is half as
// long as a look into the TLB, and the address that it leads to does not wait for it.
//
// Each site of an access has a slot of its own, by its number, in every address space and privilege
// level: what runs in another address space leaves it alone, and a switch costs nothing. Kernels run
// the same code for all their tasks; slots that are cleared at a switch hit in 38 to 62 % of their
// accesses.
//
// A slot holds a page, or several in a row that lie so in native memory as well. Translated code
// fills it with a page from the data TLB; after some misses the engine adds what the TLB has on
// either side. After translations were dropped (TlbContext::data_epochs) a slot is kept if the TLB
// still has what it says.
//
// No slot is filled while RFLAGS.AC lifts SMAP: what is reached then may be out of reach behind
// CLAC. What was filled before is in reach then, too, so one table serves both.

#include "core/types.hpp"
#include "cpu/x86/mmu/tlb.hpp"

#include <array>
#include <cstddef>

namespace droste::jit {

class PageSlots {
  public:
    // All zero they are empty, so that their pages are not touched before they are used.
    static constexpr unsigned kSlots = 8192;  // even numbers for reads, odd ones for writes
    struct Slot {
        u64 first;   // linear address of its first page
        u64 addend;  // native address = linear address + addend
        u64 room;    // an access may begin so far from `first`, but for the end; 0: it is empty
    };

    void clear();
    bool up_to_date(const TlbContext& context) const { return epochs_ == context.data_epochs; }
    // Brings them up to date with the data table that they were filled from.
    void catch_up(const TlbContext& context, const DataTlb& table) {
        if (!up_to_date(context)) [[unlikely]] {
            // Translations of low addresses alone may have gone; a kernel's reach none.
            if (epochs_.upper != context.data_epochs.upper || addresses_ >> 63 == 0) {
                keep_what_is_in(table);
            }
            epochs_ = context.data_epochs;
        }
    }
    // The slot has missed kPatience times: it takes in neighbors of its page. False: it has none.
    static constexpr unsigned kPatience = 32;
    static constexpr u8 kImpatience = 256 / kPatience;  // of each miss; the sum is 0 again then
    bool grow(unsigned slot, const DataTlb& table);

    // Where translated code finds them.
    static constexpr i32 first_of(unsigned slot) {
        return static_cast<i32>(slot * sizeof(Slot) + offsetof(Slot, first));
    }
    static constexpr i32 addend_of(unsigned slot) {
        return static_cast<i32>(slot * sizeof(Slot) + offsetof(Slot, addend));
    }
    static constexpr i32 room_of(unsigned slot) {
        return static_cast<i32>(slot * sizeof(Slot) + offsetof(Slot, room));
    }
    static constexpr i32 pages_of(unsigned slot) {
        return static_cast<i32>(kSlots * sizeof(Slot) + slot);
    }
    // kImpatience for each miss since the last call of grow().
    static constexpr i32 impatience_of(unsigned slot) {
        return static_cast<i32>(kSlots * (sizeof(Slot) + 1) + slot);
    }
    static constexpr i32 filled_byte(unsigned slot) {
        return static_cast<i32>(kSlots * (sizeof(Slot) + 2) + slot / 8);
    }
    // What all pages that slots were filled with since the last look have in common, by AND.
    static constexpr i32 kAddresses = static_cast<i32>(kSlots * (sizeof(Slot) + 2) + kSlots / 8);

  private:
    static constexpr unsigned kMostPages = 64;

    static constexpr void check_offsets() {
        static_assert(offsetof(PageSlots, slots_) == 0);
        static_assert(offsetof(PageSlots, pages_) == pages_of(0));
        static_assert(offsetof(PageSlots, impatience_) == impatience_of(0));
        static_assert(offsetof(PageSlots, filled_) == filled_byte(0));
        static_assert(offsetof(PageSlots, addresses_) == kAddresses);
    }
    void keep_what_is_in(const DataTlb& table);

    std::array<Slot, kSlots> slots_;
    std::array<u8, kSlots> pages_;
    std::array<u8, kSlots> impatience_;
    std::array<u8, kSlots / 8> filled_;
    u64 addresses_;
    HalfEpochs epochs_;  // TlbContext::data_epochs they are up to date with
};

// Hands out the numbers of slots. When all are taken sites share them that ask for the same number
// of bytes, which a slot's `room` depends on, and the same right. What a number is for never
// changes, so none need be given back with the code that has it.
class SlotNumbers {
  public:
    static constexpr unsigned kMostBytes = 2048;
    static constexpr unsigned kNone = ~0U;

    // For accesses of so many bytes; kNone if there is none of the kind.
    unsigned next(unsigned bytes, bool write);
    // So many bytes a slot reckons with.
    static constexpr unsigned counted_bytes(unsigned bytes) {
        return bytes <= 2 ? bytes : (bytes + 3) & ~3U;
    }
    // PageSlots::Slot::room of one page.
    static constexpr u32 room(unsigned bytes) {
        return static_cast<u32>(kPageBytes) + 1 - counted_bytes(bytes);
    }

  private:
    static constexpr unsigned kRow = 16;
    static constexpr unsigned kKinds = kMostBytes / 4 + 2;
    // Where the next number of a kind and right is: in a row of its kind.
    struct Cursor {
        u16 row = 0;
        u16 used = kRow;
    };

    u16 row_behind(u16 row, u16 kind);

    std::array<std::array<Cursor, 2>, kKinds> cursors_{};
    std::array<u16, PageSlots::kSlots / kRow> kinds_{};
    u16 rows_ = 1;  // that are taken; the first is nobody's
};

}  // namespace droste::jit
