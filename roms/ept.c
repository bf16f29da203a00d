// EPT: building one, walking the one a child built, and composing both.
// SDM Vol. 3C, "The Extended Page Table Mechanism (EPT)".
//
// A child's EPT translates the grandchild's physical addresses to the child's; own_ept translates the
// child's to ours. What the processor needs for running the grandchild is the product. It is made at once
// when a 02 is set up, so that a running grandchild causes no violations that are only ours; an entry the
// child adds later is found by the violation it causes (nested_entry.c), one it takes away by its INVEPT.
// Only 4 KiB and 2 MiB pages occur: EPT_VPID_CAP offers nothing else.
#include "vmx.h"

enum { kEptLarge = 1 << 7, kEptWriteBack = 6 << 3, kEptWalkLength4 = 3 << 3, kEntries = 512 };
#define EPT_ADDRESS 0x000FFFFFFFFFF000ULL

static u64* new_table(struct Ept* ept) {
    if (ept->pages_used == kEptTablePages) {
        fatal("an EPT needs more than %u tables", kEptTablePages);
    }
    u64** slot = &ept->page[ept->pages_used++];
    if (*slot == NULL) {
        *slot = allocate_page();
    } else {
        zero_bytes(*slot, kPageBytes);
    }
    return *slot;
}

void ept_clear(struct Ept* ept) {
    ept->pages_used = 0;
    new_table(ept);
}

u64 ept_pointer(const struct Ept* ept) { return (u64)(uintptr_t)ept->page[0] | kEptWalkLength4 | 6; }

bool ept_pointer_valid(u64 eptp) {
    const u64 type = eptp & 7;
    return type == 6 && (eptp & 0xFF8 & ~(u64)kEptWalkLength4) == 0 && (eptp & kEptWalkLength4) == kEptWalkLength4 &&
           child_memory(eptp & EPT_ADDRESS, kPageBytes) != NULL;
}

static u32 index_at(u64 address, u32 shift) { return (u32)(address >> shift) & (kEntries - 1); }

void ept_map(struct Ept* ept, u64 from, u64 to, u64 bytes, u32 access) {
    u64* table = ept->page[0];
    const u32 last_shift = bytes == kPageBytes ? 12 : 21;
    for (u32 shift = 39; shift > last_shift; shift -= 9) {
        u64* entry = &table[index_at(from, shift)];
        if ((*entry & kEptAll) == 0 || (*entry & kEptLarge) != 0) {
            *entry = (u64)(uintptr_t)new_table(ept) | kEptAll;
        }
        table = (u64*)(uintptr_t)(*entry & EPT_ADDRESS);
    }
    table[index_at(from, last_shift)] = to | kEptWriteBack | access | (bytes == kPageBytes ? 0 : kEptLarge);
}

static bool misconfigured(u64 entry, u32 shift) {
    const u32 access = entry & kEptAll;
    if (access == kEptWrite || access == (kEptWrite | kEptExecute) || access == kEptExecute) {
        return true;  // EPT_VPID_CAP offers no execute-only pages
    }
    if ((entry & 0x000FC00000000000ULL) != 0) {
        return true;  // beyond any physical-address width we can be given
    }
    if (shift == 39) {
        return (entry & 0xF8) != 0;
    }
    if (shift == 30 || (shift == 21 && (entry & kEptLarge) == 0)) {
        return (entry & 0xF8) != 0;
    }
    const u64 type = entry >> 3 & 7;
    return type == 2 || type == 3 || type == 7 || (shift == 21 && (entry & 0x1FF000) != 0);
}

// The walk proper. Tables are at `translate(entry)`: in the child's memory, or in ours.
static struct Translation walk(const u64* table, u64 address, bool in_child) {
    struct Translation result = {.access = kEptAll};
    for (u32 shift = 39;; shift -= 9) {
        const u64 entry = table[index_at(address, shift)];
        const u32 access = entry & kEptAll;
        result.access &= access;
        if (access == 0) {
            result.access = 0;
            return result;
        }
        if (in_child && misconfigured(entry, shift)) {
            return (struct Translation){.misconfigured = true};
        }
        if (shift == 12 || (shift == 21 && (entry & kEptLarge) != 0)) {
            result.bytes = 1ULL << shift;
            result.address = (entry & EPT_ADDRESS & ~(result.bytes - 1)) | (address & (result.bytes - 1));
            return result;
        }
        const u64 next = entry & EPT_ADDRESS;
        table = in_child ? child_memory(next, kPageBytes) : (const u64*)(uintptr_t)next;
        if (table == NULL) {
            return (struct Translation){.access = 0};
        }
    }
}

struct Translation ept_walk_child(u64 eptp, u64 address) {
    if (address >> 48 != 0) {
        return (struct Translation){.access = 0};
    }
    return walk(child_memory(eptp & EPT_ADDRESS, kPageBytes), address, true);
}

bool ept_compose_page(struct Ept* shadow, u64 address, const struct Translation* entry, u32 access) {
    const struct Translation own = walk(own_ept.page[0], entry->address, false);
    if (own.access == 0) {
        return false;
    }
    const u64 bytes = own.bytes < entry->bytes ? own.bytes : entry->bytes;
    ept_map(shadow, address & ~(bytes - 1), own.address & ~(bytes - 1), bytes, own.access & entry->access);
    return (own.access & entry->access & access) == access;
}

// Every leaf of the child's table `table`, which maps from `base` on with entries of 2^shift bytes.
static void compose_table(struct Ept* shadow, const u64* table, u64 base, u32 shift, u32 access) {
    if (table == NULL) {
        return;
    }
    for (u32 i = 0; i < kEntries; ++i) {
        const u64 entry = table[i];
        const u64 address = base + ((u64)i << shift);
        if ((entry & kEptAll) == 0 || misconfigured(entry, shift)) {
            continue;  // the grandchild's access exits, and the walk tells why
        }
        const u32 combined = access & entry & kEptAll;
        if (shift > 21 || (shift == 21 && (entry & kEptLarge) == 0)) {
            compose_table(shadow, child_memory(entry & EPT_ADDRESS, kPageBytes), address, shift - 9, combined);
            continue;
        }
        struct Translation leaf = {.bytes = 1ULL << shift, .access = combined};
        const u64 start_address = entry & EPT_ADDRESS & ~(leaf.bytes - 1);
        for (u64 done = 0; done < leaf.bytes;) {
            leaf.address = start_address + done;
            const struct Translation own = walk(own_ept.page[0], leaf.address, false);
            const u64 step = own.bytes != 0 && own.bytes < leaf.bytes ? own.bytes : leaf.bytes;
            ept_compose_page(shadow, address + done, &leaf, 0);
            done += own.access == 0 ? kPageBytes : step;
        }
    }
}

void ept_compose(struct Ept* shadow, u64 eptp) {
    ept_clear(shadow);
    compose_table(shadow, child_memory(eptp & EPT_ADDRESS, kPageBytes), 0, 39, kEptAll);
}
