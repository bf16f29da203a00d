#include "cpu/x86/system/verify.hpp"

#include "core/bits.hpp"
#include "core/guest_memory.hpp"
#include "cpu/x86/apic/local_apic.hpp"
#include "cpu/x86/mmu/paging.hpp"
#include "cpu/x86/system/debug_traps.hpp"
#include "cpu/x86/system/segment.hpp"

namespace droste {

namespace {

struct Derived {
    u8 cpl, code_bits, cet, fpu_blocked;
    bool long_mode64, protected_mode, virtual8086, alignment_checked;
    u64 stack_mask, rip_mask;
    const DataTlb* data_tlb;
    const TlbContext::ShadowTlb* shadow_tlb;
    bool operator==(const Derived&) const = default;
};

Derived derived_of(const Vcpu& cpu) {
    return {cpu.mode.cpl,         cpu.mode.code_bits,         cpu.mode.cet,
            cpu.mode.fpu_blocked, cpu.mode.long_mode64,       cpu.mode.protected_mode,
            cpu.mode.virtual8086, cpu.mode.alignment_checked, cpu.mode.stack_mask,
            cpu.mode.rip_mask,    cpu.mode.data_tlb,          cpu.mode.shadow_tlb};
}

const char* verify_derived(Vcpu& cpu) {
    const Derived before = derived_of(cpu);
    mode_changed(cpu);
    if (before != derived_of(cpu)) {
        return "derived state is what the registers say";
    }
    for (const Segment& segment : cpu.state.seg) {
        Segment fresh = segment;
        refresh_segment_checks(fresh);
        if (fresh.checks != segment.checks) {
            return "a segment's checks are what its rights say";
        }
    }
    const auto step_request = [&cpu] {
        return cpu.attention.load(std::memory_order_relaxed) & attention::kStep;
    };
    const u32 mask = cpu.attention_mask;
    const u32 step = step_request();
    update_attention(cpu);
    return mask == cpu.attention_mask && step == step_request()
               ? nullptr
               : "the mask of pending events and the request to step are up to date";
}

// A tag as the tables keep it, and what a walk of the same kind says now.
struct Held {
    LinearAddr linear;
    u64 page;  // physical page and tlb_mark bits
    u32 chain;
    WalkRequest walk;
};

bool canonical(const Vcpu& cpu, LinearAddr linear) {
    return (cpu.state.efer & efer::kLma) != 0 ? is_canonical(cpu, linear) : linear >> 32 == 0;
}

// `now` is what the walk found. The tag may say the old thing where the guest changed its tables.
const char* verify_against_walk(Vcpu& cpu, const Held& held, Translation& now) {
    const bool allowed = inspect(cpu, held.walk, now);
    if (now.chain != held.chain) {
        return nullptr;
    }
    if (!allowed) {
        // Under EPT the second stage may have changed, too.
        return cpu.non_root.second_stage == nullptr ? "a tag implies that a walk allows the access"
                                                    : nullptr;
    }
    const u64 page = (now.address & kPageMask) | tlb_marks(cpu, now);
    if (cpu.non_root.second_stage == nullptr && page != held.page) {
        return "a tag's page is the one a walk finds";
    }
    return nullptr;
}

const char* verify_memory(const Vcpu& cpu, const Held& held, const u8* native, bool write) {
    const PhysAddr physical = held.page & kPageMask;
    const NativePage page = cpu.memory.lookup(physical);
    if (page.native == nullptr || page.native != native) {
        return "a tag leads to the memory of its page";
    }
    if (cpu.apic->claims(physical) || physical == cpu.non_root.apic_access_page) {
        return "no tag for a page that a device answers";
    }
    if (write && page.kind != PageKind::Ram) {
        return "a write tag is for RAM";
    }
    if (write && (*page.flags & kPageHasCode) != 0) {
        return "no write tag for a page with decoded code";
    }
    return nullptr;
}

template <unsigned Entries>
const char*
verify_entry(Vcpu& cpu, const TlbTable<Entries>& table, unsigned entry, const WalkRequest& as) {
    if (table.empty(entry)) {
        return nullptr;
    }
    const LinearAddr linear = table.read_tag(entry);
    const bool write = table.write_tag(entry) != kNoTag;
    if (write && table.write_tag(entry) != linear) {
        return "a write tag implies the read tag";
    }
    if (table.index(linear) != entry || linear % kPageBytes != 0 || !canonical(cpu, linear)) {
        return "a tag is a canonical page in its own slot";
    }
    Held held{linear, table.page(entry), table.chain(entry), as};
    held.walk.linear = linear;
    if (const char* broken = verify_memory(cpu, held, table.native(linear), write)) {
        return broken;
    }
    if (data_breakpoints_in_page(cpu, linear)) {
        return "no tag for a watched page";
    }
    Translation now;
    if (const char* broken = verify_against_walk(cpu, held, now)) {
        return broken;
    }
    // A walk for reading says of a write whether it is allowed and the leaf dirty.
    const bool comparable = now.chain == held.chain && cpu.non_root.second_stage == nullptr;
    return write && comparable && !now.writable ? "a write tag implies a dirty leaf and the right"
                                                : nullptr;
}

const char* verify_code_entry(Vcpu& cpu, const CodeTlb& table, unsigned index, bool user) {
    const CodeTlbEntry& entry = table.entries[index];
    if (entry.tag == kNoTag) {
        return nullptr;
    }
    Held held{entry.tag, entry.page, 0, {entry.tag, Access::Execute}};
    held.walk.privilege = user ? PrivilegeClass::User : PrivilegeClass::Supervisor;
    if constexpr (kTlbKeepsChains) {
        held.chain = table.chain[index];
    }
    if (const char* broken = verify_memory(cpu, held, entry.native, false)) {
        return broken;
    }
    Translation now;
    return verify_against_walk(cpu, held, now);
}

// Slices of 64 entries: 32 of each data table, 16 of each code table, one of each for shadow
// stacks.
constexpr unsigned kDataSlices = kTlbEntries / 64;
constexpr unsigned kCodeSlices = CodeTlb::kEntries / 64;
constexpr unsigned kSlices = 3 * kDataSlices + 2 * kCodeSlices + 2;

template <typename Check>
const char* first_of_slice(unsigned slice, Check&& check) {
    for (unsigned entry = slice * 64; entry < slice * 64 + 64; ++entry) {
        if (const char* broken = check(entry)) {
            return broken;
        }
    }
    return nullptr;
}

const char* verify_slice_of_tlb(Vcpu& cpu, unsigned slice) {
    TlbContext& context = cpu.tlb.current();
    if (slice < 3 * kDataSlices) {
        const unsigned number = slice / kDataSlices;
        return first_of_slice(slice % kDataSlices, [&](unsigned entry) {
            return verify_entry(cpu, context.data[number], entry,
                                {0, Access::Read, static_cast<PrivilegeClass>(number)});
        });
    }
    slice -= 3 * kDataSlices;
    if (slice < 2 * kCodeSlices) {
        const bool user = slice >= kCodeSlices;
        return first_of_slice(slice % kCodeSlices, [&](unsigned index) {
            return verify_code_entry(cpu, context.code[user ? 1 : 0], index, user);
        });
    }
    slice -= 2 * kCodeSlices;
    const PrivilegeClass privilege = slice == 1 ? PrivilegeClass::User : PrivilegeClass::Supervisor;
    return first_of_slice(0, [&](unsigned entry) {
        return verify_entry(cpu, context.shadow[slice], entry,
                            {0, Access::Read, privilege, true, true});
    });
}

const char* verify_context(Vcpu& cpu) {
    return cpu.tlb.is_current(cpu) ? nullptr : "the context is the one the registers name";
}

}  // namespace

const char* verify_slice(Vcpu& cpu) {
    if (const char* broken = verify_derived(cpu)) {
        return broken;
    }
    if (const char* broken = verify_context(cpu)) {
        return broken;
    }
    return verify_slice_of_tlb(cpu, static_cast<unsigned>(cpu.counters.blocks % kSlices));
}

const char* verify(Vcpu& cpu) {
    if (const char* broken = verify_derived(cpu)) {
        return broken;
    }
    if (const char* broken = verify_context(cpu)) {
        return broken;
    }
    for (unsigned slice = 0; slice < kSlices; ++slice) {
        if (const char* broken = verify_slice_of_tlb(cpu, slice)) {
            return broken;
        }
    }
    return nullptr;
}

}  // namespace droste
