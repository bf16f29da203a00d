#include "cpu/x86/mmu/tlb.hpp"

#include "core/bits.hpp"
#include "core/guest_memory.hpp"
#include "core/log.hpp"
#include "cpu/x86/mmu/paging.hpp"
#include "cpu/x86/vcpu.hpp"

#include <algorithm>

namespace droste {

namespace {

// How many pages that became code a context catches up with one by one; beyond that it drops all
// write tags.
constexpr std::size_t kCodeLogLimit = 32;

constexpr u64 kCr0Key = cr0::kPg | cr0::kWp;
constexpr u64 kCr4Key =
    cr4::kPae | cr4::kPse | cr4::kLa57 | cr4::kPcide | cr4::kSmep | cr4::kSmap | cr4::kPke;
constexpr u64 kEferKey = efer::kNxe | efer::kLma;

constexpr u64 kPcidBits = 0xFFF;

// What names an address space: with PCIDs the PCID, with paging alone CR3 (PAE's table lies on 32
// bytes), without paging nothing.
u64 space_mask(const CpuState& s) {
    if ((s.cr0 & cr0::kPg) == 0) {
        return 0;
    }
    return (s.cr4 & cr4::kPcide) != 0 ? kPcidBits : ~u64{0x1F};
}

AddressSpaceKey current_key(const Vcpu& cpu) {
    const CpuState& s = cpu.state;
    const u64 mask = space_mask(s);
    AddressSpaceKey key;
    key.vpid = cpu.non_root.vpid;
    key.ept_root = cpu.non_root.ept_root;
    // The bits lie apart in the three registers: PG 31, WP 16 | PSE 4, PAE 5, LA57 12, PCIDE 17,
    // SMEP.. 20-22 | NXE 11, LMA 10.
    key.mode = static_cast<u32>((s.cr0 & kCr0Key) | (s.cr4 & kCr4Key) | (s.efer & kEferKey));
    if (mask == kPcidBits) {
        key.pcid = static_cast<u16>(s.cr3 & mask);
    } else {
        key.root = s.cr3 & mask;
    }
    return key;
}

AddressSpaceKey family_key(AddressSpaceKey key) {
    key.root = 0;
    key.pcid = 0;
    return key;
}

}  // namespace

Tlb::Tlb() {
    // Of no address space: its first activation looks for one.
    families_.push_back(std::make_unique<TlbFamily>());
    contexts_.push_back(std::make_unique<TlbContext>());
    current_ = contexts_.front().get();
    current_->family = families_.front().get();
    walks.renew(current_->walks, false);
    code_log_.reserve(kCodeLogLimit);
}

void Tlb::activate(Vcpu& cpu) {
    const AddressSpaceKey key = current_key(cpu);
    ++cpu.counters.context_switches;
    TlbContext* context = current_;
    if (!context->used || !(context->key == key)) {
        TlbFamily& family = family_of(key, space_mask(cpu.state));
        context = &context_of(family, key, cpu.state.cr3 & family.space_mask);
    }
    make_current(*context);
    catch_up(*context);
    mode_changed(cpu);  // data_tlb points into the context
}

// A family without members serves the next one: there are never more than contexts.
TlbFamily& Tlb::family_of(const AddressSpaceKey& key, u64 mask) {
    const AddressSpaceKey wanted = family_key(key);
    TlbFamily* room = nullptr;
    for (const auto& family : families_) {
        if (family->members == 0) {
            room = family.get();
        } else if (family->key == wanted) {
            return *family;
        }
    }
    if (room == nullptr) {
        families_.push_back(std::make_unique<TlbFamily>());
        room = families_.back().get();
    }
    *room = {};
    room->key = wanted;
    room->space_mask = mask;
    return *room;
}

TlbContext& Tlb::context_of(TlbFamily& family, const AddressSpaceKey& key, u64 space) {
    for (TlbContext* member = family.first; member != nullptr; member = member->next_in_family) {
        if (member->space == space) {
            family.slot(space) = member;
            return *member;
        }
    }
    TlbContext& context = room_for_context();
    context.used = true;
    context.key = key;
    context.space = space;
    context.code_generation = code_generation_;
    context.epoch = epoch_;
    context.family = &family;
    context.next_in_family = family.first;
    family.first = &context;
    ++family.members;
    family.slot(space) = &context;
    return context;
}

// An empty context: a new one, or the one that was not used for the longest time.
TlbContext& Tlb::room_for_context() {
    TlbContext* oldest = nullptr;
    for (const auto& context : contexts_) {
        if (oldest == nullptr || !context->used ||
            (oldest->used && context->last_use < oldest->last_use)) {
            oldest = context.get();
        }
    }
    if (!oldest->used) {
        return *oldest;
    }
    if (contexts_.size() < kMaxContexts) {
        contexts_.push_back(std::make_unique<TlbContext>());
        contexts_.back()->walks.spread = contexts_.size();
        walks.renew(contexts_.back()->walks, false);
        return *contexts_.back();
    }
    leave_family(*oldest);
    flush_context(*oldest, false);
    ++epoch_;
    return *oldest;
}

void Tlb::leave_family(TlbContext& context) {
    TlbFamily& family = *context.family;
    TlbContext** link = &family.first;
    while (*link != &context) {
        link = &(*link)->next_in_family;
    }
    *link = context.next_in_family;
    --family.members;
    if (TlbContext*& slot = family.slot(context.space); slot == &context) {
        slot = nullptr;
    }
}

void Tlb::catch_up(TlbContext& context) {
    if (context.epoch == epoch_) {
        return;
    }
    if (invalidations_.last_complete(context.key) > context.epoch) {
        flush_context(context, false);
    } else if (Invalidations::at(invalidations_.space, Invalidations::space_name(context.key)) >
               context.epoch) {
        flush_context(context, true);
    }
    drop_stale_write_tags(context);
    context.epoch = epoch_;
}

// The address space may have several contexts: under another CR0.WP or EFER.NXE, or another EP4TA.
u64 Tlb::Invalidations::space_name(const AddressSpaceKey& key) {
    const u64 page = key.root >> kPageShift;
    return (page ^ page >> 8 ^ page >> 16) + key.pcid + (key.pcid >> 11) * u64{29} +
           key.vpid * u64{37};
}

u64 Tlb::Invalidations::last_complete(const AddressSpaceKey& key) const {
    u64 last = std::max(all, vpid[key.vpid % kSlots]);
    if (key.vpid != 0) {
        last = std::max(last, all_vpids);
    }
    if (key.ept_root != 0) {
        last = std::max({last, all_ep4tas, ep4ta[(key.ept_root >> kPageShift) % kSlots]});
    }
    return last;
}

// Something was invalidated, and this is where the epoch of it is kept.
void Tlb::invalidated(u64& at_epoch) {
    at_epoch = ++epoch_;
    catch_up(*current_);
    ++generation_;
}

bool Tlb::is_current(const Vcpu& cpu) const {
    return current_->used && current_->key == current_key(cpu);
}

bool TlbContext::executes_global_page(LinearAddr linear) const {
    return std::any_of(code.begin(), code.end(), [linear](const CodeTlb& table) {
        const CodeTlbEntry& entry = table.at(linear);
        return entry.tag == (linear & kPageMask) && (entry.page & tlb_mark::kGlobal) != 0;
    });
}

void Tlb::flush_context(TlbContext& context, bool keep_global) {
    const auto kept = [keep_global](u64 page) {
        return keep_global && (page & tlb_mark::kGlobal) != 0;
    };
    context.for_each_data_table([&](auto& table) {
        table.visit_filled([&](unsigned entry) {
            const bool keep = kept(table.page(entry));
            if (!keep) {
                table.drop(entry);
            }
            return keep;
        });
    });
    if (keep_global) {
        context.local_code_pages_changed();
    } else {
        context.code_pages_changed();
    }
    context.data_pages_changed();
    for (CodeTlb& table : context.code) {
        visit_bits(table.filled, [&](unsigned index) {
            const bool keep = kept(table.entries[index].page);
            if (!keep) {
                table.entries[index].tag = kNoTag;
            }
            return keep;
        });
    }
    walks.renew(context.walks, keep_global);
    if (!keep_global) {
        context.large_first = ~u64{0};
        context.large_last = 0;
        context.protection_keys = 0;
    }
}

void Tlb::flush_all(Vcpu& cpu) {
    ++cpu.counters.tlb_flushes;
    cpu.log.write(LogCategory::Mmu, "vCPU {}: TLB: everything flushed", cpu.index);
    invalidated(invalidations_.all);
}

void Tlb::flush_current(bool keep_global) {
    const AddressSpaceKey& key = current_->key;
    if (!keep_global) {
        flush_vpid(key.vpid);  // more than asked for
        return;
    }
    invalidated(Invalidations::at(invalidations_.space, Invalidations::space_name(key)));
}

void Tlb::flush_ep4ta(u64 ep4ta) {
    invalidated(Invalidations::at(invalidations_.ep4ta, ep4ta >> kPageShift));
}

void Tlb::flush_all_ep4tas() {
    invalidated(invalidations_.all_ep4tas);
}

void Tlb::flush_vpid(u16 vpid) {
    invalidated(Invalidations::at(invalidations_.vpid, vpid));
}

void Tlb::flush_all_vpids() {
    invalidated(invalidations_.all_vpids);
}

namespace {

// INVLPG inside a large page must drop every fragment of it. Which size it had is not recorded: all
// large-page fragments of the same GiB go.
void drop_large_fragments(TlbContext& context, u64 linear) {
    const auto kept = [linear](u64 tag, u64 page) {
        return (page & tlb_mark::kLarge) == 0 || tag >> 30 != linear >> 30;
    };
    context.for_each_data_table([&](auto& table) {
        table.visit_filled([&](unsigned entry) {
            const bool keep = kept(table.read_tag(entry), table.page(entry));
            if (!keep) {
                table.drop(entry);
            }
            return keep;
        });
    });
    for (CodeTlb& table : context.code) {
        visit_bits(table.filled, [&](unsigned index) {
            CodeTlbEntry& entry = table.entries[index];
            const bool keep = kept(entry.tag, entry.page);
            if (!keep) {
                entry.tag = kNoTag;
            }
            return keep;
        });
    }
}

}  // namespace

void Tlb::drop_page(TlbContext& context, u64 linear, bool only_global) {
    const u64 page = linear & kPageMask;
    const bool large = linear >= context.large_first && linear <= context.large_last;
    if (large) {
        drop_large_fragments(context, linear);
        walks.renew(context.walks, false);
    } else {
        walks.drop(context.walks, linear, only_global);
    }
    if (!only_global) {
        walks.renew_structures(context.walks);
    }
    if (large) {
        context.data_pages_changed();
    } else {
        context.data_page_changed(linear);
    }
    if (large || context.may_execute_page(linear)) {
        context.code_pages_changed();
    }
    const auto concerned = [&](u64 tag, u64 entry_page) {
        return tag == page && (!only_global || (entry_page & tlb_mark::kGlobal) != 0);
    };
    context.for_each_data_table([&](auto& table) {
        const unsigned entry = table.index(linear);
        if (concerned(table.read_tag(entry), table.page(entry))) {
            table.drop(entry);
        }
    });
    for (CodeTlb& table : context.code) {
        if (CodeTlbEntry& entry = table.at(linear); concerned(entry.tag, entry.page)) {
            entry.tag = kNoTag;
        }
    }
}

void Tlb::flush_page(Vcpu& cpu, u64 linear) {
    cpu.log.write(LogCategory::Mmu, "vCPU {}: TLB: page {:#x} flushed", cpu.index,
                  linear & kPageMask);
    // "INVLPG also invalidates any global TLB entries with that page number, regardless of PCID",
    // and of the paging-structure caches "all entries ... associated with the current PCID" (SDM
    // Vol. 3A, "Operations that Invalidate TLBs and Paging-Structure Caches").
    for (const auto& context : contexts_) {
        if (context->used && context->key.vpid == cpu.non_root.vpid) {
            drop_page(*context, linear, context->key.pcid != current_->key.pcid);
        }
    }
    ++generation_;
}

void Tlb::flush_pcid(Vcpu& cpu, u16 pcid) {
    cpu.log.write(LogCategory::Mmu, "vCPU {}: TLB: PCID {:#x} flushed but for global pages",
                  cpu.index, pcid);
    if ((cpu.state.cr4 & cr4::kPcide) == 0) {
        flush_vpid(cpu.non_root.vpid);  // every address space has PCID 000H then
        return;
    }
    AddressSpaceKey key;
    key.vpid = cpu.non_root.vpid;
    key.pcid = pcid;
    invalidated(Invalidations::at(invalidations_.space, Invalidations::space_name(key)));
}

void Tlb::flush_page_of_pcid(Vcpu& cpu, u16 pcid, u64 linear) {
    cpu.log.write(LogCategory::Mmu, "vCPU {}: TLB: page {:#x} of PCID {:#x} flushed", cpu.index,
                  linear & kPageMask, pcid);
    for (const auto& context : contexts_) {
        if (context->used && context->key.vpid == cpu.non_root.vpid && context->key.pcid == pcid) {
            drop_page(*context, linear, false);
        }
    }
    ++generation_;
}

void Tlb::flush_page_of_vpid(u16 vpid, u64 linear) {
    for (const auto& context : contexts_) {
        if (context->used && context->key.vpid == vpid) {
            drop_page(*context, linear, false);
        }
    }
    ++generation_;
}

void Tlb::protection_keys_changed(Vcpu& cpu, u32 changed) {
    u16 keys = 0;
    for (unsigned key = 0; key < 16; ++key) {
        keys |= (changed >> 2 * key & 3) != 0 ? static_cast<u16>(1U << key) : u16{0};
    }
    for (const auto& context : contexts_) {
        if (!context->used || (context->key.mode & cr4::kPke) == 0 ||
            (context->protection_keys & keys) == 0) {
            continue;
        }
        context->data_pages_changed();
        context->for_each_data_table([&](auto& table) {
            table.visit_filled([&](unsigned entry) {
                const u64 page = table.page(entry);
                const auto key =
                    static_cast<unsigned>(bits(page, tlb_mark::kKeyShift, tlb_mark::kKeyShift + 3));
                const bool keep = (page & tlb_mark::kUser) == 0 || !test_bit(keys, key);
                if (!keep && !table.empty(entry)) {
                    table.drop(entry);
                    ++cpu.counters.tlb_key_drops;
                }
                return keep;
            });
        });
        context->protection_keys = static_cast<u16>(context->protection_keys & ~keys);
    }
    ++generation_;
}

void write_pkru(Vcpu& cpu, u32 value) {
    const u32 changed = cpu.state.pkru ^ value;
    cpu.state.pkru = value;
    if (changed != 0) {
        cpu.tlb.protection_keys_changed(cpu, changed);
    }
}

namespace {

void drop_write_tags_of(TlbContext& context, PhysAddr page) {
    context.data_pages_changed();
    context.for_each_data_table([&](auto& table) {
        table.visit_filled([&](unsigned entry) {
            if ((table.page(entry) & kPageMask) == page) {
                table.drop_write(entry);
            }
            return true;
        });
    });
}

void drop_all_write_tags(TlbContext& context) {
    context.data_pages_changed();
    context.for_each_data_table([](auto& table) {
        table.visit_filled([&](unsigned entry) {
            table.drop_write(entry);
            return true;
        });
    });
}

}  // namespace

void Tlb::page_became_code(PhysAddr page) {
    drop_write_tags_of(*current_, page);
    if (code_log_.size() == kCodeLogLimit) {
        code_log_.erase(code_log_.begin());
    }
    code_log_.push_back(page);
    ++code_generation_;
    current_->code_generation = code_generation_;
    current_->epoch = ++epoch_;
    ++generation_;
}

void Tlb::layout_changed() {
    invalidated(invalidations_.all);
}

void Tlb::drop_stale_write_tags(TlbContext& context) {
    const u64 behind = code_generation_ - context.code_generation;
    if (behind > code_log_.size()) {
        drop_all_write_tags(context);
    } else {
        for (u64 i = code_log_.size() - behind; i < code_log_.size(); ++i) {
            drop_write_tags_of(context, code_log_[i]);
        }
    }
    context.code_generation = code_generation_;
}

}  // namespace droste
