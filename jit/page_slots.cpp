#include "jit/page_slots.hpp"

#include <bit>
#include <cstring>

namespace droste::jit {

namespace {

// Whether the page is there for what the slot is for, at that addend.
bool has(const DataTlb& table, unsigned slot, u64 page, u64 addend) {
    const unsigned entry = DataTlb::index(page);
    const u64 tag = slot % 2 != 0 ? table.write_tag(entry) : table.read_tag(entry);
    return tag == page && table.addend(entry) == addend;
}

// An offset of 32 bits wraps at a multiple of it, and addresses do at 0.
bool wraps_at(u64 page) {
    return static_cast<u32>(page) == 0;
}

}  // namespace

void PageSlots::clear() {
    for (unsigned number = 0; number < kSlots; ++number) {
        if ((filled_[number / 8] >> number % 8 & 1) != 0) {
            slots_[number] = {};
        }
    }
    filled_.fill(0);
    addresses_ = ~u64{0};
}

void PageSlots::keep_what_is_in(const DataTlb& table) {
    addresses_ = ~u64{0};
    for (unsigned at = 0; at < filled_.size(); at += sizeof(u64)) {
        u64 filled = 0;
        std::memcpy(&filled, &filled_[at], sizeof(filled));
        u64 kept = filled;
        for (; filled != 0; filled &= filled - 1) {
            const auto bit = static_cast<unsigned>(std::countr_zero(filled));
            const unsigned number = at * 8 + bit;
            Slot& slot = slots_[number];
            bool keep = true;
            for (u64 i = 0; keep && i < pages_[number]; ++i) {
                keep = has(table, number, slot.first + i * kPageBytes, slot.addend);
            }
            if (keep) {
                addresses_ &= slot.first;
            } else {
                slot = {};
                kept &= ~(u64{1} << bit);
            }
        }
        std::memcpy(&filled_[at], &kept, sizeof(kept));
    }
}

bool PageSlots::grow(unsigned slot, const DataTlb& table) {
    if ((filled_[slot / 8] >> slot % 8 & 1) == 0) {
        return true;
    }
    Slot& s = slots_[slot];
    u8& pages = pages_[slot];
    const u8 before = pages;
    while (pages < kMostPages && !wraps_at(s.first) &&
           has(table, slot, s.first - kPageBytes, s.addend)) {
        s.first -= kPageBytes;
        s.room += kPageBytes;
        ++pages;
    }
    while (pages < kMostPages && !wraps_at(s.first + pages * kPageBytes) &&
           has(table, slot, s.first + pages * kPageBytes, s.addend)) {
        s.room += kPageBytes;
        ++pages;
    }
    addresses_ &= s.first;
    return pages != before;
}

// The kind's next row behind this one; a new one as long as there are any.
u16 SlotNumbers::row_behind(u16 row, u16 kind) {
    for (auto at = static_cast<u16>(row + 1); at < rows_; ++at) {
        if (kinds_[at] == kind) {
            return at;
        }
    }
    if (rows_ < kinds_.size()) {
        kinds_[rows_] = kind;
        return rows_++;
    }
    for (u16 at = 1; at <= row; ++at) {
        if (kinds_[at] == kind) {
            return at;
        }
    }
    return 0;
}

unsigned SlotNumbers::next(unsigned bytes, bool write) {
    if (bytes > kMostBytes) {
        return kNone;
    }
    const auto kind = static_cast<u16>(bytes <= 2 ? bytes - 1 : 1 + counted_bytes(bytes) / 4);
    Cursor& cursor = cursors_[kind][write ? 1 : 0];
    if (cursor.used == kRow) {
        cursor = {.row = row_behind(cursor.row, kind), .used = 0};
    }
    if (cursor.row == 0) {
        cursor.used = kRow;
        return kNone;
    }
    const unsigned number = cursor.row * kRow + cursor.used + (write ? 1U : 0U);
    cursor.used = static_cast<u16>(cursor.used + 2);
    return number;
}

}  // namespace droste::jit
