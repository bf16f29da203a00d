#include "jit/jump_tables.hpp"

#include "core/assert.hpp"
#include "cpu/x86/vcpu.hpp"

#include <memory>

namespace droste::jit {

namespace {

// Zeros that are not touched yet, aligned.
template <typename T>
T* untouched(void*& memory) {
    std::size_t room = sizeof(T) + alignof(T);
    memory = std::calloc(1, room);
    DROSTE_ASSERT(memory != nullptr);
    void* aligned = memory;
    return static_cast<T*>(std::align(alignof(T), sizeof(T), aligned, room));
}

// No address that is looked for in the row.
constexpr u64 empty_entry(unsigned index) {
    return JumpTable::row(index) == 0 ? kNoTag : 0;
}

}  // namespace

OwnedJumpTable::OwnedJumpTable(void*& owner) : owner_(&owner) {
    void* memory = nullptr;
    table_ = untouched<JumpTable>(memory);
    memory_.reset(memory);
    for (unsigned index = 0; index < JumpTable::kRow; ++index) {
        table_->entries[index].rip = empty_entry(index);
    }
}

void OwnedJumpTable::put(unsigned index, const JumpTable::Entry& entry) {
    JumpTable::Entry& at = table_->entries[index];
    if (at.rip == empty_entry(index)) {
        filled_.push_back(static_cast<u16>(index));
    }
    at = entry;
}

// An empty place in the row of that one; JumpTable::kEntries if there is none.
unsigned OwnedJumpTable::empty_in_row(unsigned index) const {
    for (unsigned i = 0; i < JumpTable::kRow; ++i) {
        if (table_->entries[index ^ i].rip == empty_entry(index)) {
            return index ^ i;
        }
    }
    return JumpTable::kEntries;
}

void OwnedJumpTable::fill(u64 rip, const u8* code) {
    const unsigned own = JumpTable::index(rip);
    has_lower_ = has_lower_ || rip >> 63 == 0;
    for (unsigned i = 0; i < JumpTable::kRow; ++i) {
        if (JumpTable::Entry& entry = table_->entries[own ^ i]; entry.rip == rip) {
            entry.code = code;
            return;
        }
    }
    // Whoever is there moves on; for the last one there is no room.
    unsigned other = empty_in_row(own);
    if (other == JumpTable::kEntries) {
        other = own ^ (1 + next_moved_++ % (JumpTable::kRow - 1));
    }
    if (other != own) {
        put(other, table_->entries[own]);
    }
    put(own, {rip, code});
}

void OwnedJumpTable::fill_if_empty(u64 rip, const u8* code) {
    const unsigned own = JumpTable::index(rip);
    if (find(rip) != nullptr) {
        return;
    }
    if (const unsigned empty = empty_in_row(own); empty != JumpTable::kEntries) {
        put(empty, {rip, code});
        has_lower_ = has_lower_ || rip >> 63 == 0;
    }
}

void OwnedJumpTable::clear() {
    for (const u16 index : filled_) {
        table_->entries[index].rip = empty_entry(index);
    }
    filled_.clear();
    pages_.fill(0);
    has_lower_ = false;
}

// A new one, or one that another address space has to do without from now on.
OwnedJumpTable& JumpTables::new_table(void*& owner) {
    constexpr std::size_t kBytes = sizeof(JumpTable) + JumpTable::kEntries * sizeof(u16);
    constexpr std::size_t kLeast = 2;
    if (tables_.size() < kLeast || code_.grants_jump_table(kBytes)) {
        tables_.push_back(std::make_unique<OwnedJumpTable>(owner));
        return *tables_.back();
    }
    OwnedJumpTable& taken = *tables_[next_taken_++ % tables_.size()];
    *taken.owner_ = nullptr;
    taken.owner_ = &owner;
    taken.key_ = 0;  // it is cleared before it is used
    taken.slots().clear();
    return taken;
}

OwnedJumpTable& JumpTables::current(Vcpu& cpu, u32 key) {
    TlbContext& context = cpu.tlb.current();
    void*& slot = context.jump_tables[place_of(cpu.mode.cpl)];
    if (slot == nullptr) {
        slot = &new_table(slot);
    }
    auto& table = *static_cast<OwnedJumpTable*>(slot);
    if (!holds(table, context, key)) {
        table.clear();
        ++clears_;
        table.execute_epochs_ = context.execute_epochs;
        table.code_epoch_ = code_.epoch();
        table.key_ = key;
    }
    return table;
}

OwnedJumpTable* JumpTables::other_level(const Vcpu& cpu, const TlbContext& context, u32 key) const {
    constexpr u32 kSameAtBoth = mode_key::kCodeBits | mode_key::kCet | mode_key::kAlignment;
    if ((key & kSameAtBoth) != 64) {
        return nullptr;
    }
    return up_to_date(context, cpu.mode.cpl == 3 ? 0 : 3, key ^ mode_key::kUser);
}

void KnownTargets::note(u64 rip, PhysAddr start, u32 key, const u8* code) {
    Page& page = pages_[index(rip, start)];
    if (!page.is(rip, start, key)) {
        page.linear = rip & kPageMask;
        page.physical = start & kPageMask;
        page.key = key;
        page.targets.clear();
    }
    const auto offset = static_cast<u16>(rip % kPageBytes);
    for (Target& target : page.targets) {
        if (target.offset == offset) {
            target.code = code;
            return;
        }
    }
    page.targets.push_back({offset, code});
}

const u8* KnownTargets::fill(OwnedJumpTable& jumps, u64 rip, PhysAddr start, u32 key) const {
    const Page& page = pages_[index(rip, start)];
    if (!page.is(rip, start, key)) {
        return nullptr;
    }
    const bool whole = jumps.first_of_page(rip);
    const u8* found = nullptr;
    for (const Target& target : page.targets) {
        const bool wanted = page.linear + target.offset == rip;
        if (wanted) {
            found = target.code;
            jumps.fill(rip, target.code);
        } else if (whole) {
            jumps.fill_if_empty(page.linear + target.offset, target.code);
        }
    }
    return found;
}

void KnownTargets::clear() {
    for (Page& page : pages_) {
        page = {};
    }
}

}  // namespace droste::jit
