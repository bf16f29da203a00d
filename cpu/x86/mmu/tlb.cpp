#include "cpu/x86/mmu/tlb.hpp"

#include "core/bits.hpp"
#include "core/guest_memory.hpp"
#include "core/log.hpp"
#include "cpu/x86/mmu/paging.hpp"
#include "cpu/x86/vcpu.hpp"

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
    key.vpid = cpu.non_root.vpid;
    key.ept_root = cpu.non_root.ept_root;
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

bool Tlb::is_current(const Vcpu& cpu) const {
    return current_->used && current_->key == current_key(cpu);
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
    context.code_pages_changed();
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
    if (!keep_global) {
        context.large_first = ~u64{0};
        context.large_last = 0;
        context.protection_keys = 0;
    }
}

void Tlb::flush_all(Vcpu& cpu) {
    ++cpu.counters.tlb_flushes;
    cpu.log.write(LogCategory::Mmu, "vCPU {}: TLB: everything flushed", cpu.index);
    flush_matching([](const AddressSpaceKey&) { return true; });
}

void Tlb::flush_current(bool keep_global) {
    // The address space may have contexts besides the current one: under another CR0.WP or
    // EFER.NXE, or another EP4TA.
    const AddressSpaceKey& now = current_->key;
    for (const auto& context : contexts_) {
        const AddressSpaceKey& key = context->key;
        if (context->used && key.vpid == now.vpid && key.pcid == now.pcid && key.root == now.root) {
            flush_context(*context, keep_global);
        }
    }
    ++generation_;
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
    }
    if (large) {
        context.data_pages_changed();
    } else {
        ++context.data_epochs[linear >> 63 != 0 ? 0 : 1];
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
    // "INVLPG also invalidates any global TLB entries with that page number, regardless of PCID"
    // (SDM Vol. 3A, "Operations that Invalidate TLBs and Paging-Structure Caches"); the
    // paging-structure caches hold nothing here.
    for (const auto& context : contexts_) {
        if (context->used && context->key.vpid == cpu.non_root.vpid) {
            drop_page(*context, linear, context->key.pcid != current_->key.pcid);
        }
    }
    ++generation_;
}

void Tlb::flush_pcid(Vcpu& cpu, u16 pcid, bool keep_global) {
    cpu.log.write(LogCategory::Mmu, "vCPU {}: TLB: PCID {:#x} flushed{}", cpu.index, pcid,
                  keep_global ? " but for global pages" : "");
    for (const auto& context : contexts_) {
        if (context->used && context->key.vpid == cpu.non_root.vpid && context->key.pcid == pcid) {
            flush_context(*context, keep_global);
        }
    }
    ++generation_;
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
