#include "cpu/x86/mmu/tlb.hpp"

#include "core/bits.hpp"
#include "core/guest_memory.hpp"
#include "core/log.hpp"
#include "cpu/x86/vcpu.hpp"

#include <algorithm>
#include <bit>

namespace droste {

namespace {

// How many pages that became code a context catches up with one by one; beyond that it drops all
// write tags.
constexpr std::size_t kCodeLogLimit = 32;

constexpr u64 kCr0Key = cr0::kPg | cr0::kWp;
constexpr u64 kCr4Key = cr4::kPae | cr4::kPse | cr4::kLa57 | cr4::kSmep | cr4::kSmap | cr4::kPke;
constexpr u64 kEferKey = efer::kNxe | efer::kLma;

AddressSpaceKey current_key(const Vcpu& cpu) {
    const CpuState& s = cpu.state;
    AddressSpaceKey key;
    key.vpid = cpu.vpid;
    key.ept_root = cpu.ept_root;
    // The bits lie apart in the three registers: PG 31, WP 16 | PSE 4, PAE 5, LA57 12, SMEP.. 20-22
    // | NXE 11, LMA 10.
    key.mode = static_cast<u32>((s.cr0 & kCr0Key) | (s.cr4 & kCr4Key) | (s.efer & kEferKey));
    if ((s.cr0 & cr0::kPg) != 0) {
        if ((s.cr4 & cr4::kPcide) != 0) {
            key.pcid = static_cast<u16>(s.cr3 & 0xFFF);
        } else {
            key.root = s.cr3 & ~u64{0x1F};
        }
    }
    return key;
}

// Visits the entries of `tables` that may hold a tag. `visit` says whether the entry still may.
template <typename Tables, typename Filled, typename Visit>
void visit_filled(Tables& tables, Filled& filled, Visit visit) {
    for (std::size_t t = 0; t < tables.size(); ++t) {
        for (std::size_t word = 0; word < filled[t].size(); ++word) {
            for (u64 pending = filled[t][word]; pending != 0; pending &= pending - 1) {
                const auto index = static_cast<unsigned>(std::countr_zero(pending));
                if (!visit(tables[t][word * 64 + index])) {
                    filled[t][word] &= ~bit(index);
                }
            }
        }
    }
}

template <typename Visit>
void visit_filled_data(TlbContext& context, Visit visit) {
    visit_filled(context.data, context.data_filled, visit);
    visit_filled(context.shadow, context.shadow_filled, visit);
}

void drop(TlbEntry& entry) {
    entry.read_tag = kNoTag;
    entry.write_tag = kNoTag;
}

void drop(CodeTlbEntry& entry) {
    entry.tag = kNoTag;
}

}  // namespace

Tlb::Tlb() {
    contexts_.push_back(std::make_unique<TlbContext>());
    current_ = contexts_.front().get();
    code_log_.reserve(kCodeLogLimit);
}

void Tlb::activate(Vcpu& cpu) {
    const AddressSpaceKey key = current_key(cpu);
    ++generation_;
    ++cpu.counters.context_switches;
    if (!current_->used || !(current_->key == key)) {
        TlbContext* found = nullptr;
        TlbContext* oldest = nullptr;
        for (const auto& context : contexts_) {
            if (context->used && context->key == key) {
                found = context.get();
                break;
            }
            if (oldest == nullptr || !context->used ||
                (oldest->used && context->last_use < oldest->last_use)) {
                oldest = context.get();
            }
        }
        if (found == nullptr) {
            if (contexts_.size() < kMaxContexts && oldest->used) {
                contexts_.push_back(std::make_unique<TlbContext>());
                oldest = contexts_.back().get();
            }
            flush_context(*oldest, false);
            oldest->used = true;
            oldest->key = key;
            oldest->code_generation = code_generation_;
            found = oldest;
        }
        current_ = found;
    }
    current_->last_use = ++use_counter_;
    drop_stale_write_tags(*current_);
    mode_changed(cpu);  // data_tlb points into the context
}

void Tlb::flush_context(TlbContext& context, bool keep_global) {
    const auto flush = [keep_global](auto& entry) {
        const bool keep = keep_global && (entry.page & 1) != 0;
        if (!keep) {
            drop(entry);
        }
        return keep;
    };
    visit_filled_data(context, flush);
    visit_filled(context.code, context.code_filled, flush);
    if (!keep_global) {
        context.large_first = ~u64{0};
        context.large_last = 0;
    }
}

void Tlb::flush_all(Vcpu& cpu) {
    ++cpu.counters.tlb_flushes;
    cpu.log.write(LogCategory::Mmu, "vCPU {}: TLB: everything flushed", cpu.index);
    flush_matching([](const AddressSpaceKey&) { return true; });
}

void Tlb::flush_current(bool keep_global) {
    flush_context(*current_, keep_global);
    ++generation_;
}

namespace {

// INVLPG inside a large page must drop every fragment of it. Which size it had is not recorded: all
// large-page fragments of the same GiB go.
void drop_large_fragments(TlbContext& context, u64 linear) {
    const auto in_same_gib = [linear](u64 tag) { return tag >> 30 == linear >> 30; };
    visit_filled_data(context, [&](TlbEntry& entry) {
        const u64 tag = entry.read_tag != kNoTag ? entry.read_tag : entry.write_tag;
        const bool keep = (entry.page & 2) == 0 || !in_same_gib(tag);
        if (!keep) {
            drop(entry);
        }
        return keep;
    });
    visit_filled(context.code, context.code_filled, [&](CodeTlbEntry& entry) {
        const bool keep = (entry.page & 2) == 0 || !in_same_gib(entry.tag);
        if (!keep) {
            drop(entry);
        }
        return keep;
    });
}

}  // namespace

void Tlb::drop_page(TlbContext& context, u64 linear, bool only_global) {
    const u64 page = linear & kPageMask;
    if (linear >= context.large_first && linear <= context.large_last) {
        drop_large_fragments(context, linear);
    }
    const auto drop_from = [&](auto& tables) {
        for (auto& table : tables) {
            TlbEntry& entry = table[(linear >> kPageShift) % table.size()];
            if ((entry.read_tag == page || entry.write_tag == page) &&
                (!only_global || (entry.page & 1) != 0)) {
                drop(entry);
            }
        }
    };
    drop_from(context.data);
    drop_from(context.shadow);
    for (auto& table : context.code) {
        CodeTlbEntry& entry = table[(linear >> kPageShift) % TlbContext::kCodeEntries];
        if (entry.tag == page && (!only_global || (entry.page & 1) != 0)) {
            drop(entry);
        }
    }
}

void Tlb::flush_page(Vcpu& cpu, u64 linear) {
    cpu.log.write(LogCategory::Mmu, "vCPU {}: TLB: page {:#x} flushed", cpu.index,
                  linear & kPageMask);
    // "INVLPG also invalidates any global TLB entries with that page number, regardless of PCID"
    // (SDM Vol. 3A, "Operations that Invalidate TLBs and Paging-Structure Caches"); the
    // paging-structure caches hold nothing here.
    for (const auto& context : contexts_) {
        if (!context->used || context->key.vpid != cpu.vpid ||
            context->key.ept_root != cpu.ept_root) {
            continue;
        }
        const bool only_global =
            context.get() != current_ && context->key.pcid != current_->key.pcid;
        drop_page(*context, linear, only_global);
    }
    ++generation_;
}

void Tlb::flush_pcid(Vcpu& cpu, u16 pcid, bool keep_global) {
    cpu.log.write(LogCategory::Mmu, "vCPU {}: TLB: PCID {:#x} flushed{}", cpu.index, pcid,
                  keep_global ? " but for global pages" : "");
    for (const auto& context : contexts_) {
        if (context->used && context->key.vpid == cpu.vpid &&
            context->key.ept_root == cpu.ept_root && context->key.pcid == pcid) {
            flush_context(*context, keep_global);
        }
    }
    ++generation_;
}

void Tlb::flush_page_of_pcid(Vcpu& cpu, u16 pcid, u64 linear) {
    cpu.log.write(LogCategory::Mmu, "vCPU {}: TLB: page {:#x} of PCID {:#x} flushed", cpu.index,
                  linear & kPageMask, pcid);
    for (const auto& context : contexts_) {
        if (context->used && context->key.vpid == cpu.vpid &&
            context->key.ept_root == cpu.ept_root && context->key.pcid == pcid) {
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

namespace {

void drop_write_tags_of(TlbContext& context, PhysAddr page) {
    visit_filled_data(context, [page](TlbEntry& entry) {
        if ((entry.page & kPageMask) == page) {
            entry.write_tag = kNoTag;
        }
        return true;
    });
}

void drop_all_write_tags(TlbContext& context) {
    visit_filled_data(context, [](TlbEntry& entry) {
        entry.write_tag = kNoTag;
        return true;
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
}

void Tlb::layout_changed() {
    flush_matching([](const AddressSpaceKey&) { return true; });
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
